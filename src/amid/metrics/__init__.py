"""Metrics: texts in, numbers out. Nothing here needs torch, so scores can be computed on any machine."""

from __future__ import annotations

from amid.metrics import distinct, exact_match, gsm8k, length, rouge, self_bleu, translation
from amid.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("rouge_l", rouge.SIGNATURE, True, rouge.rouge_l, rouge.rouge_l_per_example),
        Metric("self_bleu", self_bleu.SIGNATURE, False, lambda predictions, _: self_bleu.self_bleu(predictions)),
        Metric(
            "exact_match", exact_match.SIGNATURE, True, exact_match.exact_match, exact_match.exact_match_per_example
        ),
        Metric(
            "distinct_1",
            distinct.distinct_signature(1),
            True,
            lambda predictions, _: distinct.distinct_n(predictions, order=1),
        ),
        Metric(
            "distinct_2",
            distinct.distinct_signature(2),
            True,
            lambda predictions, _: distinct.distinct_n(predictions, order=2),
        ),
        Metric("bleu", translation.SIGNATURE_BLEU, True, translation.bleu),
        Metric("chrf", translation.SIGNATURE_CHRF, True, translation.chrf),
        Metric("gsm8k_accuracy", gsm8k.SIGNATURE, True, gsm8k.gsm8k_accuracy, gsm8k.gsm8k_accuracy_per_example),
        Metric(
            "response_length",
            length.SIGNATURE,
            None,
            lambda predictions, _: length.response_length(predictions),
            lambda predictions, _: length.response_lengths(predictions),
        ),
    )
}

__all__ = ["METRICS", "Metric"]
