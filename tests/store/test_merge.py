"""Taking over another machine's results: what is new comes whole, what differs is left, a kill costs nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_stores import SEEDS, STUDENT, TEACHER, cell_of_alpha, finish, score, small_store, sweep_of

from amid.cli import app as cli
from amid.digests.seals import seal
from amid.errors import RequestError, RunError
from amid.store import Store, incoming
from amid.store.claims import held
from amid.store.layout import INCOMING, scores_path, status_path
from amid.store.owners import own_identity, started

CELL = cell_of_alpha(1.0)


@pytest.fixture
def there(tmp_path: Path) -> Store:
    return small_store(tmp_path / "there")[0]


@pytest.fixture
def here(tmp_path: Path) -> Store:
    return Store(tmp_path / "here")


def merge(there: Store, here: Store) -> None:
    cli.merge(source=there.root, results=here.root)


def tree(store: Store, *, apart: tuple[str, ...] = ("claims",)) -> dict[str, bytes]:
    """Relative path -> content of every file, apart from claims."""
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file() and not set(apart) & set(path.parts)
    }


def held_elsewhere(store: Store) -> None:
    """CELL is held by the process that started this one."""
    folder = store.folder(CELL)
    (folder / "claims").mkdir(parents=True, exist_ok=True)
    identity = {**own_identity(), "pid": os.getppid(), "started": started(os.getppid())}
    (folder / "claims" / "000009.json").write_text(seal({**identity, "heartbeat": 0}))
    status_path(folder).write_text(seal({"state": "running", "attempt": 9}))


def test_a_merge_into_an_empty_store_is_the_same_store_and_repeated_changes_nothing(
    there: Store, here: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    merge(there, here)
    assert capsys.readouterr().out.splitlines() == [
        "stages:   3 new",
        "cells:    2 new",
        "texts:    1 new",
        "requests: none",
        "sweeps:   1 new",
    ]
    assert tree(here) == tree(there)
    assert not list(here.root.rglob(INCOMING))
    assert here.is_finished(CELL)
    before = {path: path.stat().st_mtime_ns for path in here.root.rglob("*")}
    merge(there, here)
    assert "2 nothing new" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in here.root.rglob("*") if path != here.root} == {
        path: time for path, time in before.items() if path != here.root
    }


def test_a_finished_cell_replaces_an_unfinished_one_and_an_unfinished_one_none(there: Store, here: Store) -> None:
    claim = here.claim(CELL)
    assert claim is not None
    (here.folder(CELL) / "checkpoints").mkdir()
    claim.release()
    merge(there, here)
    assert here.state(CELL) == "done" and here.is_finished(CELL)
    assert not (here.folder(CELL) / "checkpoints").exists()
    shutil.rmtree(there.folder(CELL))
    claim = there.claim(CELL)
    assert claim is not None
    claim.release()
    before = tree(here)
    merge(there, here)
    assert tree(here) == before


def test_an_unfinished_cell_comes_where_there_is_none_and_counts_as_stopped(there: Store, here: Store) -> None:
    other = cell_of_alpha(3.0)
    claim = there.claim(other)
    assert claim is not None
    claim.release()
    merge(there, here)
    assert here.state(other) == "stopped"


@pytest.mark.parametrize("what", ["weights", "score", "generation", "sweep", "texts"])
def test_a_conflict_is_shown_and_what_is_here_stays(
    what: str, there: Store, here: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    merge(there, here)
    capsys.readouterr()
    if what == "weights":
        shutil.rmtree(there.folder(CELL))
        finish(there, CELL, values=[10.0 + i for i in range(6)], validation=21.0, weights=b"others")
    elif what == "score":
        score(there, CELL, [10.0 + i for i in range(6)], seeds=SEEDS, validation=99.0)
    elif what == "generation":
        path = min(there.generations_folder(CELL).glob("*.jsonl"))
        path.write_text("".join(seal({"index": i, "response": "other", "ended": True}) + "\n" for i in range(6)))
    elif what == "sweep":
        there.write_sweep("demo", sweep_of("demo", [CELL]))
    else:
        (path,) = there.layout.all_texts()
        path.write_text(seal({"question": "other", "references": ["other"]}) + "\n")
    before = tree(here)
    with pytest.raises(RunError, match="conflict: |another one of that name is here") as caught:
        merge(there, here)
    assert "1 left in all, the rest is merged" in str(caught.value)
    assert "1 left" in capsys.readouterr().out
    assert tree(here) == before


def test_what_was_evaluated_more_there_is_added_here(there: Store, here: Store) -> None:
    finish(here, CELL, values=[10.0 + i for i in range(6)], seeds=SEEDS[:1])
    assert len(here.read([CELL])) == 1
    merge(there, here)
    assert len(here.read([CELL])) == 3
    assert all(here.has_per_example(CELL, each.score_id) for each in here.read([CELL]) if each.eval_set == "dolly")


def test_a_model_that_is_gone_here_comes_back_and_one_that_is_gone_there_is_no_news(there: Store, here: Store) -> None:
    merge(there, here)
    shutil.rmtree(here.model_folder(CELL))
    merge(there, here)
    assert here.is_finished(CELL) and not here.is_pruned(CELL)
    shutil.rmtree(there.model_folder(CELL))
    merge(there, here)
    assert here.is_finished(CELL)


@pytest.mark.parametrize("side", ["there", "here"])
def test_what_a_process_works_on_is_left_and_the_rest_comes(side: str, there: Store, here: Store) -> None:
    held_elsewhere(there if side == "there" else here)
    with pytest.raises(RunError, match=f"cell {CELL.id}: a process works on it {side}"):
        merge(there, here)
    assert here.state(cell_of_alpha(-1.0)) == "done"
    assert here.state(CELL) == ("absent" if side == "there" else "running")


def damage_score(store: Store) -> Path:
    path = scores_path(store.folder(CELL))
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    return path


def damage_model(store: Store) -> Path:
    path = store.model_folder(CELL) / "model.safetensors"
    path.write_bytes(b"weighty")
    return path


def damage_identity(store: Store) -> Path:
    path = store.folder(CELL) / "cell.yaml"
    path.write_text("amid: {alpha: 9}\n")
    return path


def make_link(store: Store) -> Path:
    path = store.folder(CELL) / "journal.jsonl"
    path.unlink()
    path.symlink_to(store.sweep_path("demo"))
    return path


@pytest.mark.parametrize("damage", [damage_score, damage_model, damage_identity, make_link])
def test_what_is_damaged_there_does_not_come(damage: Any, there: Store, here: Store) -> None:
    path = damage(there)
    with pytest.raises(RunError, match=path.name):
        merge(there, here)
    assert here.state(CELL) == "absent" and here.state(cell_of_alpha(-1.0)) == "done"
    assert not here.folder(CELL).exists()


def test_foreign_files_stay_where_they_are(there: Store, here: Store) -> None:
    for path in (there.root / "notes.txt", there.folder(CELL) / "wandb" / "x", there.root / "texts" / "notes.md"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("foreign")
    shutil.copytree(there.folder(CELL), there.root / "copy of a cell")
    with pytest.raises(RunError, match="copy of a cell: no cell and no stage is called so"):
        merge(there, here)
    assert here.is_finished(CELL)
    assert not [path for path in here.root.rglob("*") if path.name in ("notes.txt", "wandb", "notes.md")]


def record_offline(store: Store, name: str, text: str) -> Path:
    """The record of an offline W&B run beside CELL."""
    path = store.folder(CELL) / "wandb" / f"offline-run-{name}" / f"run-{name}.wandb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_offline_runs_come_along_and_none_is_overwritten(
    there: Store, here: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    record_offline(there, "first", "there")
    merge(there, here)
    mine = record_offline(here, "first", "as it was recorded here")
    record_offline(there, "second", "there")
    capsys.readouterr()
    merge(there, here)
    assert "cells:    1 added to, 1 nothing new" in capsys.readouterr().out
    assert mine.read_text() == "as it was recorded here"
    assert (mine.parents[1] / "offline-run-second" / "run-second.wandb").read_text() == "there"
    merge(there, here)
    assert "2 nothing new" in capsys.readouterr().out
    assert not list(here.root.rglob(INCOMING))


def test_offline_runs_of_an_unfinished_cell_that_is_replaced_stay(there: Store, here: Store) -> None:
    claim = here.claim(CELL)
    assert claim is not None
    claim.release()
    mine = record_offline(here, "unfinished", "here")
    record_offline(there, "finished", "there")
    merge(there, here)
    assert here.is_finished(CELL)
    assert mine.read_text() == "here"
    assert (mine.parents[1] / "offline-run-finished" / "run-finished.wandb").read_text() == "there"


@pytest.mark.parametrize("at", range(1, 8))
def test_killed_anywhere_no_half_entry_is_seen_and_the_next_merge_goes_on(
    at: int, there: Store, here: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_offline(there, "first", "there")
    claim = here.claim(CELL)  # one that is replaced
    assert claim is not None
    claim.release()
    count = 0
    rename, copy = Path.rename, incoming._copy

    class Killed(BaseException):
        pass

    def counted(function: Any) -> Any:
        def wrapped(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == at * 4:
                raise Killed
            return function(*arguments)

        return wrapped

    monkeypatch.setattr(Path, "rename", counted(rename))
    monkeypatch.setattr(incoming, "_copy", counted(copy))
    monkeypatch.setattr(incoming, "_clear", lambda store, folder: None)  # a kill clears nothing
    with pytest.raises(Killed):
        merge(there, here)
    for name, folder in here.layout.entries().items():
        if folder.name != CELL.id:
            incoming.check_entry(folder)
            assert here.layout.entries()[name]
    monkeypatch.undo()
    merge(there, here)
    assert tree(here) == tree(there)
    assert not list(here.root.rglob(INCOMING))


def test_one_merge_at_a_time(there: Store, here: Store) -> None:
    with incoming.receiving(here), pytest.raises(RunError, match="held by this very process"):
        merge(there, here)


def test_a_source_without_results_and_the_store_itself_are_refused(there: Store, here: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source, said in (("nowhere", "neither a results folder nor a bundle"), ("empty", "holds no cell")):
        with pytest.raises(RequestError, match=said):
            cli.merge(source=tmp_path / source, results=here.root)
    with pytest.raises(RequestError, match="is the results folder itself"):
        merge(there, there)
    assert not here.root.exists()


def test_an_entry_that_is_held_here_keeps_its_heartbeat_while_others_come(there: Store, here: Store) -> None:
    other = cell_of_alpha(7.0)
    claim = here.claim(other)
    assert claim is not None
    with held(claim):
        merge(there, here)
        claim.check()
    assert here.state(TEACHER) == here.state(STUDENT) == "done"
