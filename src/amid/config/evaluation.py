"""Evaluation sets, decoding and metrics; nothing here decides the weights of a cell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from amid.config.asking import check_asking
from amid.config.checks import at_least, check_top_p, not_empty, one_of
from amid.config.keys import EACH
from amid.config.names import check_name, expanded
from amid.config.train import PRECISIONS
from amid.errors import RequestError, unknown_name
from amid.metrics import METRICS

EVALUATION_SOURCES = ("file", "toy", "hub")
GENERATION_PRECISIONS = (*PRECISIONS, "bf16-true")
# What a set says of its decoding, and `evaluation` may say for all sets at once.
DECODING_KEYS = ("max_new_tokens", "temperature", "top_k", "top_p", "no_repeat_ngram_size")


def check_metric(noun: str, name: str, *, valid: Iterable[str] = METRICS) -> None:
    """Raises RequestError unless the name is a metric's, or reads "module:function" or "module:function@VERSION"."""
    if name in valid or re.fullmatch(r"[\w.]+:\w+(@\w+)?", name):
        return
    raise unknown_name(noun, name, [*valid, "module:function"] if ":" in name else valid)


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

    It is complete by itself: beside other sets it is asked and answered as alone.
    """

    source: str = "file"  # file: JSONL, parquet or CSV on disk; toy, hub: a split of the data
    split: str | None = None  # toy: which split of the corpus; hub: of data.hub
    files: list[str] = field(default_factory=list)  # file: the first of these that exists, below one of the roots
    hub: HubCfg | None = None  # file: where `amid fetch` gets it, null = nowhere
    sha256: str | None = None  # of the canonical [prompt, references] pairs; another text is warned of
    format: str = "instruction"  # as data.format
    fields: dict[str, str] = field(default_factory=dict)  # our field, such as instruction -> the file's
    filter: dict[str, Any] = field(default_factory=dict)  # keep records with these values, and those without the field
    num_examples: int | None = None  # the set is its first records, null = all
    prompt: str | None = None  # as data.prompt, and the four below as those of data
    template: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    system: str | None = None
    chat_template: str | None = None
    max_prompt_tokens: int | None = None  # longer prompts are cut; null = none is, the model's positions are the limit
    max_new_tokens: int = 256
    temperature: float = 1.0  # 0 = greedy, for which the first decode seed is enough
    top_k: int = 0  # 0 = off
    top_p: float = 1.0
    no_repeat_ngram_size: int = 0  # 0 = off
    stop: list[str] = field(default_factory=list)  # a response ends before the first of these texts
    metric: str = "rouge_l"  # the one in the table; your own as "module:function" (docs/evaluation.md)
    higher_is_better: bool | None = True  # of `metric`
    metrics: list[str] = field(default_factory=lambda: ["self_bleu"])  # computed besides
    version: int = 1  # raise it when a change of this declaration should name other generations

    def __post_init__(self) -> None:
        one_of("evaluation set source", self.source, EVALUATION_SOURCES)
        if self.source == "file" and not self.files:
            raise RequestError("evaluation.sets.NAME: an evaluation set with source=file needs files=[FILE]")
        if (self.source == "file") == (self.split is not None):
            raise RequestError(
                "evaluation.sets.NAME.split goes with source=toy or hub, and only with it: a file is a split already"
            )
        for name, low in (
            ("num_examples", 2),  # self-BLEU compares responses
            ("max_prompt_tokens", 1),
            ("max_new_tokens", 1),
            ("temperature", 0),
            ("top_k", 0),
            ("no_repeat_ngram_size", 0),
            ("version", 1),
        ):
            at_least(f"evaluation.sets.NAME.{name}", getattr(self, name), low)
        check_top_p("evaluation.sets.NAME.top_p", self.top_p)
        check_asking("evaluation.sets.NAME", self, noun="evaluation set")
        if self.source == "toy" and self.format != "instruction":
            raise RequestError(
                f"evaluation.sets.NAME.format={self.format} is for files: the toy corpus has instructions"
            )
        for metric in [self.metric, *self.metrics]:
            check_metric("evaluation metric", metric)
        known = METRICS.get(self.metric)  # of a user's own, the set says it
        if known is not None and self.higher_is_better != known.higher_is_better:
            raise RequestError(
                f"evaluation.sets.NAME.higher_is_better of {self.metric} is "
                f"{json.dumps(known.higher_is_better)}, got {json.dumps(self.higher_is_better)}"
            )


@dataclass
class EvaluationCfg:
    """Test sets, decoding and metrics. Not part of a cell's identity: changing it re-evaluates, never retrains."""

    # name -> EvaluationSetCfg; Hydra could not add one to a mapping that is typed so, `run_config` makes them
    sets: dict[str, Any] = field(default_factory=dict, metadata={EACH: EvaluationSetCfg})
    root: str | None = None  # folder of the sets' files besides data.root; null = the folder that holds data.root
    decode_seeds: list[int] = field(default_factory=lambda: [10, 20, 30, 40, 50])
    num_prompts: int | None = None  # first records of each set used, null = all
    precision: str = "32-true"  # of generation: also bf16-mixed (weights stay float32) and bf16-true (fastest)
    # What follows holds for all sets, in place of their own values; null = each set's own.
    max_new_tokens: int | None = None
    temperature: float | None = None  # 0 = greedy
    top_k: int | None = None
    top_p: float | None = None
    no_repeat_ngram_size: int | None = None
    metrics: list[str] | None = None  # computed besides each set's own
    also_greedy: bool = False  # every sampled set is answered greedily too, as a set of its own: NAME_greedy
    # Every sampled set is answered too at the one of these temperatures that validation chooses for each model, as a
    # set of its own: NAME_t0.6; null = off, 0 = greedy
    also_tuned: list[float] | None = None

    def __post_init__(self) -> None:
        for name in self.sets:
            check_name("evaluation set", name)
        if self.root is not None:
            self.root = expanded("evaluation.root", self.root)
        for name, low in (
            ("num_prompts", 2),  # self-BLEU compares responses
            ("max_new_tokens", 1),
            ("temperature", 0),
            ("top_k", 0),
            ("no_repeat_ngram_size", 0),
        ):
            at_least(f"evaluation.{name}", getattr(self, name), low)
        check_top_p("evaluation.top_p", self.top_p)
        one_of("evaluation.precision", self.precision, GENERATION_PRECISIONS)
        not_empty("evaluation.root", self.root)
        if not self.decode_seeds or len(set(self.decode_seeds)) != len(self.decode_seeds):
            raise RequestError(f"evaluation.decode_seeds must be distinct numbers, got {self.decode_seeds}")
        for metric in self.metrics or []:
            check_metric("evaluation metric", metric)
        _check_temperatures(self.also_tuned or [])


def _check_temperatures(temperatures: list[float]) -> None:
    """Raises RequestError unless there is a choice among distinct ones, or there are none."""
    for each in temperatures:
        at_least("evaluation.also_tuned", each, 0)
    named = {f"{each:g}" for each in temperatures}  # as sets are named by them
    if len(named) < len(temperatures) or len(temperatures) == 1:
        raise RequestError(
            "evaluation.also_tuned must be two or more different temperatures to choose from, such as [0.3,0.6,1], got "
            f"[{','.join(f'{each:g}' for each in temperatures)}]"
        )
