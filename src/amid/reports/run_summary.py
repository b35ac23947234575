"""The few numbers that a reader chooses a model by, named for a tracker: those of its table. No torch here.

They are columns of the table of that one model, so that a tracker and `amid table` cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amid.evaluation.tuning import tuned
from amid.reports.aggregate import (
    AVERAGE,
    DIVERSITY_COLUMN,
    TEMPERATURE_COLUMN,
    VALIDATION_COLUMN,
    Column,
    Plan,
    plan_of,
    spread_of_average,
    validation_of,
    values_of,
)
from amid.reports.costs import cost_rows
from amid.reports.layout import Member, Planned
from amid.reports.reading import Reading
from amid.store import Store
from amid.store.status import read_status

# Of what is recorded of a cell's cost (amid costs), what one chooses by.
COSTS = ("seconds", "train_seconds", "student_tokens", "teacher_tokens", "generated_tokens", "peak_memory_mb")


def summary_values(member: Member, store: Store, *, metric: str | None) -> dict[str, float]:
    """Name -> value, in the units of a table; what is not known yet is missing.

    `avg` the mean over the declared sets and `avg_std` its standard deviation over decode seeds, `avg_greedy` and
    `avg_tuned` of other decodings with `temperature`, `self_bleu`, `set/NAME` each set's mean over decode seeds,
    `val_rouge_l` and `val_loss` of the weights that validation selected, `cost/...` (COSTS).
    metric: of the sets, as a table is asked for it; None for each set's own.
    """
    reading, row = Reading(), Planned(("",), (member,), {})
    plan = plan_of([member.protocol], metric=metric)
    found: dict[str, float] = {}
    for column, value in zip(plan.columns, values_of(row, plan, reading), strict=True):
        if value is not None and column.name != VALIDATION_COLUMN:
            found[_name_of(column, plan)] = value.mean
    average = next(column for column in plan.columns if column.name == AVERAGE)
    spread = spread_of_average(member, average.sets, plan, reading) if average.sets else None
    if spread is not None:
        found["avg_std"] = spread
    for rule in ("rouge_l", "loss"):
        validated = validation_of(row, rule, reading)
        if validated is not None:
            found[f"val_{rule}"] = validated.mean
    return found | {f"cost/{name}": value for name, value in _costs(member, store).items() if name in COSTS}


def score_rows(member: Member) -> list[dict[str, Any]]:
    """Every score of the model under its protocol, a row each: set, metric, decode_seed, value, num_samples."""
    scores = list(Reading().of(member.folder).scores.values())
    expected = tuned(member.protocol, member.id, scores).expected(member.id)
    return [
        {
            "set": score.eval_set,
            "metric": score.metric,
            "decode_seed": score.decode_seed,
            "value": score.value,
            "num_samples": score.num_samples,
        }
        for score in scores
        if score.score_id in expected
    ]


def _name_of(column: Column, plan: Plan) -> str:
    if column.name in plan.shown_sets:
        return f"set/{column.name}"
    known = {AVERAGE: "avg", TEMPERATURE_COLUMN: "temperature", DIVERSITY_COLUMN: "self_bleu"}
    return known.get(column.name) or column.name.replace(f"{AVERAGE} ", "avg_")


def _costs(member: Member, store: Store) -> Mapping[str, float]:
    if member.folder.parent == store.root:
        (row,) = cost_rows({"cells": [{"id": member.id, "labels": {}}]}, store)
        return row.values
    status = read_status(member.folder)
    return {"seconds": float(status["seconds"])} if "seconds" in status else {}
