"""What a person is shown of an evaluation: its scores on one line, and a few of its responses. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from amid.evaluation.protocol import VALIDATION, Protocol
from amid.evaluation.tuning import tuned
from amid.store import Entry, Score, Store
from amid.store.generations import read_rows, rows_path


def summary_of(scores: Sequence[Score], protocol: Protocol) -> str:
    """Each set's own metric, averaged over decode seeds, on one line."""
    by_metric: dict[str, dict[str, list[float]]] = {}
    protocol = tuned(protocol, scores[0].entry_id, scores) if scores else protocol
    order = [*protocol.sets, VALIDATION]
    shown = [score for score in scores if score.eval_set in order]  # without validation at other temperatures
    for score in sorted(shown, key=lambda score: order.index(score.eval_set)):
        own = "rouge_l" if score.eval_set == VALIDATION else protocol.sets[score.eval_set].metric
        if score.metric == own:
            by_metric.setdefault(own, {}).setdefault(score.eval_set, []).append(score.value)
    return "; ".join(
        f"{'ROUGE-L' if metric == 'rouge_l' else metric} "
        + "  ".join(f"{name} {sum(values) / len(values):.1f}" for name, values in by_set.items())
        for metric, by_set in by_metric.items()
    )


def some_responses(store: Store, entry: Entry, protocol: Protocol, *, number: int) -> list[dict[str, str]]:
    """About equally many responses of every set, the first ones: set, prompt, response, reference."""
    rows: list[dict[str, str]] = []
    folder = store.generations_folder(entry)
    per_set = -(-number // max(1, len(protocol.sets)))
    for set_name, each in protocol.sets.items():
        assert each.data is not None
        file = rows_path(folder, protocol.generation_id(entry.id, set_name, each.decode_seeds[0]))
        found = read_rows(file, num_rows=len(each.data))
        shown = zip(each.data.questions, found, each.data.references, strict=True)
        for question, row, references in list(shown)[:per_set]:
            rows.append({"set": set_name, "prompt": question, "response": row["response"], "reference": references[0]})
    return rows[:number]
