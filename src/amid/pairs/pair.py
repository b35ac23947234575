"""A pair: a teacher, a student, and the tokens that both know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.pairs.sizes import head_size
from amid.pairs.tokenizers import num_ids


@dataclass(frozen=True)
class Pair:
    """Teacher p (frozen), student q, the student's tokenizer, and how many of the first token ids all of them share."""

    teacher: PreTrainedModel | None
    student: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    vocab_size: int


def shared_vocab_size(teacher: PreTrainedModel, student: PreTrainedModel, *tokenizers: PreTrainedTokenizerBase) -> int:
    """How many of the first token ids both models and their tokenizers have."""
    return shared_ids([head_size(model) for model in (teacher, student)], tokenizers)


def shared_ids(head_sizes: Sequence[int], tokenizers: Iterable[PreTrainedTokenizerBase]) -> int:
    """How many of the first token ids heads of these sizes and the tokenizers have.

    Padded rows of a wider head are cut, never padded to. Heads of one size under tokenizers of one length are taken
    whole, padded rows included.
    """
    lengths = {num_ids(tokenizer) for tokenizer in tokenizers}
    alike = len(set(head_sizes)) == len(lengths) == 1
    return min(head_sizes) if alike else min(*head_sizes, *lengths)
