"""Where a cell's metrics are shown besides its journal: Weights & Biases, or a CSV file. They never feed anything.

A mirror that fails costs the picture, never the cell: one warning, and the cell goes on without it.
"""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from lightning.pytorch.loggers import CSVLogger, WandbLogger

from amid.config import LoggerCfg
from amid.errors import reason_of
from amid.store.files import replace_text

log = logging.getLogger(__name__)
WANDB_PROJECT = "amid-lab"  # where neither the request nor W&B's environment names one
INIT_TIMEOUT_S = 30  # until a run counts as offline
FINISH_TIMEOUT_S = 300  # for what is still to be uploaded when a cell ends; what is left is on disk, for `wandb sync`
_unreachable: set[str] = set()  # servers this process could not reach: asked once, not once per cell


class Mirror(Protocol):
    """Somewhere that the journal's new lines also go."""

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Takes one line of metrics."""

    def scores(self, scores: Mapping[str, float], generations: Sequence[Mapping[str, str]], *, step: int) -> None:
        """Takes the final scores, and a few generations; step: the last one that was trained."""

    def close(self, *, failed: bool) -> None:
        """Ends the record."""


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

    def scores(self, scores: Mapping[str, float], generations: Sequence[Mapping[str, str]], *, step: int) -> None:
        """Passes it on."""
        if (mirror := self._mirror) is not None:
            self._try(lambda: mirror.scores(scores, generations, step=step))

    def close(self, *, failed: bool) -> None:
        """Passes it on."""
        if (mirror := self._mirror) is not None:
            self._try(lambda: mirror.close(failed=failed))
            self._mirror = None

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as err:  # whatever a tracker raises: the cell is worth more than its picture
            log.warning("%s: %s; the cell goes on without it, its journal has everything", self._name, reason_of(err))
            self._mirror = None


class StepLogger(WandbLogger):
    """Lightning's W&B logger, which also sets W&B's own step: that is what a resumed run must not repeat."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Writes one row of the run's history."""
        self.experiment.log({**metrics, "trainer/global_step": step}, step=step)


class WandbMirror:
    """One W&B run per cell and lineage, by Lightning's WandbLogger; offline without a login or a network.

    Steps are those of the training, so that a resumed run goes on where the last one ended, also in a second offline
    folder. What the request leaves open is W&B's own environment (WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_DIR).
    """

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
        mode: Literal["online", "offline"],
    ) -> None:
        import wandb

        if wandb.run is not None:  # left open by a cell whose tracker failed: its run is not ours
            wandb.finish()
        options: dict[str, Any] = {
            "name": name,
            "id": run_id,
            "project": cfg.project or wandb.setup().settings.project or WANDB_PROJECT,
            "entity": cfg.entity,
            "group": group,
            "job_type": job_type,
            "tags": [*cfg.tags, *tags],
            "config": dict(config),
            "dir": os.environ.get("WANDB_DIR") or str(folder),
            "resume": "allow",
            "settings": wandb.Settings(
                silent=True, console="off", init_timeout=INIT_TIMEOUT_S, finish_timeout=FINISH_TIMEOUT_S
            ),
        }
        server = wandb.setup().settings.base_url
        if server in _unreachable:
            mode = "offline"
        try:
            run = wandb.init(mode=mode, **options)
        except Exception as err:  # no network, a refused key, somebody else's project: W&B has a type for each
            if mode == "offline":
                raise
            log.warning("wandb: %s; recording offline", reason_of(err))
            _unreachable.add(server)
            wandb.teardown()  # the service still holds the run's id
            _quiet_setup()
            mode = "offline"
            run = wandb.init(mode=mode, **options)
        self._run = run
        self._logger = StepLogger(experiment=run)
        self._offline = mode == "offline"

    @property
    def offline_folders(self) -> list[Path]:
        """What `wandb sync` uploads, oldest first: one folder per attempt; empty for a run that is online."""
        if not self._offline:
            return []
        folder = Path(self._run.dir).parent
        return sorted(path for path in folder.parent.glob(f"offline-run-*{self._run.id}*") if path.is_dir())

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Logs under the trainer's step."""
        self._logger.log_metrics(metrics, step=step)

    def scores(self, scores: Mapping[str, float], generations: Sequence[Mapping[str, str]], *, step: int) -> None:
        """Scores go to the run's summary, generations to a table."""
        self._run.summary.update(dict(scores))
        if generations:
            columns = list(generations[0])
            rows = [[row[column] for column in columns] for row in generations]
            self._logger.log_table("generations", columns=columns, data=rows, step=step)

    def close(self, *, failed: bool) -> None:
        """Ends the W&B run with its exit code, and says how to upload what was recorded offline."""
        folders = self.offline_folders
        self._run.finish(exit_code=1 if failed else 0)
        if folders and not failed:
            log.info("wandb: recorded offline; upload with: wandb sync %s", shlex.join(map(str, folders)))


class CsvMirror:
    """Lightning's CSVLogger: metrics.csv in the cell's folder."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a resumed run finds its own folder not empty
            self._logger = CSVLogger(save_dir=folder, name="", version="csv", flush_logs_every_n_steps=1)

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Writes one row."""
        self._logger.log_metrics(dict(metrics), step=step)

    def scores(self, scores: Mapping[str, float], generations: Sequence[Mapping[str, str]], *, step: int) -> None:
        """Scores are in scores.jsonl beside the CSV file."""

    def close(self, *, failed: bool) -> None:
        """Writes what is buffered."""
        self._logger.save()


def wandb_mode(asked: str | None) -> Literal["online", "offline", "disabled"]:
    """How W&B records: as asked, else as its own environment and settings say; online only with a login.

    The login is whatever the installed wandb itself would use: environment, netrc, settings or identity token.
    """
    import wandb

    _quiet_setup()
    mode = asked or wandb.setup().settings.mode
    if mode == "disabled":
        return "disabled"
    if mode in ("offline", "dryrun"):
        return "offline"
    try:
        if wandb.login(prompt=False, verify=False):
            return "online"
    except wandb.errors.AuthenticationError as err:
        log.warning("wandb: %s; recording offline", reason_of(err))
        return "offline"
    if asked == "online":
        log.warning("wandb: logger.mode=online, but there is no login (wandb login); recording offline")
    return "offline"


def lineage_of(path: Path, journal: Path) -> str:
    """What names this training of a cell apart from every other one: six hex digits, kept in the file `path`.

    A cell in another store has another lineage, and so has one that starts again from nothing: W&B must not take it
    for the same run. A resumed one keeps its own.
    """
    if journal.is_file() and journal.stat().st_size and path.is_file():
        return path.read_text().strip()
    lineage = secrets.token_hex(3)
    replace_text(path, f"{lineage}\n")
    return lineage


def _quiet_setup() -> None:
    import wandb

    wandb.setup(settings=wandb.Settings(silent=True, console="off"))
