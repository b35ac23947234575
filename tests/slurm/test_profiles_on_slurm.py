"""A cell on two nodes, one process on each, as the launcher starts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from slurm.cluster import Cluster
from slurm.sweeps import Place

pytestmark = [pytest.mark.slurm, pytest.mark.long]


def test_a_cell_on_two_nodes_is_trained_by_two_processes(slurm: Cluster, tmp_path: Path) -> None:
    place = Place(slurm, tmp_path)
    said = place.submit("amid.alpha=-1", "trainer.devices=2", "hydra.launcher.nodes=2", "hydra.launcher.wait=true")
    assert "each on 2 processes" in said
    ((cell, task),) = place.tasks.items()
    assert json.loads((place.results / cell / "status.json").read_text())["state"] == "done"
    slurm.wait_until_empty()
    job = slurm.job(task)
    assert (job["NumNodes"], job["NumTasks"], job["JobState"]) == ("2", "2", "COMPLETED")
