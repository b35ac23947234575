"""A job carries out what was planned, whatever happens to the configuration meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small import ROOT, SMALL, RunPy

from amid.store import Store

PLAN = """
import sys
from amid.store.frozen import freeze, request_overrides
from amid.sweep.compose import sweep_of_overrides
from amid.store import Store
(planned,) = sweep_of_overrides(sys.argv[1:]).cells
store = Store(planned.run.paths.results)
print(planned.cell.id, *request_overrides(freeze(planned.run, planned.cell, store), store))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the product whose configuration may be edited."""
    root = tmp_path / "checkout"
    root.mkdir()
    for name in ("src", "conf", "sweeps"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", root)
    return root


def python(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=checkout.parent, timeout=240
    )


def test_a_yaml_edited_while_a_job_is_queued_trains_no_other_cell(checkout: Path, tmp_path: Path) -> None:
    overrides = [*SMALL, f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache", "amid.alpha=-1"]
    planned = python(checkout, "-c", PLAN, *overrides)
    assert planned.returncode == 0, planned.stderr
    cell_id, *job = planned.stdout.split()
    file = checkout / "conf" / "divergence" / "ab.yaml"
    file.write_text(file.read_text().replace("ab_alpha: 0.2", "ab_alpha: 0.5"))
    assert python(checkout, "-c", PLAN, *overrides).stdout.split()[0] != cell_id  # what composing again would train

    done = python(checkout, str(checkout / "run.py"), *job)
    assert done.returncode == 0, done.stderr
    assert [path.parent.name for path in (tmp_path / "results").glob("*/status.json")] == [cell_id]
    status = json.loads((tmp_path / "results" / cell_id / "status.json").read_text())
    assert status["state"] == "done"


def test_a_request_whose_code_gives_another_cell_is_refused(checkout: Path, tmp_path: Path) -> None:
    overrides = [*SMALL, f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache"]
    cell_id, *job = python(checkout, "-c", PLAN, *overrides).stdout.split()
    file = checkout / "src" / "amid" / "cells" / "canonical.py"
    text = file.read_text()
    assert "\nCELL_VERSION = " in text
    file.write_text(text.replace("\nCELL_VERSION = ", "\nCELL_VERSION = 1000 + "))
    done = python(checkout, str(checkout / "run.py"), *job)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"was planned as cell {cell_id} and names " in done.stderr
    assert not (tmp_path / "results" / cell_id).exists()


@pytest.mark.long
def test_a_cell_can_be_named_by_its_id_and_its_latest_request_is_carried_out(run_py: RunPy, tmp_path: Path) -> None:
    assert run_py("amid.alpha=-1", "evaluation.decode_seeds=[10]").returncode == 0
    (status,) = (tmp_path / "results").glob("*/status.json")
    cell_id = status.parent.name
    single = Store(tmp_path / "results").read_sweep(cell_id[:5])  # recorded as the sweep of one cell that it is
    assert single["name"] == f"run-{cell_id}" and "amid.alpha=-1" in single["cells"][0]["overrides"]
    shutil.rmtree(status.parent)
    again = run_py(f"cell={cell_id[:5]}")
    assert again.returncode == 0, again.stderr
    (request,) = (tmp_path / "results" / "requests").iterdir()
    assert f"cell {cell_id}: request {request.stem}" in again.stdout
    assert json.loads(status.read_text())["state"] == "done"
    refused = run_py(f"cell={cell_id[:5]}", "seed=3")
    assert refused.returncode == 2
    assert "only paths.results may stand beside it, got " in refused.stderr
