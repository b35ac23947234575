"""Metrics: texts in, numbers out. Nothing here needs torch, so scores can be computed on any machine."""

from __future__ import annotations

from amid.metrics import comet, distinct, exact_match, gsm8k, length, rouge, self_bleu, translation
from amid.metrics.metric import Generations, Metric, mean_metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        mean_metric(
            "rouge_l", rouge.SIGNATURE, True, lambda of: rouge.rouge_l_per_example(of.predictions, of.references)
        ),
        mean_metric(
            "rouge_l_plain",
            rouge.SIGNATURE_PLAIN,
            True,
            lambda of: rouge.rouge_l_plain_per_example(of.predictions, of.references),
        ),
        Metric("self_bleu", self_bleu.SIGNATURE, False, lambda of: self_bleu.self_bleu(of.predictions)),
        mean_metric(
            "exact_match",
            exact_match.SIGNATURE,
            True,
            lambda of: exact_match.exact_match_per_example(of.predictions, of.references),
        ),
        Metric(
            "distinct_1",
            distinct.distinct_signature(1),
            True,
            lambda of: distinct.distinct_n(of.predictions, order=1),
        ),
        Metric(
            "distinct_2",
            distinct.distinct_signature(2),
            True,
            lambda of: distinct.distinct_n(of.predictions, order=2),
        ),
        Metric("bleu", translation.SIGNATURE_BLEU, True, lambda of: translation.bleu(of.predictions, of.references)),
        Metric("chrf", translation.SIGNATURE_CHRF, True, lambda of: translation.chrf(of.predictions, of.references)),
        mean_metric(
            "comet",
            comet.comet_signature(),
            True,
            lambda of: comet.comet_per_example(of.sources or (), of.predictions, [texts[0] for texts in of.references]),
            needs="sources",
        ),
        mean_metric(
            "gsm8k_accuracy",
            gsm8k.SIGNATURE,
            True,
            lambda of: gsm8k.gsm8k_accuracy_per_example(of.predictions, of.references),
        ),
        mean_metric(
            "gsm8k_official",
            gsm8k.SIGNATURE_OFFICIAL,
            True,
            lambda of: gsm8k.gsm8k_accuracy_per_example(of.predictions, of.references, official_grader=True),
        ),
        mean_metric("response_length", length.SIGNATURE, None, lambda of: length.response_lengths(of.predictions)),
        mean_metric(
            "eos_share", length.SIGNATURE_EOS_SHARE, None, lambda of: length.ended_by_eos(of.ended or ()), needs="ended"
        ),
    )
}

__all__ = ["METRICS", "Generations", "Metric"]
