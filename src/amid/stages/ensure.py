"""Stages: what cells share is built once, by whoever comes first, and found by its id."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.cells.stage import Stage
from amid.pairs import save_model
from amid.store import Store
from amid.store.claims import Claim, held
from amid.store.failures import name_of, recorded
from amid.store.files import space_for
from amid.store.watch import Patience

log = logging.getLogger(__name__)


def ensure_stage(store: Store, stage: Stage, build: Callable[[Path, Claim], None]) -> Path:
    """The model folder of a stage, built now if it is not there or damaged, awaited if another process builds it.

    build: fills the folder it is given, which is renamed into place when it returns; a killed build leaves nothing that
    counts. Raises RequestError as `build` does, and RunError for any other failure of it or of the disk.
    """
    patience = Patience()
    while not store.is_finished(stage):
        claim = store.claim(stage)
        if claim is not None:
            with held(claim):
                _build(store, stage, build, claim)
        elif store.is_owned(stage):
            patience.wait(lambda: f"{name_of(stage)}, which is built elsewhere ({store.owner(stage)})")
    return store.model_folder(stage)


def write_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes weights (safetensors), configuration and tokenizer into the folder. Raises NoSpaceError."""
    num_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    with space_for(folder, num_bytes):
        save_model(model, tokenizer, folder)


def _build(store: Store, stage: Stage, build: Callable[[Path, Claim], None], claim: Claim) -> None:
    start = time.perf_counter()
    with recorded(store, stage):
        if not store.adopt_model(stage):  # else of an attempt that ended before it could say so
            partial = store.partial_model(stage, claim)
            partial.mkdir()
            build(partial, claim)
            store.publish_model(stage, partial)
        store.set_status(stage, "done", seconds=round(time.perf_counter() - start, 1))
