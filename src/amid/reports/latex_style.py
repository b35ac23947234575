"""A table for a paper: booktabs rules and siunitx numbers, by pandas' Styler. No torch here; pandas when called."""

from __future__ import annotations

from amid.reports.cells import Line, Shown, header_of, lines_of
from amid.reports.notes import legend
from amid.reports.table import Table

PACKAGES = r"% \usepackage{booktabs,siunitx}"
# Numbers of one column have the same digits, so that they stand under each other flush right, with \num or without.
_SETUP = r"\sisetup{separate-uncertainty=true,detect-weight=true}"
_SPECIAL = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}


def latex_of(table: Table) -> str:
    """A tabular in a group of its own, the packages it needs above it and the note below it as comments."""
    import pandas  # slow to import, and only this style needs it

    header, lines = [_latex(head) for head in header_of(table)], lines_of(table)
    rows = [line for line in lines if line.title is None]
    # Columns by number: two heads may be the same text
    frame = pandas.DataFrame([_texts(line) for line in rows], columns=range(len(header)), dtype=object)
    looks = pandas.DataFrame([_looks(line) for line in rows], columns=range(len(header)), dtype=object)
    styler = frame.style.hide(axis="index").apply(lambda _: looks, axis=None)
    styler = styler.format_index(lambda place: header[place], axis=1)
    left = len(table.label_names)
    tabular = styler.to_latex(hrules=True, column_format="l" * left + "r" * (len(header) - left))
    note = [table.note, *legend(table, best="bold", second="underlined", differs=r"$^\dagger$")]
    body = "\n".join(_with_titles(tabular.rstrip("\n").split("\n"), lines, len(header)))
    return "\n".join([PACKAGES, f"{{{_SETUP}", body, "}", f"% {'; '.join(note)}", ""])


def _with_titles(tabular: list[str], lines: list[Line], num_columns: int) -> list[str]:
    """The lines of a tabular with a rule and the title before each block."""
    start = tabular.index(r"\midrule") + 1
    shown, rows = tabular[:start], iter(tabular[start:])
    for index, line in enumerate(lines):
        if line.title is None:
            shown.append(next(rows))
            continue
        rule = [r"\midrule"] if index else []  # the header has one already
        shown += [*rule, rf"\multicolumn{{{num_columns}}}{{l}}{{\textit{{{_latex(line.title)}}}}} \\"]
    return [*shown, *rows]


def _texts(line: Line) -> list[str]:
    labels = [_latex(label) for label in line.labels]
    if line.is_paper:
        labels[0] = rf"\quad {labels[0]}"
    return [*labels, *(_cell(cell) for cell in line.cells)]


def _looks(line: Line) -> list[str]:
    """What Styler wraps the cells in."""
    of_cells = [
        ("textbf:--rwrap;" if cell.best else "") + ("underline:--rwrap;" if cell.second else "") for cell in line.cells
    ]
    return [*[""] * len(line.labels), *of_cells]


def _cell(cell: Shown) -> str:
    if cell.number is None:
        return _latex(cell.text)
    mean, std = cell.number
    number = rf"\num{{{mean} +- {std}}}" if std else rf"\num{{{mean}}}"
    # In no space of its own, so that the numbers stay under each other
    dagger = r"\rlap{$^\dagger$}" if cell.differs else ""
    return f"{number}{_latex(cell.rest)}{dagger}"


def _latex(text: str) -> str:
    # A row that begins with a bracket or a star would be read as an argument of the \\ before it.
    return ("{}" if text[:1] in ("[", "*") else "") + "".join(_SPECIAL.get(char, char) for char in text)
