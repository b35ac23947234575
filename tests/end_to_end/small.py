"""A request small enough to train in seconds: every code path of a real run, none of its cost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "logger=none",
    "data.num_records=96",
    "data.num_dev=6",
    "data.num_eval=4",
    "pair.tokenizer_vocab_size=400",
    "pair.teacher_arch={layers: 2, width: 32, heads: 2, positions: 512}",
    "pair.student_arch={layers: 1, width: 16, heads: 2, positions: 512}",
    "pair.teacher_sft={epochs: 1, max_steps: 3, global_batch_size: 12, validation: {max_new_tokens: 6}}",
    "pair.student_sft={epochs: 1, max_steps: 2, global_batch_size: 12}",
    "data.max_prompt_tokens=320",
    "data.max_tokens=480",
    "train.epochs=1",
    "train.max_steps=6",
    "train.global_batch_size=8",
    "train.validation={every_steps: 3, max_new_tokens: 6}",
    "evaluation.max_new_tokens=6",
    "evaluation.decode_seeds=[10,20]",
)
# Overrides that make each strategy do all it can within a few steps of a small run.
STRATEGIES = {
    "on_policy": ("strategy=on_policy",),
    "on_policy_fresh": ("strategy=on_policy", "strategy.use_buffer=false"),
    "mixed": ("strategy=mixed", "strategy.capacity=20"),
    # Half of the steps are not gold; the buffer is full after two fresh batches, so that some are replayed.
    "adaptive_off_policy": (
        "strategy=adaptive_off_policy",
        "strategy.init_threshold=0.9",
        "strategy.capacity=16",
        "strategy.loss_eps=0.0",
    ),
    "speculative": ("strategy=speculative",),
    # Two batches are collected, and trained on twice.
    "policy_gradient": (
        *("strategy=policy_gradient", "strategy.num_rollouts=20", "strategy.passes=2"),
        "objective.terms=[{kind: policy_gradient, weight: 1}, "
        "{kind: divergence, weight: 1, name: kl, order: rp, alpha: null}]",
        *("objective.lm_coef=1", "objective.lm_kd_ratio=0.5"),
        *("plain_text.num_documents=40", "plain_text.chunk_tokens=24"),
    ),
}
# A pretraining loss of labels and of the teacher's soft targets.
PLAIN_TEXT = (
    "objective.lm_coef=0.5",
    "objective.lm_kd_ratio=0.5",
    "plain_text.num_documents=40",
    "plain_text.chunk_tokens=24",
)
RunPy = Callable[..., "subprocess.CompletedProcess[str]"]
