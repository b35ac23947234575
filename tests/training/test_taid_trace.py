"""TAID's lambda over a real training: the trace of its formula worked out apart, whatever the micro-batches and ranks.

As a script, under torchrun, it trains on several ranks and writes the two traces: python test_taid_trace.py FILE.
"""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel

from amid.core import DivergenceTerm, Objective, TaidAdaptive, constant, kl
from amid.data.batch import Batch, collate
from amid.pairs import Pair
from amid.training.optimisation import Optimisation, StepOptions
from amid.training.step import DistillModule

VOCAB, NUM_STEPS, TOTAL_STEPS, T_START, T_END = 50, 6, 40, 0.4, 0.95
# Its own defaults hardly show the loss within a few steps: momentum 0.99 and steps of at most 5e-4.
STEP_SIZE, MOMENTUM = 0.3, 0.5
# Response tokens of the six rows of a step: of very unequal length, so that a mean of means is not the mean.
LENGTHS = ((9, 1, 2, 5, 1, 7), (1, 1, 12, 2, 6, 1), (3, 10, 1, 1, 8, 2), (2, 1, 1, 11, 1, 4))
TOLERANCE = 2e-7  # of lambda: float32 losses of about 3 (1e-6), through a step of 0.3 and the slope of a sigmoid
# Importing Lightning ends its own filters; what it advises a training of a few steps is not the subject here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def model(seed: int, width: int) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}  # its masks would be drawn per micro-batch
    size = {"vocab_size": VOCAB, "n_positions": 32, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    made = GPT2LMHeadModel(GPT2Config(n_embd=width, **size, **off))
    for weight in made.parameters():
        weight.data.mul_(6.0)  # random, and yet with an opinion
    return made


def batch_of(step: int, rows: slice = slice(None)) -> Batch:
    generator = torch.Generator().manual_seed(step)
    lengths = LENGTHS[step % len(LENGTHS)]
    sequences = [
        (
            torch.randint(VOCAB, (3,), generator=generator).tolist(),
            torch.randint(VOCAB, (length,), generator=generator).tolist(),
        )
        for length in lengths
    ]
    return collate(sequences[rows], example_ids=range(len(lengths))[rows], pad_id=0)


class ByHand(lightning.Callback):
    """Before every step, J = mean of -sum_k r_k log q_k from whole logits in float64; lambda from its own recurrence.

    Nothing is taken from the module but the student's weights. row_means: the same of every row, for a wrong rule.
    """

    def __init__(self, teacher: GPT2LMHeadModel) -> None:
        self.teacher = copy.deepcopy(teacher).double().eval()
        self.losses: list[float] = []
        self.row_means: list[float] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        rows, t = batch_of(batch_idx), trace_of(self.losses)[-1]
        student = copy.deepcopy(module.student).double().eval()
        with torch.no_grad():
            z_p, z_q = (one(input_ids=rows.input_ids).logits for one in (self.teacher, student))
        target = ((1.0 - t) * z_q + t * z_p).softmax(-1)  # TAID's p_t: logits mixed in a straight line
        values = -(target * z_q.log_softmax(-1)).sum(-1)
        by_row = [values[row][rows.labelled[row]] for row in range(len(values))]
        self.losses.append(float(torch.cat(by_row).mean()))
        self.row_means.append(float(torch.stack([each.mean() for each in by_row]).mean()))


def trace_of(losses: Sequence[float]) -> list[float]:
    """TAID's t before the first step and after every one, from the losses of the steps: its own rule, in float64.

    Source: Shing et al. 2025 and its code: the first loss is only remembered.
    """
    t, previous, momentum = T_START, math.inf, 0.0
    trace = [t]
    for step, loss in enumerate(losses, start=1):
        if previous < math.inf:
            momentum = MOMENTUM * momentum + (1.0 - MOMENTUM) * (previous - loss) / previous
            adaptive = t + STEP_SIZE / (1.0 + math.exp(-momentum)) * (1.0 - t)
            t = min(T_END, max(T_START + (T_END - T_START) * step / TOTAL_STEPS, adaptive))
        previous = loss
        trace.append(t)
    return trace


class Traced(DummyLogger):
    """What the journal is told of lambda, once per step."""

    def __init__(self) -> None:
        super().__init__()
        self.lams: list[float] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        if "schedule/lam" in metrics:
            self.lams.append(metrics["schedule/lam"])


def trained(*, micro_batch_size: int | None, rank: int = 0, num_ranks: int = 1) -> tuple[list[float], ByHand]:
    """The trace of a training, and what was worked out beside it; every rank has its share of each step's rows."""
    teacher, traced = model(0, 32), Traced()
    by_hand = ByHand(teacher)
    schedule = TaidAdaptive(t_start=T_START, t_end=T_END, step_size=STEP_SIZE, momentum=MOMENTUM)
    objective = Objective((DivergenceTerm(kl, "rq", constant(value=1.0), schedule, detach_student=True),))
    module = DistillModule(
        Pair(teacher, model(1, 16), tokenizer=None, vocab_size=VOCAB),
        objective,
        Optimisation(total_steps=TOTAL_STEPS, lr=1e-2),
        batch_of_step=lambda step: batch_of(step, slice(rank, None, num_ranks)),
        options=StepOptions(micro_batch_size=micro_batch_size),
    )
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=num_ranks,
        strategy="ddp" if num_ranks > 1 else "auto",
        use_distributed_sampler=False,
        val_check_interval=2,  # validation in between, which must not move the schedule
        logger=traced,
        callbacks=[by_hand],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    validation = DataLoader([batch_of(100), batch_of(101)], batch_size=None)
    trainer.fit(module, DataLoader(range(NUM_STEPS), batch_size=None), validation)
    assert objective.current_values()["lam"] == traced.lams[-1]
    return traced.lams, by_hand


def check(lams: Sequence[float], losses: Sequence[float]) -> None:
    expected = trace_of(losses)[1:]
    assert lams == pytest.approx(expected, abs=TOLERANCE)
    line = [T_START + (T_END - T_START) * step / TOTAL_STEPS for step in range(1, NUM_STEPS + 1)]
    assert all(lam > below + 0.01 for lam, below in zip(lams[2:], line[2:], strict=True)), "the loss moves it, not time"


@pytest.fixture(scope="module")
def whole() -> tuple[list[float], ByHand]:
    return trained(micro_batch_size=None)


@pytest.mark.parametrize("micro_batch_size", [None, 1, 2, 3])
def test_the_trace_is_that_of_the_formula_in_whatever_micro_batches(
    micro_batch_size: int | None, whole: tuple[list[float], ByHand]
) -> None:
    lams, by_hand = whole if micro_batch_size is None else trained(micro_batch_size=micro_batch_size)
    assert len(lams) == len(by_hand.losses) == NUM_STEPS
    check(lams, by_hand.losses)
    assert lams == pytest.approx(whole[0], abs=TOLERANCE)
    of_means = trace_of(by_hand.row_means)[1:]
    assert lams != pytest.approx(of_means, abs=100 * TOLERANCE), "a mean of means would be told apart"


@pytest.mark.long
def test_the_trace_of_two_ranks_in_micro_batches_is_that_of_one(
    whole: tuple[list[float], ByHand], tmp_path: Path
) -> None:
    found = tmp_path / "traces"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, __file__, str(found)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        lams, losses = json.loads(found.with_suffix(f".{rank}").read_text())
        check(lams, losses)
        assert lams == pytest.approx(whole[0], abs=TOLERANCE)


if __name__ == "__main__":
    own = int(os.environ["RANK"])
    size = int(os.environ["WORLD_SIZE"])
    course, beside = trained(micro_batch_size=2, rank=own, num_ranks=size)
    Path(sys.argv[1]).with_suffix(f".{own}").write_text(json.dumps([course, beside.losses]))
