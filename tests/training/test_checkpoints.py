"""Checkpoints: there is a sound one at every moment, and what is half written never counts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from amid.digests.seals import check_zip
from amid.errors import TakenOverError
from amid.store.files import NoSpaceError
from amid.training.checkpoints import BEST, LAST, PREVIOUS, KeepLast, SealedCheckpointIO, intact_checkpoint


def allow() -> None:
    """The check of a process that owns what it writes."""


def refuse() -> None:
    raise TakenOverError("taken over")


def state(step: int) -> dict[str, Any]:
    return {"global_step": step, "state_dict": {"weight": torch.full((4,), float(step))}, "callbacks": {}}


def save(folder: Path, name: str, step: int, *, check: Any = allow) -> Path:
    SealedCheckpointIO(check).save_checkpoint(state(step), folder / name)
    return folder / name


def step_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["global_step"])


def test_a_saved_checkpoint_is_sealed_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = save(tmp_path, LAST, 3)
    assert check_zip(path, remedy="")
    assert [each.name for each in tmp_path.iterdir()] == [LAST]


def test_the_one_before_is_kept_also_when_a_kill_came_between_the_two(tmp_path: Path) -> None:
    save(tmp_path, LAST, 1)
    keep = KeepLast(tmp_path, every_steps=None, check=allow)
    killed = SimpleNamespace(is_global_zero=True, save_checkpoint=lambda path: None)
    for _ in range(2):  # the second finds both names on one file
        keep._save(killed)  # type: ignore[arg-type]
        assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, PREVIOUS]
    whole = SimpleNamespace(is_global_zero=True, save_checkpoint=lambda path: save(tmp_path, LAST, 2))
    keep._save(whole)  # type: ignore[arg-type]
    assert (step_of(tmp_path / LAST), step_of(tmp_path / PREVIOUS)) == (2, 1)


def test_a_process_that_lost_the_folder_replaces_neither_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, LAST, 2)
    save(tmp_path, PREVIOUS, 1)
    with pytest.raises(TakenOverError):
        save(tmp_path, LAST, 3, check=refuse)
    trainer = SimpleNamespace(is_global_zero=True, save_checkpoint=lambda path: None)
    with pytest.raises(TakenOverError):
        KeepLast(tmp_path, every_steps=None, check=refuse)._save(trainer)  # type: ignore[arg-type]
    assert (step_of(tmp_path / LAST), step_of(tmp_path / PREVIOUS)) == (2, 1)
    assert not list(tmp_path.glob(f".{LAST}*"))


def test_a_full_disk_leaves_the_old_checkpoint_and_says_what_the_new_one_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, LAST, 2)

    def full(checkpoint: Any, target: Path) -> None:
        target.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr("amid.store.files.shutil.disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    large = {**state(3), "optimizer_states": [{"moments": (torch.zeros(500_000), torch.zeros(500_000))}]}
    with pytest.raises(NoSpaceError, match=f"no space left: 5 MB needed at {path}"):
        SealedCheckpointIO(allow).save_checkpoint(large, path)
    assert step_of(path) == 2
    assert [each.name for each in tmp_path.iterdir()] == [LAST]


def test_what_killed_writers_left_is_removed_before_a_run_goes_on(tmp_path: Path) -> None:
    save(tmp_path, LAST, 2)
    (tmp_path / f".{LAST}.0123abcd.7.7.tmp").write_bytes(b"half")
    assert intact_checkpoint(tmp_path, check=allow) == tmp_path / LAST
    assert [each.name for each in tmp_path.iterdir()] == [LAST]


def test_a_checkpoint_from_before_seals_is_used_if_it_can_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(state(2), tmp_path / LAST)
    torch.save(state(1), tmp_path / PREVIOUS)
    assert intact_checkpoint(tmp_path, check=allow) == tmp_path / LAST
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(whole[: len(whole) // 2])
    assert intact_checkpoint(tmp_path, check=allow) == tmp_path / PREVIOUS
    assert f"{tmp_path / LAST} is damaged" in caplog.text


def test_without_any_checkpoint_training_begins_anew(tmp_path: Path) -> None:
    assert intact_checkpoint(tmp_path, check=allow) is None


def test_best_weights_that_are_not_there_are_those_of_no_checkpoint(tmp_path: Path) -> None:
    known = {**state(4), "callbacks": {"ModelCheckpoint{}": {"best_model_path": str(tmp_path / BEST)}}}
    SealedCheckpointIO(allow).save_checkpoint(known, tmp_path / LAST)
    assert intact_checkpoint(tmp_path, check=allow) is None
