"""Where a row of the table stands in the pictures: its alpha and its divergence. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from amid.errors import one_line
from amid.reports.facts import ALPHA, NONE
from amid.reports.notes import average_of
from amid.reports.table import Row, Table, block_title
from amid.reports.tables import View

NAME, ORDER = "divergence.name", "divergence.order"
INFINITIES = {math.inf: "+∞", -math.inf: "-∞"}
MISSING, FAILED, DIVERGED = "missing", "failed", "diverged"


@dataclass(frozen=True)
class Place:
    """A row of the table by its number. alpha: `none` without an assistant, `-∞` and `+∞`. series: all else of it."""

    row: int
    alpha: str
    series: str


def places_of(view: View) -> list[Place]:
    """The place of every row of trained models; of one that validation has not chosen yet there is none."""
    found = []
    for number, row in enumerate(view.planned):
        if row.is_reference or not row.members:
            continue
        first = row.members[0].id
        known = {key: view.facts.of(first, key) for key in (NAME, ORDER)}
        title = {key: value for key, value in known.items() if value is not None}
        others = {key: value for key, value in row.raw.items() if key not in (ALPHA, NAME, ORDER) and value}
        names = {**(title if len(title) == 2 else {}), **others}
        series = block_title(tuple(names), tuple(names.values())) if names else "all"
        found.append(Place(number, alpha_name(view.facts.of(first, ALPHA)), one_line(series)))
    return found


def alpha_name(alpha: str | None) -> str:
    """An alpha as a category: `none`, `-∞`, `+∞`, or the number."""
    if alpha in (None, NONE, ""):
        return "none"
    number = as_number(str(alpha))
    return INFINITIES.get(number, f"{number:g}") if number is not None else one_line(str(alpha))


def as_number(alpha: str) -> float | None:
    """The value of an alpha, infinities included; None for `none` and schedules."""
    for value, name in INFINITIES.items():
        if alpha == name:
            return value
    try:
        value = float(alpha)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def alphas_of(places: Sequence[Place]) -> list[str]:
    """The alphas from -∞ over the finite ones to +∞, then what is no number, `none` last."""

    def key(alpha: str) -> tuple[int, float, str]:
        number = as_number(alpha)
        return (0, number, "") if number is not None else (2 if alpha == "none" else 1, 0.0, alpha)

    return sorted({place.alpha for place in places}, key=key)


def series_of(places: Sequence[Place]) -> list[str]:
    """The divergences, and whatever else tells rows apart, in the order of the table."""
    return list(dict.fromkeys(place.series for place in places))


def lead_column(table: Table) -> int:
    """The number of the column that the pictures are of: Avg., else the first that has a value."""
    average = average_of(table)
    there = [i for i, _ in enumerate(table.columns) if any(row.values[i] is not None for row in table.rows)]
    return average if average is not None and (average in there or not there) else (there or [0])[0]


def kind_of_gap(row: Row) -> str:
    """How a row without a value is drawn: diverged, failed (damaged too), or missing."""
    if DIVERGED in row.state:
        return DIVERGED
    return FAILED if FAILED in row.state or "damaged" in row.state else MISSING
