"""Taking a sweep out of Slurm's queue: what waits first, then what runs, nothing of any other. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amid.reports.jobs import Jobs, current_jobs
from amid.slurm import commands
from amid.slurm.commands import Queued
from amid.store import Store
from amid.store.submissions import Submission, record_cancelled, submissions


def cancel_sweep(manifest: Mapping[str, Any], store: Store) -> list[str]:
    """Cancels the jobs that were submitted for a recorded sweep, and says what it did, a line each.

    A job that builds stages stays while cells of another sweep wait for it.
    Raises RequestError where there is no Slurm, RunError where it refuses.
    """
    for command in ("squeue", "scancel"):
        commands.check_here(command)
    name, found = str(manifest["name"]), submissions(store)
    jobs = current_jobs(store)
    needed = _needed_by_others(name, found, jobs)
    ours = [
        task
        for submission in found
        if submission.sweep == name
        for part in submission.parts
        for task in jobs.queued_in(submission, part)
        if task.state != "COMPLETING"
    ]
    chosen = [task for task in ours if task.name not in needed]
    pending = [task for task in chosen if task.is_pending]
    running = [task for task in chosen if not task.is_pending]
    if pending:
        commands.cancel([task.name for task in pending], only_pending=True)
    if chosen:  # also what has begun since the queue was asked
        commands.cancel([task.name for task in chosen], only_pending=False)
    for submission in found:
        cancelled = [task.name for task in chosen if task.command.startswith(submission.script)]
        if cancelled:
            record_cancelled(submission, cancelled)
    lines = [_line(tasks, what) for tasks, what in ((pending, "queued"), (running, "running")) if tasks]
    kept = [task.name for task in ours if task.name in needed]
    lines += [f"kept: job {each}, for which cells of sweep {needed[each]} wait" for each in kept]
    return lines or [f"nothing to cancel: no job of sweep {name} is queued or running"]


def _needed_by_others(name: str, found: list[Submission], jobs: Jobs) -> dict[str, str]:
    """Names of jobs that build stages for which queued parts of other sweeps wait -> such a sweep."""
    return {
        needed: submission.sweep
        for submission in found
        if submission.sweep != name
        for part in submission.parts
        if jobs.queued_in(submission, part)
        for needed in submission.after.get(part.name, ())
        if needed in jobs.builders  # what waits for a cell only waits for it to end
    }


def _line(tasks: list[Queued], what: str) -> str:
    arrays = sorted({task.name.partition("_")[0] for task in tasks}, key=int)
    number = f"{len(tasks)} task" if len(tasks) == 1 else f"{len(tasks)} tasks"
    return f"cancelled: {number} {what} (job {', '.join(arrays)})"
