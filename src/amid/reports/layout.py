"""Which cells make which row: training seeds together, blocks, and rows that validation chooses. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amid.evaluation.protocol import Protocol, protocol_from_manifest
from amid.reports.declaration import Declaration, Group
from amid.reports.facts import ALPHA, NONE, Facts
from amid.store import Store

REFERENCES = {"teacher": "teacher", "student_init": "initial student"}
ID_SHOWN = 6  # digits of an id in a table; more where two begin alike is what `amid show` asks for
Choose = Callable[[Sequence["Planned"]], "Choice"]


@dataclass(frozen=True)
class Member:
    """One trained model of a row, or the one of a teacher: where its scores are, and under which protocol."""

    id: str
    folder: Path
    protocol: Protocol


@dataclass(frozen=True)
class Planned:
    """A row before its numbers: the cells that differ in their training seed only. raw: their common labels.

    without_assistant: it is the row that others of its block are compared with. chosen: validation chose it.
    """

    labels: tuple[str, ...]
    members: tuple[Member, ...]
    raw: Mapping[str, str]
    block: tuple[str, ...] = ()
    is_reference: bool = False
    without_assistant: bool = False
    chosen: bool = False


@dataclass(frozen=True)
class Choice:
    """What validation chose among candidates: the row's number, None while there is no score, and how many had one."""

    index: int | None
    num_known: int


def references_of(manifest: Mapping[str, Any], store: Store, *, num_labels: int) -> list[Planned]:
    """The teachers and initial students, named with their pair if there are several."""
    several = len({reference["pair"] for reference in manifest["references"]}) > 1
    protocols = protocols_of(manifest)
    planned = []
    for each in manifest["references"]:
        name = REFERENCES[each["kind"]]
        label = f"{name} {each['pair']}" if several else name
        member = Member(each["id"], store.layout.folder_of(each["kind"], each["id"]), protocols[each["protocol"]])
        planned.append(Planned((label, *[""] * (num_labels - 1)), (member,), {}, is_reference=True))
    return planned


def rows_of(
    manifest: Mapping[str, Any], store: Store, declared: Declaration, facts: Facts, choose: Choose
) -> list[Planned]:
    """The rows of all groups, those of a block together, in the order in which blocks and rows are declared.

    choose: which one of several candidates is shown.
    """
    protocols = protocols_of(manifest)
    cells = {cell["id"]: cell for cell in manifest["cells"]}
    members = {
        cell["id"]: Member(cell["id"], store.layout.folder_of("cell", cell["id"]), protocols[cell["protocol"]])
        for cell in manifest["cells"]
    }
    rows: list[Planned] = []
    for group in declared.groups:
        labelled = [cells[id_] for id_ in group.cells]
        candidates = [
            _planned([members[cell["id"]] for cell in together], together[0]["labels"], declared, facts)
            for together in _over_seeds(labelled, declared.average)
        ]
        rows += _chosen(candidates, group, declared, choose) if group.over else candidates
    blocks = list(dict.fromkeys(row.block for row in rows))
    return [row for block in blocks for row in rows if row.block == block]


def protocols_of(manifest: Mapping[str, Any]) -> dict[str, Protocol]:
    """The protocols of a sweep by their digest."""
    return {key: protocol_from_manifest(value) for key, value in manifest["protocols"].items()}


def _over_seeds(cells: Sequence[Mapping[str, Any]], average: Sequence[str]) -> list[list[Mapping[str, Any]]]:
    """Cells that differ in nothing but what is averaged over; two with all labels alike are never of one row."""
    rows: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    seen: dict[tuple[Any, ...], int] = {}
    for cell in cells:
        every = tuple(sorted(cell["labels"].items()))
        others = tuple((key, value) for key, value in every if key not in average)
        occurrence = seen[every] = seen.get(every, -1) + 1
        rows.setdefault((others, occurrence), []).append(cell)
    return list(rows.values())


def _planned(members: Sequence[Member], labels: Mapping[str, str], declared: Declaration, facts: Facts) -> Planned:
    first = members[0].id
    raw = {key: str(value) for key, value in labels.items() if key not in declared.average}
    shown = tuple(_shown(key, raw, first, facts) for key in declared.rows)
    return Planned(
        labels=shown or (", ".join(m.id for m in members) if len(members) == 1 else short_ids(members),),
        members=tuple(members),
        raw=raw,
        block=tuple(_shown(key, raw, first, facts) for key in declared.blocks),
        without_assistant=facts.of(first, ALPHA) == NONE,
    )


def short_ids(members: Sequence[Member]) -> str:
    """The ids of a row, shortened like git's."""
    return " ".join(member.id[:ID_SHOWN] for member in members)


def _shown(key: str, raw: Mapping[str, str], cell_id: str, facts: Facts) -> str:
    value = raw.get(key, "")
    return facts.without_assistant(cell_id) if key == ALPHA and value == NONE else value


def _chosen(candidates: Sequence[Planned], group: Group, declared: Declaration, choose: Choose) -> list[Planned]:
    """One row for all candidates that agree in every label but those that validation chooses."""
    together: dict[tuple[Any, ...], list[Planned]] = {}
    for row in candidates:
        key = tuple(sorted((name, value) for name, value in row.raw.items() if name not in group.over))
        together.setdefault(key, []).append(row)
    return [_best_of(rows, group, declared, choose(rows)) for rows in together.values()]


def _best_of(rows: Sequence[Planned], group: Group, declared: Declaration, choice: Choice) -> Planned:
    row = rows[0 if choice.index is None else choice.index]
    # What is the same for all candidates was no choice
    chosen = [key for key in group.over if key in declared.rows or len({each.raw.get(key) for each in rows}) > 1]
    values = [f"{key} {row.raw.get(key, '')}" if len(chosen) > 1 else row.raw.get(key, "") for key in chosen]
    said = ", ".join(values)
    if choice.index is None:
        said = f"of {len(rows)} none is validated yet"
    elif choice.num_known < len(rows):
        said += f"{'; ' * bool(said)}{choice.num_known} of {len(rows)} validated"
    behind = f" ({said})" if said else ""
    named = f"{group.name or 'chosen'}{behind}"
    labels, place = list(row.labels), None
    for index, key in enumerate(declared.rows):
        if key in group.over:
            labels[index] = "" if place is not None else named
            place = index if place is None else place
    if place is None:  # none of the chosen values has a column
        labels[-1] = f"{labels[-1]}{behind}" if group.name is None else f"{labels[-1]} {named}"
    return Planned(
        labels=tuple(labels),
        members=row.members if choice.index is not None else (),
        raw={**row.raw, **dict.fromkeys(group.over, "")},
        block=row.block,
        chosen=True,
    )
