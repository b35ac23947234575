"""The command `amid`: reads the store and plans sweeps. No torch at import, so it works on a login node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from amid.entry import exit_code
from amid.errors import RequestError, RunError, unknown_name
from amid.store import Store
from amid.tables import STYLES, build_table, render

app = typer.Typer(
    help="Read the results of AMiD Lab: what is planned, what is done, and the tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# The base of typer's usage errors; where it lives depends on the version (click's own or a copy inside typer).
UsageProblem: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
Results = Annotated[Path, typer.Option("--results", help="The results folder (paths.results).")]
SweepName = Annotated[str | None, typer.Argument(help="Name of a sweep; the latest one by default.")]


@app.command()
def plan(
    overrides: Annotated[list[str] | None, typer.Argument(help="As for run.py -m, e.g. amid.alpha=-1,0,1")] = None,
) -> None:
    """Show the cells that `python run.py -m OVERRIDES` would run, and what is already done. Runs nothing.

    Overrides that begin with a minus sign go after `--`.
    """
    from amid.multirun import plan_lines
    from amid.requests import sweep_of_overrides

    for line in plan_lines(sweep_of_overrides(overrides or [])):
        typer.echo(line)


@app.command()
def status(name: SweepName = None, results: Results = Path("results")) -> None:
    """Show the state of every cell of a sweep: absent, running, stopped, failed (with its reason) or done."""
    store = Store(results)
    manifest = store.read_sweep(name)
    folders = [
        (f"{reference['kind']} {reference['id']}", store.root / "stages" / f"{reference['kind']}-{reference['id']}", "")
        for reference in manifest["references"]
    ]
    for cell in manifest["cells"]:
        labels = "  ".join(f"{key}={value}" for key, value in cell["labels"].items())
        folders.append((cell["id"], store.root / cell["id"], labels))
    typer.echo(f"sweep {manifest['name']} in {store.root}")
    width = max(len(title) for title, _, _ in folders)
    for title, folder, labels in folders:
        details = store.status_of_folder(folder)
        state = store.state_of_folder(folder)
        seconds = f"{details['seconds']:.0f} s" if "seconds" in details else ""
        error = details.get("error", "") if state == "failed" else ""
        typer.echo("  ".join(part for part in (f"{title:<{width}}", f"{state:<8}", labels, seconds, error) if part))


@app.command()
def table(
    name: SweepName = None,
    results: Results = Path("results"),
    style: Annotated[str, typer.Option(help=f"One of: {', '.join(STYLES)}.")] = "text",
    metric: Annotated[str | None, typer.Option(help="Metric of the set columns; the sweep's own by default.")] = None,
) -> None:
    """Print the table of a sweep. Works while it runs: gaps are shown as gaps."""
    for known in STYLES:
        if style == known:
            store = Store(results)
            typer.echo(render(build_table(store.read_sweep(name), store, metric=metric), known), nl=False)
            return
    raise unknown_name("style", style, STYLES)


@app.command()
def certify(
    short: Annotated[bool, typer.Option(help="A part of the grid, in seconds.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the table to this file instead of printing it.")] = None,
) -> None:
    """Check the objective against an independent float64 oracle, its theorems, and wrong implementations (mutants)."""
    from amid.certificate import certify as run_certificate
    from amid.certificate import render as render_certificate

    certificate = run_certificate(short=short)
    text = render_certificate(certificate)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text)
    if not certificate.passed:
        raise RunError("the certificate does not hold; its failing rows are marked in the table")


def main() -> None:
    """Run the command line; errors are one line, as for run.py."""
    sys.exit(exit_code(_run))


def _run() -> None:
    try:
        app(standalone_mode=False)
    except UsageProblem as err:
        raise RequestError(f"{err} (amid --help)") from err


if __name__ == "__main__":
    main()
