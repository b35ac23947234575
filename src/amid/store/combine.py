"""Two finished entries of one id: the same, or one with more scores than the other, or in conflict. No torch here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from amid.errors import RunError
from amid.store.claims import Claim, try_claim
from amid.store.incoming import copy_below, copy_whole
from amid.store.layout import generations_path, model_path
from amid.store.scores import Score, score_key, sift_scores, write_scores
from amid.store.soundness import check_entry
from amid.store.status import read_status


@dataclass(frozen=True)
class Missing:
    """What a finished entry lacks that another one of its id has: files, scores, perhaps the whole model."""

    files: tuple[Path, ...]  # relative to the entry's folder
    scores: tuple[Score, ...]
    model: bool

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to be added."""
        return not (self.files or self.scores or self.model)


def combine(source: Path, target: Path) -> bool:
    """Whether something was added to the finished target of what the finished source has beside it.

    Raises RunError for a conflict, DamagedError for a source that is not what was written, and leaves the target.
    """
    missing = missing_in(target, source)
    if missing.nothing:
        return False
    check_entry(source)
    claim = try_claim(target)
    if claim is None:
        raise RunError("a process works on it here; merge when it has ended")
    try:
        _add(missing, source, target, claim)
    finally:
        claim.release()
    return True


def missing_in(target: Path, source: Path) -> Missing:
    """What the source has and the target lacks. Raises RunError where both have something and it differs."""
    weights = [read_status(folder).get("model") for folder in (target, source)]
    if None not in weights and weights[0] != weights[1]:
        raise RunError("conflict: it is finished here and there with other weights; what is here stays")
    files = []
    for room in ("examples", generations_path(source).name):
        for path in sorted((source / room).glob("*.json*")):
            here = target / room / path.name
            if not here.exists():
                files.append(path.relative_to(source))
            elif here.read_bytes() != path.read_bytes():
                raise RunError(f"conflict: {room}/{path.name} is another one here and there; what is here stays")
    known = {score_key(score): score for score in sift_scores(target)[0]}
    scores = []
    for score in sift_scores(source)[0]:
        mine = known.get(score_key(score))
        if mine is None:
            scores.append(score)
        elif (mine.score_id, mine.value) != (score.score_id, score.value):
            what = f"{score.metric} on {score.eval_set} is {mine.value:g} here and {score.value:g} there"
            raise RunError(f"conflict: {what}; what is here stays")
    model = model_path(source).is_dir() and not model_path(target).exists() and weights[0] == weights[1]
    return Missing(tuple(files), tuple(scores), model)


def _add(missing: Missing, source: Path, target: Path, claim: Claim) -> None:
    """Texts and values first, so that a score on disk has what it was computed from."""
    for path in missing.files:
        claim.check()
        copy_whole(source / path, target / path)
    if missing.scores:
        write_scores(target, missing.scores, check=claim.check)
    if missing.model:
        partial = target / f"{model_path(target).name}.partial-{claim.number}"
        shutil.rmtree(partial, ignore_errors=True)
        copy_below(model_path(source), partial)
        claim.check()
        partial.rename(model_path(target))
