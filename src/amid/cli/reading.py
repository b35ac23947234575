"""Verbs that read what is in the store: sweeps, status, costs, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amid.cli.options import Results, SweepName, store_at
from amid.cli.printing import say
from amid.errors import RequestError, unknown_name
from amid.reports.styles import COST_STYLES

EVERY_S = 5.0  # between two looks of amid status --watch


def sweeps(results: Results = Path("results")) -> None:
    """List the sweeps and single runs that are here: when each was asked for, and how many of its cells are done."""
    from amid.reports.overview import overview

    say("\n".join(overview(store_at(results))))


def status(
    name: SweepName = None,
    results: Results = Path("results"),
    watch: Annotated[bool, typer.Option("--watch", help="Look again until every cell has ended, or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks of --watch.")] = EVERY_S,
) -> None:
    """Show the state of every cell of a sweep: absent, running, stopped, done, or failed or damaged and why."""
    from amid.config.checks import at_least
    from amid.reports.states import states_of

    at_least("--every", every, 0.1)
    if every != EVERY_S and not watch:
        raise RequestError("--every says how often --watch looks; give --watch too")
    store = store_at(results)
    manifest = store.read_sweep(name)
    if not watch:
        say("\n".join(states_of(manifest, store).lines))
        return
    from amid.cli.watching import watch_states

    watch_states(lambda: states_of(manifest, store), every_s=every)


def costs(
    name: SweepName = None,
    results: Results = Path("results"),
    style: Annotated[str, typer.Option(help=f"One of: {', '.join(COST_STYLES)}.")] = "text",
) -> None:
    """Print what every cell of a sweep used up: generated text, tokens, teacher calls, seconds, memory."""
    from amid.reports.costs import cost_rows, render_costs

    if style not in COST_STYLES:
        raise unknown_name("style", style, COST_STYLES)
    store = store_at(results)
    say(render_costs(cost_rows(store.read_sweep(name), store), style), end="")


def compare(
    left: Annotated[str, typer.Argument(help="Id of a cell, stage or model, or how it begins.")],
    right: Annotated[str, typer.Argument(help="The one it is compared with.")],
    metric: Annotated[str | None, typer.Option(help="The metric compared; each set's own by default.")] = None,
    set_name: Annotated[str | None, typer.Option("--set", help="Only this set.")] = None,
    top: Annotated[int, typer.Option(help="Examples shown per set: those that differ most.")] = 5,
    results: Results = Path("results"),
) -> None:
    """Print the differences of two evaluated models with 95 % intervals, and the responses that differ most."""
    from amid.config import check_metric
    from amid.config.checks import at_least
    from amid.reports.comparison import compare as compare_entries
    from amid.reports.comparison import render_comparison

    at_least("--top", top, 0)
    if metric is not None:
        check_metric("metric", metric)
    store = store_at(results)
    folders = (store.find_entry(left), store.find_entry(right))
    found = compare_entries(store, *folders, metric=metric, top=top, set_name=set_name)
    say(render_comparison(found, (folders[0].name, folders[1].name)), end="")
