"""The scores of a cell for its card: means over decode seeds, and intervals over examples. No torch here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amid.digests.seals import DamagedError
from amid.metrics.uncertainty import MeanInterval, mean_bootstrap, seed_spread
from amid.store import PerExample, Score
from amid.store.scores import read_per_example, sift_scores

log = logging.getLogger(__name__)
RESAMPLING_SEED = 0  # the same scores give the same interval


@dataclass(frozen=True)
class Result:
    """One metric on one set over the decode seeds.

    std: over seeds, None for a single one. interval: over examples, None for a metric of the whole set.
    main: the metric is the set's own.
    """

    eval_set: str
    metric: str
    mean: float
    std: float | None
    num_seeds: int
    num_examples: int
    interval: MeanInterval | None
    main: bool


def results_of(folder: Path) -> list[Result]:
    """What the scores in a cell's folder say, the set's own metric first; damaged lines are left out, and said."""
    scores, damage = sift_scores(folder)
    for each in damage:
        log.warning("%s", each)
    groups: dict[tuple[str, str, str], list[Score]] = {}
    for score in scores:
        if score.group_id and score.decode_seed is not None:
            groups.setdefault((score.eval_set, score.group_id, score.metric), []).append(score)
    found = [_result(folder, group) for group in groups.values()]
    return sorted(found, key=lambda each: (each.eval_set, not each.main, each.metric))


def _result(folder: Path, group: Sequence[Score]) -> Result:
    spread = seed_spread([score.value for score in group])
    first = group[0]
    return Result(
        eval_set=first.eval_set,
        metric=first.metric,
        mean=spread.mean,
        std=spread.std if len(group) > 1 else None,
        num_seeds=len(group),
        num_examples=first.num_samples,
        interval=_interval(folder, group),
        main=first.main,
    )


def _interval(folder: Path, group: Sequence[Score]) -> MeanInterval | None:
    kept: list[PerExample] = []
    for score in group:
        try:
            found = read_per_example(folder, score.score_id)
        except DamagedError as err:
            log.warning("%s", err)
            found = None
        if found is None:
            return None
        kept.append(found)
    if len({len(each.values) for each in kept}) != 1 or len(kept[0].values) < 2:
        return None
    means = np.mean([each.values for each in kept], axis=0)
    return mean_bootstrap(means.tolist(), rng=np.random.default_rng(RESAMPLING_SEED))
