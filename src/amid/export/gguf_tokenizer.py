"""A tokenizer as metadata of a GGUF file: byte-level BPE, as GPT-2's, or BPE with byte fallback, as Llama's.

The format names the way in which text is split before merging by a word; a tokenizer whose way has no word is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from amid.errors import RequestError
from amid.pairs.loading import loading
from amid.pairs.tokenizers import PROBE_TEXTS

if TYPE_CHECKING:
    from gguf import GGUFWriter

# How the format calls a way of splitting, by the pattern that does it. Source: llama.cpp, convert_hf_to_gguf_update.py.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_SPLITS = {_LLAMA3: "llama-bpe", _QWEN2: "qwen2"}
_UNUSED = "[PAD{}]"  # rows of the head beyond the tokenizer; as llama.cpp names them


def check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises RequestError for a tokenizer that the format has no words for."""
    kind_of(_backend(tokenizer))


def add_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, *, vocab_size: int) -> None:
    """Adds tokens, merges, special tokens and chat template. vocab_size: rows of the model's head."""
    backend = _backend(tokenizer)
    model, split = kind_of(backend)
    tokens, types = _tokens(tokenizer, backend, vocab_size=vocab_size, byte_fallback=model == "llama")
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in backend["model"]["merges"]]
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if model == "llama":
        writer.add_token_scores(_scores(tokens, merges))
        writer.add_add_space_prefix(_adds_space(backend))
    if merges:
        writer.add_token_merges(merges)
    for add, token_id in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if token_id is not None:
            add(token_id)
    begins = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(bool(begins) and begins[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(False)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def differing_text(tokenizer: PreTrainedTokenizerBase, folder: Path, file: str) -> str | None:
    """The first of some texts that a file's tokenizer, read back by transformers, splits otherwise; None for none.

    folder: holds the file alone, or transformers would read the tokenizer beside it.
    """
    with loading(f"the tokenizer in {file} cannot be read back"):
        again = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    texts: list[str] = [*PROBE_TEXTS, *tokenizer.get_added_vocab()]
    for text in texts:
        if tokenizer(text)["input_ids"] != again(text)["input_ids"]:
            return text
    return None


def kind_of(backend: Mapping[str, Any]) -> tuple[str, str]:
    """How the format calls a tokenizer, and how its way of splitting. Raises RequestError where it has no word."""
    model = backend["model"]
    if model.get("type") != "BPE":
        raise RequestError(f"--gguf writes tokenizers that merge pairs (BPE), this one is {model.get('type')}")
    if model.get("byte_fallback"):
        return "llama", "default"
    split = _split_of(backend.get("pre_tokenizer") or {})
    if split is None:
        raise RequestError("--gguf has no word for the way in which this tokenizer splits text; leave it out")
    return "gpt2", split


def _split_of(node: Mapping[str, Any]) -> str | None:
    parts: Sequence[Mapping[str, Any]] = node.get("pretokenizers", [node])
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True) and not parts[0].get("add_prefix_space"):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not parts[1].get("use_regex", True):
        return _SPLITS.get(parts[0].get("pattern", {}).get("Regex", ""))
    return None


def _backend(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise RequestError("--gguf needs a tokenizer of the library tokenizers (tokenizer.json); leave it out")
    found: dict[str, Any] = json.loads(backend.to_str())
    return found


def _tokens(
    tokenizer: PreTrainedTokenizerBase, backend: Mapping[str, Any], *, vocab_size: int, byte_fallback: bool
) -> tuple[list[str], list[int]]:
    """Every token by id, and what it is."""
    from gguf import TokenType

    added = {token["id"]: token for token in backend["added_tokens"]}
    by_id = {token_id: token for token, token_id in tokenizer.get_vocab().items()}
    tokens, types = [], []
    for token_id in range(vocab_size):
        token = by_id.get(token_id)
        if token is None:
            kind = TokenType.UNUSED
        elif token_id == tokenizer.unk_token_id and byte_fallback:
            kind = TokenType.UNKNOWN
        elif token_id in added:
            kind = TokenType.CONTROL if added[token_id]["special"] else TokenType.USER_DEFINED
        elif byte_fallback and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            kind = TokenType.BYTE
        else:
            kind = TokenType.NORMAL
        tokens.append(_UNUSED.format(token_id) if token is None else token)
        types.append(int(kind))
    return tokens, types


def _scores(tokens: Sequence[str], merges: Sequence[str]) -> list[float]:
    """The pair that merges first has the highest score, as in a vocabulary of sentencepiece."""
    rank = {merge.replace(" ", ""): place for place, merge in reversed(list(enumerate(merges)))}
    return [-float(rank[token]) if token in rank else -1e6 for token in tokens]


def _adds_space(backend: Mapping[str, Any]) -> bool:
    """Whether a blank is put before a text."""
    pre, normalizer = backend.get("pre_tokenizer") or {}, backend.get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer])
    return pre.get("prepend_scheme", "never") != "never" or any(step.get("type") == "Prepend" for step in steps)
