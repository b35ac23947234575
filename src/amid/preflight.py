"""What can be found wrong with a request before anything trains: data, tokenizers, models, the results folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from amid.config import SCRATCH, TEACHER, RunCfg
from amid.data.prompt import no_chat_template
from amid.data.records import training_records
from amid.errors import RequestError, RunError


def check_run(run: RunCfg) -> None:
    """None; raises RequestError for data that cannot be read or a pair that cannot be distilled.

    Raises RunError if the results folder cannot be written. Loads tokenizers, but no weights.
    """
    check_writable(Path(run.paths.results))
    _check_records(run)
    _check_steps(run)
    _check_objective(run)
    chats = [name for name, declared in run.evaluation.sets.items() if declared.prompt == "chat"]
    if run.pair.teacher != SCRATCH:
        _check_tokenizers(run, chats)
    elif chats:
        raise no_chat_template(chats[0])


def _check_records(run: RunCfg) -> None:
    """Every training has the records it asks for, and enough of them for one step."""
    train, _ = training_records(run.data)
    pair = run.pair
    trainings = [("data", run.data.num_train, "train", run.train.global_batch_size)]
    trainings += [
        (f"pair.{role}_sft", sft.num_train, f"pair.{role}_sft", sft.global_batch_size)
        for role, sft in (("teacher", pair.teacher_sft), ("student", pair.student_sft))
        if sft.epochs > 0
    ]
    for where, num_train, batch_of, batch_size in trainings:
        if num_train is not None and num_train > len(train):
            raise RequestError(
                f"{where}.num_train={num_train} exceeds the {len(train)} training records; null takes all"
            )
        if (num_train or len(train)) < batch_size:
            raise RequestError(
                f"{batch_of}.global_batch_size={batch_size} exceeds the {num_train or len(train)} training records"
            )


def _check_steps(run: RunCfg) -> None:
    batch_size, devices, capacity = run.train.global_batch_size, run.trainer.devices, run.strategy.capacity
    if batch_size % devices:
        raise RequestError(
            f"train.global_batch_size must be a multiple of trainer.devices ({devices}), got {batch_size}"
        )
    if capacity is not None and capacity < batch_size:
        raise RequestError(f"strategy.capacity must be at least train.global_batch_size ({batch_size}), got {capacity}")


def check_writable(results: Path) -> None:
    """None; raises RunError unless files can be made in the folder."""
    probe = results / f".probe.{os.getpid()}"
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as err:
        raise RunError(f"results folder {results} cannot be written: {err.strerror}") from err


def _check_objective(run: RunCfg) -> None:
    from amid.objectives import objective_of

    objective_of(run)


def _check_tokenizers(run: RunCfg, chats: Sequence[str]) -> None:
    from amid.pairs import check_one_tokenizer, load_tokenizer

    pair, cache = run.pair, Path(run.paths.cache)
    teacher = load_tokenizer(pair.teacher, revision=pair.teacher_revision, cache=cache)
    if chats and teacher.chat_template is None:
        raise no_chat_template(chats[0])
    if pair.student in (SCRATCH, TEACHER, pair.teacher):
        return
    student = load_tokenizer(pair.student, revision=pair.student_revision, cache=cache)
    check_one_tokenizer(teacher, student, names=(pair.teacher, pair.student), vocab_policy=pair.vocab_policy)
