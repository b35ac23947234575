"""The state of a sweep's entries, a line each: what `amid status` says, once or again and again. No torch here.

Of what was submitted to Slurm the queue is asked, once for all, where there is one to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amid.errors import RunError, one_line
from amid.reports.columns import aligned
from amid.reports.jobs import Job, Jobs, current_jobs, jobs_of, why_ended
from amid.store import Store
from amid.store.damage import damage_of, is_pruned, older_version
from amid.store.files import file_system_now
from amid.store.status import is_unverified, read_status, state_of, warnings_in
from amid.store.submissions import submissions
from amid.store.watch import look, owner_of

LOST = "lost"  # submitted, unknown to Slurm by now, and without a result: the sweep's command submits it again
ENDED = ("done", "failed", "damaged", LOST)
WITH_LOG = ("running", "stopped", "failed", LOST)


@dataclass(frozen=True)
class States:
    """What is said of a sweep: its lines, and whether every cell has ended, as far as nobody begins anew."""

    lines: tuple[str, ...]
    ended: bool


def states_of(manifest: Mapping[str, Any], store: Store) -> States:
    """The states of the stages and cells of a recorded sweep, at a glance: nothing is waited for."""
    jobs, problem = _jobs(store)
    folders = [
        (f"{reference['kind']} {reference['id']}", store.layout.folder_of(reference["kind"], reference["id"]), "")
        for reference in manifest["references"]
    ]
    for cell in manifest["cells"]:
        labels = "  ".join(f"{key}={value}" for key, value in cell["labels"].items())
        folders.append((cell["id"], store.layout.folder_of("cell", cell["id"]), labels))
    now = file_system_now(store.root)
    lines, states = [], []
    for title, folder, labels in folders:
        details = read_status(folder)
        state, damage = state_of(folder), damage_of(folder)
        shown, of_job = _beside_its_job("damaged" if damage else state, _job(folder, jobs), jobs, folder, store)
        states.append(shown)
        seconds = f"{details['seconds']:.0f} s" if "seconds" in details else ""
        error = str(details.get("error", "")) if state in ("failed", "done") else ""
        if error and state == "done":
            error = f"its last evaluation failed: {error}"
        owner = owner_of(folder, now=now) if state == "running" and shown in ("running", LOST) else ""
        gone = "model gone: trained again when it is needed" if is_pruned(folder) else ""
        rest = filter(
            None, (labels, seconds, *of_job, owner, error, gone, older_version(folder), *warnings_in(details), *damage)
        )
        lines.append((one_line(title), f"{shown:<8}", "  ".join(map(one_line, rest))))
    said = [f"sweep {manifest['name']} in {store.root}", *aligned(lines)]
    unverified = sum(is_unverified(folder) for _, folder, _ in folders)
    if unverified:
        said.append(f"unverified: {unverified} of {len(folders)} were written before digests were kept")
    if problem:
        said.append(f"what is queued is not known: {problem}")
    of_cells = states[len(manifest["references"]) :]
    return States(tuple(said), all(state in ENDED for state in of_cells) and "running" not in states)


def _jobs(store: Store) -> tuple[Jobs, str]:
    """What was submitted from the store beside the queue, and why the queue could not be asked."""
    try:
        return current_jobs(store), ""
    except RunError as err:
        return jobs_of(submissions(store), None), str(err)


def _job(folder: Path, jobs: Jobs) -> Job | None:
    """The latest job of the cell or stage whose folder this is."""
    found = jobs.of_cell.get(folder.name)
    for built, job in jobs.of_stages.items():
        if folder.name in built[:-1] and (found is None or job.queued is not None):
            found = job
    return found


def _beside_its_job(state: str, job: Job | None, jobs: Jobs, folder: Path, store: Store) -> tuple[str, list[str]]:
    """The state as the queue lets it appear, and what is said of the job."""
    if job is None or (state == "done" and job.queued is None):
        return state, []
    queued, log = job.queued, f"log: {job.log}" if job.log is not None else ""
    if queued is None:
        if jobs.asked and (state in ("absent", "stopped") or (state == "running" and look(folder) != "held")):
            why = why_ended(job, jobs, store)
            return (state if state == "stopped" else LOST), [why, log]
        return state, [f"job {job.name}", log] if state in WITH_LOG else []
    again = "" if not queued.restarts else f"requeued {queued.restarts} time{'' if queued.restarts == 1 else 's'}"
    name = f"job {queued.name}"
    if state == "done":  # it is evaluated once more, or has ended this moment
        return state, [name]
    if not queued.is_pending:
        return "running", [name, again, log]
    if queued.waits_for_a_job:
        return "waiting", [f"{name}, for {_awaited(job, jobs) or 'another job'}"]
    return "queued", [f"{name} ({queued.reason})", again, log if again else ""]


def _awaited(job: Job, jobs: Jobs) -> str:
    names = job.submission.after.get(job.part.name, ())
    stages = ", ".join(name for name in names if name in jobs.builders)
    others = ", ".join(name for name in names if name not in jobs.builders)
    of_stages = f"the stages of job {stages}" if stages else ""
    of_others = f"job {others}, which evaluates in another way" if others else ""
    return " and ".join(filter(None, (of_stages, of_others)))
