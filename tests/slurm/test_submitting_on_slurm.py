"""Submitting to a real Slurm: nothing twice, whoever dies or comes at once; cancelled, lost, and stages that fail.

Jobs that only have to be in the queue are held there, so that nothing trains.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from slurm.cluster import Cluster, wait_for
from slurm.sweeps import CELLS, STAGES, Place

pytestmark = pytest.mark.slurm
THREE = "amid.alpha=-1,0,1"
HELD = "+hydra.launcher.additional.hold=true"
# Its launcher is dead before it hears of the cells' job.
KILLING_SBATCH = """#!/bin/bash
answer=$(PATH=/usr/bin:/bin sbatch "$@")
case "$*" in *cells) kill -9 $PPID ;; esac
echo "$answer"
"""


@pytest.fixture
def place(slurm: Cluster, tmp_path: Path):
    yield Place(slurm, tmp_path)
    jobs = {name.partition("_")[0] for name in slurm.jobs()}
    if jobs:
        slurm.run("scancel", *jobs)
    slurm.wait_until_empty()


def test_a_launcher_killed_in_mid_submission_leaves_nothing_to_be_submitted_twice(place: Place, slurm: Cluster) -> None:
    (place.folder / "bin").mkdir()
    sbatch = place.folder / "bin" / "sbatch"
    sbatch.write_text(KILLING_SBATCH)
    sbatch.chmod(0o755)
    killed = place.command(place.arguments(THREE, HELD), PATH=f"{sbatch.parent}:{place.environment['PATH']}")
    assert killed.returncode == -9
    queued = sorted(slurm.jobs())
    assert len(queued) == 1 + 3 and place.num_submitted(CELLS) == 0
    said = place.submit(THREE, HELD)
    assert sorted(slurm.jobs()) == queued and "nothing to submit" in said
    assert place.num_submitted(STAGES) == 1 and place.num_submitted(CELLS) == 3, "they are recorded now"


def test_two_launchers_at_once_submit_a_sweep_once(place: Place, slurm: Cluster) -> None:
    both = [
        subprocess.Popen(
            place.arguments(THREE, HELD), env=place.environment, cwd=place.folder, text=True, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(slurm.jobs()) == 1 + 3
    assert sorted("nothing to submit" in text for text in said) == [False, True]


def test_a_task_cancelled_while_it_waits_is_lost_and_alone_submitted_again(place: Place, slurm: Cluster) -> None:
    place.submit(THREE, HELD)
    cell, task = next(iter(place.tasks.items()))
    slurm.run("scancel", task)
    wait_for(lambda: task not in slurm.jobs(), 30, "the task to leave the queue")
    (line,) = [line for line in place.amid("status").splitlines() if line.startswith(cell)]
    assert "lost" in line and f"not begun, because job {task.partition('_')[0]}" not in line
    said = place.submit(THREE, HELD)
    assert ": 1 task, after " in said and "not again: 2 cells queued" in said
    assert len(slurm.jobs()) == 1 + 3

    sweep = place.submissions[0].sweep
    assert "cancelled: 4 tasks queued" in place.amid("cancel", sweep)
    wait_for(lambda: not slurm.jobs(), 30, "the sweep to leave the queue")
    assert "nothing to cancel" in place.amid("cancel", sweep)
    assert "sweep 'nothing' is not in" in place.amid("cancel", "nothing", code=2)


def test_another_evaluation_of_queued_cells_follows_their_jobs_and_trains_nothing(place: Place, slurm: Cluster) -> None:
    place.submit("amid.alpha=-1,1", HELD)
    first = place.submissions[0].jobs
    said = place.submit("amid.alpha=-1,1", "evaluation.decode_seeds=[10,20,30]", "sweep.name=seeds")
    assert "not again" not in said
    second = place.submissions[1]
    cells = slurm.job(f"{second.jobs[CELLS]}_1")
    assert f"afterok:{second.jobs[STAGES]}_1" in cells["Dependency"]
    assert f"afterany:{first[CELLS]}_" in cells["Dependency"]
    for job in first.values():
        slurm.run("scontrol", "release", job)
    slurm.wait_until_empty(180)
    for cell, task in place.tasks.items():
        assert slurm.job(task)["JobState"] == "COMPLETED"
        assert len(list((place.results / cell / "claims").glob("[0-9]*.json"))) == 2, "once to train, once to evaluate"
        log = second.log_path(task).read_text()
        assert "step 60/60" not in log and "resumes after step" not in log
    assert "nothing to run" in place.submit("amid.alpha=-1,1", "evaluation.decode_seeds=[10,20,30]", "sweep.name=seeds")


def test_a_stage_that_fails_cancels_its_cells_and_says_why(place: Place, slurm: Cluster) -> None:
    done = place.command(place.arguments(THREE, "hydra.launcher.wait=true", "pair.teacher_sft.lr=1e30"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert slurm.jobs() == {}, "nothing waits for ever"
    line = done.stderr.splitlines()[-1]
    assert line.startswith("amid: 3 of 3 cells not finished") and "not begun, because teacher " in line
    assert "diverged" in line
    status = place.amid("status")
    assert "failed" in status and status.count("not begun, because teacher ") == 3
    (stages,) = [part for part in place.submissions[0].parts if part.is_of == STAGES]
    job = slurm.job(f"{place.submissions[0].jobs[stages.name]}_1")
    assert (job["JobState"], job["ExitCode"], job["Restarts"]) == ("FAILED", "1:0", "0")


@pytest.mark.parametrize("name", ['50% of "mine"', "$HOME `x` & 'y'", "tab\tü"])
def test_a_folder_of_any_name_holds_the_log(name: str, slurm: Cluster, tmp_path: Path) -> None:
    from amid.slurm.options import SlurmOptions
    from amid.slurm.script import array_script

    folder = tmp_path / name
    (folder / "logs").mkdir(parents=True)
    (folder / "cells.txt").write_text("abcd\n")
    text = array_script(
        SlurmOptions(mem="100", cpus=1, setup=["pwd"]),
        title="Sweep demo",
        folder=str(folder),
        devices=1,
        command=["echo", "carried out"],
        location="paths.results=x",
    )
    (folder / "job.sh").write_text(text)
    options = ("--parsable", "--array=1-1", f"--chdir={tmp_path}")
    job = slurm.run("sbatch", *options, str(folder / "job.sh"), "cells").strip()
    log = folder / "logs" / f"{job}_1.log"
    wait_for(lambda: log.is_file() and "carried out" in log.read_text(), 60, "the log")
    assert "carried out request='abcd' paths.results=x" in log.read_text()
