"""Which arrays a sweep is submitted as: what builds stages, then the cells, each after the job whose stages it needs.

No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amid.digests.fingerprint import value_digest
from amid.reports.jobs import Job, Jobs
from amid.slurm.options import SlurmOptions
from amid.store import Store
from amid.store.submissions import CELLS, STAGES, WORKERS
from amid.store.watch import look
from amid.sweep.carry_out import unprepared
from amid.sweep.plan import PlannedCell, Sweep


@dataclass(frozen=True)
class Array:
    """One array to be submitted.

    name: of its part in the submission. planned: the cell of each task; of workers, all that are left for them.
    after: names of jobs, or `PART_TASK` of another array of this submission, that must have succeeded. behind: of those
    that must have ended, in whatever way. throttle: tasks at the same time, None for all.
    """

    name: str
    planned: tuple[PlannedCell, ...]
    num_tasks: int
    after: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    throttle: int | None = None

    def options(self, sweep: str, jobs: dict[str, str]) -> list[str]:
        """What sbatch is told of it. jobs: part of this submission -> id of its array."""
        limit = "" if self.throttle is None else f"%{self.throttle}"
        options = [f"--job-name={sweep}.{self.name}", f"--array=1-{self.num_tasks}{limit}"]
        named = {"afterok": _names(self.after, jobs), "afterany": _names(self.behind, jobs)}
        conditions = [":".join([condition, *names]) for condition, names in named.items() if names]
        if conditions:
            options.append(f"--dependency={','.join(conditions)}")
        if self.after:  # else what waits for a job that failed would wait for ever
            options.append("--kill-on-invalid-dep=yes")
        return options

    def names_after(self, jobs: dict[str, str]) -> list[str]:
        """The names of the jobs that it waits for."""
        return _names((*self.after, *self.behind), jobs)


@dataclass(frozen=True)
class Arrays:
    """What is to be submitted, and the cells that are not: a job has them, or a process elsewhere runs them.

    A cell that a job has under another evaluation is submitted, behind the array of that job.
    """

    new: tuple[Array, ...]
    queued: tuple[tuple[PlannedCell, Job], ...]
    elsewhere: tuple[PlannedCell, ...]


def arrays_of(sweep: Sweep, store: Store, jobs: Jobs, options: SlurmOptions, *, max_size: int, watches: bool) -> Arrays:
    """The arrays of what is left of a sweep.

    max_size: tasks of one array at most. watches: whether to look for processes of others; that may write a probe.
    """
    queued: list[tuple[PlannedCell, Job]] = []
    elsewhere: list[PlannedCell] = []
    free: list[PlannedCell] = []
    behind: dict[str, tuple[str, ...]] = {}  # cell id -> names of the arrays that have it under another evaluation
    only_stages = {planned.run.task for planned in sweep.cells} == {"prepare"}
    for planned in () if only_stages else sweep.pending:
        waiting = jobs.in_queue.get(planned.cell.id, [])
        same = [job for job in waiting if job.protocol in (None, protocol_key(planned))]
        if same:
            queued.append((planned, same[0]))
        elif waiting:
            behind[planned.cell.id] = tuple(sorted({str(job.name).partition("_")[0] for job in waiting}))
            free.append(planned)
        elif watches and look(store.folder(planned.cell)) == "held":
            elsewhere.append(planned)
        else:
            free.append(planned)
    needed = [planned for planned in unprepared(sweep, store) if planned in free or only_stages or planned.finished]
    # A set of stages is named by one of its cells, which may be one that a job has already.
    of_free = {_stages(planned) for planned in free}
    needed += [each for each in unprepared(sweep, store) if each not in needed and _stages(each) in of_free]
    new, after = _stage_arrays(needed, store, jobs, options, max_size=max_size)
    if options.workers is not None and free:
        names = tuple(dict.fromkeys(after[_stages(planned)] for planned in free if _stages(planned) in after))
        names += tuple(sorted({name for of_cell in behind.values() for name in of_cell}))
        number = min(options.workers, len(free), max_size)
        new.append(Array(WORKERS, tuple(free), number, behind=names, throttle=options.array_parallelism))
    else:
        new += _cell_arrays(free, after, behind, options, max_size=max_size)
    return Arrays(tuple(new), tuple(queued), tuple(elsewhere))


def stages_key(planned: PlannedCell) -> tuple[str, ...]:
    """What a job that prepares a cell builds and evaluates: KIND-ID of every stage, and the protocol."""
    return (*_stages(planned), protocol_key(planned))


def protocol_key(planned: PlannedCell) -> str:
    """Names the protocol under which a job evaluates a cell, and the stages that it builds."""
    return value_digest(planned.protocol.manifest())


def _names(given: Sequence[str], jobs: dict[str, str]) -> list[str]:
    """Names of jobs, in which parts of this submission are named by the ids of their arrays."""
    split = (name.partition("_") for name in given)
    return [f"{jobs.get(array, array)}{separator}{task}" for array, separator, task in split]


def _stages(planned: PlannedCell) -> tuple[str, ...]:
    return tuple(f"{stage.kind}-{stage.id}" for stage in planned.cell.stages.values())


def _stage_arrays(
    needed: Sequence[PlannedCell], store: Store, jobs: Jobs, options: SlurmOptions, *, max_size: int
) -> tuple[list[Array], dict[tuple[str, ...], str]]:
    """The arrays that build stages, and for each set of stages the job, of these or in the queue, that builds it.

    A set that shares a stage with one that is being built waits for that job, whatever it comes to.
    """
    after: dict[tuple[str, ...], str] = {}
    building = {key: job for key, job in jobs.of_stages.items() if job.queued is not None and job.name is not None}
    groups: dict[tuple[str, ...], list[PlannedCell]] = {}
    for planned in needed:
        job = building.get(stages_key(planned))
        if job is not None and job.name is not None:
            after[_stages(planned)] = job.name
            continue
        missing = {f"{stage.kind}-{stage.id}" for stage in planned.cell.stages.values() if store.state(stage) != "done"}
        shared = sorted({str(job.name) for key, job in building.items() if missing & set(key[:-1])})
        groups.setdefault(tuple(shared), []).append(planned)
    arrays: list[Array] = []
    for names, members in groups.items():
        for chunk in _chunks(members, max_size):
            name = _numbered(STAGES, len(arrays))
            throttle = options.array_parallelism
            arrays.append(Array(name, tuple(chunk), len(chunk), behind=names, throttle=throttle))
            after |= {_stages(planned): f"{name}_{number}" for number, planned in enumerate(chunk, start=1)}
    return arrays, after


def _cell_arrays(
    free: Sequence[PlannedCell],
    after: dict[tuple[str, ...], str],
    behind: dict[str, tuple[str, ...]],
    options: SlurmOptions,
    *,
    max_size: int,
) -> list[Array]:
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[PlannedCell]] = {}
    for planned in free:
        name = after.get(_stages(planned))
        groups.setdefault(((name,) if name else (), behind.get(planned.cell.id, ())), []).append(planned)
    chunks = [(names, chunk) for names, members in groups.items() for chunk in _chunks(members, max_size)]
    limit = options.array_parallelism
    throttle = None if limit is None else max(1, limit // len(chunks))  # each array counts by itself
    return [
        Array(_numbered(CELLS, number), tuple(chunk), len(chunk), *names, throttle=throttle)
        for number, (names, chunk) in enumerate(chunks)
    ]


def _chunks(members: Sequence[PlannedCell], size: int) -> list[Sequence[PlannedCell]]:
    return [members[first : first + size] for first in range(0, len(members), size)]


def _numbered(name: str, number: int) -> str:
    return name if number == 0 else f"{name}-{number + 1}"
