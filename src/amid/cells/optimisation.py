"""What a training's own node adds to the identity of a cell or a stage. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from amid.config import SftCfg, TrainCfg


def optimisation_identity(train: TrainCfg | SftCfg) -> dict[str, Any]:
    """The values of the node, without those that have no effect."""
    values = asdict(train)
    for name in _without_effect(train):
        del values[name]
    if train.validation.every_steps is not None:
        del values["validation"]["rounds"]  # they are counted in steps
    return values


def ignored_optimisation(train: TrainCfg) -> list[str]:
    """One sentence per value that was given and has no effect."""
    return [
        f"train.{name} has no effect with train.lr_schedule={train.lr_schedule}"
        for name in _without_effect(train)
        if getattr(train, name) != getattr(TrainCfg, name)
    ]


def _without_effect(train: TrainCfg | SftCfg) -> Sequence[str]:
    return ("lr_final",) if train.lr_schedule == "constant" else ()
