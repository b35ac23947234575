"""What the optimiser does, how a step is carried out, and how its loss is reduced.

Legend: N labelled tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from amid.core import LossParts
from amid.data.batch import Batch

Reduction = Literal["global_token_mean", "sequence_mean", "micro_batch_mean"]
LrSchedule = Literal["cosine", "linear", "constant"]


@dataclass(frozen=True)
class Optimisation:
    """What the optimiser does: AdamW, a linear warm-up to lr, then by lr_schedule to lr_final over total_steps.

    lr_schedule: cosine or linear, which end at lr_final, or constant, which stays at lr.
    betas: decay of AdamW's first and second moment. eps: AdamW's.
    grad_clip: largest norm of the whole gradient, 0 = off. max_nonfinite_share: of a round's positions; above it the
    training fails as diverged.
    """

    total_steps: int
    lr: float
    lr_schedule: LrSchedule = "cosine"
    lr_final: float = 0.0
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    max_nonfinite_share: float = 0.01

    def lr_at(self, step: int) -> float:
        """Learning rate of the given optimiser step, counted from 0."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        if self.lr_schedule == "constant":
            return self.lr
        if self.lr_schedule == "linear":
            return self.lr_final + (self.lr - self.lr_final) * (1.0 - progress)
        return self.lr_final + (self.lr - self.lr_final) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class StepOptions:
    """How a step is carried out.

    reduction: of the step's tokens to its loss. micro_batch_size: rows per forward pass, None = all at once.
    keep_teacher_states: of generated batches, so that a replayed one needs no teacher pass.
    gradient_checkpointing: of the student's layers, whose activations are then computed twice and not kept.
    diagnostic_positions: sampled per rank at every journal line and measured (`amid.training.diagnostics`); 0 = none.
    validation_batch_mean: the strategy is told of the mean over validation batches instead of over tokens.
    """

    reduction: Reduction = "global_token_mean"
    micro_batch_size: int | None = None
    keep_teacher_states: bool = False
    gradient_checkpointing: bool = False
    log_every_steps: int = 1
    diagnostic_positions: int = 0
    validation_batch_mean: bool = False


@dataclass
class StepParts:
    """Sums over the labelled tokens of one step, of one rank or of all.

    weight: of all tokens; surviving_weight: of those with a finite value. signals: by name, sum and number of tokens as
    in `LossParts`; the same names whether or not a micro-batch had a label, since ranks exchange them. positions: of
    the diagnostics, as in `PositionSums`; empty between journal lines.
    """

    signals: dict[str, list[float]]
    loss: float = 0.0
    weight: float = 0.0
    surviving_weight: float = 0.0
    num_tokens: int = 0
    num_nonfinite: int = 0
    num_dense: int = 0
    positions: dict[str, list[float]] = field(default_factory=dict)

    def add(self, parts: LossParts, weights: Tensor) -> None:
        """Adds the parts of a micro-batch whose tokens have these weights [N]."""
        finite = torch.isfinite(parts.per_token)
        self.loss += float(parts.loss.detach())
        self.weight += float(weights.sum())
        self.surviving_weight += float(weights[finite].sum()) if not finite.all() else float(weights.sum())
        self.num_tokens += finite.numel()
        self.num_nonfinite += int(parts.num_nonfinite)
        self.num_dense += int(parts.num_dense)
        for name, pair in parts.signals.items():
            self.signals[name] = [mine + theirs for mine, theirs in zip(self.signals[name], pair.tolist(), strict=True)]

    def beside(self, other: StepParts) -> StepParts:
        """The sums of both; of a signal that both measured, the first one's."""
        positions = dict(self.positions)
        for name, pair in other.positions.items():
            positions[name] = [
                mine + theirs for mine, theirs in zip(positions.get(name, (0.0, 0.0)), pair, strict=True)
            ]
        return StepParts(
            loss=self.loss + other.loss,
            weight=self.weight + other.weight,
            surviving_weight=self.surviving_weight + other.surviving_weight,
            num_tokens=self.num_tokens + other.num_tokens,
            num_nonfinite=self.num_nonfinite + other.num_nonfinite,
            num_dense=self.num_dense + other.num_dense,
            signals={**other.signals, **self.signals},
            positions=positions,
        )


def row_weights(micro_batches: Sequence[Batch], *, num_rows: float) -> list[Tensor]:
    """Weights [N] per micro-batch of a mean over tokens within each row, then over `num_rows` rows of all ranks."""
    weights = []
    for micro in micro_batches:
        lengths = micro.labelled.sum(dim=1, keepdim=True).clamp(min=1)
        per_row = torch.reciprocal(lengths * max(1.0, num_rows))
        weights.append(per_row.expand_as(micro.labels)[micro.labelled])
    return weights


def equal_weights(micro_batches: Sequence[Batch], counts: Sequence[float]) -> list[Tensor]:
    """Weights [N] per micro-batch, each 1 / its count."""
    return [
        torch.full((int(micro.labelled.sum()),), 1.0 / max(1.0, count), device=micro.labels.device)
        for micro, count in zip(micro_batches, counts, strict=True)
    ]
