"""A sweep as it is declared: a union of products, which of its cells are chosen, how its table is laid out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from amid.config.checks import not_empty, one_of
from amid.config.evaluation import check_metric
from amid.config.names import check_name
from amid.errors import RequestError
from amid.metrics import METRICS, TEACHER_METRICS, VALIDATION_METRICS

SELECT_BY = ("val",)
LAYOUT = ("rows", "blocks", "columns", "average")  # what a key can be in a table, and only one of them
NOT_SWEPT = ("hydra", "sweep", "sweeps", "request", "cell")  # what names or carries out a sweep is no axis of it


def is_no_axis(key: str) -> bool:
    """Whether a key, or a group, names or carries out a sweep."""
    return re.split(r"[./@]", key)[0] in NOT_SWEPT


@dataclass
class TableCfg:
    """How the scores of a sweep are laid out. Keys are those of a run, as amid.alpha; `method` is a method's name."""

    rows: list[str] = field(default_factory=list)  # keys that name a row; empty = the keys that differ between cells
    blocks: list[str] = field(default_factory=list)  # keys whose values divide the rows into blocks
    columns: list[str] = field(default_factory=list)  # keys of a pivot; empty = the columns are the sets
    average: list[str] = field(default_factory=lambda: ["seed"])  # keys averaged over: never rows
    metric: str | None = None  # of the set columns; null = each set's own
    paper: str | None = None  # table whose printed numbers stand beside ours: sweeps/paper/NAME.csv
    note: str | None = None  # what a reader of the table has to know

    def __post_init__(self) -> None:
        if self.metric is not None:
            check_metric("sweep.table.metric", self.metric, valid=(*METRICS, *VALIDATION_METRICS, *TEACHER_METRICS))
        if self.paper is not None:
            check_name("sweep.table.paper", self.paper)  # it names a file
        not_empty("sweep.table.note", self.note)
        places: dict[str, str] = {}
        for place in LAYOUT:
            for key in getattr(self, place):
                if key in places and (place != "average" or key != "seed"):
                    raise RequestError(
                        f"sweep.table: '{key}' is in {places[key]} and in {place}; a key has one place in a table"
                    )
                places.setdefault(key, place)

    @property
    def averaged(self) -> tuple[str, ...]:
        """The keys averaged over; the seed only where it is nothing else."""
        return tuple(key for key in self.average if key not in (*self.rows, *self.blocks, *self.columns))


@dataclass
class SelectCfg:
    """One of several cells is shown: the best by validation, never by a test set."""

    by: str = "val"  # the validation score that also selects the weights (train.validation.select)
    over: list[str] = field(default_factory=list)  # keys in which the candidates for one row differ

    def __post_init__(self) -> None:
        one_of("sweep.union.select.by", self.by, SELECT_BY)
        if len(set(self.over)) < len(self.over):
            raise RequestError(f"sweep.union.select.over must name each key once, got {self.over}")
        if not self.over:
            raise RequestError("sweep.union.select.over must name the keys that are chosen, as [amid.alpha]; got []")


@dataclass
class GroupCfg:
    """One product of a sweep: every combination of the values of its axes."""

    axes: dict[str, list[Any]] = field(default_factory=dict)  # a key of a run, or a group such as method -> its values
    name: str | None = None  # of the chosen row, in place of the values it was chosen from
    select: SelectCfg | None = None  # null = every cell is a row

    def __post_init__(self) -> None:
        twice = sorted(key for key in self.axes if key.startswith("+") and key.lstrip("+") in self.axes)
        if twice:
            raise RequestError(f"sweep.union.axes: '{twice[0]}' is named twice, with and without a plus sign")
        for key, values in self.axes.items():
            if is_no_axis(key):
                raise RequestError(f"sweep.union.axes: '{key}' names or carries out a sweep; it is no axis of one")
            if not values:
                raise RequestError(f"sweep.union.axes: '{key}' has no value; give it some, or leave it out")
        not_empty("sweep.union.name", self.name)
        if self.name is not None and self.select is None:
            raise RequestError(f"sweep.union.name='{self.name}' names a row that is chosen: give sweep.union.select")


@dataclass
class SweepCfg:
    """A multirun: the name under which it is recorded (null = derived from its cells), its cells, its table."""

    name: str | None = None
    union: list[GroupCfg] = field(default_factory=list)  # cells: each product times hydra.sweeper.params and -m's own
    # Key that the user gives -> declared keys that go with the declared value only, and are left out then
    gives_way: dict[str, list[str]] = field(default_factory=dict)
    table: TableCfg = field(default_factory=TableCfg)

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name("sweep.name", self.name)  # it names a file of the store
