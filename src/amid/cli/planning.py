"""Verbs that look at what a run would do: plan, data."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from amid.cli.printing import say


def plan(
    overrides: Annotated[list[str] | None, typer.Argument(help="As for run.py -m, e.g. amid.alpha=-1,0,1")] = None,
) -> None:
    """Show the cells that `python run.py -m OVERRIDES` would run, and what is already done. Runs nothing.

    Overrides that begin with a minus sign go after `--`. What the run would refuse is refused here, as far as files
    show it; models and tokenizers themselves are tried by the run, before its first stage.
    """
    from amid.sweep.carry_out import plan_lines
    from amid.sweep.compose import sweep_of_overrides
    from amid.sweep.memory import lines_of
    from amid.sweep.preflight import check_requests

    sweep = sweep_of_overrides(overrides or [])
    check_requests(planned.run for planned in sweep.pending)
    for line in plan_lines(sweep):
        say(line)
    for line in lines_of(planned.run for planned in sweep.pending):
        say(f"  {line}")
    if sweep.pending:
        say("  before the first stage: models and tokenizers are tried, and nothing is written if they do not fit")


def data(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="As for run.py, e.g. data=messages data.root=DIR")
    ] = None,
    num: Annotated[int, typer.Option(help="Examples shown.")] = 5,
    color: Annotated[
        bool | None, typer.Option("--color/--no-color", help="Colour labels; by default on a terminal only.")
    ] = None,
) -> None:
    """Show training examples exactly as the model will see them, labelled tokens marked, and what is dropped or cut.

    Trains nothing and writes nothing.
    """
    from amid.config.checks import at_least
    from amid.sweep.compose import run_of_overrides

    at_least("--num", num, 0)
    run = run_of_overrides(overrides or [])
    from amid.cli.data_view import show_data  # imports torch: not before the request is known to be sound

    show_data(run, num=num, color=sys.stdout.isatty() if color is None else color)
