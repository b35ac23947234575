"""A cell of a real Slurm that is told to stop, preempted and cancelled: it ends as the undisturbed one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm.cells import kept, log_of, prepared, submitted, wait_for_end, wait_for_step
from slurm.cluster import Cluster, cluster, wait_for
from slurm.held import hold

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """One node; jobs of the partition `urgent` take it from those of `main`, which are put back in the queue."""
    with cluster(
        nodes=1,
        cpus=1,
        settings=("PreemptType=preempt/partition_prio", "PreemptMode=REQUEUE"),
        partitions=(
            "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20",
            "PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9",
        ),
    ) as made:
        yield made


@pytest.fixture
def folder(alone: Path, tmp_path: Path) -> Path:
    """The stages are there, and the training of a job is slow."""
    hold(prepared(alone, tmp_path), "slow", "0")
    return tmp_path


def test_signals_and_preemption_requeue_a_cell_that_ends_bit_equal(slurm: Cluster, folder: Path, alone: Path) -> None:
    job = submitted(slurm, folder)
    wait_for_step(folder, 30)
    slurm.run("scancel", "--signal=USR1", job)
    wait_for_step(folder, 110)
    slurm.run("scancel", "--signal=TERM", job)
    wait_for_step(folder, 190)
    options = ("--parsable", "-p", "urgent", "--mem=400", "--output=/dev/null")
    urgent = slurm.run("sbatch", *options, "--wrap=sleep 1").strip()
    wait_for(lambda: slurm.job(urgent).get("JobState") == "COMPLETED", 60, "the urgent job")
    (folder / "holds" / "slow-0").unlink()
    assert wait_for_end(slurm, job, folder) == "COMPLETED", log_of(folder)
    said = log_of(folder)
    assert said.count("resumes after step") == 3, said
    assert "asked to stop (SIGUSR1)" in said and "is requeued (1 of at most 3)" in said
    assert "asked to stop (SIGTERM)" in said and "is requeued (2 of at most 3)" in said
    assert said.count("asked to stop (") == 3
    assert slurm.job(job)["Restarts"] == "3"
    assert "repeated with other values" not in said and "Traceback" not in said
    assert kept(folder) == kept(alone)


def test_a_cancelled_cell_saves_and_is_not_requeued_nor_is_one_that_may_not(slurm: Cluster, folder: Path) -> None:
    job = submitted(slurm, folder)
    wait_for_step(folder, 10)
    slurm.run("scancel", job)
    assert wait_for_end(slurm, job, folder) == "CANCELLED"
    wait_for(lambda: "asked to stop (SIGTERM)" in log_of(folder), 20, "its last line")
    assert "requeued" not in log_of(folder)
    assert slurm.job(job)["Restarts"] == "0"
    again = submitted(slurm, folder, max_requeues=0)
    wait_for_step(folder, 110)
    slurm.run("scancel", "--signal=USR1", again)
    (folder / "holds" / "slow-0").unlink()
    assert wait_for_end(slurm, again, folder) == "FAILED"
    assert slurm.job(again)["ExitCode"] == "75:0"
    assert log_of(folder).count("resumes after step") == 1
    assert "was requeued 0 times (AMID_MAX_REQUEUES=0) and is not requeued again" in log_of(folder)
