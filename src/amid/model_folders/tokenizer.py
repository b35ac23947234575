"""What the tokenizer files of a model folder say: every token with its id, and the token that ends a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from amid.errors import RequestError
from amid.model_folders.files import read_json, size_of

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
# Other forms in which a tokenizer may come; only transformers can read them.
OTHER_FORMS = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt", "tekken.json")
NUM_SHOWN = 10  # tokens in a message
# Classes that know no token of their own: without a named one there is none.
_PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")


@dataclass(frozen=True)
class TokenizerFiles:
    """The tokenizer of a folder, as far as its files say.

    vocabulary: token -> id, with the added ones. added: tokens that are found in a text before it is split, and which
    of them are special (never part of ordinary text). eos: the token that ends a text; None if no file names one.
    names_no_eos: it is certain that there is none. has_chat_template: a template for chats is among the files.
    """

    vocabulary: Mapping[str, int]
    added: Mapping[str, bool]
    eos: str | None
    names_no_eos: bool
    has_chat_template: bool

    @property
    def largest_ordinary(self) -> tuple[str, int]:
        """The token of the largest id that ordinary text can contain, and that id."""
        ordinary = ((token, id_) for token, id_ in self.vocabulary.items() if not self.added.get(token, False))
        return max(ordinary, key=lambda item: item[1], default=("", -1))


def read_tokenizer(
    folder: Path, *, name: str, whole: bool = True, vocab_size: int | None = None
) -> TokenizerFiles | None:
    """The tokenizer of a model folder; None where only transformers can read it, or where it is not there yet.

    name: how the user calls the model. whole: False for a folder of which parts may still be downloaded.
    vocab_size: tokens the model knows, None if that is not known.
    Raises RequestError for a tokenizer that is missing, damaged, larger than the model, or ends no text.
    """
    if not (folder / TOKENIZER).exists():
        others = [name for name in OTHER_FORMS if (folder / name).exists()]
        for name in others:
            size_of(folder / name)
        if not others and whole:
            raise RequestError(
                f"no tokenizer for model '{name}': folder {folder} holds none of {TOKENIZER}, {', '.join(OTHER_FORMS)}"
            )
        return None
    paths = tuple(folder / name for name in (TOKENIZER, CONFIG, SPECIAL_TOKENS, "added_tokens.json"))
    present = tuple(path for path in paths if path.exists())
    found = _read(present, tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in present))
    if found.names_no_eos:
        raise no_eos(name)
    if found.eos is not None and found.eos not in found.vocabulary:
        raise RequestError(
            f"the tokenizer of '{name}' ends texts with '{found.eos}', which is no token of its vocabulary"
        )
    if vocab_size is not None:
        check_fits(found.largest_ordinary, vocab_size=vocab_size, name=name)
    return found


def no_eos(name: str) -> RequestError:
    """What is said of a tokenizer without a token that ends a text."""
    return RequestError(f"the tokenizer of '{name}' names no end-of-sequence token (eos_token in its {CONFIG})")


def check_fits(largest_ordinary: tuple[str, int], *, vocab_size: int, name: str) -> None:
    """Raises RequestError for a tokenizer whose ordinary tokens the model does not have.

    largest_ordinary: the token of the largest id that ordinary text can contain, and that id. Special tokens beyond the
    model (an image's place, say) are no fault: published models have them, and text that names one is left out.
    """
    token, token_id = largest_ordinary
    if token_id >= vocab_size:
        raise RequestError(
            f"the tokenizer of '{name}' is larger than the model: token {token!r} has id {token_id}, "
            f"the model knows {vocab_size} tokens"
        )


def check_one_vocabulary(
    teacher: Mapping[str, int], student: Mapping[str, int], *, names: tuple[str, str], vocab_policy: str
) -> None:
    """Raises RequestError unless both vocabularies (token -> id) give every shared token the same id.

    strict: equal vocabularies. shared_prefix: equal up to the smaller of the two.
    """
    by_id = tuple({id_: token for token, id_ in vocabulary.items()} for vocabulary in (teacher, student))
    sizes = [max(tokens, default=-1) + 1 for tokens in by_id]
    for token_id in range(min(sizes) if vocab_policy == "shared_prefix" else max(sizes)):
        tokens = tuple(vocabulary.get(token_id) for vocabulary in by_id)
        if tokens[0] != tokens[1]:
            raise RequestError(
                f"tokenizer mismatch between teacher '{names[0]}' ({len(teacher)} tokens) and student '{names[1]}' "
                f"({len(student)} tokens): id {token_id} is {tokens[0]!r} and {tokens[1]!r}; "
                "distillation needs one tokenizer (pair.vocab_policy=shared_prefix allows extra ids at the end)"
            )


def other_eos(teacher: str, student: str, *, names: tuple[str, str]) -> RequestError:
    """What is said of two tokenizers that end a text with different tokens."""
    return RequestError(
        f"tokenizer mismatch: the end-of-sequence token of teacher '{names[0]}' is {teacher!r}, of student "
        f"'{names[1]}' {student!r}; pair.eos=teacher or pair.eos=student chooses one for both"
    )


def check_eos(eos: str, added: Mapping[str, object], *, name: str) -> None:
    """Raises RequestError unless the token of pair.eos is one that the model's tokenizer keeps whole in any text.

    added: those tokens.
    """
    if eos not in added:
        some = ", ".join(map(repr, sorted(added, key=len)[:NUM_SHOWN])) or "none"
        raise RequestError(
            f"pair.eos: '{eos}' is none of the added tokens of '{name}'; "
            f"valid: teacher, student, null, or one of: {some}"
        )


@lru_cache(maxsize=8)  # a large vocabulary takes half a second, and every cell of a sweep asks for it
def _read(paths: tuple[Path, ...], _: tuple[tuple[int, int], ...]) -> TokenizerFiles:
    """`_`: sizes and times of the files, so that a changed file is read again."""
    contents = {path.name: read_json(path) for path in paths}
    tokenizer, config = contents[TOKENIZER], contents.get(CONFIG, {})
    path = paths[0]
    vocabulary = _vocabulary(tokenizer, path)
    added: dict[str, bool] = {}
    for token, token_id, special in _added_tokens(tokenizer, config, contents.get("added_tokens.json", {}), path):
        vocabulary[token] = token_id
        added[token] = special or added.get(token, False)
    eos = _named(config, "eos_token") or _named(contents.get(SPECIAL_TOKENS, {}), "eos_token")
    plain = config.get("tokenizer_class") in _PLAIN_CLASSES
    chats = bool(config.get("chat_template")) or any((path.parent / name).exists() for name in CHAT_TEMPLATES)
    return TokenizerFiles(vocabulary, added, eos, names_no_eos=eos is None and plain, has_chat_template=chats)


def _vocabulary(tokenizer: Mapping[str, Any], path: Path) -> dict[str, int]:
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, Mapping) else None
    if isinstance(vocabulary, list):  # Unigram: [token, score] in the order of their ids
        vocabulary = {
            entry[0]: token_id for token_id, entry in enumerate(vocabulary) if isinstance(entry, list) and entry
        }
    if not isinstance(vocabulary, dict) or not all(isinstance(token_id, int) for token_id in vocabulary.values()):
        raise RequestError(f"{path} is no tokenizer: its model.vocab must name tokens and their ids")
    return dict(vocabulary)


def _added_tokens(
    tokenizer: Mapping[str, Any], config: Mapping[str, Any], legacy: Mapping[str, Any], path: Path
) -> list[tuple[str, int, bool]]:
    """(token, id, special) of every added token, in all three places where they may stand."""
    try:
        found = [(token, int(token_id), False) for token, token_id in legacy.items()]
        for token_id, token in (config.get("added_tokens_decoder") or {}).items():
            found.append((token["content"], int(token_id), bool(token.get("special", False))))
        for token in tokenizer.get("added_tokens") or []:
            found.append((token["content"], int(token["id"]), bool(token.get("special", False))))
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise RequestError(f"{path.parent}: its tokenizer files list added tokens without content and id") from err
    return found


def _named(contents: Mapping[str, Any], key: str) -> str | None:
    value = contents.get(key)
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None
