"""Stages: what cells share is built once, by whoever comes first, and found by its id."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from amid.cell import Stage
from amid.claims import Claim, held
from amid.failures import recorded
from amid.store import Store

log = logging.getLogger(__name__)
POLL_S = 1.0


def ensure_stage(store: Store, stage: Stage, build: Callable[[Path, Claim], None]) -> Path:
    """The model folder of a stage, built now if it is not there, awaited if another process builds it.

    build: fills the folder it is given, which is renamed into place when it returns; a killed build leaves nothing that
    counts. Raises RunError if the results folder cannot be written, and whatever `build` raises.
    """
    target = store.model_folder(stage)
    announced = False
    while store.state(stage) != "done":
        claim = store.claim(stage)
        if claim is None:
            if not announced:
                log.info("%s %s: waiting for the process that builds it", stage.kind, stage.id)
                announced = True
            time.sleep(POLL_S)
            continue
        with held(claim):
            _build(store, stage, build, claim)
    return target


def _build(store: Store, stage: Stage, build: Callable[[Path, Claim], None], claim: Claim) -> None:
    target = store.model_folder(stage)
    partial = target.with_name("model.partial")
    start = time.perf_counter()
    with recorded(store, stage):
        for leftover in (partial, target):
            if leftover.exists():
                shutil.rmtree(leftover)
        partial.mkdir()
        build(partial, claim)
        claim.check()
        partial.rename(target)
        store.set_status(stage, "done", seconds=round(time.perf_counter() - start, 1))
