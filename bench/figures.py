"""Every figure on the embedded pair and on the toy experiment in one go, and how long they take.

    python bench/figures.py [--short] [--jobs N] [--folder figures-tiny] [OVERRIDES as for run.py]

The sweeps of the figures (sweeps/README.md) with `pair=tiny data=toy`, one training seed, two decode seeds and
the budget below; their cells are shared. Then `amid figure` for each, as PNG, PDF and SVG, and once more,
which has to give the same bytes. What is finished is not run again, so that the command may be repeated after it
was stopped.
--short: models, texts and steps that take seconds, fewer alphas and a toy fit that ends early, to try the way.
Last line: RESULT figures, then figures=, cells= different cells in them, ran= how often one was trained or evaluated
further in this call, holds= fails= undecided= of their claims, seconds= in all.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from paper_tiny import ROOT, SHORT, PaperTiny

from amid.reports.figures.registry import FIGURES
from amid.reports.figures.style import FORMATS

TEMPERATURES = "evaluation.also_tuned=[0.3,0.6,1]"
# Sweep -> what is asked of it besides its own; table3 first, whose cells are most of the others'.
SWEEPS = {"table3": (TEMPERATURES,), "figure3": (), "figure4": (), "figure5": ()}
BUDGET = (
    "pair.teacher_sft.max_steps=500",
    "train.max_steps=60",
    "trainer.log_every_steps=1",
    "train.validation.num_examples=16",
    "evaluation.num_prompts=16",
    "evaluation.max_new_tokens=32",
)
FEWER = "amid.alpha=null,-5,-1,1"  # of --short, for the sweeps over alpha
TOY_STEPS = 300  # of --short


class Figures(PaperTiny):
    """The sweeps and figures in one folder."""

    def __init__(self, folder: Path, overrides: list[str], *, jobs: int, short: bool) -> None:
        super().__init__(folder, overrides, jobs=jobs)
        self.short = short

    def asked(self, table: str) -> list[str]:
        fewer = (FEWER,) if self.short and table in ("table3", "figure4") else ()
        return [*super().asked(table), *SWEEPS[table], *fewer]

    def draw(self, name: str) -> str:
        """What `amid figure NAME` says. Raises CalledProcessError."""
        command = [sys.executable, "-m", "amid.cli", "figure", name, "--results", str(self.results)]
        command += ["--out", str(self.folder), "--format", ",".join(FORMATS)]
        if self.short and FIGURES[name].kind == "toy":
            command += ["--steps", str(TOY_STEPS)]
        return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout

    def drawn(self) -> dict[str, bytes]:
        """The bytes of every picture that is there."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.suffix[1:] in FORMATS}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=ROOT / "figures-tiny")
    args, overrides = parser.parse_known_args()
    budget = SHORT if args.short else BUDGET
    figures = Figures(args.folder.resolve(), [*budget, *overrides], jobs=args.jobs, short=args.short)
    started, ran, cells, verdicts = time.monotonic(), 0, set[str](), Counter[str]()
    try:
        for name in SWEEPS:
            found = figures.finish(name)
            ran += found.left
            cells |= found.cells
        for name in FIGURES:
            before = time.monotonic()
            said = figures.draw(name)
            verdicts.update(word for word in ("HOLDS", "FAILS", "UNDECIDED") for _ in range(said.count(f" {word}: ")))
            print(f"\n{name}: {time.monotonic() - before:.0f} s\n{said}", end="", flush=True)
        first = figures.drawn()
        again = [name for name in FIGURES if FIGURES[name].kind != "toy"]  # that one takes its time
        for name in again:
            figures.draw(name)
        changed = sorted(name for name, data in figures.drawn().items() if first[name] != data)
    except subprocess.CalledProcessError as err:
        return int(err.returncode)  # the command has said why
    print(f"\nfigures: {figures.folder}")
    print(
        f"RESULT figures figures={len(FIGURES)} cells={len(cells)} ran={ran} holds={verdicts['HOLDS']} "
        f"fails={verdicts['FAILS']} undecided={verdicts['UNDECIDED']} seconds={time.monotonic() - started:.0f}"
    )
    if changed:
        print(f"drawn again, other bytes: {', '.join(changed)}", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
