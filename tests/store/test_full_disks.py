"""A disk that is full when a score, a journal line or a state is to be written: one line, and what is there stays."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amid.cells.cell import Cell
from amid.digests.fingerprint import FileDigests
from amid.store import Score, Store
from amid.store.claims import held
from amid.store.files import NoSpaceError
from amid.store.journal import JournalFile
from amid.store.scores import read_scores

pytestmark = pytest.mark.faults
CELL = Cell("aaaaaaaaaaaa", {"amid": {"alpha": -5}}, {})
SCORES = [Score(CELL.id, "dolly", "g1", f"s{seed}", seed, "rouge_l", 25.0, 500) for seed in (10, 20)]


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def scored(store: Store) -> None:
    store.write(CELL, SCORES)


def journalled(store: Store) -> None:
    journal = JournalFile(store.journal_path(CELL), check=store.guard(CELL))
    for step in range(2, 200):  # the block that the file has already holds some
        journal.add(step, {"train/loss": 1.0, **{f"diagnostics/{number}": 1.0 for number in range(20)}})


def stated(store: Store) -> None:
    store.set_status(CELL, "done")


@pytest.mark.parametrize("write", [scored, journalled, stated])
def test_a_full_disk_costs_what_was_being_written_and_nothing_else(write: Callable[[Store], None], disk: Path) -> None:
    store = Store(disk / "results")
    with held(store.claim(CELL)):  # type: ignore[arg-type]
        store.write(CELL, SCORES[:1])
        JournalFile(store.journal_path(CELL), check=store.guard(CELL)).add(1, {"train/loss": 2.0})
        with full(disk), pytest.raises(NoSpaceError, match="no space left: 1 MB needed at .*what is on disk is kept"):
            write(store)
    assert store.state(CELL) == "stopped"
    assert read_scores(store.folder(CELL)) == SCORES[:1]
    with held(store.claim(CELL)):  # type: ignore[arg-type]
        write(store)
        JournalFile(store.journal_path(CELL), check=store.guard(CELL)).add(1, {"train/loss": 2.0})
        assert store.journal_path(CELL).read_bytes().count(b'"step": 1,') == 1
        store.write(CELL, SCORES)
    assert read_scores(store.folder(CELL)) == SCORES
    assert not list(disk.rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["flipped", "torn", "a folder"])
def test_a_damaged_memory_of_digests_costs_time_only(damage: str, tmp_path: Path) -> None:
    cache, file = tmp_path / "cache", tmp_path / "data.jsonl"
    file.write_text("{}\n")
    digest = FileDigests(cache).file(file)
    (memory,) = cache.iterdir()
    content = memory.read_bytes()
    if damage == "a folder":
        memory.unlink()
        memory.mkdir()
    else:
        at = len(content) // 2
        rest = bytes([content[at] ^ 1]) + content[at + 1 :] if damage == "flipped" else b""
        memory.write_bytes(content[:at] + rest)
    assert FileDigests(cache).file(file) == digest
