"""The verb that takes a sweep out of a cluster's queue: cancel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amid.cli.options import Results, store_at
from amid.cli.printing import say


def cancel(
    sweep: Annotated[str, typer.Argument(help="Name of a sweep that was submitted to Slurm.")],
    results: Results = Path("results"),
) -> None:
    """Cancel what is queued or running of a sweep under Slurm, what waits first; results that are there stay.

    What runs is told to save. The sweep's own command submits again what is not finished.
    """
    from amid.sweep.cancelling import cancel_sweep

    store = store_at(results)
    for line in cancel_sweep(store.read_sweep(sweep), store):
        say(line)
