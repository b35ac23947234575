"""The lines and cells that every style for people shows, before it gives them its own looks. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amid.reports.notes import (
    TO_BEST,
    TRAINING_SEEDS,
    WARNED,
    average_of,
    has_intervals,
    interval_of,
    training_spread_of,
)
from amid.reports.table import FINISHED, Row, Table, Value, block_title

GAP = "-"
DOUBTFUL = "?"
PAPER = "paper"


@dataclass(frozen=True)
class Shown:
    """A cell: its text, and how it stands out. number: mean and spread as they are printed, None for a word."""

    text: str
    best: bool = False
    second: bool = False
    differs: bool = False
    number: tuple[str, str] | None = None
    rest: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the body: labels and cells, or the title of the block that begins here (then there are no cells)."""

    labels: tuple[str, ...]
    cells: tuple[Shown, ...]
    title: str | None = None
    is_paper: bool = False
    in_block: bool = False


def header_of(table: Table) -> list[str]:
    """The heads of all columns, labels first, with those of differences and training seeds where there are any."""
    heads = list(table.columns)
    for offset, head in enumerate(_extra(table)):
        heads.insert(_place(table) + offset, head)
    return [*table.label_names, *heads]


def lines_of(table: Table) -> list[Line]:
    """The body: every row, after its title where it begins a block, and below it what the paper says of it."""
    lines: list[Line] = []
    before: tuple[str, ...] | None = None
    for index, row in enumerate(table.rows):
        titled = bool(table.block_names) and not row.is_reference
        if titled and row.block != before:
            lines.append(Line((), (), title=block_title(table.block_names, row.block)))
            before = row.block
        cells = [_shown(value) for value in row.values] if _has_values(row) else _without_values(row)
        if row.gaps:
            cells = [
                Shown(gap) if value is None else _shown(value) for value, gap in zip(row.values, row.gaps, strict=True)
            ]
        extra = [Shown(_extra_text(head, table, index)) for head in _extra(table)]
        place = _place(table)
        lines.append(Line(_marked(row), (*cells[:place], *extra, *cells[place:]), in_block=titled))
        if any(value is not None and value.paper is not None for value in row.values):
            paper = [_paper(value) for value in row.values]
            labels = (PAPER, *[""] * (len(row.labels) - 1))
            blank = [Shown("")] * len(extra)
            lines.append(Line(labels, (*paper[:place], *blank, *paper[place:]), is_paper=True, in_block=titled))
    return lines


def _extra(table: Table) -> list[str]:
    several = any(value.expected_trainings > 1 for value in table.values)
    return [*([TRAINING_SEEDS] if several else []), *([TO_BEST] if has_intervals(table) else [])]


def _extra_text(head: str, table: Table, index: int) -> str:
    if head == TRAINING_SEEDS:
        return training_spread_of(table, index)
    column = average_of(table)
    value = None if column is None else table.rows[index].values[column]
    leads = value is not None and value.best and value.to_best is None
    return "best" if leads else interval_of(table, index)


def _place(table: Table) -> int:
    """Before which column the extra ones stand: behind Avg., else at the end."""
    column = average_of(table)
    return len(table.columns) if column is None else column + 1


def _has_values(row: Row) -> bool:
    return row.state in FINISHED or any(value is not None for value in row.values)


def _without_values(row: Row) -> list[Shown]:
    return [Shown(row.state), *[Shown(GAP)] * (len(row.values) - 1)]


def _marked(row: Row) -> tuple[str, ...]:
    """The labels, the first with its marks, and with its state unless its values are of a finished model."""
    name = f"{row.labels[0]} {DOUBTFUL}" if row.doubtful else row.labels[0]
    name = f"{name} {WARNED}" if row.warnings else name
    finished = row.state in FINISHED or not any(row.values)
    return (name if finished else f"{name} [{row.state}]", *row.labels[1:])


def _shown(value: Value | None) -> Shown:
    if value is None:
        return Shown(GAP)
    mean = f"{value.mean:.{value.digits}f}"
    std = "" if value.std is None else f"{value.std:.2f}"
    rest = DOUBTFUL if value.doubtful else ""
    if value.num_seeds < value.expected_seeds:
        rest += f" ({value.num_seeds}/{value.expected_seeds})"
    if value.temperatures:
        return Shown(", ".join(f"{each:g}" for each in value.temperatures) + rest)
    text = f"{mean} ± {std}{rest}" if std else f"{mean}{rest}"
    return Shown(text, value.best, value.second, value.differs, (mean, std), rest)


def _paper(value: Value | None) -> Shown:
    if value is None or value.paper is None:
        return Shown("")
    doubt = DOUBTFUL if value.paper.doubtful else ""
    mean, rest = f"{value.paper.mean:.2f}", f"{doubt} ({value.mean - value.paper.mean:+z.2f})"
    return Shown(f"{mean}{rest}", number=(mean, ""), rest=rest)


def plain(labels: Sequence[str], cells: Sequence[Shown]) -> list[str]:
    """The texts of a line."""
    return [*labels, *(cell.text for cell in cells)]
