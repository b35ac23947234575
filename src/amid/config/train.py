"""Data, optimisation and validation: what decides the weights besides pair, objective and strategy."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from amid.config.asking import FIELDS_OF_FORMAT, TURNS, asks_in_turns, check_asking
from amid.config.checks import at_least, not_empty, one_of, within
from amid.config.names import expanded
from amid.errors import RequestError

DATA_SOURCES = ("toy", "jsonl", "files", "hub")
PRECISIONS = ("32-true", "bf16-mixed")
SELECTIONS = ("rouge_l", "loss")
LR_SCHEDULES = ("cosine", "linear", "constant")


@dataclass
class DataCfg:
    """The training data: a generated toy corpus, or files of instructions, messages or prompts (docs/data.md)."""

    name: str | None = None  # label in tables, as pair.name; not part of the identity
    source: str = MISSING  # toy | jsonl | files (JSONL, parquet or CSV by their names) | hub
    root: str | None = None  # files: their folder
    train: str | None = None  # file of training records, relative to root; hub: the split
    dev: str | None = None  # of validation records, as train; null = num_dev of the training records validate instead
    hub: str | None = None  # hub: the data set, OWNER/NAME, or a folder that the package datasets reads
    hub_config: str | None = None  # hub: its configuration, null = its default
    hub_revision: str | None = None  # hub: commit, tag or branch
    # What an object of a file holds: instruction (and input, output), messages, or prompt_completion
    format: str = "instruction"
    fields: dict[str, str] = field(default_factory=dict)  # our field, such as instruction -> theirs
    seed: int = 0  # toy: of the generator
    num_records: int | None = None  # toy: training records made
    num_train: int | None = None  # first training records that a cell trains on, null = all; stages choose their own
    num_dev: int | None = None  # validation records, toy: made; of files: first ones used, null = all
    # Draws num_train of the training records, and num_dev where there is no dev file; null = the first ones
    split_seed: int | None = None
    num_eval: int | None = None  # records per evaluation set, toy: made; jsonl: first ones used, null = all
    max_prompt_tokens: int = 256  # longer prompts are dropped, or cut with truncate_prompt
    max_tokens: int = 512  # prompt and response together; longer responses are cut
    truncate_prompt: bool = False
    # As in an evaluation set, so that a task is trained as it is evaluated (docs/data.md)
    # alpaca: the template of the field; chat: the model's chat template; verbatim: prompts as they are;
    # null = alpaca of instructions, chat of messages, verbatim of prompt_completion
    prompt: str | None = None
    template: str | None = None  # chat of instructions: the user turn, with {instruction}, {input} and `labels`
    labels: dict[str, str] = field(default_factory=dict)  # words for `template`
    system: str | None = None  # chat: the system message of records that have none
    chat_template: str | None = None  # chat: a template of ours by name, or a .jinja file; null = the tokenizer's own
    turns: str = "all"  # of messages: all = loss on every turn of the assistant; last = on its last one
    stop: list[str] = field(default_factory=list)  # a written response ends at the first of these texts

    def __post_init__(self) -> None:
        not_empty("data.name", self.name)
        one_of("data.source", self.source, DATA_SOURCES)
        check_asking("data", self, noun="data")
        one_of("data.turns", self.turns, TURNS)
        if self.turns != "all" and self.format == "instruction":
            raise RequestError(f"data.turns={self.turns} is for conversations; data.format=instruction has one answer")
        if self.truncate_prompt and asks_in_turns(self):
            raise RequestError(
                "data.truncate_prompt=true would cut the question off the end of a conversation; without it, one is "
                "cut to its first turns that fit data.max_prompt_tokens"
            )
        for name in ("train", "dev"):
            not_empty(f"data.{name}", getattr(self, name))
        if self.root is not None:
            self.root = expanded("data.root", self.root)
        lowest = {"num_records": 1, "num_train": 1, "num_dev": 1, "num_eval": 2, "max_prompt_tokens": 1}
        lowest["split_seed"] = 0
        for name, low in lowest.items():
            at_least(f"data.{name}", getattr(self, name), low)  # num_eval: self-BLEU compares the responses to a set
        if self.max_tokens <= self.max_prompt_tokens:
            raise RequestError(
                f"data.max_tokens must exceed data.max_prompt_tokens ({self.max_prompt_tokens}), got {self.max_tokens}"
            )
        for name in ("hub", "hub_config", "hub_revision"):
            not_empty(f"data.{name}", getattr(self, name))
            if getattr(self, name) is not None and self.source != "hub":
                raise RequestError(f"data.{name} is for data.source=hub, got {self.source}")
        if self.source != "toy":
            for name in ("hub" if self.source == "hub" else "root", "train"):
                if getattr(self, name) is None:
                    what = "a data set and its split" if self.source == "hub" else "a folder and a file in it"
                    raise RequestError(f"data.{name} is needed for data.source={self.source} ({what})")
            if self.dev is None and self.num_dev is None:
                raise RequestError(
                    "data.dev names the file of validation records; without one, data.num_dev says how many training "
                    "records validate instead"
                )
            for name in self.fields:
                one_of("data.fields", name, FIELDS_OF_FORMAT[self.format])
            if self.num_records is not None:
                raise RequestError("data.num_records is for data.source=toy; data.num_train takes a part of a file")
        elif self.fields:
            raise RequestError("data.fields is for data.source=jsonl, files or hub: the toy corpus has no files")
        elif self.format != "instruction":
            raise RequestError(f"data.format={self.format} is for files; the toy corpus has instructions")
        elif None in (self.num_records, self.num_dev, self.num_eval):
            raise RequestError("data.num_records, data.num_dev and data.num_eval must be numbers for data.source=toy")


@dataclass
class ValidationCfg:
    """Validation selects the weights (and drives adaptive strategies), so it is part of a cell's identity."""

    rounds: int | None = None  # validations in all, null = after each epoch
    every_steps: int | None = None  # optimiser steps between validations, in place of rounds
    num_examples: int | None = None  # first validation records used, null = all
    select: str = "rouge_l"  # keep the weights of the best: rouge_l (highest) or loss (lowest)
    max_new_tokens: int = 256
    temperature: float = 1.0  # 0 = greedy
    seed: int = 10  # of the sampled responses, apart from every training generator

    def __post_init__(self) -> None:
        one_of("train.validation.select", self.select, SELECTIONS)
        at_least("train.validation.rounds", self.rounds, 1)
        at_least("train.validation.every_steps", self.every_steps, 1)
        at_least("train.validation.num_examples", self.num_examples, 1)
        at_least("train.validation.max_new_tokens", self.max_new_tokens, 1)
        at_least("train.validation.temperature", self.temperature, 0)


@dataclass
class TrainCfg:
    """Everything about optimisation that changes the weights."""

    epochs: int = MISSING
    max_steps: int | None = None  # optimiser steps at most, null = epochs decide
    global_batch_size: int = MISSING  # sequences per optimiser step
    lr: float = MISSING  # peak learning rate
    lr_schedule: str = "cosine"  # after the warm-up: cosine or linear to lr_final, or constant
    lr_final: float = 1e-7  # where cosine and linear end
    warmup_steps: int = 0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])  # AdamW's decay of its first and second moment
    eps: float = 1e-8  # AdamW's
    weight_decay: float = 0.01  # not on norms and biases
    grad_clip: float = 1.0  # global norm, 0 = off
    precision: str = "32-true"
    # Form batches of similar lengths: less padding, but short responses then count for more (docs/deviations.md)
    bucket_by_length: bool = False
    max_nonfinite_share: float = 0.01  # above this share of non-finite positions in an epoch the cell fails as diverged
    validation: ValidationCfg = field(default_factory=ValidationCfg)

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("max_steps", 1), ("global_batch_size", 1), ("warmup_steps", 0)):
            at_least(f"train.{name}", getattr(self, name), low)
        for name in ("lr", "lr_final", "eps", "weight_decay", "grad_clip"):
            at_least(f"train.{name}", getattr(self, name), 0)
        one_of("train.lr_schedule", self.lr_schedule, LR_SCHEDULES)
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise RequestError(f"train.betas must be two numbers in [0, 1), got {self.betas}")
        within("train.max_nonfinite_share", self.max_nonfinite_share, 0.0, 1.0)
        one_of("train.precision", self.precision, PRECISIONS)


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
