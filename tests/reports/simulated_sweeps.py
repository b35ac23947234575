"""Sweeps that never ran, of models whose true scores are known: `python tests/reports/simulated_sweeps.py [NUMBER]`.

Scores are like ROUGE-L per prompt: many zeros, a long tail, prompts that differ far more than models do, and noise of
each of five decode seeds. Every sweep draws its prompts anew, as an interval over prompts supposes.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amid.metrics.paired import paired_differences
from amid.reports.significance import marked_by_tests
from amid.reports.table import Row, Value

SETS = {"a": 500, "b": 242, "c": 80, "d": 200, "e": 20}  # prompts; the last is as small as a toy set
NUM_ROWS, NUM_SEEDS = 8, 5
COLUMNS = [*((name,) for name in SETS), tuple(SETS)]  # and their Avg.
SHIFT = 3.0  # percent points between the two models of which the intervals are checked


@dataclass(frozen=True)
class Shares:
    """Of all simulated sweeps, per column (the sets, then Avg.): how often the interval covers, and a null is marked.

    best: a row of equal models is not bold. differs: one is marked as different from the row without an assistant.
    """

    covered: npt.NDArray[np.float64]
    best: npt.NDArray[np.float64]
    differs: npt.NDArray[np.float64]


def scores(rng: np.random.Generator, num_prompts: int, num_rows: int) -> npt.NDArray[np.float64]:
    """[rows, prompts] in percent, the mean over decode seeds; the rows are equal models."""
    quality = rng.beta(0.8, 2.5, (1, num_prompts))  # of the prompt, for every model
    own = np.clip(quality + rng.normal(0.0, 0.08, (num_rows, num_prompts)), 0.01, 0.99)  # the model's with this prompt
    shape = (NUM_SEEDS, num_rows, num_prompts)
    answered = rng.random(shape) < 0.75  # the others score 0
    return np.mean(answered * rng.beta(4.0 * own, 4.0 * (1.0 - own), shape), axis=0) * 100.0


def simulate(number: int, *, seed: int) -> Shares:
    """What becomes of `number` sweeps of equal models, and of pairs of models that differ by SHIFT."""
    rng = np.random.default_rng(seed)
    covered, best, differs = (np.zeros((number, len(COLUMNS)), dtype=bool) for _ in range(3))
    for index in range(number):
        drawn = {name: scores(rng, size, NUM_ROWS) for name, size in SETS.items()}
        examples = {row: {name: values[row] for name, values in drawn.items()} for row in range(NUM_ROWS)}
        means = np.array(
            [[np.mean([drawn[name][row].mean() for name in sets]) for sets in COLUMNS] for row in range(NUM_ROWS)]
        )
        rows = [
            Row((str(row),), "done", tuple(Value(float(mean), None, 5, 5) for mean in means[row]))
            for row in range(NUM_ROWS)
        ]
        marked = marked_by_tests(
            rows, [(sets, True) for sets in COLUMNS], examples, dict.fromkeys(range(1, NUM_ROWS), 0)
        )
        values = [[value for value in row.values if value is not None] for row in marked]
        best[index] = [any(not row[column].best for row in values) for column in range(len(COLUMNS))]
        differs[index] = [any(row[column].differs for row in values) for column in range(len(COLUMNS))]
        for column, sets in enumerate(COLUMNS):
            found = paired_differences([drawn[name][:1] + SHIFT for name in sets], [drawn[name][1:2] for name in sets])
            covered[index, column] = found.low[0] <= SHIFT <= found.high[0]
    return Shares(covered.mean(axis=0), best.mean(axis=0), differs.mean(axis=0))


def main() -> None:
    """Prints the shares per column."""
    number, start = int(sys.argv[1]) if len(sys.argv) > 1 else 2000, time.monotonic()
    found = simulate(number, seed=0)
    print("column       prompts  covered  null not bold  null differs")
    for index, sets in enumerate(COLUMNS):
        name = sets[0] if len(sets) == 1 else "Avg."
        prompts = sum(SETS[each] for each in sets)
        shares = f"{found.covered[index]:8.1%} {found.best[index]:14.1%} {found.differs[index]:13.1%}"
        print(f"{name:12} {prompts:7} {shares}")
    print(
        f"RESULT table-statistics sweeps={number} covered={found.covered.min():.3f}-{found.covered.max():.3f} "
        f"null_marked_max={max(found.best.max(), found.differs.max()):.3f} seconds={time.monotonic() - start:.0f}"
    )


if __name__ == "__main__":
    main()
