"""Sets answered at the temperature that validation chose: on finished cells, after kills, with candidates added."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import SMALL

from amid.config import RunCfg
from amid.evaluation import responses
from amid.experiment import Experiment, run_task
from amid.reports.tables import build_table
from amid.store import Store
from amid.store.scores import read_scores
from amid.sweep.compose import run_of_overrides
from amid.sweep.plan import is_evaluated
from amid.training import fit

Compose = Callable[..., RunCfg]
ON_VALIDATION = {0.0: 3.0, 0.5: 9.0, 1.0: 5.0, 2.0: 11.0}  # what every model scores
TUNED = "evaluation.also_tuned=[0,0.5,1]"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one finished cell, which was asked for nothing but its sets."""
    folder = tmp_path_factory.mktemp("trained")
    run_task(run_of_overrides([*SMALL, f"paths.results={folder}/results", f"paths.cache={folder}/cache"]))
    return folder / "results"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The temperatures at which models were validated, with stated scores; nothing may be trained."""
    found: list[float] = []

    def rouge_l(*args: Any, decoding: Any, **options: Any) -> float:
        found.append(decoding.temperature)
        return ON_VALIDATION[decoding.temperature]

    def trains(*args: Any, **options: Any) -> None:
        raise AssertionError("it is trained")

    monkeypatch.setattr(fit, "validation_rouge_l", rouge_l)
    monkeypatch.setattr("amid.experiment.fit_student", trains)
    return found


@pytest.fixture
def of(trained: Path, tmp_path: Path, small_run: Compose) -> Compose:
    """Composes a request on a copy of the trained store, named first."""

    def composed(name: str, *overrides: str) -> RunCfg:
        if not (tmp_path / name).exists():
            shutil.copytree(trained, tmp_path / name)
        run = small_run(*overrides)
        run.paths.results = str(tmp_path / name)
        return run

    return composed


def written(results: str) -> dict[str, bytes]:
    """Generated texts, values per example and scores, by place."""
    root = Path(results)
    rooms = ("generations", "examples")
    files = [path for path in root.rglob("*") if path.parent.name in rooms or path.name == "scores.jsonl"]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def sets_of(results: str, entry: str) -> set[str]:
    return {score.eval_set for score in read_scores(Store(results).find_entry(entry))}


def test_a_finished_cell_and_its_stages_are_answered_at_the_chosen_temperature_and_never_trained(
    of: Compose, asked: list[float]
) -> None:
    before = written(of("a").paths.results)
    run = of("a", TUNED)
    run_task(run)
    experiment = Experiment(run)
    entries = [experiment.cell, *experiment.cell.evaluated_stages.values()]
    assert sorted(asked) == [0.0] * 3 + [0.5] * 3, "at 1 they were validated before"
    assert all(is_evaluated(experiment.store, entry, experiment.protocol) for entry in entries)
    for entry in entries:
        found = {name for name in sets_of(run.paths.results, entry.id) if name.startswith(("open_ended", "valid"))}
        expected = {"open_ended", "open_ended_t0.5", "validation", "validation_t0.5", "validation_greedy"}
        assert found == expected
    after = written(run.paths.results)
    texts = {name: content for name, content in before.items() if not name.endswith("scores.jsonl")}
    assert {name: after[name] for name in texts} == texts
    run_task(of("a", "evaluation.also_tuned=[1,0.5,0]"))
    assert len(asked) == 6, "the second time there is nothing to do"
    assert written(run.paths.results) == after
    manifest = Store(run.paths.results).read_sweep(None)
    table = build_table(manifest, Store(run.paths.results))
    values = [dict(zip(table.columns, row.values, strict=True)) for row in table.rows]
    assert [each["T"].mean for each in values if each["T"] is not None] == [0.5, 0.5, 0.5]
    assert all(each["Avg. tuned"] is not None for each in values)


def test_a_candidate_that_is_added_is_validated_alone_and_answered_where_it_wins(
    of: Compose, asked: list[float]
) -> None:
    run = of("a", "task=evaluate", TUNED)
    run_task(run)
    assert asked == [0.0, 0.5]
    before = written(run.paths.results)
    run_task(of("a", "task=evaluate", "evaluation.also_tuned=[0,0.5,1,2]"))
    assert asked == [0.0, 0.5, 2.0]
    after = written(run.paths.results)
    texts = {name: content for name, content in before.items() if not name.endswith("scores.jsonl")}
    assert {name: after[name] for name in texts} == texts
    cell = Experiment(run).cell.id
    assert "open_ended_t2" in sets_of(run.paths.results, cell)
    run_task(of("a", "task=evaluate", TUNED))  # the first question has its answer still
    assert (asked, written(run.paths.results)) == ([0.0, 0.5, 2.0], after)


def test_the_greedy_twin_serves_as_the_chosen_one(of: Compose, asked: list[float]) -> None:
    run_task(of("a", "task=evaluate", "evaluation.also_greedy=true"))
    texts = {name for name in written(of("a").paths.results) if "generations" in name}
    run_task(of("a", "task=evaluate", "evaluation.also_greedy=true", "evaluation.also_tuned=[0,0.5]"))
    more = {name for name in written(of("a").paths.results) if "generations" in name} - texts
    assert len(more) == 5 * 2, "five sets at 0.5 with two seeds"
    run_task(of("b", "task=evaluate", "evaluation.also_greedy=true"))
    greedy_leads = {**ON_VALIDATION, 0.5: 0.0}
    texts = set(written(of("b").paths.results))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "validation_rouge_l", lambda *args, decoding, **options: greedy_leads[decoding.temperature])
        run_task(of("b", "task=evaluate", "evaluation.also_greedy=true", "evaluation.also_tuned=[0,0.5]"))
    assert set(written(of("b").paths.results)) == texts


@pytest.mark.parametrize("stops", ["between two candidates", "between two texts"])
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_bytes(
    stops: str, of: Compose, asked: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = ("task=evaluate", TUNED, "trainer.generation_batch_size=1")
    whole = of("whole", *evaluated)
    run_task(whole)
    del asked[:]
    with monkeypatch.context() as patch:
        if stops == "between two candidates":
            original = fit.validation_rouge_l

            def stopping(*args: Any, decoding: Any, **options: Any) -> float:
                if decoding.temperature == 0.5:
                    raise KeyboardInterrupt
                return original(*args, decoding=decoding, **options)

            patch.setattr(fit, "validation_rouge_l", stopping)
        else:
            committed, commit = [], responses.commit_rows

            def once(*args: Any, **options: Any) -> None:
                if committed:
                    raise KeyboardInterrupt
                committed.append(commit(*args, **options))

            patch.setattr(responses, "commit_rows", once)
        with pytest.raises(KeyboardInterrupt):
            run_task(of("stopped", *evaluated))
    assert written(of("stopped").paths.results) != written(whole.paths.results)
    run_task(of("stopped", *evaluated))
    assert asked == [0.0, 0.5], "no candidate is validated twice"
    assert written(of("stopped").paths.results) == written(whole.paths.results)
