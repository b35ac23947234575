"""Metrics of a run: a local journal, which is the truth; `amid.training.mirrors` show what is new in it.

The journal is append-only. A resumed run writes again the steps after its checkpoint: those are checked against the
journal and not emitted twice.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from amid.store.journal import JournalFile
from amid.training.mirrors import Mirror

log = logging.getLogger(__name__)


class Journal(Logger):
    """Lightning logger that appends each step's metrics to a JSONL file and passes new ones on to its mirrors."""

    def __init__(self, path: Path, mirrors: Sequence[Mirror] = (), *, check: Callable[[], None]) -> None:
        super().__init__()
        self._path = path
        self._mirrors = mirrors
        self._file = JournalFile(path, check=check)

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
        """The configuration is in cell.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Appends the metrics, or checks them against what the journal already says of this step."""
        assert step is not None
        if self._file.add(step, metrics):
            for mirror in self._mirrors:
                mirror.metrics(metrics, step=step)
