"""A table of the paper as if its numbers were ours: the same layout, best and second from the means. No torch here."""

from __future__ import annotations

from amid.reports.aggregate import VALIDATION_COLUMN
from amid.reports.facts import without_assistant
from amid.reports.paper import PaperRow, PaperTable, paper_table
from amid.reports.significance import marked_by_means
from amid.reports.table import Row, Table, Value

BY_MEANS = "by the means as printed"
_BY_METHOD = (1, 5, 6)
NOT_ONE = "alpha not +-1"


def table_of_paper(name: str) -> Table:
    """Table NAME of the paper. Raises RequestError for one that is not there."""
    paper = paper_table(name)
    columns = [*([VALIDATION_COLUMN] if paper.has_average else []), *paper.sets, *(["Avg."] * paper.has_average)]
    references = [row for row in paper.rows if row.is_teacher]
    others = [row for row in paper.rows if not row.is_teacher]
    blocks = list(dict.fromkeys(row.block for row in others))
    ordered = [*references, *(row for block in blocks for row in others if row.block == block)]
    rows = marked_by_means([_row(row, paper, columns) for row in ordered], [True] * len(columns))
    by_method = paper.number in _BY_METHOD
    return Table(
        label_names=("method" if by_method else "alpha",),
        columns=tuple(columns),
        rows=tuple(rows),
        note=_note(paper),
        block_names=(
            "student" if by_method or paper.number == 2 else "strategy" if paper.number == 4 else "divergence",
        ),
        marks=BY_MEANS,
    )


def _row(row: PaperRow, paper: PaperTable, columns: list[str]) -> Row:
    values = []
    for column in columns:
        printed = row.numbers.get(column)
        value = None if printed is None else Value(printed.mean, printed.std, 1, 1, doubtful=printed.doubtful)
        values.append(value)
    if row.is_teacher:
        return Row((f"teacher {row.student}",), "done", tuple(values), is_reference=True)
    label = row.name if paper.number in _BY_METHOD else _alpha(row)
    return Row((label,), "done", tuple(values), block=(row.block,), doubtful=bool(row.flags))


def _alpha(row: PaperRow) -> str:
    if row.alpha == "null":
        return without_assistant("qr" if row.divergence.endswith("(q||r)") else "pr")
    if row.chosen:
        return NOT_ONE if row.alpha is None else f"{NOT_ONE} ({row.alpha})"
    return row.alpha or ""


def _note(paper: PaperTable) -> str:
    metrics = dict.fromkeys(paper.sets.values())
    shown = ", ".join(
        metric
        if len(metrics) == 1
        else f"{metric} ({', '.join(name for name, of in paper.sets.items() if of == metric)})"
        for metric in metrics
    )
    return "; ".join([f"Table {paper.number} of the paper (ICLR 2026): {shown}, as printed", *said_of_doubts(paper)])


def said_of_doubts(paper: PaperTable) -> list[str]:
    """What is doubtful in a table of the paper, one text per reason, with the rows it is about."""
    reasons: dict[str, list[str]] = {}
    for row in paper.rows:
        for flag in row.flags:
            where = row.name if paper.number in _BY_METHOD else f"{row.block} at alpha {row.alpha}"
            reasons.setdefault(flag, []).append(where)
    return [f"? {', '.join(where)}: {flag}" for flag, where in reasons.items()]
