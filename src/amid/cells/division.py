"""How a step is divided into micro-batches and ranks, where that decides the weights. No torch here."""

from __future__ import annotations

from collections.abc import Mapping

from amid.cells.model_reference import has_dropout
from amid.config import TEACHER, PairCfg, TrainerCfg

# Deviations under which every rank goes its own way, so that their number changes the weights.
BY_RANK = ("micro_batch_mean", "validation_batch_mean", "sgo_rank_local_coin")


def division_identity(
    trainer: TrainerCfg, batch_size: int, *, drops: bool, compat: Mapping[str, bool] | None = None
) -> dict[str, int]:
    """How a step is divided into micro-batches and ranks, where that decides the weights; empty where it is rounding.

    Dropout draws its masks per forward pass, and some deviations of the reference average per micro-batch or rank.
    """
    given = compat or {}
    rows = -(-batch_size // trainer.devices)
    micro = trainer.micro_batch_size
    by_micro_batch = drops or given.get("micro_batch_mean") or given.get("validation_batch_mean")
    values = {}
    if by_micro_batch and micro is not None and micro < rows:
        values["micro_batch_size"] = micro
    if trainer.devices > 1 and (drops or any(given.get(name) for name in BY_RANK)):
        values["num_ranks"] = trainer.devices
    return values


def student_drops(pair: PairCfg) -> bool:
    """Whether the student has dropout, which its initial fine-tuning and the cell then draw."""
    if pair.student_lora.rank and pair.student_lora.dropout > 0.0:
        return True
    if pair.student == TEACHER:
        return _own_drops_of_teacher(pair)
    if pair.student_arch is not None:
        return pair.student_arch.dropout > 0.0
    return has_dropout(pair.student, pair.student_revision)


def teacher_drops(pair: PairCfg) -> bool:
    """Whether the teacher has dropout, which its fine-tuning then draws."""
    return (pair.teacher_lora.rank > 0 and pair.teacher_lora.dropout > 0.0) or _own_drops_of_teacher(pair)


def _own_drops_of_teacher(pair: PairCfg) -> bool:
    if pair.teacher_arch is not None:
        return pair.teacher_arch.dropout > 0.0
    return has_dropout(pair.teacher, pair.teacher_revision)
