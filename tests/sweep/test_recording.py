"""A sweep that is recorded and not run: what workers find of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from amid.cli.app import plan
from amid.digests.fingerprint import plain
from amid.errors import RequestError
from amid.store import Store
from amid.store.frozen import Requests, freeze
from amid.sweep.compose import sweep_of_overrides
from amid.sweep.plan import Sweep, manifest_of
from amid.sweep.recording import record


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    return ["amid.alpha=-1,0", f"paths.results={tmp_path}/my results", f"paths.cache={tmp_path}/cache"]


@pytest.fixture
def sweep(asked: list[str]) -> Sweep:
    return sweep_of_overrides([*asked, "sweep.name=mine"])


def test_its_cells_are_frozen_as_a_run_of_the_sweep_would_freeze_them(
    sweep: Sweep, asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan([*asked, "sweep.name=mine"], record=True)
    store = Store(tmp_path / "my results")
    assert store.read_sweep("mine") == plain(manifest_of(sweep))
    for planned in sweep.cells:
        request = Requests(store).of_sweep(planned.cell.id, "mine")
        assert request.cell_id == planned.cell.id and request.run.sweep.name == "mine"
        assert replace(request.run, sweep=planned.run.sweep) == planned.run
    said = capsys.readouterr().out.splitlines()
    assert said[-2].startswith("recorded: 2 cells")
    assert said[-1] == f"  amid work mine --results '{tmp_path}/my results'"


def test_a_sweep_without_a_name_is_recorded_under_the_one_it_is_given(asked: list[str], tmp_path: Path) -> None:
    sweep = sweep_of_overrides(asked)
    assert record(sweep, Store(tmp_path / "my results")) == 2
    request = Requests(Store(tmp_path / "my results")).of_sweep(sweep.cells[0].cell.id, sweep.name)
    assert request.run.sweep.name == sweep.name


def test_what_is_finished_needs_no_request(sweep: Sweep, tmp_path: Path) -> None:
    done, left = sweep.cells
    one_done = replace(sweep, cells=(replace(done, state="done", evaluated=True), left))
    store = Store(tmp_path / "my results")
    assert record(one_done, store) == 1
    assert [path.stem for path in store.layout.requests()] == [
        freeze(replace(left.run, sweep=replace(left.run.sweep, name="mine")), left.cell, store)
    ]


@pytest.mark.parametrize(
    ("task", "said"),
    [("prepare", "task=prepare has no cells that a worker could carry out"), ("evaluate", "is not trained yet")],
)
def test_what_no_worker_can_carry_out_is_refused_and_nothing_is_written(
    sweep: Sweep, tmp_path: Path, task: str, said: str
) -> None:
    cells = tuple(replace(planned, run=replace(planned.run, task=task)) for planned in sweep.cells)
    with pytest.raises(RequestError, match=said):
        record(replace(sweep, cells=cells), Store(tmp_path / "my results"))
    assert not (tmp_path / "my results").exists()
