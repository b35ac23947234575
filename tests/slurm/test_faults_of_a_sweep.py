"""A sweep on a real Slurm in which everything happens, and the same command that finishes what is missing."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from slurm import held
from slurm.cluster import Cluster, wait_for
from slurm.sweeps import STAGES, Place

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]
ALPHAS = "amid.alpha=-5,-3,-1,0,1,3"
STARTED_S = 120.0  # four processes that import torch on two cores


def test_a_sweep_with_every_fault_ends_as_a_local_one(slurm: Cluster, tmp_path: Path) -> None:
    place = Place(slurm, tmp_path)
    for task in "1234":
        place.hold("slow", task)
    broken = place.hold("broken", "5")
    start = time.monotonic()
    said = place.submit(ALPHAS)
    print(f"the submitting command took {time.monotonic() - start:.1f} s")
    assert "6 cells, 0 finished, 6 to run" in said and "submitted cells" in said
    # Edited while all jobs wait: another divergence, and so other cells, would be trained of it.
    declared = held.declared(tmp_path)
    declared.write_text(declared.read_text().replace("order: pr", "order: rp"))
    tasks = place.tasks
    cell_of = {name.rpartition("_")[2]: cell for cell, name in tasks.items()}
    assert sorted(cell_of) == list("123456")

    wait_for(lambda: all(place.steps(cell_of[task]) >= 2 for task in "1234"), STARTED_S, "four cells to train")
    nodes: dict[str, list[str]] = {}
    for task in "1234":
        nodes.setdefault(slurm.job(tasks[cell_of[task]])["NodeList"], []).append(task)
    (of_node, of_scancel), (of_limit, of_requeue) = nodes["n1"], nodes["n2"]
    name = {task: tasks[cell_of[task]] for task in "123456"}

    # A real limit; the shortest there is.
    slurm.run("scontrol", "update", f"JobId={name[of_limit]}", "TimeLimit=1")
    # Put back in the queue while it trains: it goes on from its checkpoint.
    slurm.run("scontrol", "requeue", name[of_requeue])
    (tmp_path / "holds" / f"slow-{of_requeue}").unlink()
    # Cancelled while it trains: it is not requeued.
    slurm.run("scancel", name[of_scancel])
    (tmp_path / "holds" / f"slow-{of_scancel}").unlink()
    # Failed for its own reason: Slurm shows our exit code, and does not requeue it.
    wait_for(lambda: slurm.job(name["5"]).get("JobState") == "FAILED", STARTED_S, "the broken cell to fail")
    failed = slurm.job(name["5"])
    assert (failed["ExitCode"], failed["Restarts"]) == ("1:0", "0")
    status = place.amid("status")
    (line,) = [line for line in status.splitlines() if line.startswith(cell_of["5"])]
    assert "failed" in line and "this divergence is broken" in line and f"job {name['5']}" in line
    log = Path(line.partition("log: ")[2].partition(".log")[0] + ".log")
    assert "this divergence is broken" in log.read_text(), "the log that status names says why"

    def done(task: str) -> bool:
        status = place.results / cell_of[task] / "status.json"
        return status.is_file() and "done" in status.read_text()

    wait_for(lambda: done("6") and done(of_requeue), STARTED_S, "the undisturbed and the requeued cell")
    assert slurm.job(name[of_requeue])["Restarts"] == "1"
    assert "resumes after step" in log.with_name(f"{name[of_requeue]}.log").read_text(), "the log goes on too"

    # A local run of the same sweep meanwhile, for comparison, as it was declared.
    declared.write_text(declared.read_text().replace("order: rp", "order: pr"))
    local = subprocess.Popen(
        place.arguments(ALPHAS, results=tmp_path / "local", launcher=()),
        env=place.environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    # The power of a node is cut: Slurm notices its silence, and another node goes on with the cell.
    slurm.kill_node("n1")
    (tmp_path / "holds" / f"slow-{of_node}").unlink()
    wait_for(lambda: slurm.job(name[of_node])["Restarts"] == "1", 90, "Slurm to notice that a node is silent")
    slurm.start_node("n1")
    wait_for(lambda: slurm.job(name[of_limit])["JobState"] != "RUNNING", 180, "the time limit")
    (tmp_path / "holds" / f"slow-{of_limit}").unlink()
    slurm.wait_until_empty(STARTED_S)
    assert done(of_node) and done("6") and done(of_requeue)
    assert local.wait(STARTED_S) == 0

    # The same command finishes what is missing, and nothing else.
    broken.unlink()
    kept = {task: (place.results / cell_of[task] / "claims").stat().st_mtime_ns for task in ("6", of_requeue, of_node)}
    again = place.submit(ALPHAS, "hydra.launcher.wait=true")
    assert "submitted cells" in again and "submitted stages" not in again
    for task, written in kept.items():
        assert (place.results / cell_of[task] / "claims").stat().st_mtime_ns == written, "a finished cell ran again"
    assert place.num_submitted(STAGES) == 1
    for style in ("markdown", "csv"):
        ours = place.amid("table", "--style", style)
        assert ours == place.amid("table", "--style", style, results=tmp_path / "local")
        assert ours.count("\n") >= 8, "six cells, a teacher, an initial student"
