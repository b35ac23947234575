"""Stages: what is built once and shared by cells, each named like a cell. No torch here.

A new kind of stage is a function here that names it, a line in STAGE_KINDS, and its builder in the room `stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from amid.cells.canonical import CELL_VERSION, ID_DIGITS, canonical
from amid.cells.data import has_dev, part_identity
from amid.cells.division import division_identity, student_drops, teacher_drops
from amid.cells.model_reference import model_identity
from amid.cells.optimisation import optimisation_identity
from amid.config import SCRATCH, TEACHER, LoraCfg, PairCfg, Role, RunCfg, SftCfg
from amid.digests.fingerprint import FileDigests, value_digest

# What is left of a validation that writes no text.
NUMERIC_VALIDATION = ("select", "rounds", "every_steps", "num_examples")
# Of stages whose numbers a new CELL_VERSION does not change.
STAGE_VERSIONS: Mapping[str, int] = {"tokenizer": 1, "model": 1, "corpus": 1}


@dataclass(frozen=True)
class Stage:
    """Something built once and shared by cells, named by its values. kind: how it is made, a key of STAGE_KINDS."""

    kind: str
    id: str
    values: Mapping[str, Any]

    @property
    def title(self) -> str:
        """How a person calls its kind: `initial student`."""
        return STAGE_KINDS[self.kind].title if self.kind in STAGE_KINDS else self.kind

    @property
    def evaluated_as(self) -> Role | None:
        """Whose tokenizer it reads and writes with, as one of a pair; None for what is no model, which has no scores.

        A model that was not trained here (kind `model`) belongs to no pair.
        """
        return STAGE_KINDS[self.kind].evaluated_as if self.kind in STAGE_KINDS else None


@dataclass(frozen=True)
class StageRequest:
    """What a stage may be named by: the run, the identity of its data, and the stages that are built before it."""

    run: RunCfg
    data: Mapping[str, Any]
    digests: FileDigests
    before: Mapping[str, Stage]

    def id_of(self, role: str) -> str | None:
        """Id of a stage that is built before; None if this cell has none in that role."""
        return self.before[role].id if role in self.before else None


@dataclass(frozen=True)
class StageKind:
    """What is known of a kind of stage without building one.

    values: what names it, None for a cell that needs none. title: how a person calls it.
    evaluated_as: whose texts and tokenizer it is evaluated with; None for what is no model, which has no scores.
    name: the kind, where a cell may have several of one; None = as its role.
    """

    values: Callable[[StageRequest], Mapping[str, Any] | None]
    title: str
    evaluated_as: Role | None = None
    name: str | None = None


def stages_of(run: RunCfg, data: Mapping[str, Any], digests: FileDigests) -> dict[str, Stage]:
    """Role -> stage of everything that a run's cell shares with others, in the order in which they must be built."""
    stages: dict[str, Stage] = {}
    for role, kind in STAGE_KINDS.items():
        values = kind.values(StageRequest(run, data, digests, stages))
        if values is not None:
            stages[role] = _stage(kind.name or role, values)
    return stages


def model_stage(name: str, revision: str | None, digests: FileDigests) -> Stage:
    """The entry of a model that was not trained here, named by what names its weights.

    Raises RequestError for a model that cannot be identified.
    """
    return _stage("model", {"model": model_identity(name, revision, digests)})


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


def _stage(kind: str, values: Mapping[str, Any]) -> Stage:
    form = {
        "kind": kind,
        "cell_version": STAGE_VERSIONS.get(kind, CELL_VERSION),
        **canonical(values, prefix=f"{kind}."),
    }
    return Stage(kind=kind, id=value_digest(form, digits=ID_DIGITS), values=form)


def _tokenizer_values(asked: StageRequest) -> Mapping[str, Any] | None:
    vocab_size, data = asked.run.pair.tokenizer_vocab_size, asked.data
    if vocab_size is None:
        return None
    keys = ["source", "seed", "toy_version", "num_records", "files", "format", "fields"]
    if not has_dev(data):
        keys += ["num_dev", "split_seed"]  # which decide what is left to train on
    corpus = {key: data[key] for key in keys if key in data}
    return {"algorithm": "byte_bpe", "vocab_size": vocab_size, "corpus": corpus}


def _teacher_values(asked: StageRequest) -> Mapping[str, Any]:
    pair = asked.run.pair
    return {
        "model": model_identity(pair.teacher, pair.teacher_revision, asked.digests),
        "arch": None if pair.teacher_arch is None else asdict(pair.teacher_arch),
        "tokenizer": asked.id_of("tokenizer"),
        "eos": _eos_identity(pair, "teacher", asked.digests),
        **_later_values(dtype=pair.teacher_dtype, lora=pair.teacher_lora, quantisation=pair.teacher_quantisation),
        **_sft_identity(asked, pair.teacher_sft, scratch=pair.teacher == SCRATCH, drops=teacher_drops),
    }


def _student_values(asked: StageRequest) -> Mapping[str, Any]:
    pair, digests = asked.run.pair, asked.digests
    copied = {"teacher": asked.id_of("teacher")}
    return {
        "model": copied if pair.student == TEACHER else model_identity(pair.student, pair.student_revision, digests),
        "arch": None if pair.student_arch is None else asdict(pair.student_arch),
        "keep_layers": pair.keep_layers,
        "tokenizer": asked.id_of("tokenizer"),
        "eos": _eos_identity(pair, "student", digests),
        **_later_values(dtype=pair.student_dtype, lora=pair.student_lora),
        **_sft_identity(asked, pair.student_sft, scratch=pair.student == SCRATCH, drops=student_drops),
    }


def _later_values(*, dtype: str, lora: LoraCfg, quantisation: str | None = None) -> dict[str, Any]:
    """Values that came after the first stages, where they differ from what was so before: older ids stay."""
    values: dict[str, Any] = {} if dtype == "float32" else {"dtype": dtype}
    values |= {} if quantisation is None else {"quantisation": quantisation}
    return {**values, "lora": asdict(lora)} if lora.rank else values


def _corpus_values(asked: StageRequest) -> Mapping[str, Any] | None:
    return _written_values(asked, asked.run.corpus.writer)


def _beside_values(asked: StageRequest) -> Mapping[str, Any] | None:
    return _written_values(asked, asked.run.corpus.beside)


def _written_values(asked: StageRequest, writer: str | None) -> Mapping[str, Any] | None:
    """The corpus of one writer; None if no model writes."""
    if writer not in ("teacher", "student"):
        return None
    corpus = asdict(asked.run.corpus)
    decoding = {name: value for name, value in corpus.items() if name not in ("writer", "beside", "seed")}
    data = part_identity(asked.data, num_train=asked.run.data.num_train)
    of_writer = asked.id_of("teacher" if writer == "teacher" else "student_init")
    return {"writer": of_writer, "data": data, "decoding": decoding, "seed": corpus["seed"]}


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
    asked: StageRequest, sft: SftCfg, *, scratch: bool, drops: Callable[[PairCfg], bool]
) -> dict[str, Any]:
    """The whole plan of a fine-tuning, its own choice of the data among it; nothing of the cell that asks for it."""
    if sft.epochs == 0:
        return {"init_seed": sft.seed} if scratch else {}
    plan, unread = optimisation_identity(sft), {"num_train"}
    if sft.validation.select == "loss":  # then no text is written
        unread.add("stop")
        plan["validation"] = {key: value for key, value in plan["validation"].items() if key in NUMERIC_VALIDATION}
    data = part_identity(asked.data, num_train=sft.num_train)
    return {
        "sft": plan,
        "data": {key: value for key, value in data.items() if key not in unread},
        "division": division_identity(asked.run.trainer, sft.global_batch_size, drops=drops(asked.run.pair)),
    }


# By role, in the order in which they must be built: a stage may be named by those before it.
STAGE_KINDS: dict[str, StageKind] = {
    "tokenizer": StageKind(_tokenizer_values, "tokenizer"),
    "teacher": StageKind(_teacher_values, "teacher", evaluated_as="teacher"),
    "student_init": StageKind(_student_values, "initial student", evaluated_as="student"),
    "corpus": StageKind(_corpus_values, "written corpus"),
    "beside": StageKind(_beside_values, "written corpus", name="corpus"),
}
