"""A recorded sweep as its figures see it: the rows of its table with their numbers, and what is behind them. No torch.

Nothing is averaged here a second time: numbers are the table's, differences are those of `amid.reports.significance`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amid.errors import RequestError, one_line
from amid.reports.aggregate import Plan, examples_in, plan_of, planned_rows, validation_at
from amid.reports.curves import series
from amid.reports.declaration import declaration_of, label_keys
from amid.reports.facts import ALPHA, NONE, Facts
from amid.reports.layout import Planned, references_of
from amid.reports.notes import average_of, note_of
from amid.reports.reading import Reading
from amid.reports.significance import Compared, Examples, compared
from amid.reports.table import FINISHED, Row, Table, Value, block_title
from amid.reports.tables import build_table
from amid.store import Store

MISSING, DIVERGED = "missing", "diverged"


@dataclass(frozen=True)
class Line:
    """Rows that differ in one quantity only: its value and the row of each, ascending.

    without: the row without an assistant.
    """

    title: str
    points: tuple[tuple[float, int], ...]
    without: int | None


class SweepView:
    """A sweep, read once. Rows are numbered as in its table."""

    def __init__(self, manifest: Mapping[str, Any], store: Store) -> None:
        self.manifest = manifest
        self.name = one_line(str(manifest["name"]))
        self.table: Table = build_table(manifest, store, columns=[])  # rows, also where its table is a pivot
        declared, self.facts, self._reading = declaration_of(manifest), Facts(manifest, store), Reading()
        self.planned: list[Planned] = [
            *references_of(manifest, store, num_labels=len(declared.rows or ("cell",))),
            *planned_rows(manifest, store, declared, self.facts, self._reading),
        ]
        self._protocols = [member.protocol for row in self.planned for member in row.members]
        self._plan: Plan = plan_of(self._protocols, metric=manifest["metric"])

    @property
    def rows(self) -> Sequence[Row]:
        """The rows of the table: teachers and initial students, then the cells'."""
        return self.table.rows

    @cached_property
    def quality(self) -> int:
        """The number of the column that a figure shows: Avg., or the first other average. Raises RequestError."""
        found = average_of(self.table)
        if found is None:
            raise RequestError(f"sweep '{self.name}' has no evaluation set, so there is no score to draw")
        return found

    @property
    def quality_label(self) -> str:
        """What that column is, for an axis."""
        metric = self._plan.columns[self.quality].metric
        name = {"rouge_l": "ROUGE-L"}.get(str(metric), one_line(str(metric)))
        return f"{name}, {self.table.columns[self.quality]}"

    def column(self, name: str) -> int | None:
        """The number of a column by its name; None if there is none."""
        return self.table.columns.index(name) if name in self.table.columns else None

    def value(self, row: int | None, column: int | None) -> Value | None:
        """A number of the table; None for a gap, and where there is no such row or column."""
        return None if row is None or column is None else self.rows[row].values[column]

    def state(self, row: int) -> str:
        """`diverged` where a training of the row did, else its state where that says why something is not there."""
        state = self.rows[row].state
        if DIVERGED in state:
            return DIVERGED
        return "" if state in FINISHED else state

    def gap(self, row: int, column: int | None) -> str | None:
        """Why a number is not there or not to be trusted: `diverged`, another state, `missing`; None if all is well."""
        word = self.state(row)
        if self.value(row, column) is None:
            return word or MISSING
        return word if word == DIVERGED else None

    def alpha(self, row: int) -> float | None:
        """The alpha of a row; None without an assistant, where validation chose it, and of a schedule."""
        planned = self.planned[row]
        if planned.is_reference or not planned.members:
            return None
        text = planned.raw.get(ALPHA) or self.facts.of(planned.members[0].id, ALPHA)
        try:
            return None if text in (None, "", NONE) else float(str(text))
        except ValueError:
            return None

    def title(self, row: int) -> str:
        """How the block of a row is called; empty where there are no blocks."""
        block = self.rows[row].block
        return block_title(self.table.block_names, block) if any(block) else ""

    def lines(self, along: str) -> list[Line]:
        """The rows in lines along `amid.alpha` or `amid.lam`, those of a line alike in every other label.

        Raises RequestError for a sweep that is not over that key.
        """
        if along not in label_keys(self.manifest):
            over = ", ".join(map(one_line, label_keys(self.manifest))) or "nothing"
            raise RequestError(f"this figure is over {along}, and sweep '{self.name}' is over {over}")
        groups: dict[tuple[tuple[str, str], ...], list[tuple[float, int]]] = {}
        without: dict[tuple[tuple[str, str], ...], int] = {}
        for index, row in enumerate(self.planned):
            if row.is_reference:
                continue
            others = {key: value for key, value in row.raw.items() if key != along}
            if row.without_assistant:
                without.setdefault(_key(_no_assistant(others)), index)
                continue
            value = _number(row.raw.get(along))
            if value is not None:
                groups.setdefault(_key(others), []).append((value, index))
        return [
            Line(
                self._line_title(key, list(groups)), tuple(sorted(points)), without.get(_key(_no_assistant(dict(key))))
            )
            for key, points in groups.items()
        ]

    def _line_title(self, key: tuple[tuple[str, str], ...], every: Sequence[tuple[tuple[str, str], ...]]) -> str:
        """What tells a line from the others, as blocks are called."""
        varying = [(name, value) for name, value in key if any(dict(other).get(name) != value for other in every)]
        if any(name.startswith("divergence.") for name, _ in varying):  # name and order are one thing to a reader
            varying = [pair for pair in key if pair in varying or pair[0].startswith("divergence.")]
        if not varying:
            return ""
        names, values = zip(*varying, strict=True)
        return block_title(tuple(map(one_line, names)), tuple(map(one_line, values)))

    @cached_property
    def examples(self) -> Examples:
        """Row -> set -> value per prompt, of what the rows may be compared on."""
        return examples_in(self.planned, self._plan, self._reading)

    def compared(self, rows: Sequence[int], column: int) -> Compared | None:
        """The differences of these rows in a column, prompt by prompt; None where one of them has no such values."""
        sets = self._plan.columns[column].sets
        known = [row for row in rows if sets and all(name in self.examples.get(row, {}) for name in sets)]
        return compared(sorted(rows), sets, self.examples) if len(known) == len(rows) > 1 else None

    def sets(self, column: int) -> Sequence[str]:
        """The sets that a column is the mean over."""
        return self._plan.columns[column].sets

    def curves(self, row: int, name: str) -> list[list[tuple[int, float]]]:
        """(step, value) of one quantity in the journal of each training of a row; none of what is not there."""
        found = [series(member.folder, name) for member in self.planned[row].members]
        return [points for points in found if points]

    @cached_property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures that models were validated at, ascending."""
        return tuple(sorted({each for protocol in self._protocols for each in protocol.temperatures}))

    def validation_at(self, row: int, temperature: float) -> float | None:
        """The validation ROUGE-L of a row at a temperature; None for a gap."""
        found = validation_at(self.planned[row], temperature, self._reading)
        return None if found is None else found.mean

    @property
    def damage(self) -> tuple[str, ...]:
        """A line per file that could not be read."""
        return tuple(dict.fromkeys([*self.table.damage, *self._reading.damage]))

    @property
    def settings(self) -> str:
        """Which sweep, what all its cells share, the metric with its seeds, and how many rows warn of their model."""
        shared = self.manifest.get("shared", {})
        said = note_of(self._protocols, self._plan, validated=False, shared=shared)[: len(shared) + 1]
        warned = sum(bool(row.warnings) for row in self.rows)
        said += [f"{warned} of {len(self.rows)} rows have a warning (amid status)"] if warned else []
        return one_line(f"Sweep {self.name}: {'; '.join(said)}.")


def _no_assistant(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if not key.startswith("amid.")}


def _key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _number(text: str | None) -> float | None:
    try:
        value = None if text in (None, "", NONE) else float(str(text))
    except ValueError:
        return None
    return None if value is None or math.isnan(value) else value
