"""Metrics of a run: a local journal, which is the truth; `amid.mirrors` show what is new in it.

The journal is append-only. A resumed run writes again the steps after its checkpoint: those are checked against the
journal and not emitted twice.
"""

from __future__ import annotations

import json
import logging
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from amid.mirrors import Mirror
from amid.store import drop_torn_line, read_json_lines

log = logging.getLogger(__name__)
# Metrics that depend on the clock: recorded, but not expected to repeat.
CLOCK_METRICS = ("labels_per_s",)


class Journal(Logger):
    """Lightning logger that appends each step's metrics to a JSONL file and passes new ones on to its mirrors."""

    def __init__(self, path: Path, mirrors: Sequence[Mirror] = ()) -> None:
        super().__init__()
        self._path = path
        self._mirrors = mirrors
        self._known = {(line["step"], *sorted(line["metrics"])): line["metrics"] for line in read_json_lines(path)}
        drop_torn_line(path)

    @property
    def name(self) -> str:
        """The folder's name: Lightning names no folder after it."""
        return self._path.parent.name

    @property
    def version(self) -> str:
        """Empty: the journal has no versions."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """None; the configuration is in cell.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """None; appends the metrics, or checks them against what the journal already says of this step."""
        assert step is not None
        known = self._known.get((step, *sorted(metrics)))
        if known is not None:
            differing = [
                name for name, value in metrics.items() if name not in CLOCK_METRICS and not _same(value, known[name])
            ]
            if differing:
                log.warning("step %d repeated with other values of %s; the journal keeps the first", step, differing)
            return
        with self._path.open("a") as stream:
            stream.write(json.dumps({"step": step, "metrics": dict(metrics)}) + "\n")
        for mirror in self._mirrors:
            mirror.metrics(metrics, step=step)


def last_step(path: Path) -> int:
    """The last step of a journal; 0 if it holds none."""
    return max((int(line["step"]) for line in read_json_lines(path)), default=0)


def _same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))
