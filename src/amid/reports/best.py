"""The best cell of a sweep, and the cells that cannot be told from it, prompt by prompt. No torch here.

Cells that differ only in what tables average (the training seed) are one candidate. What it is chosen by is its mean;
whether another one can be told from it is asked of the evaluation sets, where there is a value for every prompt.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amid.digests.seals import DamagedError
from amid.errors import RequestError, one_line, unknown_name
from amid.evaluation.protocol import Protocol, protocol_from_manifest
from amid.metrics import METRICS
from amid.metrics.uncertainty import PairedDifference, paired_bootstrap
from amid.reports.columns import aligned, ruled
from amid.store import Score, Store
from amid.store.scores import read_per_example, sift_scores

log = logging.getLogger(__name__)
VALIDATION = "val"
AVERAGED = ("seed",)  # in a manifest that does not say
RESAMPLING_SEED = 0  # the same sweep gives the same set
GAP = "-"


@dataclass(frozen=True)
class Candidate:
    """Cells that count as one: their labels, what they are chosen by, their mean over the sets, values per prompt.

    prompts: set -> value of each prompt, averaged over decode seeds and cells; empty for a set that not all have.
    """

    labels: tuple[str, ...]
    ids: tuple[str, ...]
    chosen_by: float | None
    mean: float | None
    prompts: Mapping[str, tuple[float, ...]]


def best_lines(manifest: Mapping[str, Any], store: Store, *, by: str = VALIDATION) -> list[str]:
    """The candidates from the best on, each with its difference to the best and whether it can be told from it.

    by: `val` or an evaluation set. Raises RequestError for another, and where no cell has a score of it yet.
    """
    protocols = {key: protocol_from_manifest(value) for key, value in manifest["protocols"].items()}
    sets = {name: manifest["metric"] or each.metric for p in protocols.values() for name, each in _sampled(p).items()}
    if by != VALIDATION and by not in sets:
        raise unknown_name("--by", by, [VALIDATION, *sets])
    compared = sets if by == VALIDATION else {by: sets[by]}
    names, candidates = _candidates(manifest, store, protocols, compared, by=by)
    scored = [each for each in candidates if each.chosen_by is not None]
    if not scored:
        raise RequestError(f"no cell of {manifest['name']} has a score on {by} yet; amid status says what is done")
    sign = 1.0 if by == VALIDATION or _higher_is_better(sets[by]) else -1.0
    order = sorted(scored, key=lambda each: -sign * (each.chosen_by or 0.0))
    first, *others = order
    told = [(each, _difference(first, each)) for each in others]
    same = [each for each, found in told if found is None or not found.excludes_zero]
    what = "validation ROUGE-L" if by == VALIDATION else f"{by} {sets[by]}"
    lines = [f"best of {manifest['name']} by {what}: {_called(first, names)}"]
    if others:
        lines.append(f"cannot be told from it: {'; '.join(_called(each, names) for each in same) or 'none'}")
    lines += ["", *_table(first, told, names, what=what, compared=compared)]
    if by != VALIDATION:
        lines.append("(chosen on the set that it is reported on: --by val does not favour it)")
    if len(candidates) > len(scored):
        lines.append(f"({len(candidates) - len(scored)} of {len(candidates)} have no score yet)")
    return lines


def _sampled(protocol: Protocol) -> dict[str, Any]:
    """The sets of a protocol, without greedy twins."""
    return {name: each for name, each in protocol.sets.items() if each.twin_of is None}


def _candidates(
    manifest: Mapping[str, Any],
    store: Store,
    protocols: Mapping[str, Protocol],
    compared: Mapping[str, str],
    *,
    by: str,
) -> tuple[list[str], list[Candidate]]:
    """The names of the labels, and the candidates in the order of the sweep."""
    average = manifest.get("table", {}).get("average", AVERAGED)  # missing in a sweep of before it was recorded
    groups: dict[tuple[tuple[str, str], ...], list[Mapping[str, Any]]] = {}
    for cell in manifest["cells"]:
        labels = tuple((key, str(value)) for key, value in cell["labels"].items() if key not in average)
        groups.setdefault(labels, []).append(cell)
    names = list(dict.fromkeys(key for labels in groups for key, _ in labels))
    candidates = []
    for labels, cells in groups.items():
        ids = tuple(str(cell["id"]) for cell in cells)
        found = [_measured(store, str(cell["id"]), protocols[cell["protocol"]], compared, by=by) for cell in cells]
        of_all = {name: _mean_of_columns([each[1].get(name) for each in found]) for name in compared}
        prompts = {name: values for name, values in of_all.items() if values}
        chosen = [each[0] for each in found if each[0] is not None]
        complete = len(prompts) == len(compared)
        mean = statistics.fmean(statistics.fmean(values) for values in prompts.values()) if complete else None
        # Of a candidate with gaps nothing is said: fewer seeds would be fewer chances
        by_value = statistics.fmean(chosen) if len(chosen) == len(found) else None
        candidates.append(Candidate(tuple(dict(labels).get(key, "") for key in names), ids, by_value, mean, prompts))
    return names, candidates


def _measured(
    store: Store, cell_id: str, protocol: Protocol, compared: Mapping[str, str], *, by: str
) -> tuple[float | None, dict[str, tuple[float, ...]]]:
    """What one cell is chosen by, and its values per prompt of every set that is there in full."""
    folder = store.layout.folder_of("cell", cell_id)
    scores = {(score.generation_id, score.metric): score for score in sift_scores(folder)[0]}
    prompts: dict[str, tuple[float, ...]] = {}
    means: dict[str, float] = {}
    for name, metric in compared.items():
        each = protocol.sets.get(name)
        ids = [] if each is None else [protocol.generation_id(cell_id, name, seed) for seed in each.decode_seeds]
        found = [scores.get((id_, metric)) for id_ in ids]
        known = [score for score in found if score is not None]
        if known and len(known) == len(found):
            means[name] = statistics.fmean(score.value for score in known)
            prompts[name] = _mean_of_columns([_values(folder, score) for score in known])
    if by != VALIDATION:
        return means.get(by), prompts
    of_validation = None if protocol.validation is None else scores.get((protocol.validation_id(cell_id), "rouge_l"))
    return None if of_validation is None else of_validation.value, prompts


def _values(folder: Path, score: Score) -> tuple[float, ...] | None:
    try:
        found = read_per_example(folder, score.score_id)
    except DamagedError as err:
        log.warning("%s", err)
        return None
    return None if found is None else found.values


def _mean_of_columns(rows: Iterable[Sequence[float] | None]) -> tuple[float, ...]:
    """The mean of each prompt; empty if a row is missing or of another length."""
    found = list(rows)
    known = [row for row in found if row]
    if not known or len(known) < len(found) or len({len(row) for row in known}) > 1:
        return ()
    return tuple(statistics.fmean(column) for column in zip(*known, strict=True))


def _difference(first: Candidate, other: Candidate) -> PairedDifference | None:
    """The best one minus another, averaged over the sets, with its interval; None where prompts are missing.

    Each prompt weighs as its set does in the mean over sets, and all are drawn together.
    """
    if not first.prompts or set(first.prompts) != set(other.prompts):
        return None
    if any(len(values) != len(other.prompts[name]) for name, values in first.prompts.items()):
        return None
    total = sum(map(len, first.prompts.values()))
    weights = {name: total / len(first.prompts) / len(values) for name, values in first.prompts.items()}
    sides = [
        [value * weights[name] for name in first.prompts for value in each.prompts[name]] for each in (first, other)
    ]
    return paired_bootstrap(*sides, rng=np.random.default_rng(RESAMPLING_SEED)) if total > 1 else None


def _higher_is_better(metric: str) -> bool:
    known = METRICS.get(metric)
    return known is None or known.higher_is_better is not False


def _called(each: Candidate, names: Sequence[str]) -> str:
    labels = "  ".join(f"{name}={value}" for name, value in zip(names, each.labels, strict=True))
    return one_line(f"{labels} ({', '.join(each.ids)})")


def _table(
    first: Candidate,
    told: Sequence[tuple[Candidate, PairedDifference | None]],
    names: Sequence[str],
    *,
    what: str,
    compared: Mapping[str, str],
) -> list[str]:
    mean = f"mean of {len(compared)} sets" if len(compared) > 1 else next(iter(compared), "set")
    lines = [(*map(one_line, names), what, mean, "best - this", "95 % interval", "told apart")]
    for each, found in [(first, None), *told]:
        numbers = [GAP if value is None else f"{value:.2f}" for value in (each.chosen_by, each.mean)]
        rest = ("", "", "best") if each is first else _told(found)
        lines.append((*map(one_line, each.labels), *numbers, *rest))
    return ruled(aligned(lines, num_left=len(names)))


def _told(found: PairedDifference | None) -> tuple[str, str, str]:
    if found is None:
        return GAP, GAP, "unknown"
    interval = f"[{found.low:+z.2f}, {found.high:+z.2f}]"
    return f"{found.difference:+z.2f}", interval, "yes" if found.excludes_zero else "no"
