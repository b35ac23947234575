"""Metrics of a run: a local journal, which is the truth, mirrored to Weights & Biases or a CSV file.

The journal is append-only. A resumed run writes again the steps after its checkpoint: those are checked against the
journal and not emitted twice.
"""

from __future__ import annotations

import logging
import netrc
import os
import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from amid.config import LoggerCfg
from amid.store.journal import JournalFile

log = logging.getLogger(__name__)


class Mirror(Protocol):
    """Somewhere that the journal's new lines also go."""

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """None; one line of metrics."""

    def scores(self, scores: Mapping[str, float], generations: Sequence[Mapping[str, str]]) -> None:
        """None; the final scores, and a few generations."""

    def close(self, *, failed: bool) -> None:
        """None; ends the record."""


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
        """None; the configuration is in cell.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """None; appends the metrics, or checks them against what the journal already says of this step."""
        assert step is not None
        if self._file.add(step, metrics):
            for mirror in self._mirrors:
                mirror.metrics(metrics, step=step)


class WandbMirror:
    """One W&B run per cell and lineage, through Lightning's WandbLogger; offline without a login or a network."""

    def __init__(
        self,
        cfg: LoggerCfg,
        *,
        run_id: str,
        name: str,
        group: str | None,
        job_type: str,
        tags: Sequence[str],
        config: Mapping[str, Any],
        folder: Path,
    ) -> None:
        import wandb

        offline = cfg.mode == "offline" or (cfg.mode == "auto" and not wandb_login())
        options: dict[str, Any] = {
            "name": name,
            "id": run_id,
            "project": cfg.project,
            "entity": cfg.entity,
            "group": group,
            "job_type": job_type,
            "tags": [*cfg.tags, *tags],
            "config": dict(config),
            "save_dir": str(folder),
            "resume": "allow",
            "settings": wandb.Settings(silent=True, console="off", init_timeout=30),
        }
        try:
            self._logger = WandbLogger(offline=offline, **options)
            self._run = self._logger.experiment
        except wandb.errors.CommError as err:
            if cfg.mode == "online":
                raise
            log.info("wandb: no connection (%s); recording offline", str(err).splitlines()[0])
            offline = True
            self._logger = WandbLogger(offline=True, **options)
            self._run = self._logger.experiment
        self.offline_folder = Path(self._run.dir).parent if offline else None

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """None; logs under the trainer's step."""
        self._logger.log_metrics(dict(metrics), step=step)

    def scores(self, scores: Mapping[str, float], generations: Sequence[Mapping[str, str]]) -> None:
        """None; scores go to the run's summary, generations to a table."""
        self._run.summary.update(dict(scores))
        if generations:
            columns = list(generations[0])
            self._logger.log_table(
                "generations", columns=columns, data=[[row[c] for c in columns] for row in generations]
            )

    def close(self, *, failed: bool) -> None:
        """None; ends the W&B run with its exit code."""
        import wandb

        wandb.finish(exit_code=1 if failed else 0)


class CsvMirror:
    """Lightning's CSVLogger: metrics.csv in the cell's folder."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a resumed run finds its own folder not empty
            self._logger = CSVLogger(save_dir=folder, name="", version="csv", flush_logs_every_n_steps=1)

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """None; one row."""
        self._logger.log_metrics(dict(metrics), step=step)

    def scores(self, scores: Mapping[str, float], generations: Sequence[Mapping[str, str]]) -> None:
        """None; scores are in scores.jsonl beside the CSV file."""

    def close(self, *, failed: bool) -> None:
        """None; writes what is buffered."""
        self._logger.save()


def wandb_login() -> bool:
    """Whether W&B could log in by itself: an API key in the environment or in the user's netrc file."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("://")[-1].split("/")[0]
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
