"""Tables 1 to 7 of the paper on the embedded pair in one go, and how long they take.

    python bench/paper_tiny.py [--short] [--jobs N] [--folder paper-tiny] [OVERRIDES as for run.py]

Every table is the sweep of its name (sweeps/README.md) with `pair=tiny data=toy` and the budget below: one training
seed, two decode seeds, fewer steps and prompts than the pair's own. The folder gets `results`, to which every table
adds the cells that no earlier one had, and one file per table. What is finished is not run again, so that the command
may be repeated after it was stopped; then everything is done once more, which has to find nothing left.
--short: models, texts and steps that take seconds, to try the way and not the methods. --jobs: cells at once (the
number of cores), each on one thread: models so small gain little from a second one.
Last line: RESULT paper-tiny, then tables=, cells= different cells in them, ran= how often one was trained or evaluated
further in this call, seconds= that this took, second_run_s= of the same once more.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
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

    def run(self, table: str) -> Sweep:
        """The sweep of a table as it was found; its cells are finished now. Raises CalledProcessError if one is not."""
        sweep = self.sweep(table)
        if sweep.pending:
            command = [sys.executable, "run.py", "-m", *self.asked(table), *self.launcher]
            subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        else:
            Store(self.results).write_sweep(sweep.name, manifest_of(sweep))
        return sweep

    def write(self, table: str) -> str:
        """The table as Markdown, put in its file."""
        store = Store(self.results)
        found = build_table(store.read_sweep(table), store)
        text = render(found, "markdown")
        (self.folder / f"{table}.md").write_text(text)
        return text


def carried_out(paper: PaperTiny) -> tuple[float, int, set[str]]:
    """Seconds, cells that were run, ids of all cells."""
    started, ran, cells = time.monotonic(), 0, set[str]()
    for table in TABLES:
        before = time.monotonic()
        sweep = paper.run(table)
        ran += len(sweep.pending)
        cells |= {planned.cell.id for planned in sweep.cells}
        text = paper.write(table)
        print(f"\n{table}: {len(sweep.pending)} cells run, {time.monotonic() - before:.0f} s\n\n{text}", flush=True)
    return time.monotonic() - started, ran, cells


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=ROOT / "paper-tiny")
    args, overrides = parser.parse_known_args()
    paper = PaperTiny(args.folder.resolve(), [*(SHORT if args.short else BUDGET), *overrides], jobs=args.jobs)
    try:
        seconds, ran, cells = carried_out(paper)
        second, left, _ = carried_out(paper) if ran else (seconds, 0, cells)
    except subprocess.CalledProcessError as err:
        return int(err.returncode)  # run.py has said why
    print(f"tables: {paper.folder}")
    print(
        f"RESULT paper-tiny tables={len(TABLES)} cells={len(cells)} ran={ran} seconds={seconds:.0f} "
        f"second_run_s={second:.1f}"
    )
    if left:
        print(f"the second time {left} cells were run again", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
