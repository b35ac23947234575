"""From scores to the numbers of a row: means over decode seeds, over training seeds, over sets. No torch here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from amid.errors import RequestError, unknown_name
from amid.evaluation.protocol import TUNED_SUFFIX, Protocol
from amid.evaluation.tuning import CHOSEN_BY, chosen_temperature
from amid.metrics import METRICS, TEACHER_METRICS, VALIDATION_METRICS
from amid.reports.declaration import Declaration
from amid.reports.facts import Facts
from amid.reports.layout import Choice, Member, Planned, rows_of
from amid.reports.reading import Reading
from amid.reports.significance import Examples, comparable
from amid.reports.table import Value
from amid.store import Store

if TYPE_CHECKING:  # slow to import, and a table of which nothing is scored yet has no use for it
    import numpy as np
    import numpy.typing as npt

VALIDATION_COLUMN, TEMPERATURE_COLUMN, DIVERSITY_COLUMN = "Val.", "T", "Self-BLEU"
AVERAGE = "Avg."
SAMPLED, GREEDY, TUNED, ALL = "sampled", "greedy", "tuned", "all"  # decodings that a table can be asked for
RULE = "rouge_l"  # of validation, where nothing says another


@dataclass(frozen=True)
class Column:
    """A column: over which sets its numbers are the mean (none: no set has them), and which direction is good."""

    name: str
    sets: tuple[str, ...] = ()
    metric: str | None = None
    higher_is_better: bool | None = None


@dataclass(frozen=True)
class Plan:
    """The columns of a table and the metric of each set, shown or not.

    metric: the one asked for, None for each set's own. decodings: the sets of each, `sampled` being what was declared.
    tuned: the name of a set at the temperature that validation chose -> the set.
    """

    columns: tuple[Column, ...]
    metric_of_set: Mapping[str, str]
    metric: str | None
    decodings: Mapping[str, Sequence[str]]
    tuned: Mapping[str, str]

    @property
    def shown_sets(self) -> tuple[str, ...]:
        """The sets that have a column of their own."""
        return tuple(column.name for column in self.columns if column.sets == (column.name,))


def plan_of(protocols: Sequence[Protocol], *, metric: str | None, decoding: str | None = None) -> Plan:
    """Val., the sets, their means by decoding, Self-BLEU: the columns of models under these protocols.

    decoding: the one whose sets and mean are shown, or `all`; None for the declared sets and the mean of every one.
    Raises RequestError for one that there is not.
    """
    by_set = {name: metric or each.metric for protocol in protocols for name, each in protocol.sets.items()}
    tuned = {f"{name}{TUNED_SUFFIX}": name for each in protocols if each.temperatures for name in each.sampled}
    decodings: dict[str, list[str]] = {SAMPLED: []}
    for name in by_set:  # a mean over sampled and greedy texts would be neither's
        decodings.setdefault(_decoding_of(name, protocols), []).append(name)
    if tuned:
        decodings[TUNED] = list(tuned)
    by_set |= {name: by_set[declared] for name, declared in tuned.items()}
    _check_decoding(decoding, decodings)
    with_sets = {None: (SAMPLED,), ALL: tuple(decodings)}.get(decoding, (decoding,))
    columns = [
        Column(name, (name,), by_set[name], direction_of(by_set[name]))
        for name, of in ((name, of) for of, names in decodings.items() for name in names)
        if of in with_sets
    ]
    for of, sets in decodings.items():
        if decoding not in (None, ALL, of):
            continue
        shown = {by_set[each] for each in sets}
        one = shown.pop() if len(shown) == 1 else None
        columns.append(Column(average_name(of), tuple(sets) if one else (), one, direction_of(one)))
        if of == TUNED:
            columns.append(Column(TEMPERATURE_COLUMN))
    if any(protocol.validation is not None for protocol in protocols):
        columns.insert(0, Column(VALIDATION_COLUMN))
    if decoding in (None, ALL, SAMPLED):
        columns.append(Column(DIVERSITY_COLUMN))
    return Plan(tuple(columns), by_set, metric, decodings, tuned)


def _check_decoding(decoding: str | None, there: Mapping[str, Sequence[str]]) -> None:
    options = {GREEDY: "evaluation.also_greedy=true", TUNED: "evaluation.also_tuned=[0.3,0.6,1]"}
    if decoding in (None, ALL, *there):
        return
    if decoding in options:
        raise RequestError(
            f"--decoding {decoding}: no set of this table is answered so; repeat its command with {options[decoding]}"
        )
    raise unknown_name("--decoding", str(decoding), [*there, ALL])


def _decoding_of(name: str, protocols: Sequence[Protocol]) -> str:
    declared = next(protocol.sets[name] for protocol in protocols if name in protocol.sets)
    if declared.twin_of is None:
        return SAMPLED
    temperature = declared.decoding.temperature
    return GREEDY if temperature == 0 else f"T={temperature:g}"


def average_name(decoding: str) -> str:
    """The column of the mean over the sets of a decoding."""
    return AVERAGE if decoding == SAMPLED else f"{AVERAGE} {decoding}"


def direction_of(metric: str | None) -> bool | None:
    """Whether higher is better; None for what only describes, and for what nobody knows here."""
    known = {**METRICS, **VALIDATION_METRICS, **TEACHER_METRICS}
    if metric is None:
        return None
    return known[metric].higher_is_better if metric in known else None  # of a user's own function nobody knows here


def values_of(row: Planned, plan: Plan, reading: Reading) -> tuple[Value | None, ...]:
    """One value per column of a row, the mean over its members; None = a gap."""
    singles = [_single(member, plan, reading) for member in row.members]
    if not singles:
        return (None,) * len(plan.columns)
    return tuple(_over_trainings(values, expected=len(row.members)) for values in zip(*singles, strict=True))


def examples_in(rows: Sequence[Planned], plan: Plan, reading: Reading) -> Examples:
    """Row -> set -> value per example, of the rows that may be compared: no teachers, no initial students."""
    return comparable(
        [index for index, row in enumerate(rows) if not row.is_reference],
        list(plan.metric_of_set),
        lambda index, name: examples_of(rows[index], name, plan, reading),
    )


def examples_of(
    row: Planned, set_name: str, plan: Plan, reading: Reading
) -> tuple[str, npt.NDArray[np.float64]] | None:
    """The digest of a set's texts and a value per example [N], the mean over decode and training seeds.

    None if one of the scores has none, or nothing is scored.
    """
    means, digests, metric = [], set(), plan.metric_of_set[set_name]
    for member in row.members:
        ids, scores = texts_of(member, set_name, plan, reading), reading.of(member.folder).scores
        found = [scores[key].score_id for id_ in ids if (key := (id_, metric)) in scores]
        examples = [reading.per_example(member.folder, score_id) for score_id in found]
        known = [example for example in examples if example is not None]
        if len(known) < len(examples):
            return None
        digests |= {f"{example.texts} {len(example.values)}" for example in known}
        if len(digests) > 1:
            return None
        if known:
            means.append([example.values for example in known])
    if not means:
        return None
    import numpy as np

    return digests.pop(), np.mean([np.mean(each, axis=0) for each in means], axis=0)


def spread_of_average(member: Member, sets: Sequence[str], plan: Plan, reading: Reading) -> float | None:
    """Population standard deviation over decode seeds of one model's mean over the sets, in the sets' unit.

    None for a single seed, where the sets differ in their number of seeds, and as long as a score is missing.
    """
    scores = reading.of(member.folder).scores
    ids = [texts_of(member, name, plan, reading) for name in sets]
    if len({len(of_set) for of_set in ids}) != 1 or len(ids[0]) < 2:
        return None
    found = [
        [scores.get((id_, plan.metric_of_set[name])) for name, id_ in zip(sets, of_seed, strict=True)]
        for of_seed in zip(*ids, strict=True)
    ]
    if any(score is None for of_seed in found for score in of_seed):
        return None
    return statistics.pstdev(statistics.fmean(score.value for score in of_seed if score) for of_seed in found)


def planned_rows(
    manifest: Mapping[str, Any], store: Store, declared: Declaration, facts: Facts, reading: Reading
) -> list[Planned]:
    """The rows of the sweep's cells, of several candidates for one those that validation chooses."""

    def choose(candidates: Sequence[Planned]) -> Choice:
        return best_by_validation(candidates, reading, rule=rule_of(candidates, facts))

    return rows_of(manifest, store, declared, facts, choose)


def rule_of(rows: Sequence[Planned], facts: Facts) -> str:
    """What selected the weights of the rows, `rouge_l` or `loss`; `rouge_l` of some that differ."""
    rules = {facts.of(row.members[0].id, "train.validation.select") for row in rows if row.members} - {None}
    return rules.pop() or RULE if len(rules) == 1 else RULE


def validation_of(row: Planned, rule: str, reading: Reading) -> Value | None:
    """The validation score of a row, the mean over its members; None = a gap."""
    return _over_trainings([_validation(member, rule, reading) for member in row.members], expected=len(row.members))


def validation_at(row: Planned, temperature: float, reading: Reading) -> Value | None:
    """The validation ROUGE-L of a row at one of its temperatures, the mean over its members; None = a gap."""
    found = [
        _over_decode_seeds([(member.protocol.validation_id(member.id, temperature), CHOSEN_BY)], reading, member)
        for member in row.members
        if temperature in member.protocol.temperatures
    ]
    return _over_trainings(found, expected=len(row.members))


def best_by_validation(rows: Sequence[Planned], reading: Reading, *, rule: str) -> Choice:
    """The candidate with the best mean validation score over its training seeds; the first of equals.

    rule: `rouge_l` (highest) or `loss` (lowest), as it selected the weights. Those that lack a training seed are
    chosen only where all do.
    """
    found = []
    for index, row in enumerate(rows):
        value = validation_of(row, rule, reading)
        if value is not None:
            found.append((value.complete, value.mean if rule == "loss" else -value.mean, index))
    complete = [each for each in found if each[0]]
    best = min(complete or found, key=lambda each: each[1:], default=None)
    return Choice(None if best is None else best[2], len(complete))


def _single(member: Member, plan: Plan, reading: Reading) -> list[Value | None]:
    protocol, scores = member.protocol, reading.of(member.folder).scores
    by_set: dict[str, Value | None] = {}
    for name, metric in plan.metric_of_set.items():
        ids = texts_of(member, name, plan, reading)
        by_set[name] = _over_decode_seeds([(id_, metric) for id_ in ids], reading, member)
    values: list[Value | None] = []
    for column in plan.columns:
        if column.name == VALIDATION_COLUMN and not column.sets:
            values.append(_validation(member, plan.metric or RULE, reading))
        elif column.name == TEMPERATURE_COLUMN and not column.sets:
            chosen = chosen_temperature(protocol, member.id, scores.values())
            values.append(None if chosen is None else Value(chosen, None, 1, 1, temperatures=(chosen,)))
        elif column.name == DIVERSITY_COLUMN and not column.sets:
            pooled = [
                scores.get((protocol.pooled_id(member.id, name), "self_bleu"))
                for name, each in protocol.sets.items()
                if "self_bleu" in each.metrics and len(each.decode_seeds) > 1
            ]
            mean = _over_sets([None if score is None else score.value for score in pooled])
            values.append(None if mean is None else replace(mean, digits=3))
        elif column.name in by_set and column.sets == (column.name,):
            values.append(by_set[column.name])
        else:
            values.append(_over_sets([None if (v := by_set[name]) is None else v.mean for name in column.sets]))
    return values


def texts_of(member: Member, name: str, plan: Plan, reading: Reading) -> list[str]:
    """The generation ids of one model's texts on a set; none if it was not asked, or its temperature is not chosen."""
    protocol = member.protocol
    if name in plan.tuned:
        declared = plan.tuned[name]
        chosen = chosen_temperature(protocol, member.id, reading.of(member.folder).scores.values())
        if chosen is None or declared not in protocol.sampled:
            return []
        protocol, name = protocol.at(chosen), protocol.name_at(declared, chosen)
    each = protocol.sets.get(name)
    return [] if each is None else [protocol.generation_id(member.id, name, seed) for seed in each.decode_seeds]


def validation_key(member: Member, metric: str) -> tuple[str, str] | None:
    """Under which generation id and metric a model's validation score is kept; None where nothing is validated."""
    protocol = member.protocol
    if protocol.validation is None:
        return None
    compared = metric in TEACHER_METRICS and protocol.teacher is not None
    return protocol.comparison_id(member.id) if compared else protocol.validation_id(member.id), metric


def _validation(member: Member, metric: str, reading: Reading) -> Value | None:
    """The validation score of one model; one that is compared with the teacher is kept under an id of its own."""
    key = validation_key(member, metric)
    return None if key is None else _over_decode_seeds([key], reading, member)


def _over_decode_seeds(keys: Sequence[tuple[str, str]], reading: Reading, member: Member) -> Value | None:
    scores = reading.of(member.folder).scores
    found = [scores[key].value for key in keys if key in scores]
    if not found:
        return None
    std = statistics.pstdev(found) if len(found) > 1 else None  # of one seed: unknown, not 0
    return Value(statistics.fmean(found), std, len(found), len(keys))


def _over_sets(means: Sequence[float | None]) -> Value | None:
    """The unweighted mean of the set means, as the paper's Avg.; a gap if a set is missing."""
    known = [mean for mean in means if mean is not None]
    return Value(statistics.fmean(known), None, 1, 1) if known and len(known) == len(means) else None


def _over_trainings(values: Sequence[Value | None], *, expected: int) -> Value | None:
    """The mean over training seeds, with the spread of their means apart from the spread of their decode seeds."""
    found = [value for value in values if value is not None]
    if not found or expected == 1:
        return found[0] if found else None
    means, stds = [value.mean for value in found], [value.std for value in found if value.std is not None]
    missing = (expected - len(found)) * max(value.expected_seeds for value in found)
    return Value(
        mean=statistics.fmean(means),
        std=math.sqrt(statistics.fmean(std**2 for std in stds)) if len(stds) == len(found) else None,
        num_seeds=sum(value.num_seeds for value in found),
        expected_seeds=sum(value.expected_seeds for value in found) + missing,
        trainings=len(found),
        expected_trainings=expected,
        train_std=statistics.stdev(means) if len(means) > 1 else None,
        digits=found[0].digits,
        temperatures=tuple(sorted({each for value in found for each in value.temperatures})),
    )
