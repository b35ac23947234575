"""Cells and stages beside the jobs that were submitted for them: what was recorded, and what the queue says now.

A task of the queue is one of ours if it runs the script of a recorded submission: a number alone may be another
cluster's, or be given a second time. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from amid.slurm import commands
from amid.slurm.commands import Queued
from amid.store import Store
from amid.store.status import read_status
from amid.store.submissions import CELLS, STAGES, WORKERS, Part, Submission, submissions


@dataclass(frozen=True)
class Job:
    """The task that has a cell or builds stages: its name (`12_3`; of workers the array's), None if no id is known.

    queued: as the queue shows it; None for what has ended, was never submitted, or where nobody was asked. protocol:
    digest of the one under which it evaluates its cell; None for stages, and where it is not known.
    """

    name: str | None
    submission: Submission
    part: Part
    queued: Queued | None
    protocol: str | None = None

    @property
    def log(self) -> Path | None:
        """What the task printed, if there is such a file."""
        path = None if self.name is None else self.submission.log_path(self.queued.name if self.queued else self.name)
        return path if path is not None and path.is_file() else None


@dataclass
class Jobs:
    """of_cell: id -> its first job in the queue, else its latest. of_stages: what a job builds -> the latest such job.

    in_queue: id of a cell -> all its jobs in the queue, which evaluate it in different ways. asked: whether the queue
    could be asked. found: parts whose id only the queue knew. builders: name -> a job that builds stages, and what.
    """

    asked: bool
    of_cell: dict[str, Job] = field(default_factory=dict)
    in_queue: dict[str, list[Job]] = field(default_factory=dict)
    of_stages: dict[tuple[str, ...], Job] = field(default_factory=dict)
    found: list[tuple[Submission, Part, str]] = field(default_factory=list)
    builders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _queued: dict[tuple[str, str], list[Queued]] = field(default_factory=dict)

    def queued_in(self, submission: Submission, part: Part) -> list[Queued]:
        """The tasks of a part that are in the queue."""
        return self._queued.get((submission.script, part.name), [])

    def _add(self, cell: str, job: Job) -> None:
        waiting = self.in_queue.setdefault(cell, [])
        if job.queued is not None:
            waiting.append(job)
        self.of_cell[cell] = waiting[0] if waiting else job


def jobs_of(submissions: Sequence[Submission], queue: Iterable[Queued] | None) -> Jobs:
    """Joins what was submitted, the latest last, with what is in the queue; None where it cannot be asked."""
    jobs = Jobs(asked=queue is not None)
    by_name: dict[str, list[Queued]] = {}
    for each in queue or ():
        by_name.setdefault(each.job_name, []).append(each)
    for submission in submissions:
        for part in submission.parts:
            named = by_name.get(submission.job_name(part), ())
            queued = [each for each in named if _runs(each.command, submission.script)]
            jobs._queued[submission.script, part.name] = queued
            array = submission.jobs.get(part.name)
            if array is None and queued:
                array = queued[0].name.partition("_")[0]
                jobs.found.append((submission, part, array))
            if part.is_of == WORKERS:
                running = sorted(queued, key=lambda each: each.is_pending)
                worker = Job(array, submission, part, running[0] if running else None)
                for number, cell in enumerate(part.cells):
                    jobs._add(cell, replace(worker, protocol=_at(part.protocols, number)))
                continue
            tasks = {each.name: each for each in queued}
            for number in range(part.num_tasks):
                name = None if array is None else f"{array}_{number + 1}"
                job = Job(name, submission, part, tasks.get(name or ""))
                if part.is_of == CELLS:
                    jobs._add(part.cells[number], replace(job, protocol=_at(part.protocols, number)))
                elif part.is_of == STAGES:
                    jobs.of_stages[part.stages[number]] = job
                    jobs.builders[name or ""] = part.stages[number]
    return jobs


def current_jobs(store: Store) -> Jobs:
    """The jobs of all submissions from a store, beside the queue where there is a squeue to ask.

    Raises RunError where it gives no answer.
    """
    found = submissions(store)
    if not found or not commands.is_here("squeue"):
        return jobs_of(found, None)
    return jobs_of(found, commands.queue({each.uid for each in found}))


def why_ended(job: Job, jobs: Jobs, store: Store) -> str:
    """Why there is no result of a cell whose job has ended, as far as the store tells."""
    if job.name in job.submission.cancelled:
        return f"job {job.name} was cancelled by amid cancel"
    for name in job.submission.after.get(job.part.name, ()):
        for stage in jobs.builders.get(name, ())[:-1]:  # the last one is the protocol
            kind, _, id_ = stage.rpartition("-")
            details = read_status(store.layout.folder_of(kind, id_))
            if details.get("state") == "failed":
                return f"not begun, because {kind} {id_} failed: {details.get('error')}"
            if details.get("state") != "done":
                return f"not begun, because job {name} has not built {kind} {id_}"
    return f"job {job.name} has ended without a result" if job.name else "never submitted"


def _at(protocols: Sequence[str], number: int) -> str | None:
    return protocols[number] if protocols else None


def _runs(command: str, script: str) -> bool:
    return command == script or command.startswith(f"{script} ")
