"""Evaluation of any model folder, also one that was not trained here, on declared sets."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from transformers.utils import logging as transformers_logging

from amid.cells.stage import Stage, model_stage
from amid.config import SCRATCH, TEACHER, RunCfg
from amid.digests.fingerprint import FileDigests
from amid.errors import RequestError
from amid.evaluation.entry import evaluate_entry
from amid.evaluation.prompts import check_sets
from amid.evaluation.protocol import Protocol, set_protocols
from amid.model_folders import check_model
from amid.model_folders.tokenizer import check_fits
from amid.pairs import load_model, load_sizes, load_tokenizer
from amid.pairs.tokenizers import largest_ordinary
from amid.reports.tables import Table, build_model_table
from amid.store import Store
from amid.store.claims import held
from amid.store.failures import recorded
from amid.store.watch import Patience
from amid.sweep.plan import is_evaluated
from amid.sweep.preflight import check_writable
from amid.training.devices import device_of

log = logging.getLogger(__name__)


def evaluate_model(name: str, run: RunCfg, *, revision: str | None = None) -> Table:
    """The table of a model (folder, hub name or package) on the sets of the configuration.

    What is in the store is not computed again: texts, scores, and what a killed evaluation has written.
    Raises RequestError for a model or set that cannot be used, RunError if the evaluation fails.
    """
    if name in (SCRATCH, TEACHER):
        raise RequestError(f"'{name}' is no trained model; give a model folder, a hub name or a package")
    if run.evaluation.also_tuned:
        raise RequestError(
            "evaluation.also_tuned chooses on the validation records of a cell, which a model from elsewhere has not; "
            "give one temperature: evaluation.temperature=0.6"
        )
    transformers_logging.set_verbosity_error()  # its advice to developers is not our user's
    cache, store = Path(run.paths.cache), Store(run.paths.results)
    stage = model_stage(name, revision, FileDigests(cache, again=True))
    protocol = Protocol(sets=set_protocols(run.data, run.evaluation), validation=None)
    if is_evaluated(store, stage, protocol):
        log.info("model %s is evaluated: nothing to run", stage.id)
    else:
        check_writable(store.root)
        check_model(name, revision)
        _evaluate(name, run, stage=stage, protocol=protocol, store=store, revision=revision)
    return build_model_table(
        f"{Path(name).name.removeprefix('package:')} {stage.id}", store.folder(stage), stage.id, protocol, store
    )


def _evaluate(name: str, run: RunCfg, *, stage: Stage, protocol: Protocol, store: Store, revision: str | None) -> None:
    cache = Path(run.paths.cache)
    tokenizer = load_tokenizer(name, revision=revision, cache=cache)
    sizes = load_sizes(name, revision=revision, cache=cache)
    check_fits(largest_ordinary(tokenizer), vocab_size=sizes.vocab_size, name=name)
    check_sets(protocol.sets, tokenizer, sizes)
    # Before the claim: weights that do not fit are a bad request, which leaves nothing in the store
    model = load_model(name, revision=revision, cache=cache)
    patience = Patience()
    while (claim := store.claim(stage) or store.claim_done(stage)) is None:
        patience.wait(lambda: f"model {stage.id}, which is evaluated elsewhere ({store.owner(stage)})")
        if is_evaluated(store, stage, protocol):
            return
    start = time.perf_counter()
    with held(claim), recorded(store, stage):
        model = model.to(device_of(run.trainer.accelerator))  # type: ignore[arg-type]  # untyped wrapper of nn.Module.to
        generated = evaluate_entry(
            model,
            tokenizer,
            protocol,
            entry=stage,
            store=store,
            batch_size=run.trainer.generation_batch_size,
        )
        store.set_status(stage, "done", seconds=round(time.perf_counter() - start, 1))
    log.info("generated %s; results: %s", generated, store.folder(stage))
