"""What a sweep of very short cells costs beside its training: seconds, claims, and operations on the store, per cell.

    python bench/worker_overhead.py [--cells 200] [--workers 4] [--folder FOLDER]

A sweep of toy cells (a pair of some 20 thousand weights, 6 steps, 5 sets of 4 prompts: a second or less) is recorded
by `amid plan --record`, its stages are built by one worker, then workers of one thread each (`amid work`) drain it. In
each worker the calls that a file system must answer (open, stat, list, rename, link, remove, mkdir, fsync) are counted
where Python makes them, as far as they name something in the results folder (safetensors and torch read and write a few
files more by themselves); and timers stand around the parts of a cell: training (`fit_student`), evaluation, and the
store's claims. What is left of the time from the first cell's begin to the worker's end is overhead. Seconds are of the
clock, so other processes on the machine count; the share of the processor that the workers got stands beside them.
A line `OPERATIONS {...}` of JSON has the operations of each kind per cell, for the simulation of many workers.
Last line: RESULT bench-workers cells=, workers=, cell_s= seconds of a worker per cell, training_s=, evaluation_s=,
overhead_s= (with claims), claims_s=, claims_share= of the seconds of a cell; the same in seconds of the processor,
which other processes on the machine do not use up (cell_cpu_s= and so on); operations= per cell, wall_s= in all.
"""

from __future__ import annotations

import argparse
import builtins
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NAME = "toy-cells"
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
# Functions by which Python asks a file system for something; os.scandir and os.listdir read a whole folder.
OPERATIONS = (
    *("stat", "lstat", "listdir", "scandir", "rename", "replace", "link", "unlink", "remove", "mkdir", "rmdir"),
    *("truncate", "utime", "readlink", "access"),
)


class Ledger:
    """Operations on the results folder by kind, and seconds in parts of a cell by name."""

    def __init__(self, results: Path) -> None:
        self._results = str(results)
        self.operations: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self._inside: list[str] = []

    def count(self, kind: str, path: Any) -> None:
        try:
            name = os.fspath(path)
        except TypeError:
            return  # a descriptor, of something that was opened before
        if str(name).startswith(self._results):
            self.operations[kind] += 1

    def counting(self, owner: Any, name: str, kind: str) -> None:
        function = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            if args:
                self.count(kind, args[0])
            return function(*args, **kwargs)

        setattr(owner, name, counted)

    def timing(self, owner: Any, name: str, part: str) -> None:
        """Only the outermost part counts: training validates, which is no evaluation."""
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            outermost = not self._inside
            self._inside.append(part)
            start, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._inside.pop()
                if outermost:
                    self.seconds[part] += time.perf_counter() - start
                    self.cpu[part] += time.process_time() - cpu

        setattr(owner, name, timed)


def be_a_worker(results: Path, max_cells: int | None) -> None:
    """`amid work`, watched; its last line is what it came to, as JSON."""
    ledger = Ledger(results)
    for name in OPERATIONS:
        ledger.counting(os, name, "replace" if name == "rename" else name)
    for owner, name in ((builtins, "open"), (io, "open"), (os, "open")):
        ledger.counting(owner, name, "open")
    fsync = os.fsync
    os.fsync = lambda descriptor: (ledger.operations.update(fsync=1), fsync(descriptor))[1]  # type: ignore[assignment]
    from amid import experiment
    from amid.cli import working
    from amid.stages.evaluation import EntryEvaluation
    from amid.store import Store, claims
    from amid.sweep.work import Account, Worker

    ledger.timing(experiment, "fit_student", "training")
    ledger.timing(EntryEvaluation, "__call__", "evaluation")
    for name in ("claim", "claim_done", "is_owned"):
        ledger.timing(Store, name, "claims")
    ledger.timing(claims.Claim, "release", "claims")
    carry_out, begun, accounts = working.carry_out_request, list[tuple[float, float]](), list[Account]()
    work = Worker.work

    def first_begins(request: Any) -> None:
        if not begun:
            ledger.operations.clear()
            begun.append((time.perf_counter(), time.process_time()))
        carry_out(request)

    def accounted(worker: Worker) -> Account:
        accounts.append(work(worker))
        return accounts[-1]

    working.carry_out_request, Worker.work = first_begins, accounted  # type: ignore[method-assign, assignment]
    working.work(NAME, max_cells=max_cells, results=results)
    seconds, cpu = begun[0] if begun else (time.perf_counter(), time.process_time())
    found = {
        "cells": len(accounts[0].done),
        "seconds": time.perf_counter() - seconds,
        "cpu": time.process_time() - cpu,
        "seconds_of": dict(ledger.seconds),
        "cpu_of": dict(ledger.cpu),
        "operations": dict(ledger.operations),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="for the results; a temporary one by default")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--max-cells", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        be_a_worker(args.worker, args.max_cells)
        return
    if args.cells < 2 or args.workers < 1:
        parser.error("--cells must be at least 2, --workers at least 1")
    with tempfile.TemporaryDirectory() as temporary:
        measure(args.folder or Path(temporary), num_cells=args.cells, num_workers=args.workers)


def measure(folder: Path, *, num_cells: int, num_workers: int) -> None:
    results = folder.absolute() / "results"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    seeds = ",".join(str(seed) for seed in range(1, num_cells + 1))
    asked = [*SMALL, f"seed={seeds}", f"sweep.name={NAME}", f"paths.results={results}", f"paths.cache={folder}/cache"]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "amid.cli", "plan", "--record", *asked],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    print(f"{num_cells} cells recorded in {time.perf_counter() - start:.1f} s; load {os.getloadavg()[0]:.1f}")
    worker = [sys.executable, __file__, "--worker", str(results)]
    subprocess.run(
        [*worker, "--max-cells", "1"], check=True, capture_output=True, env=environment
    )  # with the stages, which are not counted
    start = time.perf_counter()
    processes = [
        subprocess.Popen(worker, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        for _ in range(num_workers)
    ]
    answers = [process.communicate()[0] for process in processes]
    wall = time.perf_counter() - start
    assert not any(process.returncode for process in processes), answers
    found = [json.loads(answer.splitlines()[-1]) for answer in answers]
    report(found, wall=wall, num_workers=num_workers, load=os.getloadavg()[0])


def report(found: list[dict[str, Any]], *, wall: float, num_workers: int, load: float) -> None:
    cells = sum(int(each["cells"]) for each in found)

    def per_cell(kind: str, part: str | None = None) -> float:
        return sum(float(each[kind] if part is None else each[kind].get(part, 0.0)) for each in found) / cells

    operations: Counter[str] = Counter()
    for each in found:
        operations.update(each["operations"])
    counted = {kind: round(number / cells, 2) for kind, number in operations.most_common()}
    peak, cpu = max(each["peak_mb"] for each in found), sum(each["cpu"] for each in found)
    print(f"cells per worker {[each['cells'] for each in found]}, peak memory {peak:.0f} MB")
    print(f"load {load:.1f} on {os.cpu_count()} cores; the workers had {cpu / wall:.2f} cores")
    for kind, number in counted.items():
        print(f"  {kind:<10} {number:8.2f} per cell")
    print(f"OPERATIONS {json.dumps({'workers': num_workers, 'cells': cells, 'per_cell': counted})}")
    shown = []
    for kind, of_parts, unit in (("seconds", "seconds_of", "s"), ("cpu", "cpu_of", "cpu_s")):
        parts = {part: per_cell(of_parts, part) for part in ("training", "evaluation", "claims")}
        whole = per_cell(kind)
        rest = whole - parts["training"] - parts["evaluation"]
        shown.append(f"cell_{unit}={whole:.3f}")
        shown += [f"{part}_{unit}={parts[part]:.3f}" for part in ("training", "evaluation")]
        shown += [f"overhead_{unit}={rest:.3f}", f"claims_{unit}={parts['claims']:.4f}"]
        if kind == "seconds":
            shown.append(f"claims_share={parts['claims'] / whole:.4f}")
    total = sum(counted.values())
    print(
        f"RESULT bench-workers cells={cells} workers={num_workers} {' '.join(shown)} "
        f"operations={total:.0f} wall_s={wall:.1f}"
    )


if __name__ == "__main__":
    main()
