"""One run of Weights & Biases: curves on one axis, a few values to choose by, tables. No torch here.

It shows, and feeds nothing. What the request leaves open is W&B's own environment and settings.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from amid.config import LoggerCfg
from amid.errors import reason_of
from amid.store.files import replace_text
from amid.training.mirrors import Tables

log = logging.getLogger(__name__)
WANDB_PROJECT = "amid-lab"  # where neither the request nor W&B's environment names one
INIT_TIMEOUT_S = 30  # until a run counts as offline
FINISH_TIMEOUT_S = 300  # for what is still to be uploaded when a cell ends; what is left is on disk, for `wandb sync`
STEP = "step"  # the axis of every curve: optimiser steps, as in the journal
_unreachable: set[str] = set()  # servers this process could not reach: asked once, not once per cell


class WandbMirror:
    """A W&B run, offline without a login or a network. An id that W&B knows goes on as the same run.

    Its summary holds what `results` is given and nothing else: of curves the last value is in the way of a choice.
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
        self._groups: set[str] = set()  # of measures, `train` of `train/loss`, whose axis W&B knows
        run.define_metric(STEP, hidden=True, summary="none")

    def metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """One row of the run's history, at the trainer's step."""
        for group in dict.fromkeys(name.partition("/")[0] for name in metrics):
            if group not in self._groups:
                self._run.define_metric(f"{group}/*", step_metric=STEP, summary="none")
                self._groups.add(group)
        self._run.log({**metrics, STEP: step}, step=step)

    def results(self, summary: Mapping[str, float], tables: Tables) -> None:
        """Values and tables of the run's summary: those of before are replaced, and no step is added."""
        import wandb

        self._run.summary.update(dict(summary))
        for name, rows in tables.items():
            if rows:
                data = [[row[column] for column in rows[0]] for row in rows]
                self._run.summary[name] = wandb.Table(columns=[*rows[0]], data=data)

    def close(self, *, failed: bool) -> None:
        """Ends the W&B run with its exit code."""
        self._run.finish(exit_code=1 if failed else 0)


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
