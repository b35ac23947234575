"""A student beside its teacher, token by token of held-out text: how far apart they are, and how often they agree.

Legend: N labelled tokens; V shared vocabulary; p teacher, q student.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from amid.core import to_log_prob
from amid.data.batch import Batch
from amid.evaluation.protocol import VALIDATION, Protocol
from amid.evaluation.scores import score_of
from amid.metrics import TEACHER_METRICS
from amid.store import Score


@dataclass(frozen=True)
class Agreement:
    """kl: mean of KL(p || q) over the tokens, nats. top1: share of tokens with the same likeliest one, percent."""

    kl: float
    top1: float


def agreement(
    teacher: PreTrainedModel, student: PreTrainedModel, batches: Iterable[Batch], *, vocab_size: int
) -> Agreement:
    """The two models at the labelled positions of the batches; at least one must be labelled.

    Both are put into eval mode, and run on the student's device.
    """
    device = next(student.parameters()).device
    models = [model.eval().to(device) for model in (teacher, student)]
    total, num_equal, num_tokens = 0.0, 0, 0
    with torch.no_grad():
        for batch in batches:
            on_device = batch.to(device)
            logits = (model(input_ids=on_device.input_ids, use_cache=False).logits for model in models)
            log_p, log_q = (to_log_prob(each[on_device.labelled], vocab_size) for each in logits)
            # Where p has no mass its product is 0, not 0 times an infinite logarithm.
            gap = (log_p - log_q).masked_fill(log_p.isneginf(), 0.0)
            total += float((log_p.exp() * gap).sum(dtype=torch.float64))
            num_equal += int((log_p.argmax(-1) == log_q.argmax(-1)).sum())
            num_tokens += len(log_p)
    return Agreement(kl=total / num_tokens, top1=100.0 * num_equal / num_tokens)


def agreement_scores(protocol: Protocol, *, entry_id: str, found: Agreement, num_samples: int) -> list[Score]:
    """The Scores of the comparison with the teacher; num_samples: validation records."""
    compared = protocol.comparison_id(entry_id)
    return [
        score_of(entry_id, VALIDATION, compared, None, metric.name, metric.signature, num_samples, value)
        for metric, value in (
            (TEACHER_METRICS["teacher_kl"], found.kl),
            (TEACHER_METRICS["teacher_top1"], found.top1),
        )
    ]
