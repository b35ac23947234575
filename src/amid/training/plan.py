"""One plan for any training, of a cell or of a stage: what decides the weights, and, apart from it, where it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from amid.config import CompatCfg, DataCfg, SftCfg, StrategyCfg, TrainCfg, TrainerCfg
from amid.core import CrossEntropy, Objective
from amid.errors import RunError
from amid.ranks import ALONE, Ranks
from amid.training.mirrors import Mirror
from amid.training.optimisation import Reduction


@dataclass(frozen=True)
class PlainTextPlan:
    """The pretraining loss: `coefficient` times an objective on a batch of plain text, at every optimiser step.

    batch_size: chunks per step, of all ranks.
    """

    objective: Objective
    coefficient: float
    batch_size: int


@dataclass(frozen=True)
class TrainingPlan:
    """What decides the weights of one training besides its models and texts.

    objective: its schedules at their start; a plan serves one training. num_train: first training records used, None =
    all. validates_text: also measure the ROUGE-L of written responses. plain_text: None without a pretraining loss.
    sources: of each term, whose responses it is taken over, see `DistillModule`; empty = all terms over all.
    """

    train: TrainCfg
    data: DataCfg
    objective: Objective
    seed: int
    num_train: int | None
    reduction: Reduction
    strategy: StrategyCfg = field(default_factory=lambda: StrategyCfg(name="fixed"))
    compat: CompatCfg = field(default_factory=CompatCfg)
    validates_text: bool = True
    plain_text: PlainTextPlan | None = None
    sources: tuple[str | None, ...] = ()

    @property
    def reads_teacher(self) -> bool:
        """Whether training needs the teacher: for its objective, or to write text with it."""
        soft = self.plain_text is not None and self.plain_text.objective.needs_teacher
        return self.strategy.reads_teacher or self.objective.needs_teacher or soft


def _nothing() -> None:
    """A folder that nobody else may own."""


@dataclass(frozen=True)
class TrainingPlace:
    """Where and how a training runs, never what it computes.

    checkpoints: folder. journal: file of every logged number, from which `mirrors` are fed; None logs nothing.
    label: how progress lines name the training. check: called before every write; raises if another process owns the
    folder.
    """

    resources: TrainerCfg
    checkpoints: Path
    journal: Path | None
    label: str
    ranks: Ranks = ALONE
    mirrors: Sequence[Mirror] = ()
    check: Callable[[], None] = _nothing


@dataclass(frozen=True)
class StepPlan:
    """How many rounds of optimiser steps; each ends with a validation and a checkpoint.

    A round is an epoch to Lightning, whatever share of the data it reads.
    """

    steps_per_round: int
    rounds: int

    @property
    def total_steps(self) -> int:
        """Optimiser steps in all."""
        return self.steps_per_round * self.rounds


def plan_of_stage(sft: SftCfg, data: DataCfg) -> TrainingPlan:
    """The fine-tuning of a stage: on the gold responses, by its own rules, whatever the cell that asks for it says."""
    return TrainingPlan(
        train=sft.train_cfg(),
        data=data,
        objective=Objective((CrossEntropy(),)),
        seed=sft.seed,
        num_train=sft.num_train,
        reduction=cast(Reduction, sft.reduction),
        validates_text=sft.validation.select == "rouge_l",
    )


def plan_steps(num_examples: int, train: TrainCfg) -> StepPlan:
    """The step plan of so many examples: at most `train.max_steps` steps, with a validation about every `every_steps`
    steps, or `rounds` of them, or one after each epoch.

    Rounds are made equally long, so the total can be smaller by less than their number. Raises RunError if the data do
    not fill one batch.
    """
    steps_per_epoch = num_examples // train.global_batch_size
    if steps_per_epoch == 0:
        raise RunError(f"{num_examples} training examples do not fill one batch of {train.global_batch_size}")
    in_all = steps_per_epoch * train.epochs
    total = min(in_all, train.max_steps or in_all)
    validation = train.validation
    if validation.every_steps is None and validation.rounds is not None:
        rounds = min(total, validation.rounds)
    else:
        rounds = -(-total // min(total, validation.every_steps or steps_per_epoch))
    return StepPlan(steps_per_round=total // rounds, rounds=rounds)
