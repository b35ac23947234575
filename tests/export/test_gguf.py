"""model.gguf, read back by transformers, is the model that was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from folders import small_model, small_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from amid.errors import RequestError, RunError
from amid.export.gguf_file import FILE, check_family, check_gguf, write_gguf
from amid.export.gguf_tokenizer import differing_text
from amid.pairs import train_tokenizer
from amid.pairs.tokenizers import PROBE_TEXTS

gguf = pytest.importorskip("gguf")
TOKENIZER = train_tokenizer([*PROBE_TEXTS, "yes no maybe"] * 3, vocab_size=420)
IDS = torch.tensor([[5, 17, 300, 9, 11, 42, 7, 7, 260, 1, 2, 3]])


def written(folder: Path, model: PreTrainedModel, **options: bool) -> Path:
    folder.mkdir(exist_ok=True)
    check_family(model, TOKENIZER)
    write_gguf(model, TOKENIZER, folder / FILE, name="small", **{"half": False, **options})
    return folder


@pytest.mark.parametrize("kind", ["llama", "llama_tied", "gpt2"])
def test_the_same_logits_come_back(tmp_path: Path, kind: str) -> None:
    model = small_model(kind, vocab_size=len(TOKENIZER)).eval()
    folder = written(tmp_path, model)
    again = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32).eval()
    with torch.no_grad():
        due = model(IDS).logits
        assert torch.allclose(again(IDS).logits, due, atol=1e-5)  # float32
        assert not torch.allclose(due[:, 1:], due[:, :-1], atol=1e-2), "logits that differ nowhere compare nothing"
    check_gguf(model, folder)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_tokenizer_comes_back_from_the_file_alone(tmp_path: Path, kind: str) -> None:
    folder = written(tmp_path, small_model(kind, vocab_size=len(TOKENIZER) + 3))  # rows beyond the tokenizer
    again = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
    for text in PROBE_TEXTS:
        ids = TOKENIZER(text)["input_ids"]
        assert again(text)["input_ids"] == ids
        assert again.decode(ids) == TOKENIZER.decode(ids)
    assert again.eos_token_id == TOKENIZER.eos_token_id
    assert differing_text(TOKENIZER, folder, FILE) is None


def test_a_chat_template_is_in_it(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    model = small_model("llama", vocab_size=len(tokenizer))
    write_gguf(model, tokenizer, tmp_path / FILE, name="small", half=False)
    reader = gguf.GGUFReader(tmp_path / FILE)
    assert reader.fields["tokenizer.chat_template"].contents() == tokenizer.chat_template


def test_half_holds_matrices_in_16_bits_and_the_rest_in_32(tmp_path: Path) -> None:
    model = small_model("llama", vocab_size=len(TOKENIZER)).half()
    folder = written(tmp_path, model, half=True)
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(folder / FILE).tensors}
    assert types["blk.0.attn_q.weight"] == types["token_embd.weight"] == "F16"
    assert types["output_norm.weight"] == "F32"
    check_gguf(model, folder)


def test_query_and_key_rows_are_permuted_as_llama_cpp_has_them(tmp_path: Path) -> None:
    model = small_model("llama", vocab_size=len(TOKENIZER))
    folder = written(tmp_path, model)
    tensors = {each.name: each.data for each in gguf.GGUFReader(folder / FILE).tensors}
    head_dim = model.config.hidden_size // model.config.num_attention_heads
    for ours, theirs in (("q_proj", "attn_q"), ("k_proj", "attn_k")):
        weight = model.state_dict()[f"model.layers.0.self_attn.{ours}.weight"]
        found = torch.from_numpy(tensors[f"blk.0.{theirs}.weight"].copy())
        # Of every head the pair (i, i + half) that rotates together becomes (2 i, 2 i + 1)
        for row in range(weight.shape[0]):
            head, place = divmod(row, head_dim)
            source = head * head_dim + place // 2 + (head_dim // 2 if place % 2 else 0)
            assert torch.equal(found[row], weight[source]), (ours, row)


def test_another_model_is_noticed(tmp_path: Path) -> None:
    model = small_model("gpt2", vocab_size=len(TOKENIZER))
    folder = written(tmp_path, model)
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight.mul_(-1.0)
    with pytest.raises(RunError, match="is another model than the one written"):
        check_gguf(model, folder)


def test_what_the_format_cannot_hold_is_refused() -> None:
    gemma = small_model("gemma3_text", vocab_size=len(TOKENIZER))
    with pytest.raises(RequestError, match="shapes of Llama and GPT-2, this one is gemma3_text"):
        check_family(gemma, TOKENIZER)
    llama = small_model("llama", vocab_size=len(TOKENIZER))
    llama.config.rope_parameters = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}
    with pytest.raises(RequestError, match="rotary positions are scaled"):
        check_family(llama, TOKENIZER)
    long = small_model("gpt2", vocab_size=len(TOKENIZER), positions=2048)
    with pytest.raises(RequestError, match="it has 2048 positions"):
        check_family(long, TOKENIZER)


def test_a_tokenizer_that_splits_in_a_way_without_a_word_is_refused() -> None:
    tokenizer = small_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(RequestError, match="no word for the way"):
        check_family(small_model("llama", vocab_size=len(tokenizer)), tokenizer)


def test_added_tokens_that_hold_blanks_are_named(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    model = small_model("llama", vocab_size=len(tokenizer))
    write_gguf(model, tokenizer, tmp_path / FILE, name="small", half=False)
    found = differing_text(tokenizer, tmp_path, FILE)
    assert found is not None and "### Response:" in found


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(RequestError, match="--gguf needs the package gguf"):
        check_family(small_model("gpt2", vocab_size=len(TOKENIZER)), TOKENIZER)


def byte_fallback_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """A BPE with byte fallback that writes blanks as low lines, as Llama 2's and OpenLLaMA's."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=pieces, show_progress=False)
    words = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokenizer.pre_tokenizer = words
    tokenizer.train_from_iterator(["the cat sat on the mat and said yes or no, maybe"] * 20, trainer)
    trained = json.loads(tokenizer.to_str())
    special = [token for token in trained["added_tokens"] if not token["content"].startswith("<0x")]
    trained["added_tokens"] = special
    trained["pre_tokenizer"] = {**trained["pre_tokenizer"], "prepend_scheme": "first", "split": False}
    trained["decoder"] = json.loads(Tokenizer(models.BPE()).to_str())["decoder"]
    return LlamaTokenizer(vocab=trained["model"]["vocab"], merges=[tuple(pair) for pair in trained["model"]["merges"]])


def test_a_tokenizer_with_byte_fallback_comes_back_too(tmp_path: Path) -> None:
    tokenizer = byte_fallback_tokenizer(320)
    model = small_model("llama", vocab_size=len(tokenizer))
    check_family(model, tokenizer)
    write_gguf(model, tokenizer, tmp_path / FILE, name="small", half=False)
    again = AutoTokenizer.from_pretrained(tmp_path, gguf_file=FILE)
    for text in ("the cat sat", "yes, maybe the mat", "na\u00efve \u65e5", *PROBE_TEXTS):
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"], text
    reader = gguf.GGUFReader(tmp_path / FILE)
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    assert kinds.count(int(gguf.TokenType.BYTE)) == 256
    scores = reader.fields["tokenizer.ggml.scores"].contents()
    first, second = (tokenizer.get_vocab()["".join(pair)] for pair in _merges(tokenizer)[:2])
    assert scores[first] > scores[second]


def _merges(tokenizer: PreTrainedTokenizerFast) -> list[list[str]]:
    found: list[list[str]] = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    return found
