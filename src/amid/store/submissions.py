"""What was submitted to a cluster: a folder a submission, with its script, its lists, and which job has which cell.

All of it is written before a job is submitted, and the job's id at once after, so that a launcher killed in between
leaves a part without an id, whose job can be told by its script. No torch here.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from amid.config.names import is_name
from amid.digests.seals import DamagedError, seal
from amid.errors import RunError
from amid.store.claims import held, try_claim
from amid.store.files import append_line, drop_torn_line, read_object, replace_text, sift_lines
from amid.store.store import Store
from amid.store.watch import Patience, owner_of

log = logging.getLogger(__name__)
SCRIPT, RECORD, JOBS, CANCELLED, LOGS = "job.sh", "submission.json", "jobs.jsonl", "cancelled.jsonl", "logs"
STAGES, CELLS, WORKERS = "stages", "cells", "workers"  # what parts are of, and how their names begin
REMEDY = "remove its folder: jobs of it that still run are then found by nobody, and finish as they would"


@dataclass(frozen=True)
class Part:
    """One array of a submission: what each task carries out, in the order of the tasks.

    name: of its list of requests, beginning with what it is of. requests: digests; none for workers, who choose.
    cells: ids; of stages, of a cell that has them. protocols: of each, the digest of how it is evaluated; none in
    records of older versions. stages: of each task that builds some, their KIND-ID and, at the end, the protocol under
    which they are evaluated. num_tasks: of the array.
    """

    name: str
    requests: tuple[str, ...]
    cells: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...]
    num_tasks: int
    protocols: tuple[str, ...] = ()

    @property
    def is_of(self) -> str:
        """stages, cells or workers."""
        return self.name.partition("-")[0]


@dataclass(frozen=True)
class Submission:
    """A submission as it was recorded: its sweep, who submitted it, where its script lay then, and its arrays.

    jobs: name of a part -> id of its array, as far as sbatch's answer was recorded. after: names of the jobs (`12_1`)
    that it waits for, likewise. cancelled: names of the tasks that a person took out of the queue by `amid cancel`.
    """

    folder: Path
    sweep: str
    uid: int
    script: str
    parts: tuple[Part, ...]
    jobs: dict[str, str] = field(default_factory=dict)
    after: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cancelled: frozenset[str] = frozenset()

    def job_name(self, part: Part) -> str:
        """How Slurm lists the array of a part."""
        return f"{self.sweep}.{part.name}"

    def log_path(self, job: str) -> Path:
        """What a task (`12_3`) printed."""
        return self.folder / LOGS / f"{job}.log"


def submissions(store: Store) -> list[Submission]:
    """All submissions, the latest last; of a damaged one only a warning."""
    found = []
    for folder in sorted(store.layout.submissions.glob("[0-9]*-*"), key=_number):
        try:
            submission = _read(folder)
        except DamagedError as err:
            log.warning("%s", err)
            continue
        if submission is not None:
            found.append(submission)
    return found


@contextlib.contextmanager
def submitting(store: Store) -> Iterator[None]:
    """A context in which no other process submits from this store; waits, and says so, while one does.

    Raises RunError if the results folder cannot be written.
    """
    folder, patience = store.layout.submissions, Patience()
    while (claim := try_claim(folder)) is None:
        patience.wait(f"another process that submits from {store.root} ({owner_of(folder)})")
    with held(claim):
        yield


def next_folder(store: Store, sweep: str) -> Path:
    """Where the next submission of a sweep will lie; absolute. Inside of `submitting`."""
    numbers = [_number(folder) for folder in store.layout.submissions.glob("[0-9]*-*")]
    return store.layout.submissions.absolute() / f"{max(numbers, default=0) + 1:04d}-{sweep}"


def write_submission(folder: Path, sweep: str, script: str, parts: Sequence[Part]) -> Submission:
    """Records what is about to be submitted: the script, a list of requests for each part, and which cells they are.

    Raises RunError if it cannot be written.
    """
    path = folder / SCRIPT
    record = {"sweep": sweep, "uid": os.getuid(), "script": str(path), "parts": [asdict(part) for part in parts]}
    try:
        (folder / LOGS).mkdir(parents=True, exist_ok=True)
        replace_text(path, script)
        for part in parts:
            if part.requests:
                replace_text(folder / f"{part.name}.txt", "".join(f"{digest}\n" for digest in part.requests))
        replace_text(folder / RECORD, seal(record, indent=1))
    except OSError as err:
        raise RunError(f"results folder {folder} cannot be written: {err.strerror}") from err
    return Submission(folder, sweep, os.getuid(), str(path), tuple(parts))


def record_job(submission: Submission, part: Part, job: str, *, after: Sequence[str] = ()) -> None:
    """Keeps the id of the array that a part has become, and the names of the jobs that it waits for."""
    path = submission.folder / JOBS
    drop_torn_line(path)
    append_line(path, {"part": part.name, "job": job, "after": list(after)})
    submission.jobs[part.name], submission.after[part.name] = job, tuple(after)


def record_cancelled(submission: Submission, tasks: Sequence[str]) -> None:
    """Keeps that tasks were cancelled by a person, and did not get lost."""
    path = submission.folder / CANCELLED
    drop_torn_line(path)
    append_line(path, {"tasks": list(tasks)})


def _read(folder: Path) -> Submission | None:
    record = read_object(folder / RECORD, remedy=REMEDY, needs=("sweep", "uid", "script", "parts"))
    if record is None:
        return None  # killed before it was written: nothing was submitted
    try:
        parts = tuple(_part(each) for each in record["parts"])
        if not is_name(record["sweep"]):
            raise ValueError
        cancelled = sift_lines(folder / CANCELLED, needs=("tasks",)).sound
        lines = sift_lines(folder / JOBS, needs=("part", "job", "after")).sound
        return Submission(
            folder,
            record["sweep"],
            int(record["uid"]),
            str(record["script"]),
            parts,
            {str(line["part"]): str(line["job"]) for line in lines},
            {str(line["part"]): tuple(map(str, line["after"])) for line in lines},
            frozenset(str(each) for line in cancelled for each in line["tasks"]),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise DamagedError(folder / RECORD, "it does not describe a submission", REMEDY) from err


def _part(values: dict[str, Any]) -> Part:
    return Part(
        name=str(values["name"]),
        requests=tuple(map(str, values["requests"])),
        cells=tuple(map(str, values["cells"])),
        stages=tuple(tuple(map(str, each)) for each in values["stages"]),
        num_tasks=int(values["num_tasks"]),
        protocols=tuple(map(str, values.get("protocols", ()))),
    )


def _number(folder: Path) -> int:
    text = folder.name.partition("-")[0]
    return int(text) if text.isdecimal() else 0
