"""A model that writes responses, on one device or on several that share the prompts.

Every rank has the model; rank 0 alone knows what is to be written and keeps what was. The texts do not depend on the
division, because each prompt has random numbers of its own; only rounding does, as with another batch size.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.data.tokenise import decoder, eos_id
from amid.generation.decoding import Completion, Decoding
from amid.generation.engine import generate
from amid.generation.randomness import Key
from amid.ranks import ALONE, Ranks
from amid.stopping import Asked, check


@dataclass(frozen=True)
class Job:
    """Prompts to be answered, as every rank must know of them.

    keys, max_length, vocab_size, other_eos_ids: as `generate` has them. precision: 32-true, bf16-mixed or bf16-true,
    the latter with a copy of the model. places: where each prompt stands in a job that lacks none; a rank answers the
    same ones whatever is missing, and all of one place. model: the name under which the other ranks know the model,
    None where they have the job too.
    """

    prompts: tuple[tuple[int, ...], ...]
    keys: tuple[Key, ...]
    places: tuple[int, ...]
    decoding: Decoding
    precision: str = "32-true"
    max_length: int | None = None
    vocab_size: int | None = None
    other_eos_ids: frozenset[int] = frozenset()
    model: str | None = None


class Writer:
    """A model with its tokenizer, on this rank's device; batch_size: most prompts answered at once on each device."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self._models = {"32-true": model, "bf16-mixed": model}
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._ranks = ranks

    def __call__(self, job: Job) -> list[Completion]:
        """A completion per prompt; on rank 0, which tells the others of a job that names the model."""
        if job.model is not None:
            self._ranks.broadcast(job)
        return self.together(job)

    def together(self, job: Job) -> list[Completion]:
        """A completion per prompt of a job that every rank has, on every rank.

        Raises Asked on every rank if, within a training, one of them was asked to stop.
        """
        size = self._ranks.size
        parts = [[i for i, place in enumerate(job.places) if place % size == rank] for rank in range(size)]
        completions: dict[int, Completion] = {}
        mine: list[Completion] | None = None
        with contextlib.suppress(Asked):  # the others must hear of it where they wait for this rank's part
            mine = self._answers(job, parts[self._ranks.rank])
        for part, written in zip(parts, self._ranks.gather(mine), strict=True):
            if written is None:
                raise Asked
            completions |= zip(part, written, strict=True)
        return [completions[i] for i in range(len(job.prompts))]

    def _answers(self, job: Job, part: Sequence[int]) -> list[Completion]:
        return generate(
            self._model(job.precision),
            [job.prompts[i] for i in part],
            keys=[job.keys[i] for i in part],
            decoding=job.decoding,
            eos_id=eos_id(self._tokenizer),
            batch_size=self._batch_size,
            max_length=job.max_length,
            vocab_size=job.vocab_size,
            amp_dtype=torch.bfloat16 if job.precision == "bf16-mixed" else None,
            other_eos_ids=job.other_eos_ids,
            decode=decoder(self._tokenizer),
            check=check,
        )

    def _model(self, precision: str) -> PreTrainedModel:
        """The model as it is; for bf16-true a copy, made when it is first asked for."""
        if precision not in self._models:
            self._models[precision] = copy.deepcopy(self._models["32-true"]).to(torch.bfloat16)  # type: ignore[arg-type]  # untyped in transformers
        return self._models[precision]
