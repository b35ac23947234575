"""The command `amid`, put together from its verbs. No torch at import: it works on a login node.

A command imports what it needs when it runs: Hydra and the store take longer to load than the help takes to print.
"""

from __future__ import annotations

import sys

import typer

from amid.cli.cancelling import cancel
from amid.cli.certifying import certify
from amid.cli.evaluating import evaluate, fetch, score
from amid.cli.exit_codes import exit_code
from amid.cli.exporting import export
from amid.cli.finding import best, show
from amid.cli.keeping import bundle, gc, merge
from amid.cli.picturing import figure
from amid.cli.planning import data, plan
from amid.cli.reading import compare, costs, status, sweeps
from amid.cli.reporting import report
from amid.cli.retrying import retry
from amid.cli.tabulating import table
from amid.cli.working import work
from amid.errors import EXIT_INTERRUPTED, RequestError

app = typer.Typer(
    help="Read the results of AMiD Lab: what is planned, what is done, the tables; evaluate and compare models.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
# The base of typer's usage errors; where it lives depends on the version (click's own or a copy inside typer).
UsageProblem: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

# In the order of the help.
_VERBS = (
    *(plan, data, sweeps, status, work, retry, cancel, show, best, costs, table, figure, report, compare),
    *(evaluate, score, fetch, export, bundle, merge, gc, certify),
)
for _verb in _VERBS:
    app.command()(_verb)


def main() -> None:
    """Run the command line; errors are one line, as for run.py."""
    sys.exit(exit_code(_run))


def _run() -> None:
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UsageProblem as err:
        said = err.format_message() if hasattr(err, "format_message") else str(err)
        raise RequestError(f"{said} (amid --help)") from err
    except typer.Abort:  # Ctrl-C, in older releases of typer
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
