"""One run of Weights & Biases: curves on one axis, a few values to choose by, tables. No torch here.

It shows, and feeds nothing. What the request leaves open is W&B's own environment and settings.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from amid.config import LoggerCfg
from amid.errors import reason_of
from amid.store.files import replace_text
from amid.store.journal import read_journal
from amid.store.trackers import ROOM, Told, drop_recordings, read_told, waiting_runs, write_told
from amid.training.mirrors import Tables

log = logging.getLogger(__name__)
WANDB_PROJECT = "amid-lab"  # where neither the request nor W&B's environment names one
INIT_TIMEOUT_S = 30  # until a run counts as offline
FINISH_TIMEOUT_S = 300  # for what is still to be uploaded when a cell ends; what is left is on disk, for `wandb sync`
STEP = "step"  # the axis of every curve: optimiser steps, as in the journal
_unreachable: set[str] = set()  # servers this process could not reach: asked once, not once per cell


@dataclass(frozen=True)
class GoesOn:
    """What a run is gone on with by: the journal of its training, and the file that says what of it the run holds."""

    journal: Path
    told: Path


class WandbMirror:
    """A W&B run, offline without a login or a network. An id that W&B knows goes on as the same run.

    Its summary holds what `results` is given and nothing else: of curves the last value is in the way of a choice.
    Steps are those of the training. A row is sent when it is whole, once a later step begins or the training has
    ended; with `goes_on`, every row is in the run once, however often the training was stopped or killed: what it lacks
    is taken from the journal, from the step on that W&B's server says, offline from what is known of recordings that
    were ended; others are replaced. What the request leaves open is W&B's own environment (WANDB_MODE, WANDB_PROJECT,
    WANDB_ENTITY, WANDB_DIR).
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
        goes_on: GoesOn | None = None,
    ) -> None:
        import wandb

        room = Path(os.environ.get("WANDB_DIR") or folder) / ROOM
        self._goes_on = goes_on
        self._told = Told() if goes_on is None else _told_before(goes_on, room, run_id)

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
        self._groups: set[str] = set()  # of measures, `train` of `train/loss`, whose axis W&B knows
        self._row: dict[str, float] = {}  # of the step that is not over
        self._row_step = -1
        run.define_metric(STEP, hidden=True, summary="none")
        if goes_on is not None:
            self._go_on(goes_on, room, online=mode == "online")

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """What a row of the run's history holds, at the trainer's step; nothing for a row that is there."""
        if step <= self._told.step:
            return
        if step > self._row_step:
            self._send_row()
        self._row |= metrics
        self._row_step = step

    def _send_row(self) -> None:
        metrics, step = self._row, self._row_step
        if not metrics:
            return
        for group in dict.fromkeys(name.partition("/")[0] for name in metrics):
            if group not in self._groups:
                self._run.define_metric(f"{group}/*", step_metric=STEP, summary="none")
                self._groups.add(group)
        self._run.log({**metrics, STEP: step}, step=step)
        self._row, self._told = {}, replace(self._told, step=step)

    def _go_on(self, goes_on: GoesOn, room: Path, *, online: bool) -> None:
        """Tells the run what it lacks of the journal."""
        if online:
            # Also what was recorded offline so far and is not uploaded: then it is here twice
            self._told = Told(step=int(self._run.step) - 1)
            drop_recordings(room, self._run.id)
        write_told(goes_on.told, self._told)
        for step, metrics in read_journal(goes_on.journal):
            self.metrics(metrics, step=step)

    def results(self, summary: Mapping[str, float], tables: Tables) -> None:
        """Values and tables of the run's summary: those of before are replaced, and no step is added."""
        import wandb

        self._run.summary.update(dict(summary))
        for name, rows in tables.items():
            if rows:
                data = [[row[column] for column in rows[0]] for row in rows]
                self._run.summary[name] = wandb.Table(columns=[*rows[0]], data=data)

    def close(self, *, failed: bool, stopped: bool = False) -> None:
        """Ends the W&B run with its exit code; one that was stopped as preempted, its last row being left for later."""
        if stopped:
            self._run.mark_preempting()
        else:
            self._send_row()
        name = Path(self._run.settings.sync_dir).name
        self._run.finish(exit_code=1 if failed else 0)
        if self._goes_on is not None:
            ended = (*self._told.recordings, name) if self._run.offline else self._told.recordings
            write_told(self._goes_on.told, replace(self._told, recordings=ended))


def _told_before(goes_on: GoesOn, room: Path, run_id: str) -> Told:
    """What the run holds for certain; its recordings that do not count are removed."""
    told = read_told(goes_on.told)
    if told is None:
        # Recordings from before this was kept: all that is in the journal counts as told, as it did then
        rows = read_journal(goes_on.journal) if waiting_runs(room, [run_id]) else []
        return Told(step=rows[-1][0], recordings=_names(room, run_id)) if rows else Told()
    drop_recordings(room, run_id, but=told.recordings)
    return told


def _names(room: Path, run_id: str) -> tuple[str, ...]:
    return tuple(folder.name for folder in waiting_runs(room, [run_id]))


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
    known = known_lineage(path, journal)
    if known is not None:
        return known
    lineage = secrets.token_hex(3)
    replace_text(path, f"{lineage}\n")
    return lineage


def known_lineage(path: Path, journal: Path) -> str | None:
    """The lineage of a training that was begun; None for one that starts from nothing."""
    begun = journal.is_file() and journal.stat().st_size and path.is_file()
    return path.read_text().strip() if begun else None


def _quiet_setup() -> None:
    import wandb

    wandb.setup(settings=wandb.Settings(silent=True, console="off"))
