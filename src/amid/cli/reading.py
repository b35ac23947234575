"""Verbs that read what is in the store: status, costs, table, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amid.cli.options import Results, SweepName, known_style, store_at
from amid.cli.printing import complain, say
from amid.errors import one_line, unknown_name
from amid.reports.styles import COST_STYLES, STYLES


def status(name: SweepName = None, results: Results = Path("results")) -> None:
    """Show the state of every cell of a sweep: absent, running, stopped, done, or failed or damaged and why."""
    from amid.reports.columns import aligned
    from amid.store.damage import damage_of, is_pruned
    from amid.store.files import file_system_now
    from amid.store.status import is_unverified, read_status, state_of, warnings_in
    from amid.store.watch import owner_of

    store = store_at(results)
    manifest = store.read_sweep(name)
    folders = [
        (f"{reference['kind']} {reference['id']}", store.layout.folder_of(reference["kind"], reference["id"]), "")
        for reference in manifest["references"]
    ]
    for cell in manifest["cells"]:
        labels = "  ".join(f"{key}={value}" for key, value in cell["labels"].items())
        folders.append((cell["id"], store.layout.folder_of("cell", cell["id"]), labels))
    say(f"sweep {manifest['name']} in {store.root}")
    now = file_system_now(store.root)
    lines = []
    for title, folder, labels in folders:
        details = read_status(folder)
        state, damage = state_of(folder), damage_of(folder)
        shown = "damaged" if damage else state
        seconds = f"{details['seconds']:.0f} s" if "seconds" in details else ""
        error = str(details.get("error", "")) if state in ("failed", "done") else ""
        if error and state == "done":
            error = f"its last evaluation failed: {error}"
        owner = owner_of(folder, now=now) if state == "running" else ""
        gone = "model gone: trained again when it is needed" if is_pruned(folder) else ""
        warnings = warnings_in(details)
        rest = filter(None, (labels, seconds, owner, error, gone, *warnings, *damage))
        lines.append((one_line(title), f"{shown:<8}", "  ".join(map(one_line, rest))))
    say("\n".join(aligned(lines)))
    unverified = sum(is_unverified(folder) for _, folder, _ in folders)
    if unverified:
        say(f"unverified: {unverified} of {len(folders)} were written before digests were kept")


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


def table(
    name: SweepName = None,
    results: Results = Path("results"),
    style: Annotated[str, typer.Option(help=f"One of: {', '.join(STYLES)}.")] = "text",
    metric: Annotated[str | None, typer.Option(help="Metric of the set columns; the sweep's own by default.")] = None,
) -> None:
    """Print the table of a sweep. Works while it runs: gaps are shown as gaps."""
    from amid.config import check_metric
    from amid.metrics import METRICS, TEACHER_METRICS, VALIDATION_METRICS
    from amid.reports.tables import build_table, render

    known, store = known_style(style), store_at(results)
    if metric is not None:
        check_metric("metric", metric, valid=(*METRICS, *VALIDATION_METRICS, *TEACHER_METRICS))
    found = build_table(store.read_sweep(name), store, metric=metric)
    say(render(found, known), end="")
    for text in found.damage:
        complain(text)


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
