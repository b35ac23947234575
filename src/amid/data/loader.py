"""Batches as a function of (seed, step, rank), so that a resumed run sees what an undisturbed one would have seen."""

from __future__ import annotations

import random
from collections.abc import Sequence

from amid.data.batch import Batch, collate
from amid.data.tokenise import Example

# With bucketing, batches are formed of similar lengths inside groups of this many batches.
BUCKET_BATCHES = 32


def epoch_batches(
    lengths: Sequence[int], *, batch_size: int, seed: int, epoch: int, bucket_by_length: bool = False
) -> list[list[int]]:
    """Positions of the examples of each batch of one epoch, drawn at random; the incomplete last batch is dropped.

    bucket_by_length: form each batch of similar lengths instead. That saves padding and changes what is optimised: with
    a mean over the tokens of a step, a token of a batch of short responses weighs as much more as its batch has fewer.
    """
    rng = random.Random(f"{seed}/order/{epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    order = order[: len(order) // batch_size * batch_size]
    if not bucket_by_length:
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    batches = []
    bucket = BUCKET_BATCHES * batch_size
    for start in range(0, len(order), bucket):
        group = sorted(order[start : start + bucket], key=lambda position: lengths[position])
        batches += [group[i : i + batch_size] for i in range(0, len(group), batch_size)]
    rng.shuffle(batches)
    return batches


class StepBatches:
    """One rank's batch of every optimiser step, as a function of the step alone: nothing to save, nothing to restore.

    A step takes `batch_size` examples and what is beside them, of which each of `world_size` ranks gets an equal share.
    bucket_by_length: see `epoch_batches`.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int,
        seed: int,
        pad_id: int,
        rank: int = 0,
        world_size: int = 1,
        bucket_by_length: bool = False,
    ) -> None:
        self._examples = examples
        self._lengths = [len(example) for example in examples]
        self._batch_size = batch_size
        self._seed = seed
        self._pad_id = pad_id
        self._rank, self._world_size = rank, world_size
        self._bucket_by_length = bucket_by_length
        self._epoch, self._batches = -1, list[list[int]]()

    def __call__(self, step: int) -> Batch:
        """This rank's batch of the given optimiser step, counted from 0."""
        epoch, position = divmod(step, len(self._examples) // self._batch_size)
        if epoch != self._epoch:
            self._epoch = epoch
            self._batches = epoch_batches(
                self._lengths,
                batch_size=self._batch_size,
                seed=self._seed,
                epoch=epoch,
                bucket_by_length=self._bucket_by_length,
            )
        chosen = [self._examples[i] for i in self._batches[position][self._rank :: self._world_size]]
        return _collated(chosen, pad_id=self._pad_id)


def validation_batches(examples: Sequence[Example], *, batch_size: int, pad_id: int) -> list[Batch]:
    """All examples in batches of similar length."""
    ordered = sorted(examples, key=len)
    return [
        _collated(ordered[start : start + batch_size], pad_id=pad_id) for start in range(0, len(ordered), batch_size)
    ]


def _collated(examples: Sequence[Example], *, pad_id: int) -> Batch:
    rows = [row for example in examples for row in (example, *example.beside)]
    return collate(
        [(row.prompt_ids, row.response_ids) for row in rows],
        example_ids=[row.index for row in rows],
        pad_id=pad_id,
        source=[row.source for row in rows],
        earlier=[row.earlier for row in rows],
    )
