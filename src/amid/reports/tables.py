"""Tables: a pure view of the scores of a sweep, in which gaps, failures and missing seeds show. No torch here."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amid.errors import one_line
from amid.evaluation.protocol import Protocol, protocol_from_manifest
from amid.metrics import TEACHER_METRICS
from amid.reports.columns import aligned, ruled, widths_of
from amid.reports.styles import Style
from amid.store import Store
from amid.store.damage import damage_of
from amid.store.scores import sift_scores
from amid.store.status import read_status, state_of, warnings_in

GAP = "-"
WARNED = "!"  # after the name of a row whose model is worse than it should be
_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Value:
    """A mean over decode seeds with its population standard deviation; `num_seeds` of `expected_seeds` are there.

    std: None for a single seed, and for a mean over sets.
    """

    mean: float
    std: float | None
    num_seeds: int
    expected_seeds: int


@dataclass(frozen=True)
class Row:
    """One model: how it is called, its state, one value per column (None = a gap), and what is wrong with the model."""

    labels: tuple[str, ...]
    state: str
    values: tuple[Value | None, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows of models, columns of sets. `note` says what the numbers are, `damage` which files cannot be read.

    All texts are one line and safe to print.
    """

    label_names: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str
    damage: tuple[str, ...] = ()


def build_table(manifest: Mapping[str, Any], store: Store, *, metric: str | None = None) -> Table:
    """The table of a recorded sweep: its teachers and initial students, then its cells, under its own protocol.

    metric: the one in the set columns; default is the sweep's, else each set's own. The last columns are the mean over
    the sets, a gap if they show different metrics, the same over their greedy twins, if there are any, and the
    Self-BLEU of one prompt's responses over seeds, averaged over the sets that have it.
    """
    protocols = {key: protocol_from_manifest(value) for key, value in manifest["protocols"].items()}
    metric = metric or manifest["metric"]
    several_pairs = len({reference["pair"] for reference in manifest["references"]}) > 1
    num_labels = max(1, len(manifest["rows"]))
    planned = []
    for reference in manifest["references"]:
        name = {"teacher": "teacher", "student_init": "initial student"}[reference["kind"]]
        label = f"{name} {reference['pair']}" if several_pairs else name
        labels = (label, *[""] * (num_labels - 1))
        folder = store.layout.folder_of(reference["kind"], reference["id"])
        planned.append((labels, folder, reference["id"], protocols[reference["protocol"]]))
    for cell in manifest["cells"]:
        labels = tuple(cell["labels"][key] for key in manifest["rows"]) or (cell["id"],)
        planned.append((labels, store.layout.folder_of("cell", cell["id"]), cell["id"], protocols[cell["protocol"]]))
    shared = manifest.get("shared", {})  # missing in a sweep of before it was recorded
    return _table(planned, store, label_names=tuple(manifest["rows"]) or ("cell",), metric=metric, shared=shared)


def build_model_table(
    label: str, folder: Path, entry_id: str, protocol: Protocol, store: Store, *, metric: str | None = None
) -> Table:
    """The table of one model that was not trained here: one row, and no column of validation."""
    return _table([((label,), folder, entry_id, protocol)], store, label_names=("model",), metric=metric)


_Planned = tuple[tuple[str, ...], Path, str, Protocol]


def _table(
    planned: Sequence[_Planned],
    store: Store,
    *,
    label_names: tuple[str, ...],
    metric: str | None,
    shared: Mapping[str, str] | None = None,
) -> Table:
    protocols = [protocol for *_, protocol in planned]
    by_set = {name: metric or each.metric for protocol in protocols for name, each in protocol.sets.items()}
    twins = _twins_in(protocols)
    # A mean over sampled and greedy texts would be neither's
    averages = {"Avg.": [name for name in by_set if name not in twins]}
    if twins:
        averages["Avg. greedy"] = [name for name in by_set if name in twins]
    validated = any(protocol.validation is not None for protocol in protocols)
    rows = tuple(
        _row(labels, folder, entry_id, protocol, by_set, averages, validated=validated, metric=metric)
        for labels, folder, entry_id, protocol in planned
    )
    columns = (*(["Val."] if validated else []), *map(one_line, by_set), *averages, "Self-BLEU")
    damage = tuple(text for _, folder, *_ in planned for text in damage_of(folder))
    note = one_line(_note(protocols, by_set, validated=validated, shared=shared or {}))
    if any(row.warnings for row in rows):
        note += f"; {WARNED} {_warned(rows)}"
    return Table(tuple(map(one_line, label_names)), columns, rows, note, damage)


def _twins_in(protocols: Sequence[Protocol]) -> set[str]:
    """The names of the sets that are the greedy decoding of another one."""
    return {name for protocol in protocols for name, each in protocol.sets.items() if each.twin_of is not None}


def _note(
    protocols: Sequence[Protocol], by_set: Mapping[str, str], *, validated: bool, shared: Mapping[str, str]
) -> str:
    """What the numbers are: what all cells share, the metric of each set, seeds, validation, Self-BLEU."""
    shown: dict[str, list[str]] = {}
    for name, metric in by_set.items():
        shown.setdefault(metric, []).append(name)
    one = len(shown) == 1
    metrics = ", ".join(metric if one else f"{metric} ({', '.join(names)})" for metric, names in shown.items())
    seeds = {name: len(each.decode_seeds) for protocol in protocols for name, each in protocol.sets.items()}
    most = max(seeds.values(), default=1)
    spread = f"mean ± std over {most} decode seeds" if most > 1 else "one decode seed"
    twins = _twins_in(protocols)
    greedy = [name for name, number in seeds.items() if number < most or name in twins]
    parts = [
        *(f"{name} {value}" for name, value in shared.items()),
        f"{metrics}, {spread}" + (f" (greedy: {', '.join(greedy)})" if greedy else ""),
        "Val. selected the weights" if validated else "",
        "" if one else "no Avg. over different metrics",
        "Self-BLEU in [0, 1], lower is more diverse",
    ]
    return "; ".join(part for part in parts if part)


def render(table: Table, style: Style) -> str:
    """The table as text of the given style, ending in a line feed."""
    header = [*table.label_names, *table.columns]
    if style == "csv":
        return _csv(table, header)
    if style == "json":
        return _json(table)
    escape = _ESCAPES[style]
    header, *body = (
        [escape(cell) for cell in line]
        for line in [header, *([_marked(row), *row.labels[1:], *_cells(row)] for row in table.rows)]
    )
    if style == "latex":
        lines = [" & ".join(line) + r" \\" for line in [header, *body]]
        spec = "l" * len(table.label_names) + "r" * len(table.columns)
        rules = [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
        return "\n".join([*rules, r"\end{tabular}", f"% {table.note}", ""])
    left = len(table.label_names)
    if style == "markdown":
        widths = widths_of([header, *body])
        rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
        total = sum(widths) + 3 * (len(widths) - 1)
        lines = aligned([header, rule, *body], num_left=left, separator=" | ")
        return "\n".join([*(f"| {line.ljust(total)} |" for line in lines), "", f"{_markdown(table.note)}.", ""])
    return "\n".join([*ruled(aligned([header, *body], num_left=left)), f"({table.note})", ""])


def _row(
    labels: tuple[str, ...],
    folder: Path,
    entry_id: str,
    protocol: Protocol,
    metric_of_set: Mapping[str, str],
    averages: Mapping[str, Sequence[str]],
    *,
    validated: bool,
    metric: str | None,
) -> Row:
    scores = {(score.generation_id, score.metric): score.value for score in sift_scores(folder)[0]}
    by_set = {
        name: _over_seeds([protocol.generation_id(entry_id, name, seed) for seed in each.decode_seeds], shown, scores)
        if (each := protocol.sets.get(name)) is not None
        else None
        for name, shown in metric_of_set.items()
    }
    validation = (
        None
        if protocol.validation is None
        else _over_seeds([_validation_id(protocol, entry_id, metric)], metric or "rouge_l", scores)
    )
    pooled = [
        (protocol.pooled_id(entry_id, name), "self_bleu")
        for name, each in protocol.sets.items()
        if "self_bleu" in each.metrics and len(each.decode_seeds) > 1
    ]
    columns = (
        *([validation] if validated else []),
        *by_set.values(),
        *(_average(names, by_set, metric_of_set) for names in averages.values()),
        _over_sets([scores.get(key) for key in pooled]),
    )
    return Row(
        tuple(map(one_line, labels)),
        "damaged" if damage_of(folder) else state_of(folder),
        columns,
        tuple(map(one_line, warnings_in(read_status(folder)))),
    )


def _validation_id(protocol: Protocol, entry_id: str, metric: str | None) -> str:
    """Under which id a metric of the validation records is kept: those beside the teacher have one of their own."""
    compared = metric in TEACHER_METRICS and protocol.teacher is not None
    return protocol.comparison_id(entry_id) if compared else protocol.validation_id(entry_id)


def _over_seeds(ids: Sequence[str], metric: str, scores: Mapping[tuple[str, str], float]) -> Value | None:
    found = [scores[key] for key in ((id_, metric) for id_ in ids) if key in scores]
    if not found:
        return None
    std = statistics.pstdev(found) if len(found) > 1 else None  # of one seed: unknown, not 0
    return Value(statistics.fmean(found), std, len(found), len(ids))


def _average(
    names: Sequence[str], values: Mapping[str, Value | None], metric_of_set: Mapping[str, str]
) -> Value | None:
    """The mean over the named sets; a gap if they show different metrics."""
    if len({metric_of_set[name] for name in names}) > 1:
        return None
    return _over_sets([None if (value := values[name]) is None else value.mean for name in names])


def _over_sets(means: Sequence[float | None]) -> Value | None:
    """The unweighted mean of the set means, as the paper's Avg.; a gap if a set is missing."""
    known = [mean for mean in means if mean is not None]
    return Value(statistics.fmean(known), None, 1, 1) if known and len(known) == len(means) else None


def _marked(row: Row) -> str:
    """The row's first label, with a mark if warned, and its state unless its values are of a finished model."""
    name = f"{row.labels[0]} {WARNED}" if row.warnings else row.labels[0]
    return name if row.state in ("done", "absent") or not any(row.values) else f"{name} [{row.state}]"


def _warned(rows: Sequence[Row]) -> str:
    """What the mark means in this table: the kinds of warning that are in it."""
    kinds = dict.fromkeys(text.partition(":")[0] for row in rows for text in row.warnings)
    return f"{' or '.join(kinds)} (amid status says by how much)"


def _cells(row: Row) -> list[str]:
    if row.state not in ("done", "absent") and not any(row.values):
        return [row.state, *[GAP] * (len(row.values) - 1)]
    *scores, diversity = row.values
    return [*[_text(value) for value in scores], GAP if diversity is None else f"{diversity.mean:.3f}"]


def _text(value: Value | None) -> str:
    if value is None:
        return GAP
    spread = "" if value.std is None else f" ± {value.std:.2f}"
    gap = "" if value.num_seeds >= value.expected_seeds else f" ({value.num_seeds}/{value.expected_seeds})"
    return f"{value.mean:.2f}{spread}{gap}"


def _latex(text: str) -> str:
    # A row that begins with a bracket or a star would be read as an argument of the \\ before it.
    return ("{}" if text[:1] in ("[", "*") else "") + "".join(_LATEX.get(char, char) for char in text)


def _markdown(text: str) -> str:
    return text.replace("|", r"\|")


_ESCAPES: Mapping[str, Callable[[str], str]] = {"text": str, "markdown": _markdown, "latex": _latex}


def _csv(table: Table, header: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [name for column in table.columns for name in (column, f"{column} std", f"{column} seeds")]
    writer.writerow([*header[: len(table.label_names)], "state", "warnings", *names])
    for row in table.rows:
        cells: list[str] = []
        for value in row.values:
            if value is None:
                cells += ["", "", "0"]
            else:
                cells += [repr(value.mean), "" if value.std is None else repr(value.std), str(value.num_seeds)]
        writer.writerow([*row.labels, row.state, "; ".join(row.warnings), *cells])
    return stream.getvalue()


def _json(table: Table) -> str:
    rows = [
        {
            "labels": dict(zip(table.label_names, row.labels, strict=True)),
            "state": row.state,
            "warnings": list(row.warnings),
            "values": {
                column: None if value is None else {"mean": value.mean, "std": value.std, "seeds": value.num_seeds}
                for column, value in zip(table.columns, row.values, strict=True)
            },
        }
        for row in table.rows
    ]
    return json.dumps({"note": table.note, "rows": rows}, indent=1, ensure_ascii=False) + "\n"
