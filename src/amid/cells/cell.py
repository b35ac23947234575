"""The cell: one distillation, named by the values that decide its weights.

Two requests that ask for the same weights give the same id, whatever they were called or where their files lie.
No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amid.cells.canonical import CELL_VERSION, ID_DIGITS, canonical
from amid.cells.data import data_identity, part_identity
from amid.cells.division import division_identity, student_drops
from amid.cells.objective import objective_identity, reads_teacher
from amid.cells.optimisation import ignored_optimisation, optimisation_identity
from amid.cells.plain_text import plain_text_identity
from amid.cells.stage import Stage, stages_of
from amid.config import OF_ADVANTAGES, STRATEGY_OPTIONS, CorpusCfg, LoraCfg, PolicyGradientTermCfg, RunCfg
from amid.digests.fingerprint import FileDigests, value_digest

# The nodes of RunCfg: those that decide the weights, and those that do not (a test fails for a node in neither).
IDENTITY_NODES = (
    "pair",
    "amid",
    "objective",
    "divergence",
    "strategy",
    "data",
    "corpus",
    "plain_text",
    "train",
    "compat",
    "seed",
)
OTHER_NODES = ("task", "request", "cell", "method", "evaluation", "trainer", "logger", "paths", "sweep")


@dataclass(frozen=True)
class Cell:
    """One distillation: its id (12 hex digits), its canonical values, and the stages it starts from.

    stages: by role (tokenizer, teacher, student_init), in the order in which they must be built.
    ignored: one sentence per configured knob that has no effect on this cell, for a warning.
    """

    id: str
    values: Mapping[str, Any]
    stages: Mapping[str, Stage]
    ignored: tuple[str, ...] = ()

    @property
    def corpora(self) -> tuple[str, ...]:
        """Ids of the written corpora that it is trained on."""
        return tuple(stage.id for stage in self.stages.values() if stage.kind == "corpus")

    @property
    def evaluated_stages(self) -> dict[str, Stage]:
        """By role, the stages that are models, evaluated like the cell: the rows it is read against."""
        return {role: stage for role, stage in self.stages.items() if stage.evaluated_as is not None}


def cell_of(run: RunCfg, *, read_again: bool = False, digests: FileDigests | None = None) -> Cell:
    """The cell that a checked configuration names.

    Reads the data files and model folders it names, for their digests; those that it remembers only with `read_again`.
    digests: those remembered, where many cells are named at once; by default they are read anew.
    Raises RequestError for a degenerate point, a missing file or a model that cannot be identified, and DamagedError
    for a file that has changed although its size and times have not.
    """
    digests = digests or FileDigests(Path(run.paths.cache), again=read_again)
    ignored = ignored_optimisation(run.train)
    data = data_identity(run.data, digests)
    stages = stages_of(run, data, digests)
    # Dropout draws its masks, and a largest candidate is chosen, per forward pass
    compat, drops = _compat_identity(run), student_drops(run.pair) or any(term.kind == "max" for term in run.terms)
    if not run.corpus.is_written and run.corpus != CorpusCfg():
        ignored.append("corpus: its decoding and seed have no effect with corpus.writer=gold")
    for name in ("teacher_lora", "student_lora"):
        lora = getattr(run.pair, name)
        if not lora.rank and lora != LoraCfg():
            ignored.append(f"pair.{name} has no effect with pair.{name}.rank=0")
    for name in ("teacher_sft", "student_sft"):
        sft = getattr(run.pair, name)
        if sft.epochs == 0 and sft.max_steps is not None:
            ignored.append(f"pair.{name}.max_steps={sft.max_steps} has no effect with pair.{name}.epochs=0")
    values: dict[str, Any] = {
        "cell_version": CELL_VERSION,
        # Without a term that reads it the teacher has no say, unless it writes; as origin it is part of student_init.
        "teacher": stages["teacher"].id if reads_teacher(run) or run.strategy.reads_teacher else None,
        "student_init": stages["student_init"].id,
        "data": part_identity(data, num_train=run.data.num_train),
        "corpus": stages["corpus"].id if "corpus" in stages else None,
        "beside": stages["beside"].id if "beside" in stages else run.corpus.beside,
        "seed": run.seed,
        "strategy": _strategy_identity(run, ignored),
        "train": optimisation_identity(run.train),
        "compat": compat,
        "division": division_identity(
            run.trainer, max(run.train.global_batch_size, run.plain_text_batch_size), drops=drops, compat=compat
        ),
        "pair": {"vocab_policy": run.pair.vocab_policy, "eos": run.pair.eos},
        **objective_identity(run, ignored),
        **plain_text_identity(run, digests, ignored),
    }
    values = canonical(values)
    return Cell(id=value_digest(values, digits=ID_DIGITS), values=values, stages=stages, ignored=tuple(ignored))


def _compat_identity(run: RunCfg) -> dict[str, Any]:
    """The deviations that are switched on and read by something in this run."""
    values, strategy = asdict(run.compat), run.strategy.name
    read_by = {
        "sgo_label_offset": strategy not in ("fixed", "policy_gradient"),
        "sgo_rank_local_coin": strategy in ("mixed", "adaptive_off_policy") and run.trainer.devices > 1,
        "validation_batch_mean": strategy == "adaptive_off_policy",
        "skd_fresh_test": strategy == "speculative",
    }
    for name, is_read in read_by.items():
        values[name] = values[name] and is_read
    return values


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
    if "num_rollouts" in values:
        batch_size = run.train.global_batch_size
        if not any(isinstance(term, PolicyGradientTermCfg) for term in run.terms):
            for name in OF_ADVANTAGES:
                del values[name]
        values["num_rollouts"] = batch_size * strategy.num_collected_batches(batch_size)
    if values.get("buffer_scope") == "rank" and run.trainer.devices > 1:
        values["num_ranks"] = run.trainer.devices  # each rank draws from what it wrote itself
    return values
