"""Finding what is in a store: sweeps and single runs, states watched, ids shortened, older versions."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.cli import app as cli
from amid.cli.watching import watch_states
from amid.errors import RequestError
from amid.evaluation.protocol import Protocol
from amid.reports.states import States, states_of
from amid.store import Store
from amid.store.claims import held

PROTOCOL = Protocol(sets={}, validation=None)
TEACHER = Stage("teacher", "7" * 12, {"kind": "teacher", "cell_version": 2})
IDS = ["aaaaaaaaaaaa", "aabbbbbbbbbb", "cccccccccccc"]


def cell(id_: str, *, version: int = 2) -> Cell:
    return Cell(id_, {"id": id_, "cell_version": version}, {"teacher": TEACHER, "student_init": TEACHER})


def manifest(name: str, ids: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "rows": ["amid.alpha"],
        "metric": None,
        "protocols": {"p": PROTOCOL.manifest()},
        "references": [],
        "cells": [
            {"id": id_, "overrides": ["amid.alpha=1"], "labels": {"amid.alpha": "1"}, "protocol": "p"} for id_ in ids
        ],
    }


def finish(store: Store, each: Cell) -> None:
    claim = store.claim(each)
    assert claim is not None
    with held(claim):
        store.set_status(each, "done", seconds=3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A sweep with a cell that is done and one that failed, a single run, and an older cell that none of them names."""
    store = Store(tmp_path / "results")
    finish(store, cell(IDS[0]))
    claim = store.claim(cell(IDS[1]))
    assert claim is not None
    with held(claim):
        store.set_failed(cell(IDS[1]), "diverged", "Traceback")
    finish(store, cell(IDS[2]))
    finish(store, cell("dddddddddddd", version=1))
    store.write_sweep("demo", manifest("demo", [*IDS[:2], "eeeeeeeeeeee"]))
    store.write_sweep(f"run-{IDS[2]}", manifest(f"run-{IDS[2]}", IDS[2:]))
    return store


def test_every_sweep_and_single_run_is_listed_with_its_time_and_how_far_it_is(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.sweeps(results=store.root)
    _, _, demo, single, others = capsys.readouterr().out.splitlines()
    assert demo.split()[0] == "demo" and "1 of 3" in demo and "1 absent, 1 failed" in demo and "amid.alpha" in demo
    assert single.split()[0] == f"run-{IDS[2]}" and "1 of 1" in single and "single run: amid.alpha=1" in single
    assert others == "cells of none of these: dddddddddddd (amid show ID)"


def test_a_damaged_manifest_is_one_line_of_the_list(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.sweep_path("demo").write_bytes(b"\x00")
    cli.sweeps(results=store.root)
    lines = capsys.readouterr().out.splitlines()
    assert "1 of 1" in lines[2]
    assert "damaged" in lines[3] and "demo.json" in lines[3]


def test_an_empty_store_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.sweeps(results=tmp_path)
    assert capsys.readouterr().out == f"no sweep and no single run in {tmp_path}\n"


@pytest.mark.parametrize("name", ["ccc", "run-cc", f"run-{IDS[2]}"])
def test_a_single_run_is_found_by_how_its_id_begins(name: str, store: Store) -> None:
    assert store.read_sweep(name)["name"] == f"run-{IDS[2]}"


def test_a_name_that_somebody_chose_is_not_shortened_and_an_ambiguous_id_is_one_line(store: Store) -> None:
    with pytest.raises(RequestError, match="sweep 'dem' is not in .*valid: demo, run-cccccccccccc"):
        store.read_sweep("dem")
    store.write_sweep("run-cccccccccccd", manifest("run-cccccccccccd", []))
    with pytest.raises(RequestError, match="'ccc' names 2 sweeps \\(run-cccccccccccc, run-cccccccccccd\\)"):
        store.read_sweep("ccc")


def test_an_ambiguous_id_among_many_stays_one_line(store: Store) -> None:
    for number in range(30):
        finish(store, cell(f"f{number:011d}"))
    with pytest.raises(RequestError, match="'f' names 30 entries .* and 22 more") as caught:
        store.find_entry("f")
    assert len(str(caught.value)) < 500
    assert store.find_entry("aab").name == IDS[1]


def test_a_cell_of_an_older_version_is_shown_as_such(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.write_sweep("old", manifest("old", ["dddddddddddd", IDS[0]]))
    cli.status(name="old", results=store.root)
    _, old, today = capsys.readouterr().out.splitlines()
    assert "of version 1, today's is 2" in old
    assert "version" not in today
    cli.sweeps(results=store.root)
    assert "1 of an older version" in capsys.readouterr().out


def test_watching_ends_when_every_cell_has_ended_and_says_only_what_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    looks = [
        States(("sweep x", "a running  process 1, last sign of life: 1 s ago"), ended=False),
        States(("sweep x", "a running  process 1, last sign of life: 2 s ago"), ended=False),
        States(("sweep x", "a done"), ended=True),
    ]
    given = iter(looks)
    watch_states(lambda: next(given), every_s=0.0)
    assert capsys.readouterr().out.splitlines() == [*looks[0].lines, "a done"]
    assert next(given, None) is None


def test_watching_goes_on_while_a_cell_is_left(store: Store) -> None:
    assert not states_of(store.read_sweep("demo"), store).ended
    finish(store, cell("eeeeeeeeeeee"))
    assert states_of(store.read_sweep("demo"), store).ended


def test_on_a_terminal_the_states_are_redrawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    counted = itertools.count()
    watch_states(lambda: States((f"look \x1b[2J {(n := next(counted))}",), ended=n >= 2), every_s=0.0)
    shown = capsys.readouterr().out
    assert "look" in shown and "\x1b[2J" not in shown


def test_ctrl_c_ends_watching_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    watch_states(lambda: States(("a running",), ended=False), every_s=1.0)


def test_how_often_without_watching_is_refused(store: Store) -> None:
    with pytest.raises(RequestError, match="--every says how often --watch looks"):
        cli.status(name=None, results=store.root, every=2.0)
    with pytest.raises(RequestError, match="--every must be at least 0.1"):
        cli.status(name=None, results=store.root, watch=True, every=0.0)
