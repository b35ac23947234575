"""The line below a table: what its numbers are, and of whom. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amid.evaluation.protocol import Protocol
from amid.reports.aggregate import AVERAGE, DIVERSITY_COLUMN, GREEDY, TUNED, Plan
from amid.reports.reading import Found
from amid.reports.table import Row, Table

WARNED = "!"  # after the name of a row whose model is worse than it should be
TRAINING_SEEDS = "seeds ±"  # the column of the spread over training seeds
TO_BEST = "Avg. - best"  # the column of the differences from the best row, with intervals
BY_TESTS = "not significantly worse"


def note_of(protocols: Sequence[Protocol], plan: Plan, *, validated: bool, shared: Mapping[str, str]) -> list[str]:
    """What the numbers are: what all cells share, the metric of each set, seeds, validation, Self-BLEU."""
    shown: dict[str, list[str]] = {}
    for name in plan.shown_sets:
        shown.setdefault(plan.metric_of_set[name], []).append(name)
    one, columns = len(shown) == 1, [column.name for column in plan.columns]
    metrics = ", ".join(metric if one else f"{metric} ({', '.join(names)})" for metric, names in shown.items())
    seeds = {
        name: len(protocol.sets[declared].decode_seeds)
        for protocol in protocols
        for name in plan.shown_sets
        if (declared := plan.tuned.get(name, name)) in protocol.sets
    }
    most = max(seeds.values(), default=1)
    spread = f"mean ± std over {most} decode seeds" if most > 1 else "one decode seed"
    twins = plan.decodings.get(GREEDY, ())
    greedy = [name for name, number in seeds.items() if number < most or name in twins]
    greedy = [] if set(greedy) <= set(twins) and len(greedy) == len(seeds) else greedy  # what the whole table is about
    parts = [
        *(f"{name} {value}" for name, value in shared.items()),
        f"{metrics}, {spread}" + (f" (greedy: {', '.join(greedy)})" if greedy else ""),
        "Val. selected the weights" if validated else "",
        "" if one else "no Avg. over different metrics",
        *_decodings_said(protocols, plan),
        "Self-BLEU in [0, 1], lower is more diverse" if DIVERSITY_COLUMN in columns else "",
    ]
    return [part for part in parts if part]


def _decodings_said(protocols: Sequence[Protocol], plan: Plan) -> list[str]:
    """What the averages over other decodings are, and how the sets behind them are shown where they are not."""
    columns, said = [column.name for column in plan.columns], []
    candidates = sorted({each for protocol in protocols for each in protocol.temperatures})
    what = {
        GREEDY: "the sampled sets answered greedily",
        TUNED: f"the sampled sets at T, the temperature of {', '.join(f'{each:g}' for each in candidates)} with the "
        "highest validation ROUGE-L of each model, of equals the highest",
    }
    for decoding, names in plan.decodings.items():
        if decoding in what and f"{AVERAGE} {decoding}" in columns:
            hidden = "" if set(names) <= set(columns) else f" (set by set: --decoding {decoding})"
            said.append(f"{AVERAGE} {decoding}: {what[decoding]}{hidden}")
    return said


def trainings_said(rows: Sequence[Row], average: Sequence[str]) -> list[str]:
    """That rows are means over several trainings, and where the spread of these stands; nothing if none is."""
    most = max((value.expected_trainings for row in rows for value in row.values if value is not None), default=1)
    if most < 2:
        return []
    return [
        f"rows: mean over up to {most} trainings ({', '.join(average)}), ± within a training; "
        f"{TRAINING_SEEDS}: std of their Avg. over trainings (of how many)"
    ]


def student_text_said(found: Sequence[Found]) -> list[str]:
    """Which share of the steps was on text that the student wrote; nothing where it wrote none."""
    spent = [each.spent for each in found if each.spent.get("steps")]
    shares = [100.0 * each.get("generated_steps", 0.0) / each["steps"] for each in spent]
    if not shares or max(shares) == 0.0:
        return []
    low, high = f"{min(shares):.0f}", f"{max(shares):.0f}"
    return [f"text written by the student in {low if low == high else f'{low}-{high}'} % of the steps"]


def warned_said(rows: Sequence[Row]) -> list[str]:
    """What the mark of a warned row means in this table: the kinds of warning that are in it."""
    kinds = dict.fromkeys(text.partition(":")[0] for row in rows for text in row.warnings)
    return [f"{WARNED} {' or '.join(kinds)} (amid status says by how much)"] if kinds else []


def legend(table: Table, *, best: str, second: str, differs: str) -> list[str]:
    """What the marks mean, in the words of a style: how it shows the best, the second, and what differs."""
    values = table.values
    said = []
    if table.marks == BY_TESTS and any(value.best for value in values):
        said.append(
            f"{best}: best of its block and all that is not significantly worse (paired t over prompts, their seeds "
            "averaged; Holm over the pairs of a column of a block; 5 %)"
        )
    elif table.marks is not None and any(value.best for value in values):
        said.append(f"{best}: best of its block {table.marks}")
    if any(value.second for value in values):
        said.append(f"{second}: second")
    if any(value.differs for value in values):
        said.append(f"{differs}: differs from the row without an assistant (Holm over its column of the block; 5 %)")
    if has_intervals(table):
        said.append(f"{TO_BEST}: with its own 95 % interval, prompts drawn within sets")
    return said


def has_intervals(table: Table) -> bool:
    """Whether differences of averages from the best row are known."""
    return average_of(table) is not None and any(interval_of(table, row) for row in range(len(table.rows)))


def average_of(table: Table) -> int | None:
    """The number of the column Avg., or of the first one of another decoding; None if there is none."""
    return next((i for i, name in enumerate(table.columns) if name == AVERAGE or name.startswith(f"{AVERAGE} ")), None)


def interval_of(table: Table, row: int) -> str:
    """The difference of a row's Avg. from the best one of its block with its interval; empty where it is not known."""
    column = average_of(table)
    value = None if column is None else table.rows[row].values[column]
    if value is None or value.to_best is None:
        return ""
    each = value.to_best
    return f"{each.difference:+z.2f} [{each.low:+z.2f}, {each.high:+z.2f}]"


def training_spread_of(table: Table, row: int) -> str:
    """The spread over training seeds of a row's Avg., and of how many; empty for one training, `?` for too few."""
    values = [value for value in table.rows[row].values if value is not None]
    most = max((value.expected_trainings for value in values), default=1)
    if most < 2:
        return ""
    column = average_of(table)
    value = None if column is None else table.rows[row].values[column]
    there = max(value.trainings for value in values) if value is None else value.trainings
    counted = f"({there})" if there == most else f"({there}/{most})"
    return f"{'?' if value is None or value.train_std is None else f'{value.train_std:.2f}'} {counted}"
