"""The journal: the metrics of every logged step of a training, append-only, the first word on each. No torch here."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from amid.store.files import append_line, drop_damaged_lines, sift_lines
from amid.store.measures import depends_on_clock

log = logging.getLogger(__name__)
# What depends on the clock was called so before it had a group of its own, in journals that are gone on with.
_OLD_CLOCK_NAMES = ("labels_per_s", "strategy/generation_tokens_per_s", "strategy/generation_time_share")
_LINE = ("step", "metrics")


def read_journal(path: Path) -> list[tuple[int, dict[str, float]]]:
    """(step, metrics) of every sound line, in the order of the steps; empty where there is no journal."""
    lines = sift_lines(path, needs=_LINE).sound
    return sorted(((int(line["step"]), dict(line["metrics"])) for line in lines), key=lambda line: line[0])


class JournalFile:
    """One journal, opened to go on with it: a torn last line is cut, a damaged one reported and cut."""

    def __init__(self, path: Path, *, check: Callable[[], None]) -> None:
        self._path = path
        self._check = check
        check()
        for number, what in drop_damaged_lines(path, needs=_LINE, check=check).items():
            log.warning("%s, line %d is damaged (%s): it is left out", path, number, what)
        self._known = {
            self._key(line["step"], line["metrics"]): line["metrics"]
            for line in sift_lines(path, needs=_LINE, to_write=True).sound
        }

    def add(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Whether the line is new and was added; one that is there is compared, and a difference reported."""
        known = self._known.get(self._key(step, metrics))
        if known is None:
            self._check()
            append_line(self._path, {"step": step, "metrics": dict(metrics)})
            return True
        differing = [name for name, value in metrics.items() if not _is_clock(name) and not _same(value, known[name])]
        if differing:
            log.warning("step %d repeated with other values of %s; the journal keeps the first", step, differing)
        return False

    @staticmethod
    def _key(step: int, metrics: Mapping[str, float]) -> tuple[int, frozenset[str]]:
        return step, frozenset(name for name in metrics if not _is_clock(name))


def _is_clock(name: str) -> bool:
    return depends_on_clock(name) or name in _OLD_CLOCK_NAMES


def _same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))
