"""How a training ended, beside where it began: what a reader of its scores must know. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from amid.store import Score


@dataclass(frozen=True)
class Validated:
    """A model on the validation records: ROUGE-L in percent, and the loss in nats per token."""

    rouge_l: float
    loss: float


def validated(scores: Iterable[Score], generation_id: str) -> Validated | None:
    """What the scores say of the validation texts of that id; None if one is missing."""
    found = {score.metric: score.value for score in scores if score.generation_id == generation_id}
    return Validated(found["rouge_l"], found["loss"]) if {"rouge_l", "loss"} <= found.keys() else None


def progress_of(start: Validated, end: Validated) -> str:
    """Both measures, before and after."""
    return f"ROUGE-L {start.rouge_l:.2f} -> {end.rouge_l:.2f}, loss {start.loss:.2f} -> {end.loss:.2f}"


def warnings_of(
    end: Validated, start: Validated | None, *, select: Literal["rouge_l", "loss"], vocab_size: int
) -> list[str]:
    """What is wrong with a trained student, one line each.

    start: the initial student. select: the measure that selected the weights, by which the two are compared.
    """
    found = []
    if start is not None and not _is_as_good(end, start, select=select):
        measure = "ROUGE-L" if select == "rouge_l" else "loss"
        found.append(
            f"worse than its initial student: validation {measure} {getattr(start, select):.2f} -> "
            f"{getattr(end, select):.2f}"
        )
    uniform = math.log(vocab_size)
    if not end.loss <= uniform:  # NaN too
        began = "" if start is None else f"{start.loss:.2f} -> "
        found.append(
            f"worse than guessing: validation loss {began}{end.loss:.2f}, above ln {vocab_size} = {uniform:.2f}"
        )
    return found


def warnings_of_strategy(strategy: str, spent: Mapping[str, float]) -> list[str]:
    """What is to be said of a strategy that did not do what it is for; spent: what the training used up."""
    if strategy == "fixed" or spent.get("generated_steps", 1) > 0:
        return []
    return [f"no student text occurred: strategy {strategy} trained on gold text only, as fixed does"]


def _is_as_good(end: Validated, start: Validated, *, select: Literal["rouge_l", "loss"]) -> bool:
    return end.rouge_l >= start.rouge_l if select == "rouge_l" else end.loss <= start.loss
