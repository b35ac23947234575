"""Tables 1 to 7 of the paper on the embedded pair in one go, and how long they take.

    python bench/paper_tiny.py [--short] [--jobs N] [--folder paper-tiny] [OVERRIDES as for run.py]

Every table is the sweep of its name (sweeps/README.md) with `pair=tiny data=toy` and the budget below: one training
seed, two decode seeds, fewer steps and prompts than the pair's own. The folder gets `results`, to which every table
adds the cells that no earlier one had, and one file per table. What is finished is not run again, so that the command
may be repeated after it was stopped; then the same command is given once more, which has to find nothing left.
--short: models, texts and steps that take seconds, to try the way and not the methods. --jobs: cells at once (the
number of cores), each on one thread: models so small gain little from a second one. --check: run nothing, and fail if
anything is left to run.
Last line: RESULT paper-tiny, then tables=, cells= different cells in them, ran= how often one was trained or evaluated
further in this call, seconds= that this took, second_run_s= of the same command once more, from its start.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from amid.reports.render import render
from amid.reports.tables import build_table
from amid.store import Store
from amid.sweep.compose import sweep_of_overrides
from amid.sweep.plan import Sweep, manifest_of

ROOT = Path(__file__).resolve().parents[1]
TABLES = tuple(f"table{number}" for number in range(1, 8))
SEEDS = ("seed=10", "evaluation.decode_seeds=[10,20]")
BUDGET = ("train.max_steps=140", "evaluation.num_prompts=32")
SHORT = (
    "data.num_records=96",
    "data.num_dev=6",
    "data.num_eval=4",
    "data.max_prompt_tokens=320",
    "data.max_tokens=336",
    "pair.tokenizer_vocab_size=400",
    "pair.teacher_arch={layers: 2, width: 32, heads: 2, positions: 512}",
    "pair.student_arch={layers: 1, width: 16, heads: 2, positions: 512}",
    "pair.teacher_sft={epochs: 1, max_steps: 3, global_batch_size: 12, validation: {max_new_tokens: 6}}",
    "pair.student_sft={epochs: 1, max_steps: 2, global_batch_size: 12}",
    "train.max_steps=4",
    "train.global_batch_size=8",
    "train.validation={every_steps: 2, max_new_tokens: 6}",
    "plain_text.num_documents=40",
    "plain_text.chunk_tokens=24",
    "strategy.capacity=16",
    "evaluation.max_new_tokens=6",
)


class PaperTiny:
    """The tables in one folder. overrides: the budget, and what was given beside it. jobs: cells at once."""

    def __init__(self, folder: Path, overrides: list[str], *, jobs: int) -> None:
        self.folder, self.results = folder, folder / "results"
        self.launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]
        self.overrides = ["pair=tiny", "data=toy", "logger=none", *SEEDS, *overrides]
        self.overrides.append(f"paths.results={self.results}")

    def asked(self, table: str) -> list[str]:
        return [f"sweeps={table}", *self.overrides]

    def sweep(self, table: str) -> Sweep:
        return sweep_of_overrides(self.asked(table))

    def read(self, table: str) -> Found:
        """What is there of a table; if that is all, it is put in its file."""
        sweep, store = self.sweep(table), Store(self.results)
        ids = frozenset(planned.cell.id for planned in sweep.cells)
        if sweep.pending:
            return Found(ids, len(sweep.pending), "")
        store.write_sweep(sweep.name, manifest_of(sweep))
        text = render(build_table(store.read_sweep(table), store), "markdown")
        (self.folder / f"{table}.md").write_text(text)
        return Found(ids, 0, text)

    def finish(self, table: str) -> Found:
        """As `read`, after its cells were run; `left` are those that were. Raises CalledProcessError if one fails."""
        before = self.read(table)
        if not before.left:
            return before
        command = [sys.executable, "run.py", "-m", *self.asked(table), *self.launcher]
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return replace(self.read(table), left=before.left)


@dataclass(frozen=True)
class Found:
    """The cells of a table, how many of them were left to run, and what it reads once none is."""

    cells: frozenset[str]
    left: int
    text: str


def carried_out(paper: PaperTiny, *, jobs: int) -> tuple[int, set[str]]:
    """Cells that were run, ids of all cells. What is there already is read first, as many tables at once as `jobs`."""
    ran, cells = 0, set[str]()
    with ProcessPoolExecutor(jobs) as pool:
        there = dict(zip(TABLES, pool.map(paper.read, TABLES), strict=True))
    for table, found in there.items():
        before = time.monotonic()
        if found.left:  # or was, before an earlier table had its cells
            found = paper.finish(table)
        ran += found.left
        cells |= found.cells
        print(f"\n{table}: {found.left} cells run, {time.monotonic() - before:.0f} s\n\n{found.text}", flush=True)
    return ran, cells


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=ROOT / "paper-tiny")
    parser.add_argument("--check", action="store_true")
    args, overrides = parser.parse_known_args()
    paper = PaperTiny(args.folder.resolve(), [*(SHORT if args.short else BUDGET), *overrides], jobs=args.jobs)
    if args.check:
        with ProcessPoolExecutor(args.jobs) as pool:
            left = sum(found.left for found in pool.map(paper.read, TABLES))
        if left:
            print(f"{left} cells are left to run", file=sys.stderr)
        return 1 if left else 0
    started = time.monotonic()
    try:
        ran, cells = carried_out(paper, jobs=args.jobs)
        seconds, again = time.monotonic() - started, time.monotonic()
        subprocess.run([sys.executable, *sys.argv, "--check"], check=True)
    except subprocess.CalledProcessError as err:
        return int(err.returncode)  # it has said why
    print(f"tables: {paper.folder}")
    print(
        f"RESULT paper-tiny tables={len(TABLES)} cells={len(cells)} ran={ran} seconds={seconds:.0f} "
        f"second_run_s={time.monotonic() - again:.1f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
