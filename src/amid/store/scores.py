"""Scores and what they are means of. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from amid.digests.seals import DamagedError, seal
from amid.store.files import read_lines, read_object, replace_text, sift_lines
from amid.store.layout import per_example_path, scores_path

SCORED_AGAIN = "repeat the command that scored it: what is damaged is scored again"


@dataclass(frozen=True)
class Score:
    """One number: a metric of one checkpoint on one set with one decode seed.

    generation_id names the texts it was computed from, score_id these texts and the metric's version.
    decode_seed is None for a metric over the texts of all seeds. group_id names set and decoding: scores of two entries
    compare under the same one. main: the metric is the set's own.
    """

    entry_id: str
    eval_set: str
    generation_id: str
    score_id: str
    decode_seed: int | None
    metric: str
    value: float
    num_samples: int
    group_id: str = ""
    main: bool = False


@dataclass(frozen=True)
class PerExample:
    """What a score is the mean of: one value per example, in the order of the set.

    texts: digest of the set's prompts and references.
    """

    score_id: str
    texts: str
    values: tuple[float, ...]


_FIELDS = tuple(each.name for each in fields(Score))
_NEEDS = _FIELDS[: _FIELDS.index("group_id")]  # the others are younger than some stores


def read_scores(folder: Path) -> list[Score]:
    """The scores in the folder of one entry. Raises DamagedError for the first that cannot be read."""
    scores, damage = sift_scores(folder)
    for each in damage:
        raise each
    return scores


def sift_scores(folder: Path, *, to_write: bool = False) -> tuple[list[Score], list[DamagedError]]:
    """The sound scores in the folder of one entry, and what is damaged; nothing behind a link, which is not ours.

    to_write: as of `sift_lines`.
    """
    if folder.is_symlink():
        return [], []
    path = scores_path(folder)
    lines = sift_lines(path, needs=_NEEDS, whole=True, to_write=to_write)
    damage = [DamagedError(path, f"line {number}: {what}", SCORED_AGAIN) for number, what in lines.damaged.items()]
    return [Score(**{name: line[name] for name in _FIELDS if name in line}) for line in lines.sound], damage


def write_scores(folder: Path, scores: Iterable[Score], *, check: Callable[[], None]) -> None:
    """Adds scores; a score of the same texts, set, seed and metric is replaced, and damaged lines are dropped."""
    known = {score_key(score): score for score in [*sift_scores(folder, to_write=True)[0], *scores]}
    lines = [seal(dict(sorted(asdict(known[key]).items()))) for key in sorted(known)]
    replace_text(scores_path(folder), "".join(f"{line}\n" for line in lines), check=check)


def write_per_example(folder: Path, per_example: Sequence[PerExample], *, check: Callable[[], None]) -> None:
    """Keeps the values per example behind scores."""
    paths = [per_example_path(folder, each.score_id) for each in per_example]
    for parent in {path.parent for path in paths}:
        parent.mkdir(parents=True, exist_ok=True)
    for each, path in zip(per_example, paths, strict=True):
        replace_text(path, seal(asdict(each)), check=check)


def read_per_example(folder: Path, score_id: str) -> PerExample | None:
    """The values per example behind a score; None if it has none. Raises DamagedError."""
    path = per_example_path(folder, score_id)
    remedy = f"remove it and {SCORED_AGAIN}"
    found = read_object(path, remedy=remedy, needs=("score_id", "texts", "values"))
    return None if found is None else PerExample(found["score_id"], found["texts"], tuple(found["values"]))


def write_texts(path: Path, questions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Keeps the questions and references of an evaluation set, unless they are there and sound."""
    try:
        if len(read_texts(path)) == len(questions):
            return
    except DamagedError:
        pass  # written anew
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"question": question, "references": list(texts)} for question, texts in zip(questions, references, strict=True)
    ]
    replace_text(path, "".join(f"{seal(row)}\n" for row in rows))


def read_texts(path: Path) -> list[dict[str, Any]]:
    """question and references of each example of a set; empty if they were not kept. Raises DamagedError."""
    return read_lines(
        path, remedy="remove it and evaluate again on its set", needs=("question", "references"), whole=True
    )


def score_key(score: Score) -> tuple[str, str, int, str]:
    """What a score is the value of; another score of the same replaces it."""
    # Without the score id: a new version of a metric replaces the old number
    return (score.eval_set, score.metric, -1 if score.decode_seed is None else score.decode_seed, score.generation_id)
