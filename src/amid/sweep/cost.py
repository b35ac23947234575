"""What a sweep will cost: seconds and bytes, from what finished cells took, or from a stated default. No torch here.

The model is linear: seconds of a training step per sequence, seconds per token that the student writes, seconds per
evaluated answer, bytes per entry. Each is the median over finished cells of the same initial student (of steps and of
written tokens: of the same strategy too). Where there is none, operations are counted, and done at a stated speed.

Seconds are those of one device: N devices that share a cell are N times as fast here, and cells side by side do not
hinder each other. So the hours of devices are what the work is, and the time till the end is a bound from below.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amid.cells.stage import Stage
from amid.config import Role, RunCfg, SftCfg
from amid.data.splits import training_records
from amid.errors import RequestError
from amid.evaluation.tuning import chosen_temperature, missing_temperatures, tuned
from amid.memory.phases import GIB
from amid.store import Score, Store
from amid.store.identity import recorded_values
from amid.store.scores import sift_scores
from amid.store.status import read_status, spent_in, state_of
from amid.sweep.memory import reference_shape
from amid.sweep.plan import PlannedCell, Sweep

FLOPS_PER_S = (
    2e10  # of two CPU cores in float32, as the embedded pair trains on them; a GPU has a thousand times as many
)
TRAINED, READ = 6, 2  # multiplications and additions per parameter and token: forward and backward, forward alone
FILLED = 0.5  # of the longest text, on average
WRITTEN_SHARE: Mapping[str, float] = {"fixed": 0.0, "mixed": 0.5, "adaptive_off_policy": 0.5}  # of steps; others: all
BYTES_PER_ANSWER = 1000
HOUR_S = 3600.0
_counted: dict[str, int] = {}  # training records of files, by their configuration


@dataclass(frozen=True)
class Measured:
    """What a finished cell took; seconds are those of a device, times the devices that shared it."""

    student: str  # id of its initial student
    strategy: str
    per_sequence: float  # seconds of training, without writing
    tokens_per_sequence: float  # that its student wrote
    per_token: float | None  # seconds to write one
    per_answer: float | None  # seconds
    num_bytes: int


@dataclass(frozen=True)
class Estimate:
    """What is left to do. learned: how many finished cells it rests on; 0 = the stated default.

    cell_seconds, stage_seconds: of devices. elapsed: seconds till the end. devices: that share one cell, the fewest and
    the most; at_once: cells at the same time.
    """

    cell_seconds: float
    stage_seconds: float
    elapsed: float
    devices: tuple[int, int]
    at_once: int
    num_bytes: int
    stages: Mapping[str, int]  # kind -> how many are to be made
    learned: int
    unknown: int  # cells whose models are not on this machine: not in the sums


def estimate(sweep: Sweep) -> Estimate | None:
    """What the pending cells of a sweep will take; None if nothing is left to do."""
    if not sweep.pending:
        return None
    store = Store(sweep.cells[0].run.paths.results)
    students = {planned.cell.stages["student_init"].id for planned in sweep.cells}
    known = [each for each in measured(store) if each.student in students]
    num_bytes, unknown, used = 0, 0, set[int]()
    stages: dict[str, Stage] = {}
    of_cells, of_stages = list[_Work](), list[_Work]()
    for planned in sweep.pending:
        try:
            seconds, size, of = _of_cell(planned, known)
        except RequestError:  # a model that is not here has no size
            unknown += 1
            continue
        devices = planned.run.trainer.devices
        of_cells.append(_Work(seconds, devices))
        num_bytes += size
        used |= of
        missing = {
            f"{each.kind}-{each.id}": each for each in planned.cell.stages.values() if store.state(each) != "done"
        }
        own = {name: stage for name, stage in missing.items() if name not in stages}
        of_stages.append(_Work(sum(_of_stage(stage, planned.run) for stage in own.values()), devices))
        stages |= own
    kinds: dict[str, int] = {}
    for stage in stages.values():
        kinds[stage.title] = kinds.get(stage.title, 0) + 1
    shares = [work.devices for work in of_cells] or [1]
    return Estimate(
        cell_seconds=sum(work.seconds for work in of_cells),
        stage_seconds=sum(work.seconds for work in of_stages),
        elapsed=_elapsed(of_stages, sweep.at_once) + _elapsed(of_cells, sweep.at_once),
        devices=(min(shares), max(shares)),
        at_once=max(1, min(sweep.at_once, len(of_cells))),
        num_bytes=num_bytes,
        stages=kinds,
        learned=len(used),
        unknown=unknown,
    )


@dataclass(frozen=True)
class _Work:
    """Seconds of devices, and how many devices share them."""

    seconds: float
    devices: int


def _elapsed(works: Sequence[_Work], at_once: int) -> float:
    """Seconds till the last one ends, each begun in order as soon as one of `at_once` places is free."""
    free_at = [0.0] * max(1, min(at_once, len(works)))
    for work in works:
        heapq.heapreplace(free_at, free_at[0] + work.seconds / work.devices)
    return max(free_at)


def lines_of_estimate(found: Estimate) -> list[str]:
    """What is said of an estimate."""
    source = (
        f"from {found.learned} finished cells"
        if found.learned
        else f"no finished cell to learn from: {FLOPS_PER_S:.0e} operations a second, as two CPU cores"
    )
    parts = f"{_time(found.cell_seconds)} of cells, {_time(found.stage_seconds)} of stages"
    lines = [
        f"time: {_time_and_devices(found)}{parts}; {source})",
        f"disk: about {found.num_bytes / GIB:.2f} GiB for what is left",
    ]
    if found.stages:
        lines.append("stages to make: " + ", ".join(f"{number} {kind}" for kind, number in found.stages.items()))
    if found.unknown:
        lines.append(f"not in these sums: {found.unknown} cells whose models are not on this machine")
    return lines


def _time_and_devices(found: Estimate) -> str:
    """The time till the end and, where that differs, the hours of devices; ends inside a parenthesis."""
    total, (fewest, most) = found.cell_seconds + found.stage_seconds, found.devices
    if most == 1 and found.at_once == 1:
        return f"about {_time(total)} of one device ("
    shared = [] if most == 1 else [f"{fewest if fewest == most else f'{fewest} to {most}'} devices a cell"]
    beside = [] if found.at_once == 1 else [f"{found.at_once} cells at once, each on its own"]
    hours = total / HOUR_S
    return (
        f"about {_time(found.elapsed)} ({hours:.{1 if hours >= 0.1 else 3}f} device hours: "
        f"{', '.join([*shared, *beside])}; of one device "
    )


def measured(store: Store) -> list[Measured]:
    """What every finished cell in the store took; cells that say nothing of it are left out."""
    folders = [path for name, path in store.layout.entries().items() if "-" not in name and state_of(path) == "done"]
    return [each for folder in folders if (each := _measured(folder)) is not None]


def _measured(folder: Path) -> Measured | None:
    status = read_status(folder)
    spent = spent_in(status)
    try:
        values = recorded_values(folder) or {}
        sequences = spent["steps"] * values["train"]["global_batch_size"]
        devices = spent.get("devices", 1.0)  # missing of before it was recorded
        train_s, all_s = (float(status[name]) * devices for name in ("train_seconds", "seconds"))
        tokens, writing_s = spent["generated_tokens"], spent["generation_seconds"]
        student, strategy = str(values["student_init"]), str(values["strategy"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # of an older version, or damaged: amid status says so
    if not sequences:
        return None
    answers = sum(score.num_samples for score in sift_scores(folder)[0] if score.main and score.decode_seed is not None)
    return Measured(
        student=student,
        strategy=strategy,
        per_sequence=max(0.0, train_s - writing_s) / sequences,
        tokens_per_sequence=tokens / sequences,
        per_token=writing_s / tokens if tokens else None,
        per_answer=max(0.0, all_s - train_s) / answers if answers else None,
        num_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    )


def _of_cell(planned: PlannedCell, known: Sequence[Measured]) -> tuple[float, int, set[int]]:
    """Seconds and bytes of a pending cell, and the numbers of the finished ones that say so."""
    run, student = planned.run, planned.cell.stages["student_init"].id
    of_student = [i for i, each in enumerate(known) if each.student == student]
    alike = [i for i in of_student if known[i].strategy == run.strategy.name] or of_student
    answers = num_answers(planned, Store(run.paths.results).read([planned.cell]))
    if not alike:
        return (*_assumed(run, answers), set())
    sequences = num_steps(run) * run.train.global_batch_size
    seconds = sequences * _median(known[i].per_sequence for i in alike)
    written = sequences * _median(known[i].tokens_per_sequence for i in alike)
    seconds += written * _median(known[i].per_token for i in alike)
    seconds = seconds if planned.state != "done" else 0.0
    seconds += answers * _median(known[i].per_answer for i in of_student)
    num_bytes = round(_median(known[i].num_bytes for i in of_student))
    return seconds, answers * BYTES_PER_ANSWER if planned.state == "done" else num_bytes, set(alike)


def _assumed(run: RunCfg, answers: int) -> tuple[float, int]:
    student, teacher = (reference_shape(run, role).num_parameters for role in ("student", "teacher"))
    tokens = num_steps(run) * run.train.global_batch_size * run.data.max_tokens * FILLED
    work = tokens * (TRAINED * student + READ * teacher) + tokens * TRAINED * student * (run.objective.lm_coef > 0.0)
    written = tokens * WRITTEN_SHARE.get(run.strategy.name, 1.0) + answers * run.data.max_tokens * FILLED
    return (work + written * READ * student) / FLOPS_PER_S, 4 * student + answers * BYTES_PER_ANSWER


def _of_stage(stage: Stage, run: RunCfg) -> float:
    role: Role = "teacher" if stage.kind in ("teacher", "corpus") else "student"
    size = reference_shape(run, role).num_parameters
    if stage.kind == "corpus":
        return READ * size * _num_records(run) * run.data.max_tokens * FILLED / FLOPS_PER_S
    if stage.evaluated_as is None:
        return 0.0  # a tokenizer
    sft: SftCfg = getattr(run.pair, f"{role}_sft")
    steps = _steps(sft.num_train or _num_records(run), sft.global_batch_size, sft.epochs, sft.max_steps)
    return TRAINED * size * steps * sft.global_batch_size * run.data.max_tokens * FILLED / FLOPS_PER_S


def num_answers(planned: PlannedCell, scores: Sequence[Score] = ()) -> int:
    """Prompts that the cell still answers, once for each decode seed.

    scores: those that it has, whose texts are there. Where the temperature that validation will choose is open, it is
    taken to be another one than that of every set.
    """
    known, run, id_ = {score.generation_id for score in scores}, planned.run, planned.cell.id
    protocol = tuned(planned.protocol, id_, scores)
    answers = sum(
        num_prompts(each.data)
        for name, each in protocol.sets.items()
        for seed in each.decode_seeds
        if protocol.generation_id(id_, name, seed) not in known
    )
    if not protocol.temperatures:
        return answers
    own = run.train.validation.temperature  # at which every cell is validated
    validated = [each for each in missing_temperatures(protocol, id_, scores) if each != own]
    answers += len(validated) * _num_validated(run) if validated else 0
    if chosen_temperature(protocol, id_, scores) is None:
        sampled = [protocol.sets[name] for name in protocol.sampled]
        answers += sum(num_prompts(each.data) * len(each.decode_seeds) for each in sampled)
    return answers


def _num_validated(run: RunCfg) -> int:
    """Validation records that a model answers, at most."""
    counts = [count for count in (run.train.validation.num_examples, run.data.num_dev) if count is not None]
    return min(counts) if counts else len(training_records(run.data)[1])


def num_prompts(texts: Any) -> int:
    """Examples of an evaluation set; 0 where its texts are not known."""
    return 0 if texts is None else len(texts.prompts)


def num_steps(run: RunCfg) -> int:
    """Optimiser steps of the cell, to within one per validation."""
    return _steps(_num_records(run), run.train.global_batch_size, run.train.epochs, run.train.max_steps)


def _num_records(run: RunCfg) -> int:
    if run.data.num_train or run.data.num_records:
        return run.data.num_train or run.data.num_records or 0
    key = repr(run.data)
    if key not in _counted:
        _counted[key] = len(training_records(run.data)[0])
    return _counted[key]


def _steps(num_records: int, batch_size: int, epochs: int, max_steps: int | None) -> int:
    in_all = num_records // batch_size * epochs
    return min(in_all, max_steps or in_all)


def _median(values: Iterable[float | None]) -> float:
    """The median of the known ones; 0 without any."""
    return statistics.median([value for value in values if value is not None] or [0.0])


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 1.5 * HOUR_S else f"{seconds / HOUR_S:.1f} h"
