"""The styles in which tables are printed; apart from the tables, so that a command line can name them at once."""

from __future__ import annotations

from typing import Literal

Style = Literal["text", "markdown", "latex", "csv", "html", "json"]
STYLES: tuple[Style, ...] = ("text", "markdown", "latex", "csv", "html", "json")
COST_STYLES: tuple[Style, ...] = ("text", "csv", "json")
