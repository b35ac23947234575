"""Workers of a recorded sweep, in this process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small import SMALL

from amid.cli.app import plan, work
from amid.errors import RunError
from amid.store import Store

MB = 2**20


def record(folder: Path, *overrides: str) -> Store:
    folders = (f"paths.results={folder}/results", f"paths.cache={folder}/cache")
    plan([*SMALL, *folders, "sweep.name=mine", *overrides], record=True)
    return Store(folder / "results")


def test_a_recorded_sweep_is_carried_out_by_workers_and_a_failing_cell_stops_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = record(tmp_path, "amid.alpha=-1,0,1")
    first, second, third = (str(cell["id"]) for cell in store.read_sweep("mine")["cells"])
    work("mine", max_cells=1, results=store.root)
    assert "worked on 1 cell: 1 done, 0 failed; 2 of the sweep left (2 absent)" in capsys.readouterr().out
    (request,) = (path for path in store.layout.requests() if f"cell: {second}" in path.read_text())
    whole = request.read_text()
    request.write_text(whole + "# changed\n")  # not what was frozen
    with pytest.raises(RunError, match=f"cells failed: {second}: "):
        work("mine", results=store.root)
    said = capsys.readouterr().out
    assert "worked on 2 cells: 1 done, 1 failed; 1 of the sweep left (1 failed)" in said
    request.write_text(whole)
    work("mine", results=store.root)
    assert "worked on 1 cell: 1 done, 0 failed; 0 of the sweep left" in capsys.readouterr().out
    for cell in (first, second, third):
        assert (store.root / cell / "status.json").is_file()


@pytest.mark.long
def test_the_memory_of_a_worker_does_not_grow_from_cell_to_cell(tmp_path: Path) -> None:
    store = record(tmp_path, f"seed={','.join(map(str, range(30)))}", "amid.alpha=1", "logger=csv")
    sizes = []
    for _ in range(30):
        work("mine", max_cells=1, results=store.root)
        with Path("/proc/self/statm").open() as stream:
            sizes.append(int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB)
    print("RSS in MB after each cell:", *(f"{size:.0f}" for size in sizes))
    assert len(os.listdir("/proc/self/fd")) < 60
    assert sizes[-1] - sizes[9] < 20
