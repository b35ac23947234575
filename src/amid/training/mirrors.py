"""Where a cell's metrics are shown besides its journal. Mirrors never feed anything. No torch before one is opened.

A mirror that fails costs the picture, never the cell: one warning, and the cell goes on without it. Weights & Biases is
in `amid.training.wandb_mirror`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from amid.errors import reason_of

log = logging.getLogger(__name__)
GOES_ON = "the cell goes on without it, its journal has everything"
Tables = Mapping[str, Sequence[Mapping[str, Any]]]  # name of a table -> its rows, all with the same columns


class Mirror(Protocol):
    """Somewhere that the journal's new lines also go."""

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Takes one line of metrics."""

    def results(self, summary: Mapping[str, float], tables: Tables) -> None:
        """Takes what the model came to: a few named values, and tables of the rest."""

    def close(self, *, failed: bool, stopped: bool = False) -> None:
        """Ends the record; stopped: for now, as the training goes on later."""


def attempted(name: str, act: Callable[[], object], *, instead: str) -> bool:
    """Whether the act went well; of whatever a tracker raises one warning is left, which ends with `instead`."""
    try:
        act()
    except Exception as err:  # the cell is worth more than its picture
        log.warning("%s: %s; %s", name, reason_of(err), instead)
        return False
    return True


class Guarded:
    """A mirror whose failure, at whatever call, is one warning; it is not called again."""

    def __init__(self, name: str, opened: Callable[[], Mirror | None]) -> None:
        self._name = name
        self._mirror: Mirror | None = None
        self._try(lambda: setattr(self, "_mirror", opened()))

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Passes it on."""
        if (mirror := self._mirror) is not None:
            self._try(lambda: mirror.metrics(metrics, step=step))

    def results(self, summary: Mapping[str, float], tables: Tables) -> None:
        """Passes it on."""
        if (mirror := self._mirror) is not None:
            self._try(lambda: mirror.results(summary, tables))

    def close(self, *, failed: bool, stopped: bool = False) -> None:
        """Passes it on."""
        if (mirror := self._mirror) is not None:
            self._try(lambda: mirror.close(failed=failed, stopped=stopped))
            self._mirror = None

    def _try(self, act: Callable[[], object]) -> None:
        if not attempted(self._name, act, instead=GOES_ON):
            self._mirror = None


class CsvMirror:
    """Lightning's CSVLogger: metrics.csv in the cell's folder."""

    def __init__(self, folder: Path) -> None:
        from lightning.pytorch.loggers import CSVLogger  # imports torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a resumed run finds its own folder not empty
            self._logger = CSVLogger(save_dir=folder, name="", version="csv", flush_logs_every_n_steps=1)

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Writes one row."""
        self._logger.log_metrics(dict(metrics), step=step)

    def results(self, summary: Mapping[str, float], tables: Tables) -> None:
        """Scores are in scores.jsonl beside the CSV file."""

    def close(self, *, failed: bool, stopped: bool = False) -> None:
        """Writes what is buffered."""
        self._logger.save()
