"""Submitting a sweep to Slurm: freeze what is left, one script, stages before cells; what is queued already stays.

No torch here: a login node imports none, and the command returns when the jobs are in the queue.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amid.config.overrides import override
from amid.errors import RequestError, RunError
from amid.reports.jobs import current_jobs, jobs_of, why_ended
from amid.slurm import commands
from amid.slurm.options import SlurmOptions
from amid.slurm.script import array_script
from amid.store import Store
from amid.store.frozen import LOCATION
from amid.store.submissions import (
    SCRIPT,
    STAGES,
    WORKERS,
    Part,
    next_folder,
    record_job,
    submissions,
    submitting,
    write_submission,
)
from amid.store.watch import Patience, look
from amid.sweep.arrays import Array, Arrays, arrays_of, protocol_key, stages_key
from amid.sweep.carry_out import check_trained, conclude, in_wandb, plan_lines, request_of, unprepared
from amid.sweep.plan import Sweep, is_evaluated, manifest_of
from amid.sweep.preflight import check_writable, refuse_invalid
from amid.sweep.program import program
from amid.sweep.wandb_runs import show_references

log = logging.getLogger(__name__)
LOOKS_EVERY = 5  # seconds between two looks at the queue of `wait`


def submit(sweep: Sweep, options: SlurmOptions) -> None:
    """Puts what is left of the sweep into Slurm's queue and returns; with `wait` only when it has ended.

    Where nothing is left it prints the table, as a sweep here does at its end. Raises RequestError before anything is
    written, RunError where Slurm refuses an array, and at the end of what it waited for if a cell is not finished.
    """
    store = Store(sweep.cells[0].run.paths.results)
    check_trained(sweep)
    refuse_invalid(sweep)
    devices = _devices(sweep)
    if options.workers is not None and devices > 1:
        raise RequestError(
            f"hydra.launcher.workers={options.workers} carry out cells of one device each, got "
            f"trainer.devices={devices}; hydra/launcher=slurm_gpus has several"
        )
    script = _script(sweep, options, store, devices=devices, folder=next_folder(store, sweep.name))
    if options.dry_run:
        _show(sweep, options, store, script)
        return
    commands.check_here("sbatch")
    check_writable(store.root)
    for line in plan_lines(sweep):
        log.info("%s", line)
    manifest = manifest_of(sweep)
    store.write_sweep(sweep.name, manifest)
    if sweep.pending or unprepared(sweep, store):
        with submitting(store):
            jobs = current_jobs(store)
            for submission, part, array in jobs.found:  # whose launcher was killed before it could
                record_job(submission, part, array)
            max_size = commands.max_array_size() - 1
            arrays = arrays_of(sweep, store, jobs, options, max_size=max_size, watches=True)
            _submit(sweep, arrays, options, store, devices=devices)
        _say_what_is_left(arrays)
        where = "" if store.root == Path("results") else f" --results {shlex.quote(str(store.root))}"
        log.info("look: amid status %s%s   stop: amid cancel %s%s", sweep.name, where, sweep.name, where)
        if not options.wait:
            return
        _wait(sweep, store)
    _conclude(sweep, store, manifest)


def _submit(sweep: Sweep, arrays: Arrays, options: SlurmOptions, store: Store, *, devices: int) -> None:
    if not arrays.new:
        return
    folder = next_folder(store, sweep.name)
    parts = {array.name: _part(array, store, sweep) for array in arrays.new}
    script = _script(sweep, options, store, devices=devices, folder=folder)
    submission = write_submission(folder, sweep.name, script, list(parts.values()))
    for array in arrays.new:
        job = commands.submit(submission.script, array.name, array.options(sweep.name, submission.jobs))
        after = array.names_after(submission.jobs)
        record_job(submission, parts[array.name], job, after=after)
        waits = f", after {', '.join(after)}" if after else ""
        at_once = f", {array.throttle} at a time" if array.throttle is not None else ""
        at_once += f", each on {devices} {'GPUs' if options.gpus else 'processes'}" if devices > 1 else ""
        log.info("submitted %-8s job %s: %s%s%s", array.name, job, _number(array.num_tasks, "task"), at_once, waits)
    log.info("script and logs: %s", folder)


def _part(array: Array, store: Store, sweep: Sweep) -> Part:
    """The array as it is recorded; what its tasks carry out is frozen, of workers all that they may take."""
    of_stages = array.name.partition("-")[0] == STAGES
    digests = tuple(
        request_of(each, store, sweep, task="prepare" if of_stages else each.run.task) for each in array.planned
    )
    return Part(
        name=array.name,
        requests=() if array.name == WORKERS else digests,
        cells=tuple(each.cell.id for each in array.planned),
        stages=tuple(stages_key(each) for each in array.planned) if of_stages else (),
        num_tasks=array.num_tasks,
        protocols=() if of_stages else tuple(protocol_key(each) for each in array.planned),
    )


def _script(sweep: Sweep, options: SlurmOptions, store: Store, *, devices: int, folder: Path) -> str:
    python, results = options.python or sys.executable, str(store.root.absolute())
    return array_script(
        options,
        title=f"Sweep {sweep.name}",
        folder=str(folder),
        devices=devices,
        command=[python, *program()],
        location=override(LOCATION, results),
        work=None if options.workers is None else [python, "-m", "amid.cli", "work", sweep.name, "--results", results],
    )


def _show(sweep: Sweep, options: SlurmOptions, store: Store, script: str) -> None:
    """Prints the script, and how it would be submitted, of what is left as far as can be seen without a trace."""
    try:
        max_size, jobs = commands.max_array_size() - 1, current_jobs(store)
    except (RequestError, RunError):  # no Slurm here, or none that answers
        max_size, jobs = commands.DEFAULT_ARRAY_SIZE - 1, jobs_of(submissions(store), None)
    arrays = arrays_of(sweep, store, jobs, options, max_size=max_size, watches=False)
    log.info("%s", script)
    for array in arrays.new:
        path = next_folder(store, sweep.name) / SCRIPT
        log.info("# %s", shlex.join(["sbatch", *array.options(sweep.name, {}), str(path), array.name]))
    log.info("# dry run: nothing is submitted or written")


def _devices(sweep: Sweep) -> int:
    """Tasks of one cell. Raises RequestError unless all cells of the sweep have as many."""
    numbers = sorted({planned.run.trainer.devices for planned in sweep.cells})
    if len(numbers) > 1:
        raise RequestError(
            f"trainer.devices={numbers[0]} and {numbers[1]} in one sweep: an array has tasks of one kind"
        )
    return numbers[0]


def _say_what_is_left(arrays: Arrays) -> None:
    """Says of the cells that were not submitted why."""
    if arrays.queued:
        jobs = sorted({str(job.name).partition("_")[0] for _, job in arrays.queued})
        log.info("not again: %s queued or running (job %s)", _number(len(arrays.queued), "cell"), ", ".join(jobs))
    for planned in arrays.elsewhere:
        log.info("left alone: cell %s, which another process runs", planned.cell.id)
    if not arrays.new:
        log.info("nothing to submit")


def _wait(sweep: Sweep, store: Store) -> None:
    """Until no unfinished cell of the sweep, and nothing that it shares, has a job or a live process."""
    patience = Patience()
    while True:
        try:
            waiting = _unended(sweep, store)
        except RunError as err:  # a controller that is started again, say: the jobs go on meanwhile
            what = str(err)
        else:
            if not waiting:
                return
            what = f"{_number(len(waiting), 'job')} of sweep {sweep.name}"
        for _ in range(LOOKS_EVERY):
            patience.wait(what)


def _unended(sweep: Sweep, store: Store) -> list[str]:
    jobs = current_jobs(store)
    stages = {stages_key(planned): planned for planned in unprepared(sweep, store)}
    found = [key[0] for key in stages if (job := jobs.of_stages.get(key)) is not None and job.queued is not None]
    for planned in sweep.cells:
        cell_job = jobs.of_cell.get(planned.cell.id)
        if store.state(planned.cell) == "done" and is_evaluated(store, planned.cell, planned.protocol):
            continue
        if (cell_job is not None and cell_job.queued is not None) or look(store.folder(planned.cell)) == "held":
            found.append(planned.cell.id)
    return found


def _conclude(sweep: Sweep, store: Store, manifest: Mapping[str, Any]) -> None:
    jobs = current_jobs(store)
    said = {}
    for planned in sweep.cells:
        job = jobs.of_cell.get(planned.cell.id)
        if job is not None and store.state(planned.cell) in ("absent", "stopped"):
            log_path = "" if job.log is None else f" (log: {job.log})"
            said[planned.cell.id] = f"{why_ended(job, jobs, store)}{log_path}"
    if in_wandb(sweep) and any(planned.run.task != "prepare" for planned in sweep.cells):
        show_references(sweep.cells, store, sweep=str(manifest["name"]))
    conclude(sweep, store, manifest, said)


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
