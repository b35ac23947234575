"""Small runs in this process that are asked to stop: what is saved, what they say, and that the end is undisturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import SMALL, STRATEGIES

from amid.config import RunCfg
from amid.data.loader import StepBatches
from amid.errors import RunError, StoppedError
from amid.evaluation import responses
from amid.experiment import Experiment, run_task
from amid.generation.sampler import Sampler
from amid.stopping import asked
from amid.store.watch import is_owned
from amid.sweep.compose import run_of_overrides
from amid.training.step import DistillModule

Compose = Callable[..., RunCfg]
Act = Callable[[], object]
CELL = (
    *STRATEGIES["adaptive_off_policy"],
    "train.max_steps=6",
    "data.max_tokens=340",
    "trainer.log_every_steps=2",
    "pair.student_arch.dropout=0.1",
)
TERM, USR1, INT = signal.SIGTERM, signal.SIGUSR1, signal.SIGINT


def kept(run: RunCfg) -> dict[str, bytes]:
    """Weights, scores, texts and the journal without what depends on the clock, of the cell."""
    experiment = Experiment(run)
    folder = experiment.store.folder(experiment.cell)
    files = [*(folder / "model").iterdir(), folder / "scores.jsonl", *sorted((folder / "generations").iterdir())]
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    for line in lines:
        line["metrics"] = {name: value for name, value in line["metrics"].items() if not name.startswith("clock/")}
        line.pop("digest")
    return {path.name: path.read_bytes() for path in files if path.is_file()} | {"journal": json.dumps(lines).encode()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run_task(composed(folder, *CELL))
    return folder


@pytest.fixture
def run(undisturbed: Path, tmp_path: Path) -> RunCfg:
    """The same run, of which the stages are there."""
    shutil.copytree(undisturbed / "results" / "stages", tmp_path / "results" / "stages")
    return composed(tmp_path, *CELL)


def composed(folder: Path, *overrides: str) -> RunCfg:
    given = {override.split("=")[0] for override in overrides}
    shared = [override for override in SMALL if override.split("=")[0] not in given]
    return run_of_overrides([*shared, *overrides, f"paths.results={folder}/results", f"paths.cache={folder}/cache"])


def at_call(patch: pytest.MonkeyPatch, owner: Any, name: str, number: int, act: Act) -> None:
    """Acts before a call of a function, counted from 1."""
    function, calls = getattr(owner, name), []

    def counting(*arguments: Any, **named: Any) -> Any:
        calls.append(name)
        if len(calls) == number:
            act()
        return function(*arguments, **named)

    patch.setattr(owner, name, counting)


def sends(*numbers: int) -> Act:
    return lambda: [os.kill(os.getpid(), number) for number in numbers]


def in_validation(patch: pytest.MonkeyPatch, number: int, token: int, act: Act) -> None:
    """Acts at a token of the texts of a validation inside the training; before the first, the strategy wants a loss."""

    def arrange() -> None:
        at_call(patch, Sampler, "next_tokens", token, act)

    at_call(patch, DistillModule, "on_validation_epoch_end", 1 + number, arrange)


def assert_stopped_and_free(run: RunCfg) -> None:
    experiment = Experiment(run)
    assert experiment.store.state(experiment.cell) == "stopped"
    assert not is_owned(experiment.store.folder(experiment.cell))
    assert "error" not in experiment.store.status(experiment.cell)


def assert_as(run: RunCfg, undisturbed: Path) -> None:
    assert kept(run) == kept(composed(undisturbed, *CELL))


LONG = pytest.mark.long
STEPS = [(2, TERM), (3, USR1), *(pytest.param(step, USR1, marks=LONG) for step in (1, 5, 6))]


@pytest.mark.parametrize(("step", "number"), STEPS)
def test_the_step_is_finished_and_saved_and_the_run_ends_as_the_undisturbed_one(
    step: int,
    number: signal.Signals,
    run: RunCfg,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Steps 3 and 6 are the last of their round: the validation is what comes next."""
    with monkeypatch.context() as patch:
        at_call(patch, StepBatches, "__call__", step, sends(number))
        with pytest.raises(
            StoppedError, match=rf"asked to stop \({number.name}\): .* step {step} of 6 is saved; the same"
        ):
            run_task(run)
    assert_stopped_and_free(run)
    with caplog.at_level("INFO"):
        run_task(run)
    assert f"resumes after step {step} of 6" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING" and "repeated" in record.message]
    assert_as(run, undisturbed)


@LONG
@pytest.mark.parametrize(("number", "token"), [(1, 1), (1, 5), (2, 3)])
def test_a_validation_that_is_broken_off_is_done_again(
    number: int, token: int, run: RunCfg, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        in_validation(patch, number, token, sends(TERM))
        with pytest.raises(StoppedError, match=f"step {3 * number} of 6 is saved"):
            run_task(run)
    assert_stopped_and_free(run)
    run_task(run)
    assert_as(run, undisturbed)


@LONG
def test_a_run_stopped_at_every_step_and_in_every_validation_ends_as_the_undisturbed_one(
    run: RunCfg, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = 0
    for attempt in range(12):
        with monkeypatch.context() as patch:
            at_call(patch, StepBatches, "__call__", 1, sends(USR1))
            if attempt % 2:
                at_call(patch, DistillModule, "on_validation_epoch_end", 1, sends(TERM))
            try:
                run_task(run)
                break
            except StoppedError:
                stops += 1
    assert stops >= 6
    assert_as(run, undisturbed)


@LONG
def test_an_evaluation_stops_at_once_and_goes_on_with_what_is_missing(
    run: RunCfg, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    commit = responses.commit_rows
    with monkeypatch.context() as patch:
        patch.setattr(responses, "BATCHES_PER_WRITE", 1)
        run.trainer.generation_batch_size = 2

        def then_stopped(*arguments: Any, **named: Any) -> None:
            commit(*arguments, **named)
            written.append(arguments)
            at_call(patch, Sampler, "next_tokens", 2, sends(TERM))

        patch.setattr(responses, "commit_rows", then_stopped)
        with pytest.raises(StoppedError, match=r"asked to stop \(SIGTERM\): what is finished is kept; the same"):
            run_task(run)
    assert len(written) == 1
    assert_stopped_and_free(run)
    run_task(run)
    assert_as(run, undisturbed)


def test_the_first_ctrl_c_finishes_the_step_and_says_how_to_go_on(
    run: RunCfg, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        at_call(patch, StepBatches, "__call__", 2, sends(INT))
        with pytest.raises(KeyboardInterrupt, match="step 2 of 6 is saved; the same command continues"):
            run_task(run)
    assert "Ctrl-C again stops at once" in capfd.readouterr().err
    assert_stopped_and_free(run)
    run_task(run)
    assert_as(run, undisturbed)


@LONG
@pytest.mark.parametrize("first", [INT, TERM])
def test_a_second_ctrl_c_stops_at_once(
    first: int, run: RunCfg, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        at_call(patch, StepBatches, "__call__", 2, sends(first, INT))
        with pytest.raises(KeyboardInterrupt if first == INT else StoppedError) as raised:
            run_task(run)
    assert "is saved" not in str(raised.value)
    assert_stopped_and_free(run)
    run_task(run)
    assert_as(run, undisturbed)


@LONG
def test_a_second_sigterm_changes_nothing(run: RunCfg, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_call(patch, StepBatches, "__call__", 2, sends(TERM, TERM, USR1))
        with pytest.raises(StoppedError, match="step 2 of 6 is saved"):
            run_task(run)


@LONG
def test_a_run_that_fails_after_it_was_asked_has_failed(run: RunCfg, monkeypatch: pytest.MonkeyPatch) -> None:
    run.train.lr = 1e30
    with monkeypatch.context() as patch:
        at_call(patch, DistillModule, "_end_round", 1, sends(TERM))
        with pytest.raises(RunError, match="diverged") as raised:
            run_task(run)
    assert not isinstance(raised.value, StoppedError)
    experiment = Experiment(run)
    assert experiment.store.state(experiment.cell) == "failed"


@LONG
def test_the_fine_tuning_of_a_teacher_is_a_training_too(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = composed(tmp_path, *CELL)
    with monkeypatch.context() as patch:
        at_call(patch, StepBatches, "__call__", 2, sends(TERM))
        with pytest.raises(StoppedError, match="teacher: step 2 of 3 is saved"):
            run_task(run)
    teacher = Experiment(run).cell.stages["teacher"]
    assert Experiment(run).store.state(teacher) == "stopped"
    run_task(run)
    assert_as(run, undisturbed)


@LONG
def test_the_handlers_of_before_are_back_afterwards(run: RunCfg, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in (TERM, USR1, INT)]
    with monkeypatch.context() as patch:
        at_call(patch, StepBatches, "__call__", 1, sends(TERM))
        with pytest.raises(StoppedError):
            run_task(run)
    assert [signal.getsignal(number) for number in (TERM, USR1, INT)] == before
    assert not asked(), "a later training of this process is another one"
