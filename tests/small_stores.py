"""Small results folders, made without training: finished cells with scores, texts, models, under ids of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amid.cells.canonical import CELL_VERSION, ID_DIGITS
from amid.cells.cell import Cell
from amid.cells.stage import STAGE_VERSIONS, Stage
from amid.digests.fingerprint import value_digest
from amid.digests.seals import seal
from amid.evaluation.protocol import Protocol, SetProtocol, score_id
from amid.generation.decoding import Decoding
from amid.metrics import METRICS
from amid.store import Entry, PerExample, Score, Store
from amid.store.claims import held
from amid.store.files import append_line

TEXTS_DIGEST = "d" * 16
SEEDS = (10, 20)
DECODING = Decoding(max_new_tokens=12)
SETS = {"dolly": SetProtocol(TEXTS_DIGEST, "alpaca", 100, DECODING, SEEDS, "rouge_l", ("rouge_l",))}
VALIDATION = {"data": {}, "num_examples": 4, "max_new_tokens": 4, "temperature": 1.0, "seed": 10}
PROTOCOL = Protocol(sets=SETS, validation=VALIDATION)
SIGNATURE = METRICS["rouge_l"].signature


def stage_of(kind: str, **values: Any) -> Stage:
    form = {"kind": kind, "cell_version": STAGE_VERSIONS.get(kind, CELL_VERSION), **values}
    return Stage(kind, value_digest(form, digits=ID_DIGITS), form)


TOKENIZER = stage_of("tokenizer", vocab_size=8)
TEACHER = stage_of("teacher", tokenizer=TOKENIZER.id)
STUDENT = stage_of("student_init", tokenizer=TOKENIZER.id)


def cell_of_alpha(alpha: float, *, seed: int = 1) -> Cell:
    """A cell as its configuration would name it."""
    values = {
        "cell_version": CELL_VERSION,
        "amid": {"alpha": alpha},
        "seed": seed,
        "teacher": TEACHER.id,
        "student_init": STUDENT.id,
    }
    return Cell(value_digest(values, digits=ID_DIGITS), values, {"teacher": TEACHER, "student_init": STUDENT})


def finish(
    store: Store,
    entry: Entry,
    *,
    values: Sequence[float] = (),
    validation: float | None = None,
    weights: bytes = b"weights",
    seeds: Sequence[int] = SEEDS,
) -> Path:
    """The folder of the entry, done: a model, a journal, and the same value of every prompt with each decode seed."""
    claim = store.claim(entry)
    assert claim is not None
    with held(claim):
        partial = store.partial_model(entry, claim)
        partial.mkdir()
        (partial / "model.safetensors").write_bytes(weights)
        for step in (1, 2, 3):
            append_line(store.journal_path(entry), {"step": step, "metrics": {"train/loss": 4.0 / step}})
        store.publish_model(entry, partial, train_seconds=2.0)
        if values:
            score(store, entry, values, seeds=seeds, validation=validation)
        store.set_status(entry, "done", seconds=3.0)
    return store.folder(entry)


def score(
    store: Store, entry: Entry, values: Sequence[float], *, seeds: Sequence[int], validation: float | None = None
) -> None:
    """Gives the entry generations, scores, and the values they are means of."""
    scores, examples = [], []
    generations = store.generations_folder(entry)
    generations.mkdir(exist_ok=True)
    for seed in seeds:
        generation = PROTOCOL.generation_id(entry.id, "dolly", seed)
        rows = [seal({"index": i, "response": f"answer {i} of {entry.id}", "ended": True}) for i in range(len(values))]
        (generations / f"{generation}.jsonl").write_text("".join(f"{row}\n" for row in rows))
        id_ = score_id(generation, "rouge_l", SIGNATURE)
        mean, group = sum(values) / len(values), PROTOCOL.group_id("dolly")
        scores.append(
            Score(entry.id, "dolly", generation, id_, seed, "rouge_l", mean, len(values), group_id=group, main=True)
        )
        examples.append(PerExample(id_, TEXTS_DIGEST, tuple(values)))
    if validation is not None:
        generation = PROTOCOL.validation_id(entry.id)
        id_ = score_id(generation, "rouge_l", SIGNATURE)
        scores.append(Score(entry.id, "validation", generation, id_, 10, "rouge_l", validation, 4))
    store.write(entry, scores, examples)
    store.write_texts(TEXTS_DIGEST, [f"question {i}" for i in range(len(values))], [["right"]] * len(values))


def sweep_of(name: str, cells: Sequence[Cell], **more: Any) -> dict[str, Any]:
    """The manifest of a sweep over alpha and seed."""
    return {
        "name": name,
        "rows": ["amid.alpha", "seed"],
        "metric": None,
        "protocols": {"p": PROTOCOL.manifest()},
        "references": [
            {"kind": stage.kind, "id": stage.id, "pair": "tiny", "protocol": "p"} for stage in (TEACHER, STUDENT)
        ],
        "cells": [
            {
                "id": cell.id,
                "overrides": [f"amid.alpha={cell.values['amid']['alpha']}"],
                "labels": {"amid.alpha": str(cell.values["amid"]["alpha"]), "seed": str(cell.values["seed"])},
                "protocol": "p",
            }
            for cell in cells
        ],
        **more,
    }


def small_store(root: Path, *, alphas: Sequence[float] = (-1.0, 1.0), name: str = "demo") -> tuple[Store, list[Cell]]:
    """A finished sweep of one seed with its stages; the response to a prompt is the better the larger alpha."""
    store, cells = Store(root), [cell_of_alpha(alpha) for alpha in alphas]
    for stage in (TOKENIZER, TEACHER, STUDENT):
        finish(store, stage)
    for number, cell in enumerate(cells):
        finish(store, cell, values=[10.0 * number + i for i in range(6)], validation=20.0 + number)
    store.write_sweep(name, sweep_of(name, cells))
    return store, cells
