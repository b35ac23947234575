"""What several verbs take: the results folder, a sweep, a style. A verb imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amid.errors import unknown_name
from amid.reports.styles import STYLES, Style

if TYPE_CHECKING:
    from amid.store import Store

Results = Annotated[Path, typer.Option("--results", help="The results folder (paths.results).")]
ConfigDir = Annotated[
    Path | None, typer.Option("--config-dir", help="A folder of your own groups and files, as for run.py.")
]
SweepName = Annotated[str | None, typer.Argument(help="Name of a sweep; the latest one by default.")]


def store_at(results: Path) -> Store:
    """The store in a folder named on the command line. Raises RequestError for a name that cannot be read."""
    from amid.config.names import expanded
    from amid.store import Store

    return Store(expanded("--results", str(results)))


def known_style(name: str) -> Style:
    """The style of that name. Raises RequestError for another."""
    for known in STYLES:
        if name == known:
            return known
    raise unknown_name("style", name, STYLES)
