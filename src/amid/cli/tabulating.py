"""The verb that prints tables: of a sweep, or of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amid.cli.options import Results, SweepName, known_style, store_at
from amid.cli.printing import complain, say
from amid.errors import RequestError
from amid.reports.styles import STYLES

DEFAULT_RESULTS = Path("results")


def table(
    name: SweepName = None,
    results: Results = DEFAULT_RESULTS,
    style: Annotated[str, typer.Option(help=f"One of: {', '.join(STYLES)}.")] = "text",
    metric: Annotated[str | None, typer.Option(help="Metric of the set columns; the sweep's own by default.")] = None,
    rows: Annotated[str | None, typer.Option(help="Keys that name a row, with commas between.")] = None,
    columns: Annotated[str | None, typer.Option(help="Keys across: a pivot, e.g. divergence.name.")] = None,
    column: Annotated[str | None, typer.Option(help="What a pivot shows: a set, Val., by default Avg.")] = None,
    decoding: Annotated[
        str | None, typer.Option(help="Only the sets of one decoding: sampled, greedy or tuned; or all.")
    ] = None,
    ids: Annotated[bool, typer.Option("--ids", help="With the method and the short ids of each row.")] = False,
    paper: Annotated[str | None, typer.Option(help="A table of the paper as printed, e.g. table3.")] = None,
) -> None:
    """Print the table of a sweep, or one of the paper. Works while it runs: gaps are shown as gaps.

    How to read it: docs/tables.md.
    """
    from amid.config import check_metric
    from amid.metrics import METRICS, TEACHER_METRICS, VALIDATION_METRICS
    from amid.reports.render import render

    known = known_style(style)
    if paper is not None:
        given = {"a sweep": name, "--metric": metric, "--rows": rows, "--columns": columns, "--column": column}
        given["--decoding"] = decoding
        others = [option for option, value in {**given, "--ids": ids or None}.items() if value is not None]
        if others:
            raise RequestError(f"--paper prints what the paper printed; leave out {', '.join(others)}")
        from amid.reports.paper_alone import table_of_paper

        say(render(table_of_paper(paper), known), end="")
        return
    from amid.reports.tables import build_table

    store = store_at(results)
    if metric is not None:
        check_metric("metric", metric, valid=(*METRICS, *VALIDATION_METRICS, *TEACHER_METRICS))
    found = build_table(
        store.read_sweep(name),
        store,
        metric=metric,
        rows=_keys("--rows", rows),
        columns=_keys("--columns", columns),
        column=column,
        ids=ids,
        decoding=decoding,
    )
    say(render(found, known), end="")
    for text in found.damage:
        complain(text)


def _keys(option: str, text: str | None) -> list[str] | None:
    if text is None:
        return None
    keys = [key.strip() for key in text.split(",")]
    if not all(keys) or len(set(keys)) < len(keys):
        raise RequestError(f"{option} must be different keys with commas between, got '{text}'")
    return keys
