"""A sweep in one file: the same bytes again, readable elsewhere, and no way out of it for what is hostile."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from small_stores import TEACHER, TOKENIZER, cell_of_alpha, small_store

from amid.cli import app as cli
from amid.digests.seals import DamagedError, seal
from amid.errors import RequestError, RunError
from amid.store import Entry, Store
from amid.store.bundle import CONTENTS

CELL = cell_of_alpha(1.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return small_store(tmp_path / "results")[0]


def bundled(store: Store, target: Path, *, models: bool = False) -> Path:
    cli.bundle(sweep="demo", file=target, models=models, results=store.root)
    return target


def table(store: Store, capsys: pytest.CaptureFixture[str], style: str) -> str:
    capsys.readouterr()
    cli.table(name="demo", results=store.root, style=style, metric=None)
    return capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["tar.gz", "tgz", "zip"])
@pytest.mark.parametrize("models", [False, True])
def test_a_bundle_is_read_elsewhere_with_the_same_table(
    suffix: str, models: bool, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundled(store, tmp_path / f"b.{suffix}", models=models)
    other = Store(tmp_path / "elsewhere")
    cli.merge(source=path, results=other.root)
    for style in ("text", "json", "csv"):
        assert table(other, capsys, style) == table(store, capsys, style)
    assert other.state(CELL) == "done" and other.is_pruned(CELL) == (not models)
    assert other.state(TOKENIZER) == "done", "what the stages are made from is in it"
    assert [path.name for path in other.root.iterdir() if path.name.startswith(".")] == []
    cli.show(entry=CELL.id, results=other.root)
    assert f"answer 0 of {CELL.id}" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_the_same_sweep_is_the_same_bytes(suffix: str, store: Store, tmp_path: Path) -> None:
    first = bundled(store, tmp_path / f"one.{suffix}").read_bytes()
    shutil.copytree(store.root, tmp_path / "moved")  # other times, another folder
    assert bundled(Store(tmp_path / "moved"), tmp_path / f"two.{suffix}").read_bytes() == first


def test_a_bundle_of_a_sweep_leaves_out_what_belongs_to_others(store: Store, tmp_path: Path) -> None:
    (store.folder(CELL) / "wandb").mkdir()
    (store.folder(CELL) / "wandb" / "secret").write_text("x")
    (store.root / "notes.txt").write_text("x")
    with tarfile.open(bundled(store, tmp_path / "b.tgz")) as tar:
        names = tar.getnames()
        owners = {(each.uid, each.gid, each.mtime, each.uname) for each in tar.getmembers()}
    assert names[0] == CONTENTS and names[1:] == sorted(names[1:])
    assert not [name for name in names if "claims" in name or "wandb" in name or "model/" in name or "notes" in name]
    assert owners == {(0, 0, 0, "")}


RUN = "offline-run-20260101_120000-abc-123456"


def record_offline(store: Store, entry: Entry = CELL) -> Path:
    """What W&B leaves beside a cell or stage: its record, a table, logs, and links to the latest run."""
    run = store.folder(entry) / "wandb" / RUN
    for name in ("run-abc-123456.wandb", "files/media/table/generations_1_ab.table.json", "logs/debug.log"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    (run.parent / "latest-run").symlink_to(RUN)
    (run / "logs" / "debug-core.log").symlink_to("/etc/hostname")
    return run


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_offline_runs_come_when_asked_for_and_are_said_when_left_out(
    suffix: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_offline(store)
    record_offline(store, TEACHER)
    cli.bundle(sweep="demo", file=tmp_path / f"without.{suffix}", results=store.root)
    assert "left out: 2 offline W&B runs, which name this machine" in capsys.readouterr().out
    cli.bundle(sweep="demo", file=tmp_path / f"with.{suffix}", wandb=True, results=store.root)
    assert "left out" not in capsys.readouterr().out
    without, taken = Store(tmp_path / "without"), Store(tmp_path / "with")
    cli.merge(source=tmp_path / f"without.{suffix}", results=without.root)
    assert not (without.folder(CELL) / "wandb").exists()
    cli.merge(source=tmp_path / f"with.{suffix}", results=taken.root)
    run = taken.folder(CELL) / "wandb" / RUN
    files = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    assert files == ["files/media/table/generations_1_ab.table.json", "run-abc-123456.wandb"]
    assert (taken.folder(TEACHER) / "wandb" / RUN / "run-abc-123456.wandb").is_file()
    cli.merge(source=tmp_path / f"with.{suffix}", results=without.root)
    assert (without.folder(CELL) / "wandb" / RUN / "run-abc-123456.wandb").is_file(), "into a cell that is finished"


def test_what_would_overwrite_or_is_no_archive_is_refused(store: Store, tmp_path: Path) -> None:
    path = bundled(store, tmp_path / "b.zip")
    with pytest.raises(RequestError, match="--overwrite replaces"):
        bundled(store, path)
    cli.bundle(sweep="demo", file=path, overwrite=True, results=store.root)
    with pytest.raises(RequestError, match=r"ends in \.tar\.gz, \.tgz, \.zip"):
        bundled(store, tmp_path / "b.rar")
    with pytest.raises(RequestError, match="there is no folder"):
        bundled(store, tmp_path / "no" / "b.zip")


def test_what_is_damaged_or_worked_on_is_not_bundled(store: Store, tmp_path: Path) -> None:
    claim = store.claim_done(CELL)
    assert claim is not None
    with pytest.raises(RunError, match=f"a process works on .*{CELL.id}"):
        bundled(store, tmp_path / "b.zip")
    claim.release()
    (store.folder(CELL) / "status.json").write_text("{")
    with pytest.raises(DamagedError, match="status.json"):
        bundled(store, tmp_path / "b.zip")
    assert not list(tmp_path.glob("*b.zip*"))


# Hostile files


def repacked(path: Path, target: Path, *, extra: str = "", link: str = "", drop: str = "") -> Path:
    """The bundle with one member more, or one that is a link, or one less."""
    with tarfile.open(path) as tar, tarfile.open(target, "w:gz") as made:
        for member in tar.getmembers():
            if drop and drop in member.name:
                continue
            made.addfile(member, tar.extractfile(member))
        if extra:
            info = tarfile.TarInfo(extra)
            info.size = 4
            made.addfile(info, io.BytesIO(b"evil"))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            made.addfile(info)
    return target


@pytest.mark.parametrize(
    "extra",
    [
        "../outside",
        "/tmp/outside",
        "texts/../../outside",
        f"{CELL.id}/model/../../../outside",
        f"{CELL.id}/model/./x",
        f"{CELL.id}/claims/000001.json",
        "notes.txt",
        "sweeps/../demo.json",
        "stages\\x",
        f"{CELL.id}/model//x",
        f"{CELL.id}/wandb/offline-run-1/../../x",
        f"{CELL.id}/wandb/{RUN}/logs/debug.log",
        f"{CELL.id}/wandb/settings",
    ],
)
def test_a_name_that_leads_out_or_is_foreign_is_refused_and_nothing_is_written(
    extra: str, store: Store, tmp_path: Path
) -> None:
    path = repacked(bundled(store, tmp_path / "b.tgz"), tmp_path / "evil.tgz", extra=extra)
    refused(path, tmp_path, "which no bundle of ours does")


@pytest.mark.parametrize("link", ["texts/0123456789abcdef.jsonl", f"{CELL.id}/cell.yaml"])
def test_a_link_is_refused(link: str, store: Store, tmp_path: Path) -> None:
    refused(
        repacked(bundled(store, tmp_path / "b.tgz"), tmp_path / "evil.tgz", link=link), tmp_path, "no bundle of ours"
    )


def test_a_link_in_a_zip_file_is_refused(store: Store, tmp_path: Path) -> None:
    path = bundled(store, tmp_path / "b.zip")
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("texts/0123456789abcdef.jsonl")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refused(path, tmp_path, "which no bundle of ours does")


def test_a_file_that_was_not_bundled_or_is_missing_is_refused(store: Store, tmp_path: Path) -> None:
    path = bundled(store, tmp_path / "b.tgz")
    extra = repacked(path, tmp_path / "more.tgz", extra="texts/0123456789abcdef.jsonl")
    refused(extra, tmp_path, "is not what was bundled")
    refused(repacked(path, tmp_path / "less.tgz", drop="scores.jsonl"), tmp_path, "files are missing")
    refused(repacked(path, tmp_path / "none.tgz", drop=CONTENTS), tmp_path, "is no bundle of ours")


@pytest.mark.parametrize("suffix", ["tgz", "zip"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_bundle_is_one_line_and_nothing_is_written(
    suffix: str, share: float, store: Store, tmp_path: Path
) -> None:
    data = bundled(store, tmp_path / f"b.{suffix}").read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(data[: int(len(data) * share)])
    refused(cut, tmp_path, "bundle")


@pytest.mark.parametrize("suffix", ["tgz", "zip"])
def test_a_changed_byte_is_found(suffix: str, store: Store, tmp_path: Path) -> None:
    data = bytearray(bundled(store, tmp_path / f"b.{suffix}").read_bytes())
    data[len(data) // 2] ^= 255
    changed = tmp_path / f"changed.{suffix}"
    changed.write_bytes(data)
    refused(changed, tmp_path, "bundle")


@pytest.mark.parametrize("contents", [b"{}", b"\x00", seal({"bundle": 7, "files": {}}).encode(), b'{"bundle": 1}'])
def test_an_archive_with_other_contents_is_no_bundle(contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(CONTENTS, contents)
    refused(path, tmp_path, "is no bundle of ours")


def refused(path: Path, tmp_path: Path, said: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RequestError, match=said) as caught:
        cli.merge(source=path, results=tmp_path / "elsewhere")
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
