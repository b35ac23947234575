"""A table as a piece of HTML that needs no style sheet. No torch here."""

from __future__ import annotations

from html import escape

from amid.reports.cells import Line, Shown, header_of, lines_of
from amid.reports.notes import legend
from amid.reports.table import Table


def html_of(table: Table) -> str:
    """One <table>: blocks are bodies that begin with their title, the note is its foot."""
    header, left = header_of(table), len(table.label_names)
    note = [table.note, *legend(table, best="bold", second="underlined", differs="†")]
    shown = ['<table class="amid">', "<thead>"]
    heads = (_tag("th", escape(head), right=index >= left) for index, head in enumerate(header))
    shown += [f"<tr>{''.join(heads)}</tr>", "</thead>", "<tbody>"]
    for line in lines_of(table):
        if line.title is not None:
            shown += [
                "</tbody>",
                "<tbody>",
                f'<tr><th colspan="{len(header)}" style="text-align: left">{escape(line.title)}</th></tr>',
            ]
            continue
        shown.append(_row(line))
    foot = f'<tr><td colspan="{len(header)}">{escape("; ".join(note))}</td></tr>'
    return "\n".join([*shown, "</tbody>", "<tfoot>", foot, "</tfoot>", "</table>", ""])


def _row(line: Line) -> str:
    labels = [escape(label) for label in line.labels]
    if line.is_paper:
        labels[0] = f"<i>{labels[0]}</i>"
    cells = [*(_tag("td", label) for label in labels), *(_tag("td", _cell(cell), right=True) for cell in line.cells)]
    return f"<tr>{''.join(cells)}</tr>"


def _tag(name: str, text: str, *, right: bool = False) -> str:
    return f'<{name} style="text-align: {"right" if right else "left"}">{text}</{name}>'


def _cell(cell: Shown) -> str:
    text = escape(cell.text)
    text = f"<u>{text}</u>" if cell.second else text
    text = f"<b>{text}</b>" if cell.best else text
    return f"{text}<sup>†</sup>" if cell.differs else text
