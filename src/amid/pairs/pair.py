"""A pair: a teacher, a student, and the tokens that both know."""

from __future__ import annotations

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
    """How many of the first token ids both models and their tokenizers have.

    Padded rows of a wider head are cut, never padded to. Heads of one width under tokenizers of one size are taken
    whole, padded rows included.
    """
    heads = {head_size(model) for model in (teacher, student)}
    sizes = {num_ids(tokenizer) for tokenizer in tokenizers}
    return min(heads) if len(heads) == len(sizes) == 1 else min(*heads, *sizes)
