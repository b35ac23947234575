"""The cell: one distillation, named by the values that decide its weights, and the stages it shares with others.

Two requests that ask for the same weights give the same id, whatever they were called or where their files lie.
No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amid.cells.model_reference import has_dropout, model_identity
from amid.cells.objective import objective_identity, reads_teacher
from amid.config import SCRATCH, STRATEGY_OPTIONS, TEACHER, PairCfg, RunCfg, SftCfg
from amid.digests.fingerprint import FileDigests, value_digest
from amid.errors import RequestError

# Bumped when code changes the numbers of a cell or stage, together with the changelog.
CELL_VERSION = 2
# Of stages whose numbers a new CELL_VERSION does not change.
STAGE_VERSIONS: Mapping[str, int] = {"tokenizer": 1, "model": 1}
ID_DIGITS = 12
# The nodes of RunCfg: those that decide the weights, and those that do not (a test fails for a node in neither).
IDENTITY_NODES = ("pair", "amid", "objective", "divergence", "strategy", "data", "train", "compat", "seed")
# Deviations under which every rank goes its own way, so that their number changes the weights.
BY_RANK = ("micro_batch_mean", "validation_batch_mean", "sgo_rank_local_coin")
OTHER_NODES = ("task", "request", "cell", "method", "evaluation", "trainer", "logger", "paths", "sweep")
# Values that mean "as before this field existed"; left out of the hash, so that ids of older cells survive a new field.
# Frozen: never edit a line, only add one with a new field.
NEUTRAL: Mapping[str, Any] = {
    "amid.detach_student": False,
    "data.num_train": None,
    "data.num_dev": None,
    "data.truncate_prompt": False,
    "objective.reduction": "global_token_mean",
    "objective.terms": None,
    "pair.eos": None,
    "pair.vocab_policy": "strict",
    "student_init.arch": None,
    "student_init.eos": None,
    "student_init.keep_layers": None,
    "student_init.sft.max_steps": None,
    "student_init.sft.warmup_steps": 0,
    "student_init.tokenizer": None,
    "teacher.arch": None,
    "teacher.eos": None,
    "teacher.sft.max_steps": None,
    "teacher.sft.warmup_steps": 0,
    "teacher.tokenizer": None,
    "teacher": None,
    "student_init.sft.num_train": None,
    "student_init.sft.validation.every_steps": None,
    "student_init.sft.validation.num_examples": None,
    "teacher.sft.num_train": None,
    "teacher.sft.validation.every_steps": None,
    "teacher.sft.validation.num_examples": None,
    "train.bucket_by_length": False,
    "train.max_steps": None,
    "train.validation.every_steps": None,
    "train.validation.num_examples": None,
    "compat.alpha_ge1_geometric": False,
    "compat.native_loss_dtype": False,
    "compat.ab_constants": False,
    "compat.akl_swapped": False,
    "compat.abkd_prefactors": False,
    "compat.micro_batch_mean": False,
    "compat.sgo_label_offset": False,
    "compat.sgo_rank_local_coin": False,
    "compat.validation_batch_mean": False,
    "compat.skd_fresh_test": False,
    "divergence.function": None,
    "divergence.version": 1,
}


@dataclass(frozen=True)
class Stage:
    """Something built once and shared by cells: `tokenizer`, `teacher` or `student_init`; named like a cell."""

    kind: str
    id: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One distillation: its id (12 hex digits), its canonical values, and the stages it starts from.

    `ignored`: one sentence per configured knob that has no effect on this cell, for a warning.
    """

    id: str
    values: Mapping[str, Any]
    teacher: Stage
    student_init: Stage
    tokenizer: Stage | None
    ignored: tuple[str, ...] = ()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in the order in which they must be built."""
        first = () if self.tokenizer is None else (self.tokenizer,)
        return (*first, self.teacher, self.student_init)


def cell_of(run: RunCfg, *, read_again: bool = False) -> Cell:
    """The cell that a checked configuration names.

    Reads the data files and model folders it names, for their digests; those that it remembers only with `read_again`.
    Raises RequestError for a degenerate point, a missing file or a model that cannot be identified, and DamagedError
    for a file that has changed although its size and times have not.
    """
    digests = FileDigests(Path(run.paths.cache), again=read_again)
    ignored: list[str] = []
    data = data_identity(run, digests)
    tokenizer = _tokenizer_stage(run.pair, data)
    teacher = _teacher_stage(run, data, tokenizer, digests)
    student_init = _student_stage(run, data, tokenizer, teacher, digests)
    compat = _compat_identity(run)
    values: dict[str, Any] = {
        "cell_version": CELL_VERSION,
        # Without a term that reads it the teacher has no say, unless it writes; as origin it is part of student_init.
        "teacher": teacher.id if reads_teacher(run) or run.strategy.name == "speculative" else None,
        "student_init": student_init.id,
        "data": data,
        "seed": run.seed,
        "strategy": _strategy_identity(run, ignored),
        "train": asdict(run.train),
        "compat": compat,
        "division": _division_identity(run, run.train.global_batch_size, compat, dropout=_student_drops(run.pair)),
        "pair": {"vocab_policy": run.pair.vocab_policy, "eos": run.pair.eos},
        **objective_identity(run, ignored),
    }
    values = canonical(values)
    return Cell(
        id=value_digest(values, digits=ID_DIGITS),
        values=values,
        teacher=teacher,
        student_init=student_init,
        tokenizer=tokenizer,
        ignored=tuple(ignored),
    )


def canonical(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """The canonical form: floats normalised, +-inf as strings, neutral values and empty nodes left out.

    Raises RequestError for NaN.
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in NEUTRAL and value == NEUTRAL[path]:
            continue
        if isinstance(value, Mapping):
            node = canonical(value, prefix=f"{path}.")
            if node:
                result[key] = node
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            result[key] = [canonical(item) for item in value]  # each with nodes of its own, neutral as at the top
        else:
            result[key] = _canonical_scalar(path, value)
    return result


def data_identity(run: RunCfg, digests: FileDigests) -> dict[str, Any]:
    """What names the training data: the generator's parameters, or the digests of the files; never a path."""
    data = run.data
    common = {
        "source": data.source,
        "num_train": data.num_train,
        "num_dev": data.num_dev,
        "max_prompt_tokens": data.max_prompt_tokens,
        "max_tokens": data.max_tokens,
        "truncate_prompt": data.truncate_prompt,
    }
    if data.source == "toy":
        from amid.data.toy import TOY_VERSION

        # Evaluation records are drawn after the training records and do not change them.
        return {**common, "seed": data.seed, "num_records": data.num_records, "toy_version": TOY_VERSION}
    assert data.root is not None
    files = {}
    for role, name in (("train", data.train), ("dev", data.dev)):
        assert name is not None
        path = Path(data.root) / name
        if not path.is_file():
            raise RequestError(f"data.{role}: no file {path}; data.root must be a folder that holds {name}")
        files[role] = digests.file(path)
    return {**common, "files": files}


def _compat_identity(run: RunCfg) -> dict[str, Any]:
    """The deviations that are switched on and read by something in this run."""
    values, strategy = asdict(run.compat), run.strategy.name
    read_by = {
        "sgo_label_offset": strategy != "fixed",
        "sgo_rank_local_coin": strategy in ("mixed", "adaptive_off_policy") and run.trainer.devices > 1,
        "validation_batch_mean": strategy == "adaptive_off_policy",
        "skd_fresh_test": strategy == "speculative",
    }
    for name, is_read in read_by.items():
        values[name] = values[name] and is_read
    return values


def _division_identity(run: RunCfg, batch_size: int, compat: Mapping[str, bool], *, dropout: bool) -> dict[str, int]:
    """How a step is divided into micro-batches and ranks, where that decides the weights; empty where it is rounding.

    Dropout draws its masks per forward pass, and some deviations of the reference average per micro-batch or rank.
    """
    rows = -(-batch_size // run.trainer.devices)
    micro = run.trainer.micro_batch_size
    by_micro_batch = dropout or compat.get("micro_batch_mean") or compat.get("validation_batch_mean")
    values = {}
    if by_micro_batch and micro is not None and micro < rows:
        values["micro_batch_size"] = micro
    if run.trainer.devices > 1 and (dropout or any(compat.get(name) for name in BY_RANK)):
        values["num_ranks"] = run.trainer.devices
    return values


def _student_drops(pair: PairCfg) -> bool:
    """Whether the student has dropout, which its initial fine-tuning and the cell then draw."""
    if pair.student == TEACHER:
        return _teacher_drops(pair)
    if pair.student_arch is not None:
        return pair.student_arch.dropout > 0.0
    return has_dropout(pair.student, pair.student_revision)


def _teacher_drops(pair: PairCfg) -> bool:
    if pair.teacher_arch is not None:
        return pair.teacher_arch.dropout > 0.0
    return has_dropout(pair.teacher, pair.teacher_revision)


def _strategy_identity(run: RunCfg, ignored: list[str]) -> dict[str, Any]:
    """The strategy and the options it reads, with the number of ranks where it decides who remembers what."""
    strategy = run.strategy
    options = STRATEGY_OPTIONS[strategy.name]
    values: dict[str, Any] = {"name": strategy.name}
    for name, value in asdict(strategy).items():
        if name in options:
            values[name] = value
        elif name != "name" and value is not None:
            ignored.append(f"strategy.{name} has no effect with strategy={strategy.name}")
    if values.get("use_buffer") is False:
        del values["capacity"], values["buffer_scope"]
    if values.get("buffer_scope") == "rank" and run.trainer.devices > 1:
        values["num_ranks"] = run.trainer.devices  # each rank draws from what it wrote itself
    return values


def _stage(kind: str, values: Mapping[str, Any]) -> Stage:
    form = {
        "kind": kind,
        "cell_version": STAGE_VERSIONS.get(kind, CELL_VERSION),
        **canonical(values, prefix=f"{kind}."),
    }
    return Stage(kind=kind, id=value_digest(form, digits=ID_DIGITS), values=form)


def _tokenizer_stage(pair: PairCfg, data: Mapping[str, Any]) -> Stage | None:
    if pair.tokenizer_vocab_size is None:
        return None
    corpus = {key: data[key] for key in ("source", "seed", "toy_version", "num_records", "files") if key in data}
    return _stage("tokenizer", {"algorithm": "byte_bpe", "vocab_size": pair.tokenizer_vocab_size, "corpus": corpus})


def _teacher_stage(run: RunCfg, data: Mapping[str, Any], tokenizer: Stage | None, digests: FileDigests) -> Stage:
    pair = run.pair
    values = {
        "model": model_identity(pair.teacher, pair.teacher_revision, digests),
        "arch": None if pair.teacher_arch is None else asdict(pair.teacher_arch),
        "tokenizer": None if tokenizer is None else tokenizer.id,
        "eos": _eos_identity(pair, "teacher", digests),
        **_sft_identity(run, pair.teacher_sft, data, scratch=pair.teacher == SCRATCH, drops=_teacher_drops),
    }
    return _stage("teacher", values)


def _student_stage(
    run: RunCfg, data: Mapping[str, Any], tokenizer: Stage | None, teacher: Stage, digests: FileDigests
) -> Stage:
    pair = run.pair
    copied = pair.student == TEACHER
    values = {
        "model": {"teacher": teacher.id} if copied else model_identity(pair.student, pair.student_revision, digests),
        "arch": None if pair.student_arch is None else asdict(pair.student_arch),
        "keep_layers": pair.keep_layers,
        "tokenizer": None if tokenizer is None else tokenizer.id,
        "eos": _eos_identity(pair, "student", digests),
        **_sft_identity(run, pair.student_sft, data, scratch=pair.student == SCRATCH, drops=_student_drops),
    }
    return _stage("student_init", values)


def _eos_identity(pair: PairCfg, role: str, digests: FileDigests) -> Any:
    """What names the token that ends a stage's texts; None for the model's own. Of untrained stages too: they are
    evaluated with it, and their texts are named by their id.
    """
    if pair.eos not in ("teacher", "student"):
        return pair.eos
    if pair.eos == role or pair.student in (SCRATCH, TEACHER):
        return None  # its own tokenizer's
    return {"of": model_identity(getattr(pair, pair.eos), getattr(pair, f"{pair.eos}_revision"), digests)}


def _sft_identity(
    run: RunCfg, sft: SftCfg, data: Mapping[str, Any], *, scratch: bool, drops: Callable[[PairCfg], bool]
) -> dict[str, Any]:
    """The whole plan of a fine-tuning, its own choice of the data among it; nothing of the cell that asks for it."""
    if sft.epochs == 0:
        return {"init_seed": sft.seed} if scratch else {}
    plan = asdict(sft)
    if sft.validation.select == "loss":  # then no text is written
        plan["validation"] = {key: plan["validation"][key] for key in ("select", "every_steps", "num_examples")}
    return {
        "sft": plan,
        "data": {key: value for key, value in data.items() if key != "num_train"},
        "division": _division_identity(run, sft.global_batch_size, {}, dropout=drops(run.pair)),
    }


def keeps_model(kind: str, values: Mapping[str, Any]) -> bool:
    """True if a finished stage of these values has weights of its own, False if it is a model used as it is.

    kind: of the stage; a cell, of any other kind, has its own.
    """
    if kind == "model":
        return False
    if kind not in ("teacher", "student_init"):
        return True
    made = {"scratch", "teacher"} & set(values["model"])
    return bool(made) or "sft" in values or "keep_layers" in values


def model_stage(name: str, revision: str | None, digests: FileDigests) -> Stage:
    """The entry of a model that was not trained here, named by what names its weights.

    Raises RequestError for a model that cannot be identified.
    """
    return _stage("model", {"model": model_identity(name, revision, digests)})


def _canonical_scalar(path: str, value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        number = value
        if math.isnan(number):
            raise RequestError(f"{path} must be a number, got nan")
        if math.isinf(number):
            return "inf" if number > 0 else "-inf"
        return int(number) if number.is_integer() else number  # -5, -5.0 and -0.0 have one form each
    if isinstance(value, (list, tuple)):
        return [_canonical_scalar(path, item) for item in value]
    raise AssertionError(f"{path}: {type(value).__name__} has no canonical form")
