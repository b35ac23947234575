"""A sweep put into a store by hand: cells of given labels, per-prompt values of given means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.digests.fingerprint import value_digest
from amid.evaluation.protocol import Protocol, SetProtocol
from amid.generation.decoding import Decoding
from amid.store import PerExample, Score, Store

SETS = ("dolly", "self_inst", "vicuna", "super_ni", "un_ni")
NUM_PROMPTS = 40


def protocol_of(names: Sequence[str] = SETS, *, seeds: Sequence[int] = (10, 20)) -> Protocol:
    decoding = Decoding(max_new_tokens=8)
    sets = {
        name: SetProtocol(f"digest of {name}", "alpaca", 256, decoding, tuple(seeds), "rouge_l", ("rouge_l",))
        for name in names
    }
    return Protocol(sets=sets, validation={"seed": 10})


class Made:
    """A manifest and its store. protocol: that of all its cells."""

    def __init__(self, store: Store, protocol: Protocol, rows: Sequence[str], **manifest: Any) -> None:
        self.store, self.protocol = store, protocol
        self.teacher = Stage("teacher", "t" * 12, {})
        self.manifest: dict[str, Any] = {
            "name": "made",
            "rows": list(rows),
            "metric": None,
            "protocols": {"p": protocol.manifest()},
            "references": [{"kind": "teacher", "id": self.teacher.id, "pair": "tiny", "protocol": "p"}],
            "cells": [],
            **manifest,
        }

    def add(
        self,
        labels: Mapping[str, str],
        *,
        mean: float | Mapping[str, float] | None = None,
        validation: float | None = None,
        overrides: Sequence[str] = (),
        state: str = "done",
        error: str | None = None,
        num_prompts: int = NUM_PROMPTS,
    ) -> str:
        """The id of a new cell whose scores have this mean on every set, or on the sets named; None for no score."""
        id_ = value_digest(sorted(labels.items()), digits=12)
        self.manifest["cells"].append(
            {"id": id_, "overrides": list(overrides), "labels": dict(labels), "protocol": "p"}
        )
        entry = Cell(id_, {}, {"teacher": self.teacher})
        if mean is None and validation is None and error is None:
            return id_
        self.store.folder(entry).mkdir(parents=True)
        if error is not None:
            self.store.set_failed(entry, error, "")
        else:
            self.store.set_status(entry, state)
        means = mean if isinstance(mean, Mapping) else dict.fromkeys(self.protocol.sets, mean)
        scores, examples = [], []
        for name, each in means.items():
            for index, seed in enumerate(self.protocol.sets[name].decode_seeds if each is not None else ()):
                rng = np.random.default_rng([int(id_[:8], 16), seed, len(name)])
                values = rng.normal(0.0, 1.0, num_prompts)
                values = values - values.mean() + each + (0.5 if index % 2 else -0.5)
                generation = self.protocol.generation_id(id_, name, seed)
                score = f"{generation}r"
                scores.append(Score(id_, name, generation, score, seed, "rouge_l", float(values.mean()), num_prompts))
                examples.append(PerExample(score, self.protocol.sets[name].digest, tuple(values)))
        if validation is not None:
            generation = self.protocol.validation_id(id_)
            scores.append(Score(id_, "validation", generation, f"{generation}v", 10, "rouge_l", validation, 3))
        self.store.write(entry, scores, examples)
        return id_
