"""The scores of a sweep as a DataFrame, for notebooks and scripts. No torch here; pandas only when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from amid.metrics import METRICS, TEACHER_METRICS, VALIDATION_METRICS
from amid.reports.declaration import label_keys
from amid.store import Store
from amid.store.scores import sift_scores
from amid.store.status import state_of

if TYPE_CHECKING:
    import pandas

COLUMNS = ("kind", "id", "state", "eval_set", "metric", "unit", "decode_seed", "value", "num_samples")


def results(sweep: str | None = None, *, results: str | Path = "results") -> pandas.DataFrame:
    """Every score of a recorded sweep, a row each: every label of its cells, training seeds included, then COLUMNS.

    sweep: its name; None for the one requested last. results: the results folder. Labels are numbers where all of them
    are, else texts as in the table; empty for teachers and initial students. A model without scores has no row.
    Raises RequestError for an unknown sweep, with the known ones.
    """
    import pandas  # slow to import, and a table as text does without

    store = Store(results)
    manifest = store.read_sweep(sweep)
    labels = list(label_keys(manifest))
    rows: list[dict[str, Any]] = []
    for kind, entries in (("cell", manifest["cells"]), (None, manifest["references"])):
        for entry in entries:
            rows += _rows(
                store, kind or entry["kind"], entry["id"], {key: entry["labels"].get(key, "") for key in labels if kind}
            )
    frame = pandas.DataFrame(rows, columns=[*labels, *COLUMNS])
    for key in labels:
        numbers = pandas.to_numeric(frame[key], errors="coerce")
        if numbers[frame.kind == "cell"].notna().all():
            frame[key] = numbers
    return frame


def _rows(store: Store, kind: str, entry_id: str, labels: dict[str, str]) -> list[dict[str, Any]]:
    folder = store.layout.folder_of(kind, entry_id)
    known = {**METRICS, **VALIDATION_METRICS, **TEACHER_METRICS}
    return [
        {
            **labels,
            "kind": kind,
            "id": entry_id,
            "state": state_of(folder),
            "eval_set": score.eval_set,
            "metric": score.metric,
            "unit": known[score.metric].unit if score.metric in known else None,
            "decode_seed": score.decode_seed,
            "value": score.value,
            "num_samples": score.num_samples,
        }
        for score in sift_scores(folder)[0]
    ]
