"""A job that puts itself back in Slurm's queue, once it has saved what it was asked to stop with.

Only in a job whose script says how often (AMID_MAX_REQUEUES): whoever runs a command by hand in an allocation keeps it.
Never from within a signal handler: Slurm's commands wait for an answer.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from amid.errors import one_line

CAP = "AMID_MAX_REQUEUES"  # how often a job may put itself back; set by the script
ANSWER_S = 20.0  # the most that Slurm is waited for, of the seconds that a job is given to end


def job_name(environment: Mapping[str, str]) -> str | None:
    """What Slurm calls this job, a task of an array by the array's id; None outside of Slurm.

    Not by SLURM_JOB_ID alone: the last task of an array has the id of the whole array.
    """
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    if array and task:
        return f"{array}_{task}"
    return environment.get("SLURM_JOB_ID")


def requeue(environment: Mapping[str, str]) -> str | None:
    """Puts this job back in the queue if it is to run again; what came of that, in words.

    None where there is nothing to say: outside of Slurm, without AMID_MAX_REQUEUES, and where Slurm has decided itself:
    a job that it takes back (preempted, cancelled, at its limit) is not running any more. One whose node it lost from
    sight runs elsewhere, with another count of restarts, and is left alone.
    """
    job, cap = job_name(environment), environment.get(CAP, "")
    if job is None or not cap:
        return None
    done = environment.get("SLURM_RESTART_COUNT", "0")
    if not cap.isdecimal() or not done.isdecimal():
        return f"job {job} is not requeued: {CAP}={one_line(cap)}, SLURM_RESTART_COUNT={one_line(done)} are no numbers"
    answered, answer = _slurm("squeue", "-h", "-j", job, "--Format=State:|,RestartCnt:|")
    if not answered:
        return f"job {job} is not requeued: {answer}"
    state, _, restarts = (part.strip(" |") for part in answer.partition("|"))
    if state != "RUNNING":
        return None
    if restarts.isdecimal() and restarts != done:
        return f"job {job} was started again elsewhere, and is left alone"
    if int(done) >= int(cap):
        return f"job {job} was requeued {done} times ({CAP}={cap}) and is not requeued again"
    answered, answer = _slurm("scontrol", "requeue", job)
    if not answered:
        return f"job {job} is not requeued: {answer}"
    return f"job {job} is requeued ({int(done) + 1} of at most {cap})"


def _slurm(*command: str) -> tuple[bool, str]:
    """True and what Slurm answered, or False and why it did not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        return False, f"{command[0]} gave no answer in {ANSWER_S:g} s"
    except OSError as err:
        return False, f"{command[0]}: {err.strerror}"
    if done.returncode != 0:
        return False, f"{command[0]}: {one_line(done.stderr) or f'exit code {done.returncode}'}"
    return True, done.stdout.strip()
