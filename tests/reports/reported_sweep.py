"""A sweep with all that a report can show: blocks, training seeds, gaps, failures, two metrics, texts, curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from made_sweep import SETS, Made, protocol_of

from amid.cells.cell import Cell
from amid.digests.seals import seal
from amid.store import PerExample, Score, Store
from amid.store.files import append_line

NAME, ORDER, ALPHA = "divergence.name", "divergence.order", "amid.alpha"
HOSTILE = "</script><script>window.hacked = 1</script><!-- <img src=x onerror=window.hacked=1> \u2028 &amp; \u202e"
NUM_PROMPTS = 24
ALPHAS = ("-inf", "-5", "-1", "0.5", "inf", "null")


def reported_sweep(
    root: Path,
    *,
    alphas: Sequence[str] = ALPHAS,
    divergences: Sequence[str] = ("kl", "ab"),
    seeds: Sequence[str] = ("1",),
    sets: Sequence[str] = SETS,
    gaps: bool = True,
    name: str = "made",
    paper: str | None = "table3",
) -> Made:
    """A store whose cells are scored, but for a missing, a failed, a diverged and a half-scored one where gaps."""
    store = Store(root)
    protocol = protocol_of(sets)
    metrics = ("rouge_l", "exact_match", "response_length", "self_bleu")
    protocol = replace(protocol, sets={key: replace(each, metrics=metrics) for key, each in protocol.sets.items()})
    table = {"blocks": [NAME, ORDER], "average": ["seed"], "paper": paper}
    made = Made(store, protocol, [NAME, ORDER, ALPHA, "seed"], name=name, table=table)
    number = 0
    for divergence in divergences:
        for alpha in alphas:
            for seed in seeds:
                number += 1
                labels = {NAME: divergence, ORDER: "pr", ALPHA: alpha, "seed": seed}
                more: dict[str, Any] = {"overrides": [f"amid.alpha={alpha}", "paths.results=/home/someone/results"]}
                if gaps and divergence == divergences[-1] and seed == seeds[0]:
                    if alpha == alphas[0]:
                        made.add(labels, **more)
                        continue
                    if alpha == alphas[1]:
                        made.add(labels, error="the disk is full", **more)
                        continue
                    if alpha == alphas[2]:
                        made.add(labels, error="diverged: 3 % of the tokens are not finite", **more)
                        continue
                mean = 20.0 + (number % 5) * (1.5 if divergence == "ab" else 0.2)
                id_ = made.add(labels, mean=mean, validation=30.0 + number % 7, num_prompts=NUM_PROMPTS, **more)
                _more(made, id_, number)
    _write_texts(made)
    store.write_sweep(name, made.manifest)
    return made


def _more(made: Made, id_: str, number: int) -> None:
    """Of a finished cell: other metrics, Self-BLEU, responses, a journal, where it comes from."""
    entry = Cell(id_, {}, {"teacher": made.teacher})
    folder = made.store.folder(entry)
    scores, examples = [], []
    generations = made.store.generations_folder(entry)
    generations.mkdir(exist_ok=True)
    for name, each in made.protocol.sets.items():
        for seed in each.decode_seeds:
            generation = made.protocol.generation_id(id_, name, seed)
            rng = np.random.default_rng([number, seed, len(name)])
            exact = tuple(float(value) for value in rng.choice([0.0, 100.0], NUM_PROMPTS))
            length = tuple(float(value) for value in rng.integers(1, 9, NUM_PROMPTS))
            for metric, values in (("exact_match", exact), ("response_length", length)):
                score = f"{generation}{metric}"
                mean = sum(values) / NUM_PROMPTS
                scores.append(Score(id_, name, generation, score, seed, metric, mean, NUM_PROMPTS))
                examples.append(PerExample(score, each.digest, values))
            rows = [
                seal({"index": i, "response": f"{i} of {id_} {HOSTILE}", "ended": True}) for i in range(NUM_PROMPTS)
            ]
            (generations / f"{generation}.jsonl").write_text("".join(f"{row}\n" for row in rows))
        pooled = made.protocol.pooled_id(id_, name)
        alike = 0.2 + (number * 7 % 11) / 50
        scores.append(Score(id_, name, pooled, f"{pooled}s", None, "self_bleu", alike, NUM_PROMPTS))
    made.store.write(entry, scores, examples)
    for step in range(1, 260):
        append_line(made.store.journal_path(entry), {"step": step, "metrics": {"train/loss": 4.0 / step + number % 3}})
    (folder / "cell.yaml").write_text(f"amid: {{alpha: {number}}}\ntrain: {{lr: 0.001}}\n")


def _write_texts(made: Made) -> None:
    for each in made.protocol.sets.values():
        questions = [f"question {i} {HOSTILE}" for i in range(NUM_PROMPTS)]
        made.store.write_texts(each.digest, questions, [[f"right {i}"] for i in range(NUM_PROMPTS)])
