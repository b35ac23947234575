"""Who puts a job back in Slurm's queue, and when: by commands of the names that Slurm's have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from amid.cli import exit_codes
from amid.errors import EXIT_INTERRUPTED, EXIT_RUN_FAILED, EXIT_STOPPED, RankLostError, RunError, StoppedError
from amid.slurm import requeue as room
from amid.slurm.requeue import job_name, requeue

JOB = {"SLURM_JOB_ID": "50", "AMID_MAX_REQUEUES": "3"}
ASKED = "squeue -h -j 50_7 --Format=State:|,RestartCnt:|"
TASK = {**JOB, "SLURM_ARRAY_JOB_ID": "50", "SLURM_ARRAY_TASK_ID": "7"}
Slurm = Callable[..., Callable[[], list[str]]]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """Puts commands on the PATH that answer so, and gives what they were asked."""
    asked = tmp_path / "asked"

    def answering(state: str, *, squeue_code: int = 0, scontrol_code: int = 0) -> Callable[[], list[str]]:
        for name, answer, code in (("squeue", state, squeue_code), ("scontrol", "", scontrol_code)):
            text = f'echo "{name} $*" >> "{asked}"; echo "{answer}"; echo "{name}: error: no" >&2; exit {code}'
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return lambda: asked.read_text().splitlines() if asked.exists() else []

    return answering


def test_a_task_of_an_array_goes_by_the_arrays_id() -> None:
    assert job_name(TASK) == "50_7"
    assert job_name(JOB) == "50"
    assert job_name({}) is None


def test_a_running_job_is_requeued_and_says_for_the_which_time(slurm: Slurm) -> None:
    asked = slurm("RUNNING   |1   |")
    assert requeue({**TASK, "SLURM_RESTART_COUNT": "1"}) == "job 50_7 is requeued (2 of at most 3)"
    assert asked() == [ASKED, "scontrol requeue 50_7"]


@pytest.mark.parametrize("state", ["COMPLETING|0|", "PENDING|0|", "CANCELLED|0|", ""])
def test_a_job_that_slurm_takes_back_is_left_to_it(state: str, slurm: Slurm) -> None:
    asked = slurm(state)
    assert requeue(TASK) is None
    assert asked() == [ASKED]


def test_a_job_that_was_started_again_while_its_node_was_not_seen_is_left_alone(slurm: Slurm) -> None:
    asked = slurm("RUNNING|1|")
    assert requeue(TASK) == "job 50_7 was started again elsewhere, and is left alone"
    assert asked() == [ASKED]


def test_over_the_cap_it_says_so(slurm: Slurm) -> None:
    asked = slurm("RUNNING|3|")
    said = requeue({**JOB, "SLURM_RESTART_COUNT": "3"})
    assert said == "job 50 was requeued 3 times (AMID_MAX_REQUEUES=3) and is not requeued again"
    assert "scontrol" not in "".join(asked())


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": "50"}, {"AMID_MAX_REQUEUES": "3"}])
def test_nothing_is_asked_outside_of_a_job_that_may_requeue(environment: dict[str, str], slurm: Slurm) -> None:
    asked = slurm("RUNNING")
    assert requeue(environment) is None
    assert not asked()


def test_what_hinders_it_is_said(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm("RUNNING|0|", scontrol_code=1)
    assert requeue(JOB) == "job 50 is not requeued: scontrol: scontrol: error: no"
    slurm("", squeue_code=1)
    assert requeue(JOB) == "job 50 is not requeued: squeue: squeue: error: no"
    wrong = requeue({**JOB, "AMID_MAX_REQUEUES": "often"})
    assert wrong == "job 50 is not requeued: AMID_MAX_REQUEUES=often, SLURM_RESTART_COUNT=0 are no numbers"
    monkeypatch.setenv("PATH", "/nowhere")
    assert requeue(JOB) == "job 50 is not requeued: squeue: No such file or directory"


def test_a_slurm_that_does_not_answer_is_not_waited_for(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm("$(sleep 9)")
    monkeypatch.setattr(room, "ANSWER_S", 0.1)
    assert requeue(JOB) == "job 50 is not requeued: squeue gave no answer in 0.1 s"


# A whole command


def ends_with(err: BaseException, monkeypatch: pytest.MonkeyPatch, **environment: str) -> int:
    for name in ("RANK", "SLURM_PROCID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", *JOB):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(exit_codes, "SECOND_S", 0.0)
    monkeypatch.setattr(exit_codes, "SILENT_S", 0.0)

    def command() -> None:
        raise err

    return exit_codes.exit_code(command)


STOPPED = StoppedError("asked to stop (SIGUSR1): step 3 of 9 is saved")


@pytest.mark.parametrize(
    ("err", "process", "code", "requeued"),
    [
        (STOPPED, "0", EXIT_STOPPED, True),
        (STOPPED, "1", EXIT_STOPPED, False),
        (RankLostError("another one is gone"), "1", EXIT_STOPPED, True),
        (RunError("diverged"), "0", EXIT_RUN_FAILED, False),
        (KeyboardInterrupt(), "0", EXIT_INTERRUPTED, False),
    ],
)
def test_what_was_cut_short_is_requeued_by_the_first_process_and_what_failed_is_not(
    err: BaseException,
    process: str,
    code: int,
    requeued: bool,
    slurm: Slurm,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = slurm("RUNNING|0|")
    assert ends_with(err, monkeypatch, **TASK, SLURM_PROCID=process) == code
    assert ("scontrol requeue 50_7" in asked()) == requeued
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("; job 50_7 is requeued (1 of at most 3)") == requeued
