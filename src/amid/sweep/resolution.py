"""The smallest difference that a table can tell at 5 %, from the answers of finished cells. No torch here."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amid.digests.seals import DamagedError
from amid.evaluation.protocol import Protocol
from amid.store import Store
from amid.store.scores import read_per_example, sift_scores
from amid.store.status import state_of
from amid.sweep.cost import num_prompts
from amid.sweep.plan import Sweep

Z_95 = 1.96  # half the width of a 95 % interval, in standard errors
MAX_PAIRS = 30  # pairs of cells looked at for each set

_ByPrompt = Sequence[Sequence[float]]  # [prompts][decode seeds]


@dataclass(frozen=True)
class Resolution:
    """Set -> the smallest difference between two rows that is told from 0, in the set's metric. num_pairs: of cells."""

    by_set: Mapping[str, float]
    num_pairs: int


def resolution(sweep: Sweep) -> Resolution | None:
    """What the table of a sweep can tell apart, if its cells differ as those finished on the same sets do.

    The variance of the difference per prompt is that between prompts and, divided by the number of decode seeds, that
    within a prompt; both are means over pairs of cells. None where no two cells are finished on any of its sets.
    """
    if not sweep.cells:
        return None
    planned = sweep.cells[0]
    protocol, store = planned.protocol, Store(planned.run.paths.results)
    folders = [path for name, path in store.layout.entries().items() if "-" not in name and state_of(path) == "done"]
    found: dict[str, float] = {}
    most = 0
    for name, each in protocol.sets.items():
        if each.twin_of is not None:
            continue
        values = [v for folder in folders[: MAX_PAIRS + 1] if (v := _values(folder, protocol, name)) is not None]
        pairs = [
            variances(left, right)
            for left, right in itertools.islice(itertools.combinations(values, 2), MAX_PAIRS)
            if len(left) == len(right) and len(left[0]) == len(right[0]) and len(left) > 1
        ]
        number = num_prompts(each.data)
        if pairs and number:
            between, within = (statistics.fmean(part) for part in zip(*pairs, strict=True))
            found[name] = Z_95 * math.sqrt((between + within / len(each.decode_seeds)) / number)
            most = max(most, len(pairs))
    return Resolution(found, most) if found else None


def variances(left: _ByPrompt, right: _ByPrompt) -> tuple[float, float]:
    """The variance between prompts of a difference, and that within a prompt over decode seeds.

    Both sides have the same prompts and as many seeds each. Of one seed all of it lies between the prompts.
    """
    differences = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(left, right, strict=True)]
    num_seeds = len(differences[0])
    within = statistics.fmean(statistics.variance(each) for each in differences) if num_seeds > 1 else 0.0
    of_means = statistics.variance([statistics.fmean(each) for each in differences])
    return max(0.0, of_means - within / num_seeds), within


def line_of_resolution(sweep: Sweep) -> str:
    """What is said of it."""
    found = resolution(sweep)
    if found is None:
        return "smallest difference told at 5 %: not known before two cells are finished on these sets"
    each = ", ".join(f"{name} {value:.2f}" for name, value in found.by_set.items())
    average = math.sqrt(sum(value**2 for value in found.by_set.values())) / len(found.by_set)
    overall = f", Avg. {average:.2f}" if len(found.by_set) > 1 else ""
    return (
        f"smallest difference told at 5 %: {each}{overall} (two rows, from {found.num_pairs} pairs of finished cells)"
    )


def _values(folder: Path, protocol: Protocol, name: str) -> _ByPrompt | None:
    """What a finished cell scored on every prompt of a set, for all its decode seeds; None if it was not asked so."""
    declared, by_seed = protocol.sets[name], list[Sequence[float]]()
    group = protocol.group_id(name)
    for score in sorted(sift_scores(folder)[0], key=lambda score: score.decode_seed or 0):
        if score.group_id == group and score.metric == declared.metric and score.decode_seed is not None:
            try:
                kept = read_per_example(folder, score.score_id)
            except DamagedError:
                return None
            if kept is not None:
                by_seed.append(kept.values)
    return list(zip(*by_seed, strict=True)) if by_seed and len({len(each) for each in by_seed}) == 1 else None
