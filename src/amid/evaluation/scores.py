"""From responses on disk to scores; nothing is generated here. No torch here."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amid.data.evaluation_sets import EvaluationSet
from amid.evaluation.own_metrics import metric_of
from amid.evaluation.protocol import Protocol, score_id
from amid.metrics import SELF_BLEU_PER_PROMPT, Generations
from amid.metrics.self_bleu import self_bleu_per_prompt
from amid.store import PerExample, Score
from amid.store.generations import read_rows, rows_path


def score_generations(
    protocol: Protocol, *, entry_id: str, folder: Path, known: Collection[str] = ()
) -> list[tuple[Score, PerExample | None]]:
    """Every score of the protocol's sets that is not known by its id, from the JSONL files of the folder.

    With each score come the values per example where the metric has them.
    """
    scored = []
    for set_name, each in protocol.sets.items():
        assert each.data is not None
        by_seed = []
        for decode_seed in each.decode_seeds:
            generation_id = protocol.generation_id(entry_id, set_name, decode_seed)
            rows = read_rows(rows_path(folder, generation_id), num_rows=len(each.data))
            by_seed.append([row["response"] for row in rows])
            generations = _generations(rows, each.data)
            for name in each.metrics:
                metric = metric_of(name)
                score = replace(
                    score_of(entry_id, set_name, generation_id, decode_seed, name, metric.signature, len(rows)),
                    group_id=protocol.group_id(set_name),
                    main=name == each.metric,
                )
                if score.score_id not in known:
                    per_example = None
                    if metric.per_example is not None:
                        values = tuple(metric.per_example(generations))
                        per_example = PerExample(score.score_id, each.digest, values)
                        value = math.fsum(values) / len(values)
                    else:
                        assert metric.score is not None
                        value = metric.score(generations)
                    scored.append((replace(score, value=value), per_example))
        if "self_bleu" in each.metrics and len(by_seed) > 1:
            pooled_id = protocol.pooled_id(entry_id, set_name)
            groups = [list(group) for group in zip(*by_seed, strict=True)]
            score = replace(
                score_of(entry_id, set_name, pooled_id, None, "self_bleu", SELF_BLEU_PER_PROMPT, len(groups)),
                group_id=protocol.group_id(set_name),
            )
            if score.score_id not in known:
                scored.append((replace(score, value=self_bleu_per_prompt(groups)), None))
    return scored


def score_of(
    entry_id: str,
    set_name: str,
    generation_id: str,
    decode_seed: int | None,
    metric: str,
    signature: str,
    num_samples: int,
    value: float = math.nan,
) -> Score:
    """The score of a metric, in one version, on the texts of one generation id; NaN until its value is known."""
    return Score(
        entry_id=entry_id,
        eval_set=set_name,
        generation_id=generation_id,
        score_id=score_id(generation_id, metric, signature),
        decode_seed=decode_seed,
        metric=metric,
        value=value,
        num_samples=num_samples,
    )


def _generations(rows: Sequence[Mapping[str, Any]], texts: EvaluationSet) -> Generations:
    return Generations(
        predictions=[row["response"] for row in rows],
        references=[list(alternatives) for alternatives in texts.references],
        sources=list(texts.sources),
        ended=[bool(row["ended"]) for row in rows],
    )
