"""The verb that runs again what has failed: retry. Each cell in a process of its own, as run.py carries it out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from amid.cli.options import Results, store_at
from amid.cli.printing import log_to_stderr
from amid.errors import EXIT_INTERRUPTED, RequestError, one_line


def retry(
    sweep: Annotated[str, typer.Argument(help="Name of a sweep or single run.")],
    failed: Annotated[bool, typer.Option("--failed", help="Run the cells again that failed.")] = False,
    stopped: Annotated[bool, typer.Option("--stopped", help="Go on with the cells whose process is gone.")] = False,
    results: Results = Path("results"),
) -> None:
    """Run cells of a sweep again, as they were asked for, whatever has changed in the YAML files since.

    Here, one after the other. On a cluster the sweep's own command does it too: it runs what is not finished.
    """
    from amid.store import State
    from amid.sweep.again import sweep_again
    from amid.sweep.carry_out import carry_out

    asked: dict[State, bool] = {"failed": failed, "stopped": stopped}
    if not any(asked.values()):
        raise RequestError("say what is run again: --failed, --stopped, or both")
    store = store_at(results)
    manifest = store.read_sweep(sweep)
    again = sweep_again(manifest, store, states=[state for state, wanted in asked.items() if wanted])
    log_to_stderr()
    carry_out(again, _launch, recorded=manifest)


def _launch(jobs: Sequence[Sequence[str]]) -> list[str | None]:
    """Runs one job after the other: why each failed, None if it did not. Raises KeyboardInterrupt as they do."""
    from amid.sweep.program import program

    return [_run([*program(), *overrides]) for overrides in jobs]


def _run(arguments: Sequence[str]) -> str | None:
    said = ""
    with subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("amid: "):
                said = one_line(line.removeprefix("amid: "))  # which the end of the sweep repeats
            else:
                sys.stderr.write(line)
    if process.returncode == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    return None if process.returncode == 0 else said or f"its process ended with exit code {process.returncode}"
