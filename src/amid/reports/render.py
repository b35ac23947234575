"""A table as text of a style. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from amid.reports.data_styles import csv_of, json_of
from amid.reports.html_style import html_of
from amid.reports.latex_style import latex_of
from amid.reports.plain_styles import markdown_of, text_of
from amid.reports.styles import Style
from amid.reports.table import Table

_STYLES: Mapping[Style, Callable[[Table], str]] = {
    "text": text_of,
    "markdown": markdown_of,
    "latex": latex_of,
    "csv": csv_of,
    "html": html_of,
    "json": json_of,
}


def render(table: Table, style: Style) -> str:
    """The table as text of the given style, ending in a line feed; the same table gives the same bytes."""
    return _STYLES[style](table)
