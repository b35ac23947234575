"""Text to token ids, and where the pieces of a text lie among them; without special tokens of the tokenizer's own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from transformers import PreTrainedTokenizerBase


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without special tokens, never truncated."""
    if not texts:
        return []
    rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return rows


def encode_pieces(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[str]]
) -> list[tuple[list[list[int]], bool]]:
    """Token ids of the pieces of each text, and whether a merge across a boundary was prevented.

    A text is read whole, so that its tokens are those of its pieces one after the other. Where a token would lie across
    a boundary, what follows is read anew: what comes before stays as it is when nothing follows it yet.
    """
    wholes = [list(accumulate(pieces)) for pieces in rows]
    encoded = iter(encode(tokenizer, [text for texts in wholes for text in texts]))
    return [_pieces(tokenizer, pieces, [next(encoded) for _ in pieces]) for pieces in rows]


def _pieces(
    tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str], cumulative: Sequence[list[int]]
) -> tuple[list[list[int]], bool]:
    """cumulative: the token ids of the first piece, of the first two, and so on."""
    found: list[list[int]] = []
    before: list[int] = []
    for place, ids in enumerate(cumulative):
        if ids[: len(before)] != before:
            rest = list(accumulate(pieces[place:]))
            return [*found, *_pieces(tokenizer, pieces[place:], encode(tokenizer, rest))[0]], True
        found.append(ids[len(before) :])
        before = ids
    return found, False
