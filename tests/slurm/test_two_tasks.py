"""A cell that two tasks of a real Slurm train together: as one does but for rounding, and bit-equal after any fault."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm.cells import kept, log_of, prepared, submitted, wait_for_end, wait_for_step
from slurm.cluster import Cluster, cluster
from slurm.held import hold

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]
ROUNDING = 2e-5  # of float32 losses over 240 steps, summed in another order; measured: 3.5e-6, in validation 1.1e-7


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """One node with room for two tasks."""
    with cluster(nodes=1, cpus=2) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(slurm: Cluster, alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cell as two tasks train it, whom nobody disturbs."""
    folder = prepared(alone, tmp_path_factory.mktemp("undisturbed"))
    job = submitted(slurm, folder, tasks=2)
    assert wait_for_end(slurm, job, folder) == "COMPLETED", log_of(folder)
    return folder


def ranks_of(folder: Path) -> dict[str, int]:
    """SLURM_PROCID -> process id of the tasks that train in a folder."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words, variables = ((path / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        ours = f"paths.results={folder}/results".encode() in words and words[0].endswith(b"python")
        rank = [each.partition(b"=")[2].decode() for each in variables if each.startswith(b"SLURM_PROCID=")]
        if ours and rank:
            found[rank[0]] = int(path.name)
    return found


def test_two_tasks_train_what_one_does_but_for_rounding(alone: Path, undisturbed: Path) -> None:
    one, two = kept(alone), kept(undisturbed)
    losses = [name for name in one if name.startswith("train/loss")]
    assert len(losses) == 24
    for name in (*losses, *(name for name in one if name.startswith("val/loss"))):
        assert two[name] == pytest.approx(one[name], rel=ROUNDING), name
    assert (alone / "results").is_dir() and [path.name for path in alone.glob("results/*/status.json")] == [
        path.name for path in undisturbed.glob("results/*/status.json")
    ]


def test_tasks_that_are_signalled_and_killed_are_requeued_and_end_bit_equal(
    slurm: Cluster, alone: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = prepared(alone, tmp_path)
    slow = hold(folder, "slow", "0")
    job = submitted(slurm, folder, tasks=2, max_requeues=9)
    for step, number, ranks in (
        (30, signal.SIGTERM, "1"),
        (60, signal.SIGUSR1, "0"),
        (100, signal.SIGKILL, "1"),
        (140, signal.SIGKILL, "0"),
    ):
        wait_for_step(folder, step)
        tasks = ranks_of(folder)
        assert sorted(tasks) == ["0", "1"]
        for rank in ranks:
            os.kill(tasks[rank], number)
    slow.unlink()
    assert wait_for_end(slurm, job, folder) == "COMPLETED", log_of(folder)
    said = log_of(folder)
    assert slurm.job(job)["Restarts"] == "4", said
    assert said.count("asked to stop (") == 2, said
    assert said.count("another of the processes that run this together has ended without a word") == 2, said
    assert "Traceback" not in said and "repeated with other values" not in said
    assert kept(folder) == kept(undisturbed)
