"""Everything that is known of one cell, stage or model, as text: what `amid show` prints. No torch here."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from amid.digests.seals import DamagedError
from amid.errors import one_line
from amid.evaluation.protocol import VALIDATION
from amid.metrics.uncertainty import mean_bootstrap
from amid.reports.columns import aligned, ruled
from amid.reports.costs import cost_rows, render_costs
from amid.reports.curves import curve_lines, diagnostic_lines
from amid.reports.shortening import shortened
from amid.reports.stability import over_seeds, seed_line, stability_lines, stability_of
from amid.store import PerExample, Score, Store
from amid.store.damage import damage_of, is_pruned, older_version
from amid.store.generations import read_rows, rows_path
from amid.store.layout import generations_path
from amid.store.manifests import listed, read_manifest
from amid.store.scores import read_per_example, sift_scores
from amid.store.sizes import bytes_of, files_below, in_words
from amid.store.status import read_status, state_of, warnings_in

log = logging.getLogger(__name__)
RESAMPLING_SEED = 0  # the same scores give the same interval
HIDDEN = ("claims",)  # of an entry's files: of no interest to a person


def entry_lines(store: Store, folder: Path, *, configuration: Sequence[str], num_responses: int) -> list[str]:
    """The entry whose folder this is, section by section.

    configuration: what differs from the defaults, and the command, in lines. num_responses: generations shown.
    """
    sections = [
        ("", _head(store, folder)),
        ("configuration", list(configuration)),
        ("training", curve_lines(folder)),
        ("diagnostics", diagnostic_lines(folder)),
        ("stability", _stability_lines(store, folder)),
        ("scores", _score_lines(folder)),
        ("responses", _response_lines(store, folder, number=num_responses)),
        ("cost", _cost_lines(store, folder)),
        ("files", _file_lines(folder)),
    ]
    lines: list[str] = []
    for title, body in sections:
        if body:
            lines += ([] if not title else ["", title]) + ([f"  {line}".rstrip() for line in body] if title else body)
    return lines


def sweeps_naming(store: Store, entry_id: str) -> list[str]:
    """The names of the sweeps and single runs that an entry belongs to."""
    found = []
    for path in store.layout.sweeps():
        try:
            manifest = read_manifest(path)
        except DamagedError:
            continue
        entries = [*manifest["cells"], *manifest["references"]]
        corpora = [each for cell in manifest["cells"] for each in cell.get("corpora", ())]
        if entry_id in [*(each["id"] for each in entries), *corpora]:
            found.append(path.stem)
    return found


def _stability_lines(store: Store, folder: Path) -> list[str]:
    """How steadily it trained, and its row in every sweep that has several training seeds of it."""
    lines = stability_lines(stability_of(folder))
    for path in store.layout.sweeps():
        try:
            cells = read_manifest(path)["cells"]
        except DamagedError:
            continue
        own = [cell["labels"] for cell in cells if cell["id"] == folder.name]
        row = [cell["id"] for cell in cells for labels in own[:1] if _but_seed(cell["labels"]) == _but_seed(labels)]
        if len(row) > 1:
            found = [stability_of(store.layout.folder_of("cell", cell_id)) for cell_id in row]
            lines.append(seed_line(over_seeds(found), path.stem))
    return lines


def _but_seed(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key != "seed"}


def _head(store: Store, folder: Path) -> list[str]:
    state, status = state_of(folder), read_status(folder)
    damage = damage_of(folder)
    is_cell = folder.parent == store.root
    lines = [f"{'cell ' if is_cell else ''}{folder.name}  {'damaged' if damage else state}  {folder}"]
    if is_pruned(folder):
        lines.append("its model is gone: it is trained again when it is needed")
    names = sweeps_naming(store, folder.name.rpartition("-")[2])
    lines.append(f"in {listed(names)}" if names else "in no sweep")
    said = [str(status["error"])] if "error" in status and not damage else []
    return [*lines, *filter(None, [older_version(folder)]), *map(one_line, [*said, *warnings_in(status), *damage])]


def _score_lines(folder: Path) -> list[str]:
    """Each set's own metric with its interval over examples, then what was measured on the validation records."""
    groups: dict[tuple[str, str, str], list[Score]] = {}
    for score in sift_scores(folder)[0]:
        if score.main or _of_validation(score):
            groups.setdefault((score.eval_set, score.group_id, score.metric), []).append(score)
    if not groups:
        return []
    lines = [("set", "metric", "mean", "± over seeds", "seeds", "examples", "95 % interval")]
    for (eval_set, _, metric), scores in sorted(groups.items(), key=lambda item: _of_validation(item[1][0])):
        values = [score.value for score in scores]
        spread = f"{statistics.pstdev(values):.2f}" if len(values) > 1 else "-"
        seeds = str(len(values)) if scores[0].decode_seed is not None else "-"
        interval = _interval(folder, scores)
        numbers = (f"{statistics.fmean(values):.2f}", spread, seeds, str(scores[0].num_samples))
        lines.append((one_line(eval_set), one_line(metric), *numbers, interval))
    return ruled(aligned(lines))


def _of_validation(score: Score) -> bool:
    """Whether it was measured on the validation records, which have no texts; at whichever temperature."""
    return not score.group_id and score.eval_set.startswith(VALIDATION)


def _interval(folder: Path, scores: Sequence[Score]) -> str:
    """The interval over examples, decode seeds averaged per example; a gap where a score has no values per example."""
    found: list[PerExample] = []
    for score in scores:
        try:
            each = read_per_example(folder, score.score_id)
        except DamagedError as err:
            log.warning("%s", err)
            each = None
        if each is None:
            return "-"
        found.append(each)
    values = [statistics.fmean(column) for column in zip(*(each.values for each in found), strict=True)]
    if len(values) < 2:
        return "-"
    interval = mean_bootstrap(values, rng=np.random.default_rng(RESAMPLING_SEED))
    return f"[{interval.low:.2f}, {interval.high:.2f}]"


def _response_lines(store: Store, folder: Path, *, number: int) -> list[str]:
    """The first responses with the first decode seed, spread over the sets: question, reference, response."""
    first: dict[tuple[str, str], Score] = {}
    for score in sift_scores(folder)[0]:
        if score.main and score.decode_seed is not None:
            known = first.get((score.eval_set, score.group_id))
            if known is None or known.decode_seed is None or score.decode_seed < known.decode_seed:
                first[score.eval_set, score.group_id] = score
    per_set = -(-number // max(1, len(first)))
    lines: list[str] = []
    left = number
    for score in first.values():
        shown = _responses(store, folder, score, number=min(per_set, left))
        left -= len(shown)
        for each in shown:
            lines += each
    return lines


def _responses(store: Store, folder: Path, score: Score, *, number: int) -> list[list[str]]:
    try:
        rows = read_rows(rows_path(generations_path(folder), score.generation_id))[:number]
        examples = read_per_example(folder, score.score_id)
        texts = [] if examples is None else store.read_texts(examples.texts)
    except DamagedError as err:
        return [[one_line(str(err))]]
    shown = []
    for row in rows:
        index = row["index"]
        known = texts[index] if index < len(texts) else {"question": "(not kept)", "references": ["(not kept)"]}
        value = "" if examples is None else f"  {score.metric} {examples.values[index]:.1f}"
        lines = [f"{one_line(score.eval_set)} #{index}, decode seed {score.decode_seed}{value}"]
        for title, text in (
            ("question", known["question"]),
            ("reference", known["references"][0]),
            ("response", row["response"]),
        ):
            lines += [f"  {title}:", *(f"    {line}" for line in shortened(str(text)))]
        shown.append(lines)
    return shown


def _cost_lines(store: Store, folder: Path) -> list[str]:
    if folder.parent == store.root:
        rows = cost_rows({"cells": [{"id": folder.name, "labels": {}}]}, store)
        return render_costs(rows, "text").splitlines() if rows[0].values else []
    status = read_status(folder)
    return [f"{status['seconds']:.0f} s"] if "seconds" in status else []


def _file_lines(folder: Path) -> list[str]:
    lines = []
    for path in sorted(folder.iterdir()):
        if path.name not in HIDDEN:
            number = f"{len(files_below(path))} files" if path.is_dir() else ""
            name = f"{path.name}/" if path.is_dir() else path.name
            lines.append((one_line(name), in_words(bytes_of(path)), number))
    total = in_words(sum(bytes_of(path) for path in folder.iterdir()))
    return aligned([*lines, ("in all", total, "")])
