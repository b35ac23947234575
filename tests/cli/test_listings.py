"""What `amid status` and `amid table` say of a store: at once, of every cell, whatever is damaged or runs elsewhere."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.cli import app as cli
from amid.digests.seals import DamagedError, seal
from amid.errors import RequestError
from amid.evaluation.protocol import Protocol, SetProtocol
from amid.generation.decoding import Decoding
from amid.reports import states
from amid.store import Score, Store, files, watch
from amid.store.claims import held
from amid.store.files import file_system_now
from amid.store.layout import scores_path, status_path

DECODING = Decoding(max_new_tokens=12)
SETS = {"dolly": SetProtocol("d", "alpaca", 100, DECODING, (10, 20), "rouge_l", ("rouge_l",))}
PROTOCOL = Protocol(sets=SETS, validation=None)
TEACHER = Stage("teacher", "t" * 12, {})
IDS = [letter * 12 for letter in "abc"]


def manifest(ids: list[str]) -> dict[str, Any]:
    return {
        "name": "demo",
        "rows": ["amid.alpha"],
        "metric": None,
        "protocols": {"p": PROTOCOL.manifest()},
        "references": [{"kind": "teacher", "id": TEACHER.id, "pair": "tiny", "protocol": "p"}],
        "cells": [
            {"id": id_, "overrides": [], "labels": {"amid.alpha": str(index)}, "protocol": "p"}
            for index, id_ in enumerate(ids)
        ],
    }


def cell(id_: str) -> Cell:
    return Cell(id_, {"id": id_}, {"teacher": TEACHER, "student_init": TEACHER})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A sweep of three finished cells and their teacher, which is not there."""
    store = Store(tmp_path / "results")
    store.write_sweep("demo", manifest(IDS))
    for value, id_ in enumerate(IDS):
        with held(claimed(store, id_)):
            scores = [
                Score(id_, "dolly", PROTOCOL.generation_id(id_, "dolly", seed), f"{seed}", seed, "rouge_l", value, 4)
                for seed in (10, 20)
            ]
            store.write(cell(id_), scores)
            store.set_status(cell(id_), "done", seconds=3)
    return store


def claimed(store: Store, id_: str) -> Any:
    claim = store.claim(cell(id_))
    assert claim is not None
    return claim


def foreign(store: Store, id_: str, *, silent_s: float) -> Path:
    """A cell that a process on another host runs, whose last sign of life is so old."""
    folder = store.folder(cell(id_))
    path = folder / "claims" / "000001.json"
    path.parent.mkdir(parents=True)
    status_path(folder).write_text(seal({"state": "running", "attempt": 1}))
    path.write_text(seal({"host": "host-b/boot", "pid": 12, "started": "1", "heartbeat": 4}))
    now = file_system_now(store.root)
    assert now is not None
    os.utime(path, (now - silent_s, now - silent_s))
    return path


def flip(path: Path, byte: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], store: Store) -> Callable[[str], tuple[list[str], list[str]]]:
    """Runs `amid status` or `amid table`; its lines on stdout and on stderr."""

    def said(command: str) -> tuple[list[str], list[str]]:
        getattr(cli, command)(**({"style": "text", "metric": None} if command == "table" else {}), **where(store))
        captured = capsys.readouterr()
        return captured.out.splitlines(), captured.err.splitlines()

    return said


def where(store: Store) -> dict[str, Any]:
    return {"name": None, "results": store.root}


Said = Callable[[str], tuple[list[str], list[str]]]


def garble(path: Path) -> None:
    path.write_bytes(b"\x00\xff" * 20)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one_bit(path: Path) -> None:
    flip(path, 20)


@pytest.mark.parametrize("damage", [garble, half, one_bit])
def test_a_damaged_status_is_shown_as_damaged_and_hides_no_other_cell(
    damage: Callable[[Path], None], store: Store, said: Said
) -> None:
    path = status_path(store.folder(cell(IDS[1])))
    damage(path)
    lines, _ = said("status")
    assert [line.split()[1] for line in lines[2:]] == ["done", "damaged", "done"]
    assert f"{path} is damaged" in lines[3]
    table, errors = said("table")
    rows = [line.split() for line in table if line[:1].isdigit()]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert rows[1][1] == "[damaged]"
    assert len(errors) == 1 and f"{path} is damaged" in errors[0]


def test_a_damaged_score_is_a_gap_and_named_and_hides_no_other_number(store: Store, said: Said) -> None:
    path = scores_path(store.folder(cell(IDS[2])))
    flip(path, 30)
    lines, _ = said("status")
    assert [line.split()[1] for line in lines[2:]] == ["done", "done", "damaged"]
    assert f"{path} is damaged (line 1: its digest does not match); repeat the command that scored it" in lines[4]
    table, errors = said("table")
    assert "2.00 (1/2)" in "\n".join(table)
    assert [line for line in errors if str(path) in line]


def test_a_damaged_claim_or_attempt_hides_nothing(store: Store, said: Said) -> None:
    before = said("status"), said("table")
    for path in store.folder(cell(IDS[0])).rglob("claims/*.json"):
        garble(path)
    garble(store.folder(cell(IDS[0])) / "provenance.jsonl")
    assert (said("status"), said("table")) == before


def test_a_damaged_manifest_is_one_line_with_what_can_be_read_instead(store: Store, said: Said) -> None:
    store.write_sweep("other", {**manifest([]), "name": "other"})
    garble(store.sweep_path("other"))
    with pytest.raises(DamagedError, match=r"other.json is damaged .*others can be read by name: demo"):
        said("status")
    cli.status(name="demo", results=store.root)


@pytest.mark.parametrize("changed", [{"protocols": {"p": {}}}, {"references": 3}, {"cells": [{}]}])
def test_a_manifest_without_what_a_manifest_has_is_one_line(changed: dict[str, Any], store: Store, said: Said) -> None:
    store.sweep_path("demo").write_text(json.dumps({**manifest(IDS), **changed}))  # from before seals
    with pytest.raises((DamagedError, RequestError)):
        said("table")


def test_a_store_from_before_seals_is_called_unverified_in_one_line(store: Store, said: Said) -> None:
    assert not [line for line in said("status")[0] if "unverified" in line]
    for id_ in IDS[:2]:
        status_path(store.folder(cell(id_))).write_text('{"state": "done", "attempt": 1}')
    lines, _ = said("status")
    assert [line for line in lines if "unverified" in line] == [
        "unverified: 2 of 4 were written before digests were kept"
    ]


def test_a_running_cell_shows_its_owner_and_last_sign_of_life(store: Store, said: Said) -> None:
    store.write_sweep("demo", manifest([*IDS, "d" * 12, "e" * 12]))
    foreign(store, "d" * 12, silent_s=3)
    foreign(store, "e" * 12, silent_s=241)
    lines, _ = said("status")
    assert "process 12 on host-b, last sign of life: 3 s ago" in lines[5]
    assert "process 12 on host-b, last sign of life: 241 s ago" in lines[6]
    assert [line.split()[1] for line in lines[5:]] == ["running", "running"]
    assert "[running]" in "\n".join(said("table")[0]) or "running" in "\n".join(said("table")[0])


def test_in_a_store_that_cannot_be_written_the_last_sign_of_life_is_unknown(
    store: Store, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_sweep("demo", manifest(["d" * 12]))
    foreign(store, "d" * 12, silent_s=3)
    for module in (watch, files, states):
        monkeypatch.setattr(module, "file_system_now", lambda folder: None)
    assert "last sign of life: unknown" in said("status")[0][-1]


@pytest.mark.parametrize("command", ["status", "table"])
def test_a_hundred_cells_running_elsewhere_are_listed_without_waiting_for_any(
    command: str, store: Store, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"{index:012x}" for index in range(100)]
    store.write_sweep("demo", manifest(ids))
    for index, id_ in enumerate(ids):
        foreign(store, id_, silent_s=3.0 * index)
    asked: list[Path] = []

    def counted(folder: Path) -> float | None:
        asked.append(folder)
        return file_system_now(folder)

    def wait(_: float) -> None:
        raise AssertionError("a listing waits for nobody")

    for module in (watch, files, states):
        monkeypatch.setattr(module, "file_system_now", counted)
    monkeypatch.setattr(time, "sleep", wait)
    lines, _ = said(command)
    assert len([line for line in "\n".join(lines).splitlines() if " running" in line]) == 100
    assert len(asked) <= 1  # each one writes a file
    assert not [path for path in store.root.rglob("*") if path.name.startswith(".")]
