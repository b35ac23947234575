"""Verbs that answer a question about one result: show, best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amid.cli.options import Results, SweepName, store_at
from amid.cli.printing import say

if TYPE_CHECKING:
    from amid.store import Store

NUM_RESPONSES = 5


def show(
    entry: Annotated[str, typer.Argument(metavar="ID", help="Id of a cell, stage or model, or how it begins.")],
    num: Annotated[int, typer.Option(help="Responses shown.")] = NUM_RESPONSES,
    results: Results = Path("results"),
) -> None:
    """Show all that is known of a cell or stage: configuration, curves, scores, responses, cost, files, the command."""
    from amid.config.checks import at_least
    from amid.reports.entry import entry_lines

    at_least("--num", num, 0)
    store = store_at(results)
    folder = store.find_entry(entry)
    configuration = _configuration(store, folder)
    say("\n".join(entry_lines(store, folder, configuration=configuration, num_responses=num)))


def best(
    name: SweepName = None,
    by: Annotated[str, typer.Option(help="val, or an evaluation set of the sweep.")] = "val",
    results: Results = Path("results"),
) -> None:
    """Name the best row of a sweep's table, and those that cannot be told from it, prompt by prompt, at 5 %."""
    from amid.reports.best import best_lines

    store = store_at(results)
    say("\n".join(best_lines(store.read_sweep(name), store, by=by)))


def _configuration(store: Store, folder: Path) -> list[str]:
    """What makes the entry, in lines: the overrides from the defaults, and the command that carries it out again."""
    from amid.config.overrides import override
    from amid.errors import RequestError
    from amid.store.frozen import LOCATION, latest_request
    from amid.store.references import users_of

    where = "" if str(store.root) == "results" else f" {override(LOCATION, store.root)}"
    if folder.parent != store.root:
        users = users_of(store, folder.name)
        command = f"python run.py cell={users[0]}{where}" if users else "(no cell here is made from it)"
        return [f"values: {folder / 'cell.yaml'}", f"made by the cells that need it: {command}"]
    again = f"again: python run.py cell={folder.name}{where}"
    try:
        request = latest_request(folder.name, store)
    except RequestError as err:
        return [f"values: {folder / 'cell.yaml'}", f"no command is kept for it: {err}"]
    from amid.sweep.naming import overrides_of

    found = overrides_of(request.run, folder.name)
    if found is None:
        kept = store.layout.request(request.digest)
        return [f"from today's defaults no overrides name it; as it was asked for: {kept}", again]
    return [*(found or ["(defaults)"]), f"python run.py {' '.join(_quoted(each) for each in found)}".rstrip(), again]


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
