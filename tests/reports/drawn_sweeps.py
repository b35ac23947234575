"""Sweeps with made-up scores and journals, for figures: what their claims must find is put in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from made_sweep import NUM_PROMPTS, Made

from amid.cells.cell import Cell
from amid.evaluation.protocol import Protocol, SetProtocol
from amid.generation.decoding import Decoding
from amid.reports.figures.sweep_view import SweepView
from amid.store import PerExample, Score, Store
from amid.store.files import append_line
from amid.store.layout import journal_path

ALPHAS = (-5.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0)
DIVERGENCES = (("kl", "pr"), ("kl", "rp"), ("ab", "pr"))
TEMPERATURES = (0.3, 0.6, 1.0)


def protocol() -> Protocol:
    decoding, metrics = Decoding(max_new_tokens=8), ("rouge_l", "self_bleu")
    sets = {
        name: SetProtocol(f"digest of {name}", "alpaca", 256, decoding, (10, 20), "rouge_l", metrics)
        for name in ("dolly", "vicuna")
    }
    return Protocol(sets=sets, validation={"seed": 10, "temperature": 1.0})


class Drawn(Made):
    """A sweep whose rows get journals, diversities and validations besides their scores."""

    def __init__(self, root: Path, rows: Sequence[str], **manifest: object) -> None:
        super().__init__(Store(root), protocol(), rows, **manifest)

    def put(
        self,
        labels: Mapping[str, str],
        *,
        mean: float | None,
        self_bleu: float | None = None,
        curve: Callable[[int], float] | None = None,
        norm: Callable[[int], float] | None = None,
        error: str | None = None,
    ) -> str:
        """The id of a new cell. curve, norm: validation ROUGE-L and gradient norm by step, 10 and 60 of them."""
        id_ = self.add(labels, mean=mean, error=error, validation=mean)
        journal = journal_path(self.store.layout.folder_of("cell", id_))
        if self_bleu is not None:
            pooled = [(name, self.protocol.pooled_id(id_, name)) for name in self.protocol.sets]
            self._score(id_, [(name, generation, "self_bleu", self_bleu) for name, generation in pooled])
        for step in range(10, 610, 10) if norm is not None else ():
            metrics = {"train/grad_norm": norm(step), "train/loss": 2.0 + 200.0 / step}  # type: ignore[misc]
            append_line(journal, {"step": step, "metrics": metrics})
        for step in range(60, 660, 60) if curve is not None else ():
            append_line(journal, {"step": step, "metrics": {"val/rouge_l": curve(step)}})  # type: ignore[misc]
        return id_

    def tune(self, id_: str, *, validation: Mapping[float, float], mean: float) -> None:
        """Validations at the temperatures, and scores with that mean at the one that they choose."""
        own = replace(self.protocol, temperatures=TEMPERATURES)
        self.manifest["protocols"]["p"] = own.manifest()
        names = {t: (own.validation_name(t), own.validation_id(id_, t)) for t in validation}
        self._score(id_, [(*names[t], "rouge_l", value) for t, value in validation.items()])
        chosen = max((value, t) for t, value in validation.items())[1]
        self._examples(id_, own.at(chosen), [own.name_at(name, chosen) for name in own.sampled], mean)

    def _score(self, id_: str, rows: Sequence[tuple[str, str, str, float]]) -> None:
        scores = [Score(id_, name, made, f"{made}{metric[0]}", None, metric, v, 3) for name, made, metric, v in rows]
        self.store.write(self._entry(id_), scores)

    def _examples(self, id_: str, own: Protocol, names: Sequence[str], mean: float) -> None:
        scores, examples = [], []
        for name in names:
            for seed in own.sets[name].decode_seeds:
                values = np.random.default_rng([int(id_[:8], 16), seed, len(name)]).normal(mean, 1.0, NUM_PROMPTS)
                made = own.generation_id(id_, name, seed)
                score = f"{made}r"
                scores.append(Score(id_, name, made, score, seed, "rouge_l", float(values.mean()), NUM_PROMPTS))
                examples.append(PerExample(score, own.sets[name].digest, tuple(values)))
        self.store.write(self._entry(id_), scores, examples)

    def _entry(self, id_: str) -> Cell:
        return Cell(id_, {}, {"teacher": self.teacher})

    def view(self) -> SweepView:
        return SweepView(self.manifest, self.store)


def over_alpha(
    root: Path,
    *,
    quality: Callable[[str, float], float] = lambda name, alpha: 20.0 - 0.6 * alpha,
    diversity: Callable[[float], float] = lambda alpha: 0.4 - 0.02 * alpha,
    norm: Callable[[str, str, float | None, int], float] = lambda name, order, alpha, step: 1.0,
    left_out: Sequence[float] = (),
    diverged: Sequence[tuple[str, str, float]] = (),
    tuned: bool = False,
) -> Drawn:
    """Table 3's cells. quality, diversity (Self-BLEU), norm: what they are at an alpha, None for no assistant.

    left_out: alphas of ab that nothing is known of; diverged: (name, order, alpha).
    """
    table = {"blocks": ["divergence.name", "divergence.order"]}
    made = Drawn(root, ["amid.alpha"], table=table, shared={"lam": "0.1"})
    for name, order in DIVERGENCES:
        for index, alpha in enumerate((None, *ALPHAS)):
            text = "null" if alpha is None else f"{alpha:g}"
            labels = {"divergence.name": name, "divergence.order": order, "amid.alpha": text}
            if name == "ab" and alpha in left_out:
                made.add(labels)
                continue
            wobble = 0.05 * (-1) ** index
            score = 18.0 if alpha is None else quality(name, alpha) + wobble
            lost = (name, order, alpha) in diverged
            id_ = made.put(
                labels,
                mean=None if lost else score,
                self_bleu=None if lost else 0.45 if alpha is None else diversity(alpha) + wobble / 50,
                norm=lambda step, key=(name, order, alpha): norm(*key, step),
                error="diverged: the loss is nan" if lost else None,
            )
            if tuned and not lost:
                made.tune(id_, validation={t: score - 3.0 * abs(t - 0.6) for t in TEMPERATURES}, mean=score + 1.0)
    return made


def over_methods(root: Path, *, gain: Callable[[int], float] = lambda step: 1.0) -> Drawn:
    """Figure 3's rows: curves that rise, AMiD's by `gain` above the others'."""
    made = Drawn(root, ["method"])
    for index, method in enumerate(("gkd", "taid", "distillm_skl", "abkd", "amid")):

        def curve(step: int, index: int = index, method: str = method) -> float:
            wobble = 0.2 * math.sin(step / 60 * (1.3 + index))
            return 20.0 * (1 - math.exp(-step / 200)) + 0.2 * index + wobble + (gain(step) if method == "amid" else 0.0)

        made.put({"method": method}, mean=20.0, curve=curve)
    return made


def over_lambda(root: Path, *, gain: Callable[[float], float] = lambda lam: 3.0) -> Drawn:
    """Figure 5's rows: no assistant at 18, and each lambda by `gain` above it."""
    made = Drawn(root, ["amid.alpha", "amid.lam"])
    made.put({"amid.alpha": "null", "amid.lam": ""}, mean=18.0)
    for lam in (0.1, 0.3, 0.5, 0.7, 0.9):
        made.put({"amid.alpha": "-5", "amid.lam": f"{lam:g}"}, mean=18.0 + gain(lam))
    return made
