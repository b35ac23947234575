"""A pair: a teacher, a student and their one tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Pair:
    """Teacher p (frozen), student q, their tokenizer, and how many of the first token ids they share."""

    teacher: PreTrainedModel | None
    student: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    vocab_size: int


def shared_vocab_size(teacher: PreTrainedModel, student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many of the first token ids both heads have: padded rows of a wider head are cut, never padded to."""
    sizes = [int(model.config.vocab_size) for model in (teacher, student)]
    return min(*sizes, max(len(tokenizer), 1)) if sizes[0] != sizes[1] else sizes[0]
