"""A node that Slurm loses from sight while its processes live on: the job is started again elsewhere beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm.cluster import Cluster, wait_for
from slurm.sweeps import CELLS, Place

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]
STARTED_S = 120.0  # processes that import torch on two cores


def test_a_cell_whose_node_daemon_is_killed_trains_on_and_nobody_else_trains_it(slurm: Cluster, tmp_path: Path) -> None:
    """Slurm takes the node for dead and starts the cell elsewhere, where it waits for the first process to end."""
    place = Place(slurm, tmp_path)
    place.hold("slow", "1")
    place.submit("amid.alpha=-1,1")
    (cell, name), *_ = sorted(place.tasks.items(), key=lambda each: each[1])
    wait_for(lambda: place.steps(cell) >= 2, STARTED_S, "the cell to train")
    node = slurm.job(name)["NodeList"]
    log = place.submissions[0].log_path(name)
    slurm.kill_daemon(node)
    wait_for(lambda: slurm.job(name)["Restarts"] == "1", 90, "Slurm to notice that a node is silent")
    wait_for(lambda: "run elsewhere" in log.read_text(), STARTED_S, "the second process to find the cell held")
    assert slurm.job(name)["JobState"] == "RUNNING" and slurm.job(name)["NodeList"] != node
    before = place.steps(cell)
    wait_for(lambda: place.steps(cell) > before, STARTED_S, "the first process, which trains on")
    (tmp_path / "holds" / "slow-1").unlink()
    slurm.wait_until_empty(STARTED_S)
    assert (slurm.job(name)["JobState"], slurm.job(name)["Restarts"]) == ("COMPLETED", "1")
    assert "resumes after step" not in log.read_text()
    lines = (place.results / cell / "journal.jsonl").read_text().splitlines()
    assert len(set(lines)) == len(lines), "no step twice"
    slurm.start_node(node)
    wait_for(lambda: "down" not in slurm.run("sinfo", "-h", "-N", "-o", "%T"), 60, "the node to be back")
    place.submit("amid.alpha=-1,1")
    assert place.num_submitted(CELLS) == 2, "nothing is left to submit"


@pytest.mark.long
def test_the_daemon_that_comes_back_ends_such_a_process_and_the_job_goes_on_elsewhere(
    slurm: Cluster, tmp_path: Path
) -> None:
    """The first process is ended, and does not requeue the job, which runs elsewhere by now."""
    place = Place(slurm, tmp_path)
    place.hold("slow", "1")
    place.submit("amid.alpha=-1")
    ((cell, name),) = place.tasks.items()
    wait_for(lambda: place.steps(cell) >= 2, STARTED_S, "the cell to train")
    node = slurm.job(name)["NodeList"]
    log = place.submissions[0].log_path(name)
    slurm.kill_daemon(node)
    wait_for(lambda: "run elsewhere" in log.read_text(), STARTED_S, "the second process to find the cell held")
    slurm.start_node(node)
    wait_for(lambda: "resumes after step" in log.read_text(), STARTED_S, "the second process to go on with it")
    (tmp_path / "holds" / "slow-1").unlink()
    slurm.wait_until_empty(STARTED_S)
    assert (slurm.job(name)["JobState"], slurm.job(name)["Restarts"]) == ("COMPLETED", "1")
    lines = (place.results / cell / "journal.jsonl").read_text().splitlines()
    assert len(set(lines)) == len(lines), "no step twice"
