"""Metrics: texts in, numbers out. Nothing here needs torch, so scores can be computed on any machine."""

from __future__ import annotations

from amid.metrics.metric import Generations, Metric
from amid.metrics.registry import METRICS, SELF_BLEU_PER_PROMPT, TEACHER_METRICS, VALIDATION_METRICS

__all__ = ["METRICS", "SELF_BLEU_PER_PROMPT", "TEACHER_METRICS", "VALIDATION_METRICS", "Generations", "Metric"]
