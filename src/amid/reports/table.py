"""What a table is: rows of models in blocks, columns of sets, and what is said of a number. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

FINISHED = ("done", "absent")  # states that need no word: the values or their gaps say it


@dataclass(frozen=True)
class Interval:
    """A difference of two rows with its 95 % interval [low, high], in the unit of the column."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class PaperNumber:
    """What the paper printed in this place; doubtful: it contradicts another number of the paper."""

    mean: float
    std: float | None
    doubtful: bool = False


@dataclass(frozen=True)
class Value:
    """A mean over decode seeds with its population standard deviation; `num_seeds` of `expected_seeds` are there.

    std: None for a single seed, and for a mean over sets; of several training seeds the root mean square of theirs.
    trainings: over how many training seeds the mean is, of `expected_trainings`. train_std: the sample standard
    deviation of their means, None of one. best: the best of its block or not significantly worse; second: the second
    highest. differs: significantly, from the row without an assistant. to_best, to_none: the difference from the best
    row and from the one without an assistant, None where it is not known. temperatures: what the number is where it is
    a temperature, those of all trainings, ascending.
    """

    mean: float
    std: float | None
    num_seeds: int
    expected_seeds: int
    trainings: int = 1
    expected_trainings: int = 1
    train_std: float | None = None
    digits: int = 2
    best: bool = False
    second: bool = False
    differs: bool = False
    to_best: Interval | None = None
    to_none: Interval | None = None
    paper: PaperNumber | None = None
    doubtful: bool = False
    temperatures: tuple[float, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether no seed is missing, of decoding or training."""
        return self.num_seeds == self.expected_seeds and self.trainings == self.expected_trainings


@dataclass(frozen=True)
class Row:
    """A model, or one at several training seeds: its labels, state, and one value per column (None = a gap).

    warnings: what is wrong with the model. block: the labels that put it into its block; empty for teachers and
    initial students, which are in none. ids: of its cells. doubtful: the paper's row contradicts another of its own.
    gaps: what stands in place of each gap, where that is not the state of the whole row.
    """

    labels: tuple[str, ...]
    state: str
    values: tuple[Value | None, ...]
    warnings: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    is_reference: bool = False
    doubtful: bool = False
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows of models, columns of sets. `note` says what the numbers are, `damage` which files cannot be read.

    block_names: the keys whose values are the rows' blocks. marks: how best and second were found, None if they are
    not. All texts are one line and safe to print.
    """

    label_names: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str
    damage: tuple[str, ...] = ()
    block_names: tuple[str, ...] = ()
    marks: str | None = None

    @property
    def values(self) -> list[Value]:
        """Every value that is there."""
        return [value for row in self.rows for value in row.values if value is not None]


def block_title(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """How a block is called: `kl(p || r)` for a divergence with its order, otherwise keys with their values."""
    known = dict(zip(names, values, strict=True))
    parts = []
    name, order = known.get("divergence.name"), known.get("divergence.order")
    if name is not None and order is not None and len(order) == 2:
        parts.append(f"{name}({order[0]} || {order[1]})")
        del known["divergence.name"], known["divergence.order"]
    if len(known) == 1 and not parts:
        return next(iter(known.values()))
    return ", ".join([*parts, *(f"{key} {value}" for key, value in known.items())])
