"""Scores of texts that were generated elsewhere: a JSONL file in, metrics out. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amid.data.evaluation_sets import EvaluationSet
from amid.data.rows import read_objects
from amid.errors import RequestError
from amid.evaluation.own_metrics import metric_of
from amid.metrics import Generations, Metric

RESPONSE_FIELDS = ("response", "text")  # ours; that of the reference's answers.jsonl
REFERENCE_FIELDS = ("references", "reference", "output")


@dataclass(frozen=True)
class FileScore:
    """A metric of a file; value is None where the file lacks what the metric reads."""

    metric: str
    value: float | None
    num_samples: int
    signature: str


def score_file(
    path: Path, metrics: Sequence[str], *, references: Path | None = None, texts: EvaluationSet | None = None
) -> list[FileScore]:
    """Every metric of the responses of a JSONL file.

    Each line is an object with `response` (or `text`), and optionally `index` (its example, counted from 0; default is
    the order of the lines) and `ended` (bool, for eos_share). The references are those of `texts`, or of a JSONL file
    with one example per line, or the file's own; as `references`, `reference` or `output`, a text or a list of texts.
    Raises RequestError, with file and line, for a row that cannot be used or an example without a response.
    """
    asked = [metric_of(name) for name in metrics]
    rows = _rows_by_index(path)
    if texts is not None:
        gold = [list(alternatives) for alternatives in texts.references]
    elif references is not None:
        gold = [_references(item, where) for _, where, item in read_objects(references)]
    else:
        gold = [_references(item, where) for where, item in rows]
    if len(rows) != len(gold):
        raise RequestError(f"{path} holds {len(rows)} responses for {len(gold)} examples; one for each is needed")
    ended = [item.get("ended") for _, item in rows]
    generations = Generations(
        predictions=[_response(item, where) for where, item in rows],
        references=gold,
        sources=None if texts is None else list(texts.sources),
        ended=[bool(value) for value in ended] if all(isinstance(value, bool) for value in ended) else None,
    )
    scores = []
    for metric in asked:
        lacking = metric.needs is not None and getattr(generations, metric.needs) is None
        value = None if lacking else _value(metric, generations, path)
        scores.append(FileScore(metric.name, value, len(rows), metric.signature))
    return scores


def _value(metric: Metric, generations: Generations, path: Path) -> float:
    try:
        assert metric.score is not None
        return metric.score(generations)
    except (ValueError, ImportError) as err:  # a reference without a number, one text only, a missing extra
        raise RequestError(f"{path}: {metric.name}: {err}") from err


def _rows_by_index(path: Path) -> list[tuple[str, dict[str, Any]]]:
    rows: dict[int, tuple[str, dict[str, Any]]] = {}
    for position, (_, where, item) in enumerate(read_objects(path)):
        index = item.get("index", position)
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise RequestError(f"{where}: field 'index' must be an integer from 0, got {index!r}")
        if index in rows:
            raise RequestError(f"{where}: example {index} has a response already ({rows[index][0]})")
        rows[index] = (where, item)
    missing = sorted(set(range(len(rows))) - set(rows))
    if missing:
        raise RequestError(f"{path}: no response for example {missing[0]}, but {len(rows)} for others")
    return [rows[index] for index in range(len(rows))]


def _response(item: dict[str, Any], where: str) -> str:
    for field in RESPONSE_FIELDS:
        if field in item:
            if not isinstance(item[field], str):
                raise RequestError(f"{where}: field '{field}' must be a text, got {type(item[field]).__name__}")
            return str(item[field])
    raise RequestError(f"{where}: field 'response' is missing; found: {', '.join(sorted(item)) or 'none'}")


def _references(item: dict[str, Any], where: str) -> list[str]:
    for field in REFERENCE_FIELDS:
        if field in item:
            texts = item[field] if isinstance(item[field], list) else [item[field]]
            if not texts or not all(isinstance(text, str) for text in texts):
                raise RequestError(f"{where}: field '{field}' must be a text or a non-empty list of texts")
            return texts
    raise RequestError(
        f"{where}: no reference (field 'references', 'reference' or 'output'); "
        "give them with --references FILE or --set NAME"
    )
