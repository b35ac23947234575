"""What the folders of a store say, each read once for a whole table. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amid.digests.seals import DamagedError
from amid.errors import one_line
from amid.store import PerExample, Score
from amid.store.damage import damage_of
from amid.store.scores import read_per_example, sift_scores
from amid.store.status import read_status, spent_in, state_of, warnings_in

_DIVERGED = re.compile(r"diverged\b|.*weights have diverged")  # how the errors of training and sampling say it


@dataclass(frozen=True)
class Found:
    """The folder of one entry: its scores by generation id and metric, its state, and what is wrong with it."""

    scores: Mapping[tuple[str, str], Score]
    state: str
    warnings: tuple[str, ...]
    spent: Mapping[str, float]
    damage: tuple[str, ...]


class Reading:
    """A look at entries by their folders. What is damaged is missing, and named in `damage`."""

    def __init__(self) -> None:
        self._found: dict[Path, Found] = {}
        self._examples: dict[tuple[Path, str], PerExample | None] = {}
        self._damage: dict[str, None] = {}

    @property
    def damage(self) -> tuple[str, ...]:
        """One line per damaged file that was met."""
        return tuple(self._damage)

    def of(self, folder: Path) -> Found:
        """What is in the folder; the same however often it is asked for."""
        if folder not in self._found:
            status, damage = read_status(folder), tuple(damage_of(folder))
            scores = {(score.generation_id, score.metric): score for score in sift_scores(folder)[0]}
            state: str = "damaged" if damage else state_of(folder)
            if state == "failed" and has_diverged(folder):
                state = "diverged"
            warnings = tuple(map(one_line, warnings_in(status)))
            self._damage |= dict.fromkeys(damage)
            self._found[folder] = Found(scores, state, warnings, spent_in(status), damage)
        return self._found[folder]

    def per_example(self, folder: Path, score_id: str) -> PerExample | None:
        """The values per example behind a score; None if there are none that can be read."""
        key = (folder, score_id)
        if key not in self._examples:
            try:
                self._examples[key] = read_per_example(folder, score_id)
            except DamagedError as err:
                self._damage[str(err)] = None
                self._examples[key] = None
        return self._examples[key]


def has_diverged(folder: Path) -> bool:
    """Whether the training of an entry failed because it diverged."""
    error = str(read_status(folder).get("error", ""))
    return state_of(folder) == "failed" and _DIVERGED.match(error) is not None
