"""A W&B run that is gone on with: what it lacks comes from the journal, and no row is in it twice."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from amid.config import LoggerCfg
from amid.digests.seals import seal
from amid.store.trackers import Told, read_told, write_told
from amid.training.wandb_mirror import GoesOn, WandbMirror

RUN = "abc-123456"


class FakeRun:
    """What W&B gives out for a run: it keeps what it is told. step: the first one that the server has not."""

    def __init__(self, mode: str, step: int, folder: Path) -> None:
        self.id, self.step, self.offline = RUN, step, mode == "offline"
        name = "offline-run-20260102_000000-" if self.offline else "run-20260102_000000-"
        self.settings = SimpleNamespace(sync_dir=str(folder / "wandb" / f"{name}{RUN}"))
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.ends: list[str] = []

    def define_metric(self, *_: Any, **__: Any) -> None: ...

    def log(self, values: dict[str, Any], *, step: int) -> None:
        self.rows.append((step, {name: value for name, value in values.items() if name != "step"}))

    def mark_preempting(self) -> None:
        self.ends.append("preempting")

    def finish(self, *, exit_code: int) -> None:
        self.ends.append(str(exit_code))


@pytest.fixture
def cell(tmp_path: Path) -> GoesOn:
    """A training with two lines of step 2, and one of 4 and 6 each."""
    lines = [(2, {"train/loss": 3.0}), (2, {"val/loss": 5.0}), (4, {"train/loss": 2.0}), (6, {"train/loss": 1.0})]
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(f"{seal({'step': step, 'metrics': metrics})}\n" for step, metrics in lines))
    return GoesOn(journal, tmp_path / "wandb" / "told" / RUN)


def recording(folder: Path, day: int, *, synced: bool = False) -> Path:
    made = folder / "wandb" / f"offline-run-2026010{day}_000000-{RUN}"
    made.mkdir(parents=True)
    (made / f"run-{RUN}.wandb").touch()
    if synced:
        (made / f"run-{RUN}.wandb.synced").touch()
    return made


def opened(
    monkeypatch: pytest.MonkeyPatch, folder: Path, cell: GoesOn, *, mode: Any = "offline", step: int = 0
) -> tuple[WandbMirror, FakeRun]:
    asked: list[dict[str, Any]] = []
    run = FakeRun(mode, step, folder)
    monkeypatch.setattr(wandb, "init", lambda **options: (asked.append(options), run)[1])
    shared: dict[str, Any] = {"name": "label", "group": None, "job_type": "distill", "tags": [], "config": {}}
    mirror = WandbMirror(LoggerCfg(name="wandb"), run_id=RUN, folder=folder, mode=mode, goes_on=cell, **shared)
    assert [(each["id"], each["resume"], each["mode"]) for each in asked] == [(RUN, "allow", mode)]
    return mirror, run


def test_a_run_that_holds_nothing_is_told_the_whole_journal_a_row_a_step(
    cell: GoesOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, run = opened(monkeypatch, tmp_path, cell)
    mirror.metrics({"val/loss": 4.0}, step=6)
    mirror.metrics({"train/loss": 0.5}, step=8)
    mirror.close(failed=False)
    assert run.rows == [
        (2, {"train/loss": 3.0, "val/loss": 5.0}),
        (4, {"train/loss": 2.0}),
        (6, {"train/loss": 1.0, "val/loss": 4.0}),
        (8, {"train/loss": 0.5}),
    ]
    assert run.ends == ["0"]
    assert read_told(cell.told) == Told(8, (f"offline-run-20260102_000000-{RUN}",))


def test_a_stopped_run_is_preempted_and_leaves_the_row_that_may_not_be_whole(
    cell: GoesOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, run = opened(monkeypatch, tmp_path, cell)
    mirror.close(failed=True, stopped=True)
    assert [step for step, _ in run.rows] == [2, 4]
    assert run.ends == ["preempting", "1"]
    again, run = opened(monkeypatch, tmp_path, cell)
    again.close(failed=True)
    assert [step for step, _ in run.rows] == [6], "one that failed shows all that it came to"


def test_offline_a_recording_that_a_kill_broke_off_is_replaced_and_others_stay(
    cell: GoesOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, broken_off, uploaded = recording(tmp_path, 1), recording(tmp_path, 3), recording(tmp_path, 4, synced=True)
    other = tmp_path / "wandb" / "offline-run-20260103_000000-other-123456"
    other.mkdir()
    write_told(cell.told, Told(2, (ended.name,)))
    mirror, run = opened(monkeypatch, tmp_path, cell)
    assert [path.is_dir() for path in (ended, broken_off, uploaded, other)] == [True, False, True, True]
    mirror.close(failed=False)
    assert [step for step, _ in run.rows] == [4, 6]


def test_online_the_server_says_where_to_go_on_and_what_waits_offline_is_told_instead(
    cell: GoesOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = recording(tmp_path, 1)
    write_told(cell.told, Told(4, (waiting.name,)))
    mirror, run = opened(monkeypatch, tmp_path, cell, mode="online", step=3)
    assert not waiting.exists()
    mirror.metrics({"train/loss": 9.0}, step=2)
    mirror.close(failed=False)
    assert [step for step, _ in run.rows] == [4, 6], "of step 2 the server has a row"
    assert read_told(cell.told) == Told(6, ())


def test_a_damaged_note_is_no_note_and_recordings_from_before_there_were_notes_count(
    cell: GoesOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = recording(tmp_path, 1)
    mirror, run = opened(monkeypatch, tmp_path, cell)
    mirror.metrics({"train/loss": 0.5}, step=8)
    mirror.close(failed=False)
    assert (before.is_dir(), run.rows) == (True, [(8, {"train/loss": 0.5})])
    cell.told.write_text(json.dumps({"step": "many"}))
    assert read_told(cell.told) == Told()
    _, run = opened(monkeypatch, tmp_path, cell)
    assert (before.is_dir(), [step for step, _ in run.rows]) == (False, [2, 4])
