"""Two evaluated models side by side: differences with their intervals, and the responses that differ most. No torch."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amid.digests.seals import DamagedError
from amid.errors import RequestError
from amid.metrics.uncertainty import PairedDifference, paired_bootstrap
from amid.reports.columns import aligned, ruled
from amid.reports.shortening import shortened
from amid.store import PerExample, Score, Store
from amid.store.generations import read_rows, rows_path
from amid.store.layout import generations_path
from amid.store.scores import read_per_example, read_scores

log = logging.getLogger(__name__)
RESAMPLING_SEED = 0  # the same two models give the same interval
NOT_KEPT = "(not kept)"
DAMAGED = "(damaged: {})"  # the file


@dataclass(frozen=True)
class Contrast:
    """One example on which the two models differ: its texts, and its score averaged over the decode seeds."""

    index: int
    question: str
    reference: str
    responses: tuple[str, str]
    scores: tuple[float, float]


@dataclass(frozen=True)
class SetComparison:
    """Both models on one set with one metric, over the decode seeds that both have.

    difference: left minus right with its interval over examples; None for a metric of the whole set, such as chrF.
    """

    eval_set: str
    metric: str
    num_seeds: int
    means: tuple[float, float]
    difference: PairedDifference | None
    contrasts: tuple[Contrast, ...]


def compare(
    store: Store, left: Path, right: Path, *, metric: str | None = None, top: int = 5, set_name: str | None = None
) -> list[SetComparison]:
    """The comparison of two entries, given by their folders, on every set both were scored on in the same way.

    metric: the one compared; None for each set's own. top: examples that differ most, per set.
    Raises RequestError if the two share no score.
    """
    groups = [_groups(read_scores(folder), metric=metric, set_name=set_name) for folder in (left, right)]
    shared = [key for key in groups[0] if key in groups[1] and set(groups[0][key]) & set(groups[1][key])]
    if not shared:
        known = [sorted({f"{key[0]} {key[2]}" for key in found}) for found in groups]
        raise RequestError(
            f"{left.name} and {right.name} were not scored on one set in one way; "
            f"left: {', '.join(known[0]) or 'nothing'}; right: {', '.join(known[1]) or 'nothing'}"
        )
    return [_compare_set(store, (left, right), (groups[0][key], groups[1][key]), top=top) for key in shared]


def render_comparison(comparisons: Sequence[SetComparison], names: tuple[str, str]) -> str:
    """The comparison as text: one line per set, then the examples that differ most."""
    header = ["set", "metric", "seeds", "left", "right", "left - right", "95 % interval", "excludes 0"]
    lines = [header]
    for each in comparisons:
        found = each.difference
        interval = (
            ["(of the whole set)", "-"]
            if found is None
            else [f"[{found.low:+z.2f}, {found.high:+z.2f}]", "yes" if found.excludes_zero else "no"]
        )
        numbers = [f"{each.means[0]:.2f}", f"{each.means[1]:.2f}", f"{each.means[0] - each.means[1]:+z.2f}"]
        lines.append([each.eval_set, each.metric, str(each.num_seeds), *numbers, *interval])
    parts = [f"left   {names[0]}", f"right  {names[1]}", "", *ruled(aligned(lines))]
    if any(each.difference is not None for each in comparisons):
        resamples = next(each.difference.num_resamples for each in comparisons if each.difference is not None)
        parts.append(f"(paired bootstrap over examples, {resamples} resamples; seeds averaged per example)")
    for each in comparisons:
        for contrast in each.contrasts:
            parts += ["", *_contrast_lines(each, contrast)]
    return "\n".join(parts) + "\n"


_Key = tuple[str, str, str]  # set, group id, metric


def _groups(
    scores: Sequence[Score], *, metric: str | None, set_name: str | None
) -> dict[_Key, dict[int | None, Score]]:
    """(set, group id, metric) -> decode seed -> score, for what was asked for."""
    groups: dict[_Key, dict[int | None, Score]] = {}
    for score in scores:
        wanted = score.main if metric is None else score.metric == metric
        if wanted and score.group_id and score.decode_seed is not None and set_name in (None, score.eval_set):
            groups.setdefault((score.eval_set, score.group_id, score.metric), {})[score.decode_seed] = score
    return groups


def _compare_set(
    store: Store,
    folders: tuple[Path, Path],
    scores: tuple[Mapping[int | None, Score], Mapping[int | None, Score]],
    *,
    top: int,
) -> SetComparison:
    seeds = [seed for seed in scores[0] if seed in scores[1]]
    first = scores[0][seeds[0]]
    left, right = (statistics.fmean(side[seed].value for seed in seeds) for side in scores)
    examples = [
        [read_per_example(folder, side[seed].score_id) for seed in seeds]
        for folder, side in zip(folders, scores, strict=True)
    ]
    lefts, rights = ([item for item in side if item is not None] for side in examples)
    if len(lefts) < len(seeds) or len(rights) < len(seeds):
        return SetComparison(first.eval_set, first.metric, len(seeds), (left, right), None, ())
    values = (_over_seeds(lefts), _over_seeds(rights))
    difference = paired_bootstrap(*values, rng=np.random.default_rng(RESAMPLING_SEED))
    order = sorted(range(len(values[0])), key=lambda i: (-abs(values[0][i] - values[1][i]), i))
    chosen = [index for index in order[:top] if values[0][index] != values[1][index]]
    texts = _texts(store, lefts[0].texts)
    contrasts = []
    for index in chosen:
        per_seed = [abs(a.values[index] - b.values[index]) for a, b in zip(lefts, rights, strict=True)]
        seed = seeds[per_seed.index(max(per_seed))]  # the responses that show the difference best
        responses = [
            _response(folder, side[seed].generation_id, index) for folder, side in zip(folders, scores, strict=True)
        ]
        question, reference = (
            (str(texts[index]["question"]), str(texts[index]["references"][0])) if texts else (NOT_KEPT, NOT_KEPT)
        )
        contrasts.append(
            Contrast(
                index,
                question,
                reference,
                (responses[0], responses[1]),
                (values[0][index], values[1][index]),
            )
        )
    return SetComparison(first.eval_set, first.metric, len(seeds), (left, right), difference, tuple(contrasts))


def _over_seeds(examples: Sequence[PerExample]) -> list[float]:
    """The mean over seeds of each example."""
    return [statistics.fmean(column) for column in zip(*(each.values for each in examples), strict=True)]


def _texts(store: Store, digest: str) -> list[dict[str, Any]]:
    """Questions and references of the set; empty where there are none to be shown."""
    try:
        return store.read_texts(digest)
    except DamagedError as err:
        log.warning("%s", err)
        return []


def _response(folder: Path, generation_id: str, index: int) -> str:
    path = rows_path(generations_path(folder), generation_id)
    try:
        rows = read_rows(path)
    except DamagedError as err:
        log.warning("%s", err)
        return DAMAGED.format(path.name)
    return next((str(row["response"]) for row in rows if row["index"] == index), NOT_KEPT)


def _contrast_lines(each: SetComparison, contrast: Contrast) -> list[str]:
    left, right = contrast.scores
    lines = [f"{each.eval_set} #{contrast.index}  {each.metric}  left {left:.1f}  right {right:.1f}"]
    for title, text in (
        ("question", contrast.question),
        ("reference", contrast.reference),
        ("left", contrast.responses[0]),
        ("right", contrast.responses[1]),
    ):
        lines += [f"  {title}:", *(f"    {line}" for line in shortened(text))]
    return lines
