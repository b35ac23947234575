"""A table as aligned text, and as Markdown. No torch here."""

from __future__ import annotations

from amid.reports.cells import Line, Shown, header_of, lines_of
from amid.reports.columns import aligned, ruled, widths_of
from amid.reports.notes import legend
from amid.reports.table import Table

_BEST, _SECOND, _DIFFERS = "*", "_", "#"  # after a number, in text


def text_of(table: Table) -> str:
    """Columns under each other, marks after the numbers, a rule under the header, the note in brackets."""
    lines, left = lines_of(table), len(table.label_names)
    marks = [[_marks(cell) for cell in line.cells] for line in lines if line.title is None]
    widths = [max((len(mark) for mark in column), default=0) for column in zip(*marks, strict=True)]
    body = [_indented(line, widths) for line in lines if line.title is None]
    header = header_of(table)
    rows = iter(aligned([[*header[:left], *_padded(header[left:], widths)], *body], num_left=left))
    shown = [next(rows)]
    shown += [str(line.title) if line.title is not None else next(rows) for line in lines]
    note = [table.note, *legend(table, best=_BEST, second=_SECOND, differs=_DIFFERS)]
    return "\n".join([*ruled(shown), f"({'; '.join(note)})", ""])


def markdown_of(table: Table) -> str:
    """A pipe table: bold, underlined, a dagger; blocks begin with their title in italics."""
    left, header = len(table.label_names), [_markdown(head) for head in header_of(table)]
    body = []
    for line in lines_of(table):
        if line.title is not None:
            body.append([f"*{_markdown(line.title)}*", *[""] * (len(header) - 1)])
            continue
        labels = [_markdown(label) for label in line.labels]
        if line.is_paper:
            labels[0] = f"*{labels[0]}*"
        body.append([*labels, *(_markdown_cell(cell) for cell in line.cells)])
    widths = widths_of([header, *body])
    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    total = sum(widths) + 3 * (len(widths) - 1)
    lines = aligned([header, rule, *body], num_left=left, separator=" | ")
    note = [table.note, *legend(table, best="bold", second="underlined", differs="†")]
    return "\n".join([*(f"| {line.ljust(total)} |" for line in lines), "", f"{_markdown('; '.join(note))}.", ""])


def _marks(cell: Shown) -> str:
    return _BEST * cell.best + _SECOND * cell.second + _DIFFERS * cell.differs


def _padded(texts: list[str], widths: list[int]) -> list[str]:
    return [f"{text}{' ' * (width + 1)}" if width else text for text, width in zip(texts, widths, strict=True)]


def _indented(line: Line, widths: list[int]) -> list[str]:
    depth = 2 * line.in_block + 2 * line.is_paper
    cells = [
        f"{cell.text} {_marks(cell).ljust(width)}" if width else cell.text
        for cell, width in zip(line.cells, widths, strict=True)
    ]
    return [f"{' ' * depth}{line.labels[0]}", *line.labels[1:], *cells]


def _markdown(text: str) -> str:
    return text.replace("|", r"\|")


def _markdown_cell(cell: Shown) -> str:
    text = _markdown(cell.text)
    text = f"<u>{text}</u>" if cell.second else text
    text = f"**{text}**" if cell.best else text
    return f"{text} †" if cell.differs else text
