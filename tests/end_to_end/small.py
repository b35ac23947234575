"""A request small enough to train in seconds: every code path of a real run, none of its cost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "logger=none",
    "data.num_train=96",
    "data.num_dev=6",
    "data.num_eval=4",
    "pair.tokenizer_vocab_size=400",
    "pair.teacher_arch={layers: 2, width: 32, heads: 2, positions: 512}",
    "pair.student_arch={layers: 1, width: 16, heads: 2, positions: 512}",
    "pair.teacher_sft={epochs: 1, max_steps: 3, global_batch_size: 12}",
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
RunPy = Callable[..., "subprocess.CompletedProcess[str]"]
