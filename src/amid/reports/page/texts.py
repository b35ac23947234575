"""The first texts of every set, and what each model answered them: cut, and so many as was asked for. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amid.digests.seals import DamagedError
from amid.errors import visible
from amid.reports.aggregate import texts_of
from amid.reports.tables import View
from amid.store import Store
from amid.store.generations import read_rows, rows_path
from amid.store.layout import generations_path

MAX_CHARS = 1000  # of a text; what is longer is cut, and says so


def embedded_texts(view: View, store: Store, *, num_texts: int) -> dict[str, Any]:
    """By set: questions and references of its first prompts, and by model its responses with the first decode seed."""
    found: dict[str, Any] = {}
    for name, metric in view.plan.metric_of_set.items():
        for row in view.planned:
            for member in row.members:
                ids = texts_of(member, name, view.plan, view.reading)
                score = view.reading.of(member.folder).scores.get((ids[0], metric)) if ids else None
                if score is None:
                    continue
                example = view.reading.per_example(member.folder, score.score_id)
                declared = member.protocol.sets[view.plan.tuned.get(name, name)]
                digest = declared.digest if example is None else example.texts
                asked = found.setdefault(name, {}).setdefault(digest, _prompts(store, digest, num_texts))
                asked["responses"][member.id] = _responses(generations_path(member.folder), ids[0], num_texts)
                asked["of"] = max(asked["of"], score.num_samples)
    return {name: list(by_digest.values()) for name, by_digest in found.items()}


def _prompts(store: Store, digest: str, num_texts: int) -> dict[str, Any]:
    try:
        rows = store.read_texts(digest)[:num_texts]
    except DamagedError:
        rows = []
    return {
        "questions": [cut(str(row["question"])) for row in rows],
        "references": [cut(str(row["references"][0])) for row in rows],
        "responses": {},
        "of": 0,
    }


def _responses(folder: Path, generation_id: str, num_texts: int) -> list[str | None]:
    try:
        rows = {row["index"]: str(row["response"]) for row in read_rows(rows_path(folder, generation_id))}
    except DamagedError:
        rows = {}
    return [cut(rows[index]) if index in rows else None for index in range(num_texts)]


def cut(text: str) -> str:
    """A text of a model or a file, safe to show, and of a long one its beginning."""
    shown = visible(text)
    if len(shown) <= MAX_CHARS:
        return shown
    return f"{shown[:MAX_CHARS]}… ({len(shown) - MAX_CHARS} more characters)"
