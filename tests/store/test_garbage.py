"""What may be freed: nothing that is needed, nothing that is held, and nothing without being told."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from small_stores import TEACHER, TOKENIZER, cell_of_alpha, finish, small_store, stage_of, sweep_of

from amid.cli import app as cli
from amid.digests.seals import DamagedError
from amid.errors import RunError
from amid.store import Store, garbage
from amid.store.claims import held
from amid.store.garbage import garbage_in, models_in
from amid.store.layout import INCOMING, checkpoints_path

OTHER = stage_of("teacher", tokenizer="ffffffffffff", other=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A finished sweep; a teacher that nobody needs; checkpoints and leftovers."""
    store, cells = small_store(tmp_path / "results")
    finish(store, OTHER)
    checkpoints_path(store.folder(cells[0])).mkdir()
    (checkpoints_path(store.folder(cells[0])) / "step.ckpt").write_bytes(b"x" * 1000)
    (store.folder(cells[1]) / "model.partial-3").mkdir()
    (store.folder(cells[1]) / ".scores.jsonl.ab.1.1.tmp").write_text("half")
    return store


def paths(store: Store) -> set[str]:
    return {str(each.path.relative_to(store.root)) for each in garbage_in(store)}


def everything(store: Store) -> list[str]:
    return sorted(str(path) for path in store.root.rglob("*"))


def test_only_what_nobody_needs_is_listed_and_nothing_is_deleted(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = cell_of_alpha(-1.0).id, cell_of_alpha(1.0).id
    expected = {
        f"stages/teacher-{OTHER.id}",
        f"{first}/checkpoints",
        f"{second}/model.partial-3",
        f"{second}/.scores.jsonl.ab.1.1.tmp",
    }
    assert paths(store) == expected
    before = everything(store)
    cli.gc(results=store.root)
    assert everything(store) == before
    said = capsys.readouterr().out
    assert all(path in said for path in expected)
    assert "1.0 KB" in said and "nothing is deleted without --delete" in said and "models of finished cells" in said


def test_deleting_frees_what_was_listed_and_leaves_every_result(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.table(name=None, results=store.root, style="text", metric=None)
    table = capsys.readouterr().out
    cli.gc(delete=True, results=store.root)
    assert "freed" in capsys.readouterr().out
    assert paths(store) == set()
    assert not store.folder(OTHER).exists() and store.folder(TEACHER).is_dir()
    assert not list(store.root.rglob(INCOMING))
    cli.table(name=None, results=store.root, style="text", metric=None)
    assert capsys.readouterr().out == table
    cli.gc(delete=True, results=store.root)
    assert "nothing to free" in capsys.readouterr().out


def test_models_of_finished_cells_go_only_when_told_and_leave_a_pruned_cell(store: Store) -> None:
    cell = cell_of_alpha(1.0)
    assert {each.path for each in models_in(store)} == {store.model_folder(cell_of_alpha(a)) for a in (-1.0, 1.0)}
    cli.gc(delete=True, results=store.root)
    assert store.is_finished(cell) and not store.is_pruned(cell)
    cli.gc(delete=True, models=True, results=store.root)
    assert store.is_pruned(cell) and store.state(cell) == "done"
    assert store.model_folder(TEACHER).is_dir() and store.model_folder(TOKENIZER).is_dir()


def test_what_a_process_holds_is_not_even_listed(store: Store) -> None:
    cell = cell_of_alpha(-1.0)
    claim = store.claim_done(cell)
    assert claim is not None
    with held(claim):
        assert f"{cell.id}/checkpoints" not in paths(store)
        assert cell.id not in {each.entry.name for each in models_in(store) if each.entry}


def test_what_is_claimed_between_the_look_and_the_deletion_is_left(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "try_claim", lambda folder: None)
    with pytest.raises(RunError, match="4 of 4 were left: .*a process works on it now"):
        cli.gc(delete=True, results=store.root)
    assert store.folder(OTHER).is_dir()
    assert "freed 0 B" in capsys.readouterr().out


def test_a_stage_of_a_cell_that_is_only_planned_is_needed(store: Store) -> None:
    manifest = sweep_of("later", [cell_of_alpha(9.0)])
    manifest["references"][0]["id"] = OTHER.id
    store.write_sweep("later", manifest)
    assert f"stages/teacher-{OTHER.id}" not in paths(store)


def test_what_a_stage_is_made_from_is_needed_as_it_is(store: Store) -> None:
    for path in store.layout.sweeps():
        path.unlink()
    assert f"stages/tokenizer-{TOKENIZER.id}" not in paths(store)  # the cells' students are made from it
    for id_ in store.layout.cells():
        shutil.rmtree(store.root / id_)
    assert f"stages/tokenizer-{TOKENIZER.id}" in paths(store)


@pytest.mark.parametrize("what", ["manifest", "cell"])
def test_where_nobody_knows_what_is_needed_nothing_is_freed(what: str, store: Store) -> None:
    damaged = store.sweep_path("demo") if what == "manifest" else store.folder(cell_of_alpha(1.0)) / "cell.yaml"
    damaged.write_bytes(b"\x00: [")
    with pytest.raises(DamagedError, match=damaged.name):
        cli.gc(delete=True, results=store.root)
    assert store.folder(OTHER).is_dir()


def test_leftovers_beside_the_entries_go_when_they_are_old(store: Store) -> None:
    old, young = store.root / "requests" / ".a.yaml.x.1.1.tmp", store.root / "sweeps" / ".b.json.x.1.1.tmp"
    incoming = store.root / INCOMING / "bundle" / "file"
    for path in (old, young, incoming):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    for path in (old, incoming, incoming.parent, incoming.parent.parent):
        os.utime(path, (1.0, 1.0))
    assert {"requests/.a.yaml.x.1.1.tmp", INCOMING} <= paths(store)
    assert "sweeps/.b.json.x.1.1.tmp" not in paths(store)
