"""The table of a sweep as the page shows it: the lines of `amid table`, with buttons to sort and to choose. No torch.

page.js makes the same elements from the embedded scores when another metric, other seeds or another correction is
chosen; what it makes of the sweep's own choice is, character for character, what stands here.
"""

from __future__ import annotations

from amid.reports.cells import Line, Shown, header_of, lines_of
from amid.reports.page.markup import element, scrolling, text, unseen
from amid.reports.table import Table

NAME = "Scores"


def scores_table(table: Table, *, choosable: list[bool]) -> str:
    """The table. choosable: of each row, whether it holds models that can be compared."""
    return scrolling(element("table", element("caption", NAME), *_parts(table, choosable), id="scores"), NAME)


def cells_by_row(table: Table) -> list[Line]:
    """The line of each row of the table, in its order."""
    return [line for line in lines_of(table) if line.title is None and not line.is_paper]


def _parts(table: Table, choosable: list[bool]) -> list[str]:
    heads, left = header_of(table), len(table.label_names)
    cells = [
        element(
            "th",
            element("button", text(head), type="button", class_="sort"),
            scope="col",
            class_="num" if index >= left else None,
        )
        for index, head in enumerate(heads)
    ]
    parts = [element("thead", element("tr", *cells))]
    body: list[str] = []
    row = -1
    for line in lines_of(table):
        if line.title is not None:
            parts += [element("tbody", *body)] if body else []
            title = element("th", text(line.title), scope="rowgroup", colspan=len(heads))
            body = [element("tr", title, class_="title")]
            continue
        row += not line.is_paper
        body.append(_row(line, row, choosable[row]))
    return [*parts, element("tbody", *body)]


def _row(line: Line, row: int, choosable: bool) -> str:
    first = text(line.labels[0])
    if line.is_paper:
        first = element("i", first)
    elif choosable:
        first = element("button", first, type="button", class_="pick", data_row=row, aria_pressed="false")
    cells = [
        element("th", first, scope="row"),
        *(element("td", text(label)) for label in line.labels[1:]),
        *(element("td", _cell(cell), class_="num") for cell in line.cells),
    ]
    return element("tr", *cells, class_="paper") if line.is_paper else element("tr", *cells, data_row=row)


def _cell(cell: Shown) -> str:
    shown = text(cell.text)
    shown = element("u", shown) if cell.second else shown
    shown = element("b", shown) if cell.best else shown
    said = [*([" best"] if cell.best else []), *([" second"] if cell.second else [])]
    said += [" differs from the row without an assistant"] if cell.differs else []
    mark = element("sup", "†", aria_hidden="true") if cell.differs else ""
    return shown + mark + (unseen(",".join(said)) if said else "")
