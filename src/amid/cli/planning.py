"""Verbs that look at what a run would do: plan, data."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from amid.cli.options import ConfigDir
from amid.cli.printing import say

if TYPE_CHECKING:
    from amid.sweep.plan import Sweep


def plan(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="A name in sweeps/, as table3, and overrides as for run.py -m, e.g. amid.alpha=-1,0,1"),
    ] = None,
    config_dir: ConfigDir = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write down what is planned, so that amid work can carry it out anywhere.")
    ] = False,
) -> None:
    """Show the cells of a sweep, or those that `python run.py -m OVERRIDES` would run, and what is done. Runs nothing.

    Overrides that begin with a minus sign go after `--`. Every cell is checked, as far as files show it, and every one
    that cannot be carried out is named; models and tokenizers themselves are tried by the run, before its first stage.
    """
    from amid.sweep.carry_out import plan_lines
    from amid.sweep.compose import sweep_of_overrides
    from amid.sweep.cost import estimate, lines_of_estimate
    from amid.sweep.invalid import InvalidCellsError
    from amid.sweep.memory import lines_of
    from amid.sweep.preflight import refuse_invalid
    from amid.sweep.recording import check_recordable
    from amid.sweep.resolution import line_of_resolution

    try:
        sweep = sweep_of_overrides(_named_sweep(overrides or []), keep_invalid=True, config_dir=config_dir)
        lines = plan_lines(sweep)
        refuse_invalid(sweep)
        if record:
            check_recordable(sweep)
    except InvalidCellsError as err:
        for line in err.lines:
            say(line)
        raise
    for line in lines:
        say(line)
    for line in lines_of(planned.run for planned in sweep.pending):
        say(f"  {line}")
    found = estimate(sweep)
    for line in [] if found is None else lines_of_estimate(found):
        say(f"  {line}")
    say(f"  {line_of_resolution(sweep)}")
    if sweep.pending:
        say("  before the first stage: models and tokenizers are tried, and nothing is written if they do not fit")
    if record:
        _record(sweep)


def _record(sweep: Sweep) -> None:
    from amid.store import Store
    from amid.sweep.recording import record

    store = Store(sweep.cells[0].run.paths.results)
    number = record(sweep, store)
    say(f"recorded: {number} cells to be carried out, by as many workers as you like, each with the command")
    say(f"  {shlex.join(['amid', 'work', sweep.name, '--results', str(store.root.absolute())])}")


def _named_sweep(arguments: list[str]) -> list[str]:
    """The arguments as overrides: a first word without a sign is the name of a sweep."""
    if arguments and re.fullmatch(r"[\w.-]+", arguments[0]):
        return [f"sweeps={arguments[0]}", *arguments[1:]]
    return arguments


def data(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="As for run.py, e.g. data=messages data.root=DIR")
    ] = None,
    num: Annotated[int, typer.Option(help="Examples shown.")] = 5,
    color: Annotated[
        bool | None, typer.Option("--color/--no-color", help="Colour labels; by default on a terminal only.")
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Show training examples exactly as the model will see them, labelled tokens marked, and what is dropped or cut.

    Trains nothing and writes nothing.
    """
    from amid.config.checks import at_least
    from amid.sweep.compose import run_of_overrides

    at_least("--num", num, 0)
    run = run_of_overrides(overrides or [], config_dir=config_dir)
    from amid.cli.data_view import show_data  # imports torch: not before the request is known to be sound

    show_data(run, num=num, color=sys.stdout.isatty() if color is None else color)
