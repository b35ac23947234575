"""Every metric by name: what exactly it computes, in which unit, and which direction is good.

The one place that configuration, evaluation and tables take these from. What computes a value is imported when one
is computed, so that listings and plans stay fast. A new metric is a function in a file of this room and an entry here.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any

from amid.metrics.metric import Metric, mean_metric

_SACREBLEU = metadata.version("sacrebleu")
_GSM8K = "gsm8k_accuracy|marker:####"
_BLEU_WORDS = "tok:13a|case:mixed"
_SELF_BLEU = f"order:4|smooth:floor[0.1]|{_BLEU_WORDS}|self:excluded|scale:1|version:1"
# Of one prompt's responses over decode seeds, averaged over the prompts: a score of its own beside `self_bleu`.
SELF_BLEU_PER_PROMPT = f"self_bleu|set:per_prompt|{_SELF_BLEU}"


def _of(module: str) -> Any:
    return importlib.import_module(f"amid.metrics.{module}")


_METRICS = (
    mean_metric(
        "rouge_l",
        "rouge_l|f_measure|stemmer:porter|references:max|scale:100|like:rouge-score|version:1",
        True,
        "percent",
        lambda of: _of("rouge").rouge_l_per_example(of.predictions, of.references),
    ),
    mean_metric(
        "rouge_l_plain",
        "rouge_l|f_measure|stemmer:none|references:mean|scale:100|like:rouge-score|version:1",
        True,
        "percent",
        lambda of: _of("rouge").rouge_l_plain_per_example(of.predictions, of.references),
    ),
    Metric(
        "self_bleu",
        f"self_bleu|set:corpus|{_SELF_BLEU}",
        False,
        "share",
        lambda of: _of("self_bleu").self_bleu(of.predictions),
    ),
    mean_metric(
        "exact_match",
        "exact_match|case:lower|punctuation:ascii_removed|articles:kept|references:max|scale:100|version:1",
        True,
        "percent",
        lambda of: _of("exact_match").exact_match_per_example(of.predictions, of.references),
    ),
    Metric(
        "distinct_1",
        f"distinct|order:1|{_BLEU_WORDS}|scale:1|version:1",
        True,
        "share",
        lambda of: _of("distinct").distinct_n(of.predictions, order=1),
    ),
    Metric(
        "distinct_2",
        f"distinct|order:2|{_BLEU_WORDS}|scale:1|version:1",
        True,
        "share",
        lambda of: _of("distinct").distinct_n(of.predictions, order=2),
    ),
    # The fields of sacrebleu's own signatures, except the number of references, which belongs to the set.
    Metric(
        "bleu",
        f"bleu|case:mixed|eff:no|tok:13a|smooth:exp|version:{_SACREBLEU}",
        True,
        "percent",
        lambda of: _of("translation").bleu(of.predictions, of.references),
    ),
    Metric(
        "chrf",
        f"chrf|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{_SACREBLEU}",
        True,
        "percent",
        lambda of: _of("translation").chrf(of.predictions, of.references),
    ),
    mean_metric(
        "comet",
        "comet|model:Unbabel/wmt22-comet-da|scale:100|version:1",
        True,
        "percent",
        lambda of: _of("comet").comet_per_example(of.sources, of.predictions, [texts[0] for texts in of.references]),
        needs="sources",
    ),
    mean_metric(
        "gsm8k_accuracy",
        f"{_GSM8K}|numeric:exact|removed:,$%|scale:100|version:1",
        True,
        "percent",
        lambda of: _of("gsm8k").gsm8k_accuracy_per_example(of.predictions, of.references),
    ),
    mean_metric(
        "gsm8k_official",
        f"{_GSM8K}|numeric:rel1e-4,percent|text:equal|removed:,$%|scale:100|version:1",
        True,
        "percent",
        lambda of: _of("gsm8k").gsm8k_accuracy_per_example(of.predictions, of.references, official_grader=True),
    ),
    mean_metric(
        "response_length",
        "response_length|unit:words|split:whitespace|version:1",
        None,
        "words",
        lambda of: _of("length").response_lengths(of.predictions),
    ),
    mean_metric(
        "eos_share",
        "eos_share|ended_by:eos|scale:100|version:1",
        None,
        "percent",
        lambda of: _of("length").ended_by_eos(of.ended),
        needs="ended",
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _METRICS}
# Of the validation records, measured by the trainer itself, per token of the gold responses, their EOS included.
VALIDATION_METRICS: dict[str, Metric] = {
    "loss": Metric("loss", "loss|unit:nats_per_token|version:1", False, "nats per token", None),
    "perplexity": Metric("perplexity", "perplexity|exp(loss)|version:1", False, "per token", None),
}
# Of the same positions, beside the teacher of the pair: KL(p || q), and how often both have the same likeliest token.
TEACHER_METRICS: dict[str, Metric] = {
    "teacher_kl": Metric(
        "teacher_kl", "teacher_kl|KL(p,q)|unit:nats_per_token|version:1", False, "nats per token", None
    ),
    "teacher_top1": Metric("teacher_top1", "teacher_top1|argmax:equal|scale:100|version:1", True, "percent", None),
}
