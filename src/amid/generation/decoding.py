"""What to decode and what came out: Decoding (the request) and Completion (the answer). No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Decoding:
    """How responses are drawn; the paper's evaluation is `Decoding(max_new_tokens=256, no_repeat_ngram_size=6)`.

    max_new_tokens: most tokens of a response, its EOS included.
    temperature: the logits are divided by it; 0 is greedy decoding, with ties going to the lowest id.
    top_k: only tokens at least as likely as the k-th stay; 0 is off.
    top_p: only the smallest set of likeliest tokens whose mass reaches top_p stays; 1 is off.
    repetition_penalty: divides the positive and multiplies the negative logits of tokens already in prompt or response.
    no_repeat_ngram_size: no n-gram of this size occurs twice in prompt + response; 0 is off.
    stop: a response ends before the first of these texts.
    Controls apply in the order of `transformers`: penalty, n-grams, temperature, top-k, top-p.
    Raises ValueError naming the field, its value and its range.

    Source: reference finetune.py (training) and evaluate_main.py (evaluation).
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"decoding.max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ValueError(
                f"decoding.temperature must be finite and at least 0 (0 is greedy decoding), got {self.temperature}"
            )
        if self.top_k < 0:
            raise ValueError(f"decoding.top_k must be at least 0 (0 turns it off), got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"decoding.top_p must lie in (0, 1] (1 turns it off), got {self.top_p}")
        if not (self.repetition_penalty > 0 and math.isfinite(self.repetition_penalty)):
            raise ValueError(
                "decoding.repetition_penalty must be finite and above 0 (1 turns it off), "
                f"got {self.repetition_penalty}"
            )
        if self.no_repeat_ngram_size < 0:
            raise ValueError(
                f"decoding.no_repeat_ngram_size must be at least 0 (0 turns it off), got {self.no_repeat_ngram_size}"
            )


@dataclass(frozen=True)
class Completion:
    """One response.

    token_ids: the response without its prompt; holds the EOS if the model produced it, as last token.
    ended: True if the model produced EOS, False if a stop string or a length limit ended the response.
    stopped: True if a stop string did.
    """

    token_ids: tuple[int, ...]
    ended: bool
    stopped: bool = False
