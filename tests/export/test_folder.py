"""The folder of an export: whole or not there, whatever ended the one before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amid.digests.seals import seal
from amid.errors import RunError
from amid.export.folder import MARKER, holds, new_folder, read_marker
from amid.store.owners import own_identity

ABOUT = {"cell": "c" * 12, "options": {"dtype": "float32"}}


def write(target: Path, text: str, *, overwrite: bool = False) -> None:
    with new_folder(target, about=ABOUT, overwrite=overwrite, num_bytes=10) as folder:
        (folder / "a.txt").write_text(text)


def left_behind(target: Path, *, pid: int, **folders: str) -> Path:
    """What an export that was killed, or runs, has beside its target."""
    work = target.with_name(f".{target.name}.partial-0123")
    for name, text in folders.items():
        (work / name).mkdir(parents=True)
        (work / name / "a.txt").write_text(text)
    (work / "owner.json").write_text(seal({**own_identity(), "pid": pid}))
    return work


def test_a_folder_says_what_made_it(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "out", "one")
    marker = read_marker(tmp_path / "deep" / "out")
    assert marker is not None
    assert (marker["cell"], marker["files"]) == (ABOUT["cell"], ["a.txt"])
    assert holds(tmp_path / "deep" / "out", ABOUT["cell"], {"dtype": "float32"})
    assert not holds(tmp_path / "deep" / "out", "d" * 12, {"dtype": "float32"})
    with pytest.raises(ValueError, match=r"holds an export with other options \(dtype float32\)"):
        holds(tmp_path / "deep" / "out", ABOUT["cell"], {"dtype": "float16"})
    assert read_marker(tmp_path) is None
    path = tmp_path / "deep" / "out" / MARKER
    path.write_text(json.dumps({"kind": "another program", "cell": "", "options": {}, "files": []}))
    assert read_marker(tmp_path / "deep" / "out") is None


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "one")
    assert (tmp_path / "out" / "a.txt").read_text() == "one"


def test_what_a_killed_export_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    target = tmp_path / "out"
    work = left_behind(target, pid=2**22 + 1, folder="half")  # beyond the largest number of a process
    write(target, "one")
    assert not work.exists()
    work = left_behind(tmp_path / "other", pid=own_identity()["pid"], folder="half")
    write(tmp_path / "other", "one")
    assert (work / "folder" / "a.txt").read_text() == "half"


def test_an_export_killed_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write(target, "one")
    work = target.with_name(".out.partial-0123")
    work.mkdir()
    target.rename(work / "before")
    (work / "owner.json").write_text(seal({**own_identity(), "pid": 2**22 + 1}))
    with pytest.raises(KeyboardInterrupt), new_folder(target, about=ABOUT, overwrite=True, num_bytes=10):
        raise KeyboardInterrupt
    assert (target / "a.txt").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    write(target, "two", overwrite=True)
    assert (target / "a.txt").read_text() == "two"


def test_a_place_that_cannot_be_written_is_one_line() -> None:
    with pytest.raises(RunError, match="/proc/nowhere cannot be written"):
        write(Path("/proc/nowhere/out"), "one")
