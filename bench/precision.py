"""One seed in float32 and in bfloat16, side by side: the loss curve, the gradient norm, and what comes out.

    python bench/precision.py [--precisions 32-true bf16-mixed] [OVERRIDES as for run.py]

Every precision trains the same cell but for `train.precision`, from a copy of the same initial student, on the same
batches, in a results folder of its own below a temporary one. By default that is the embedded pair. The difference of
two float32 runs of different seeds stands beside it, as a measure of what is noise.
Last line: RESULT bench-precision, then loss_gap= the largest relative difference of two losses of one step,
norm_gap= that of the gradient norms, val_loss_gap= that of the last validation loss, seed_val_loss_gap= of two seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 12  # lines of the table


def trained(overrides: list[str], results: Path) -> dict[int, dict[str, float]]:
    """Step -> its metrics, of the one cell of a run."""
    command = [sys.executable, "run.py", *overrides, f"paths.results={results}", "logger=none", "trainer=debug"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (journal,) = results.glob("*/journal.jsonl")
    found: dict[int, dict[str, float]] = {}
    for line in journal.read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        found.setdefault(row["step"], {}).update(row["metrics"])
    return found


def gap(left: float, right: float) -> float:
    return abs(left - right) / max(abs(right), 1e-12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precisions", nargs=2, default=["32-true", "bf16-mixed"])
    parser.add_argument("--seeds", nargs=2, type=int, default=[10, 20])
    args, overrides = parser.parse_known_args()
    (first, second), (seed, other) = args.precisions, args.seeds
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            name: trained([*overrides, f"train.precision={precision}", f"seed={of_seed}"], Path(folder) / name)
            for name, precision, of_seed in (
                (first, first, seed),
                (second, second, seed),
                (f"{first} seed {other}", first, other),
            )
        }
    steps = [step for step, found in runs[first].items() if "train/loss" in found]
    validated = [step for step, found in runs[first].items() if "val/loss" in found]
    print(
        f"{'step':>5}" + "".join(f"{f'loss {name}':>24}" for name in runs) + "".join(f"{f'norm {n}':>24}" for n in runs)
    )
    stride = max(1, len(steps) // SHOWN)
    for step in steps[::stride]:
        found = [run[step] for run in runs.values()]
        numbers = [each[key] for key in ("train/loss", "train/grad_norm") for each in found]
        print(f"{step:5d}" + "".join(f"{number:24.5f}" for number in numbers))
    for step in validated:
        print(f"{step:5d}" + "".join(f"{run[step]['val/loss']:24.5f}" for run in runs.values()) + "  validation loss")
    gaps = {
        name: max(gap(runs[second][step][key], runs[first][step][key]) for step in steps)
        for name, key in (("loss_gap", "train/loss"), ("norm_gap", "train/grad_norm"))
    }
    last = validated[-1]
    losses = [run[last]["val/loss"] for run in runs.values()]
    gaps |= {"val_loss_gap": gap(losses[1], losses[0]), "seed_val_loss_gap": gap(losses[2], losses[0])}
    print("RESULT bench-precision " + " ".join(f"{name}={value:.2g}" for name, value in gaps.items()))


if __name__ == "__main__":
    main()
