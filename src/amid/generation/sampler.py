"""From the logits of a step to one token per row, with every control and random number kept per row.

Shapes: R rows being decoded, V vocabulary.
The row-wise warpers (temperature, top-k, top-p) are those of `transformers`. The repetition controls are ours, because
the library's read a padded batch: they count padding as text, and rebuild all n-grams of all rows on every step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from amid.generation.decoding import Decoding
from amid.generation.randomness import Key, uniforms_of


class History:
    """What one row has said so far, and its own random numbers.

    Appending a token costs O(1): only the n-gram it completes is new.
    """

    def __init__(self, prompt: Sequence[int], *, key: Key, decoding: Decoding, budget: int) -> None:
        self.key = key
        self.tokens: list[int] = []
        self.num_prompt_tokens = len(prompt)
        self.budget = budget  # most response tokens of this row
        self._context = decoding.no_repeat_ngram_size - 1  # tokens before the last one of an n-gram; -1 is off
        self._followers: dict[tuple[int, ...], list[int]] = {}
        self._uniforms: list[float] = [] if decoding.temperature == 0 else uniforms_of(key, count=budget).tolist()
        for token in prompt:
            self.append(token)

    def append(self, token: int) -> None:
        """Add a token of the prompt or of the response."""
        if self._context >= 0 and len(self.tokens) >= self._context:
            self._followers.setdefault(self._last_context(), []).append(token)
        self.tokens.append(token)

    def remove_last(self) -> None:
        """Takes back the last token of the response."""
        token = self.tokens.pop()
        if self._context >= 0 and len(self.tokens) >= self._context:
            assert self._followers[self._last_context()].pop() == token

    def banned(self) -> list[int]:
        """Tokens that would complete an n-gram already present."""
        if self._context < 0 or len(self.tokens) < self._context:
            return []
        return self._followers.get(self._last_context(), [])

    def uniform(self) -> float:
        """The random number of the next response token."""
        return self._uniforms[self.num_response_tokens]

    @property
    def num_response_tokens(self) -> int:
        """Number of response tokens so far."""
        return len(self.tokens) - self.num_prompt_tokens

    @property
    def response(self) -> tuple[int, ...]:
        """The response so far."""
        return tuple(self.tokens[self.num_prompt_tokens :])

    def _last_context(self) -> tuple[int, ...]:
        return tuple(self.tokens[len(self.tokens) - self._context :])


class Sampler:
    """Chooses the next token of each row from its logits, its history and its own random number."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._warpers: list[TemperatureLogitsWarper | TopKLogitsWarper | TopPLogitsWarper] = []
        if decoding.temperature not in (0.0, 1.0):
            self._warpers.append(TemperatureLogitsWarper(decoding.temperature))
        # top-k and top-p keep the likeliest token, so they cannot change a greedy choice
        if decoding.temperature > 0 and decoding.top_k > 0:
            self._warpers.append(TopKLogitsWarper(decoding.top_k))
        if decoding.temperature > 0 and decoding.top_p < 1:
            self._warpers.append(TopPLogitsWarper(decoding.top_p))

    def next_tokens(self, logits: Tensor, rows: Sequence[History]) -> list[int]:
        """The next token of each row.

        logits: [R, V], of the position after each row's last token; any float type, worked on in float32.
        Raises ValueError if a row has no token left to choose, or logits that are not finite.
        """
        scores = self.scores(logits, rows)
        top, greedy = scores.max(dim=-1)
        if not bool(torch.isfinite(top).all()):
            worst = int((~torch.isfinite(top)).nonzero()[0])
            raise ValueError(
                f"no token can be chosen for key {rows[worst].key!r}: its largest score is {float(top[worst])}. "
                "nan or inf: the weights have diverged; -inf: raise decoding.no_repeat_ngram_size"
            )
        if self._decoding.temperature == 0:
            return [int(token) for token in greedy.tolist()]
        # Inverse of the cumulative distribution: unlike multinomial, a row's draw depends on nothing but the row
        cumulative = (scores - top[:, None]).exp_().cumsum(dim=-1, dtype=torch.float64)
        total = cumulative[:, -1:]
        uniform = torch.tensor([[row.uniform()] for row in rows], dtype=torch.float64, device=scores.device)
        # u * total may round up to total, beyond which there is no token
        target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
        return [int(token) for token in torch.searchsorted(cumulative, target, right=True)[:, 0].tolist()]

    def scores(self, logits: Tensor, rows: Sequence[History]) -> Tensor:
        """Float32 scores [R, V] after all controls; excluded tokens are -inf. The logits are left as they are."""
        scores = logits.to(torch.float32)
        penalty = self._decoding.repetition_penalty
        if penalty != 1.0 or self._decoding.no_repeat_ngram_size > 0:
            scores = scores.clone()
        if penalty != 1.0:
            for score, row in zip(scores, rows, strict=True):
                seen = torch.tensor(sorted(set(row.tokens)), device=scores.device)
                value = score[seen]
                score[seen] = torch.where(value < 0, value * penalty, value / penalty)
        banned = [(index, token) for index, row in enumerate(rows) for token in row.banned()]
        if banned:
            where = torch.tensor(banned, device=scores.device)
            scores[where[:, 0], where[:, 1]] = -torch.inf
        for warper in self._warpers:
            scores = warper(None, scores)
        return scores
