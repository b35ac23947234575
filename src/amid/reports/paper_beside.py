"""The paper's number in each place of our table where it prints one of the same thing. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from amid.reports.aggregate import Column, Plan
from amid.reports.facts import ALPHA, Facts
from amid.reports.layout import Planned
from amid.reports.paper import PaperRow, PaperTable
from amid.reports.paper_alone import said_of_doubts
from amid.reports.table import Row, Value

# Ours -> as the paper calls it.
METHODS = {
    "sft": "SFT",
    "kd": "KD",
    "seqkd": "SeqKD",
    "imitkd": "ImitKD",
    "gkd": "GKD",
    "minillm": "MiniLLM",
    "akl": "AKL",
    "taid": "TAID",
    "distillm_skl": "DistiLLM (SKL)",
    "distillm_srkl": "DistiLLM (SRKL)",
    "abkd": "ABKD",
    "amid": "AMiD (Ours)",
}
STUDENTS = {
    "gpt2_xl_to_base": "GPT-2 (0.1B)",
    "gpt2_xl_to_medium": "GPT-2 Medium (0.3B)",
    "gpt2_xl_to_large": "GPT-2 Large (0.8B)",
    "openllama2_7b_to_3b": "OpenLLaMA2-3B",
    "gemma_7b_to_2b": "Gemma-2B-It",
    "qwen2_7b_to_0.5b": "Qwen2-0.5B-It",
}
DIVERGENCES = {("kl", "pr"): "KL(p||r)", ("kl", "rp"): "RKL(p||r)", ("ab", "pr"): "AB(p||r)", ("kl", "qr"): "KL(q||r)"}


def with_paper(
    rows: Sequence[Row], planned: Sequence[Planned], plan: Plan, paper: PaperTable, facts: Facts
) -> tuple[list[Row], list[str]]:
    """The rows with the paper's numbers beside theirs, and what is to be said of these; none if there is none.

    A number has a place where set and metric are the paper's; Avg. where all its sets are there, Val. where Dolly is.
    """
    places = [_place(column, plan, paper) for column in plan.columns]
    made: list[Row] = []
    students: dict[str, None] = {}
    for row, ours in zip(rows, planned, strict=True):
        printed = _row_of(ours, paper, facts)
        if printed is None:
            made.append(row)
            continue
        values = tuple(_beside(value, printed, place) for value, place in zip(row.values, places, strict=True))
        if values != row.values:
            students[f"{printed.teacher} -> {printed.student}" if printed.teacher else printed.student] = None
        made.append(replace(row, values=values))
    if not students:
        return list(rows), []
    of = f"paper: Table {paper.number} ({', '.join(students)}), and in brackets ours minus it"
    return made, [of, *said_of_doubts(paper)]


def _place(column: Column, plan: Plan, paper: PaperTable) -> str | None:
    """Where in a row of the paper the number of a column of ours stands; None if nowhere."""
    ours = plan.metric_of_set
    if column.name in paper.sets and column.sets == (column.name,):
        return column.name if ours[column.name] == paper.sets[column.name] else None
    same = all(ours.get(name) == metric for name, metric in paper.sets.items())
    if column.name == "Avg." and same and set(column.sets) == set(paper.sets):
        return "Avg."
    dolly = ours.get("dolly") == "rouge_l" and plan.metric in (None, "rouge_l")
    return "Val." if column.name == "Val." and not column.sets and dolly else None


def _beside(value: Value | None, printed: PaperRow, place: str | None) -> Value | None:
    if value is None or place is None or place not in printed.numbers:
        return value
    return replace(value, paper=printed.numbers[place])


def _row_of(ours: Planned, paper: PaperTable, facts: Facts) -> PaperRow | None:
    """The row of the paper that a row of ours repeats; on another pair that of the paper's first student."""
    if ours.is_reference or not ours.members:
        return None
    cell_id = ours.members[0].id
    rows = [row for row in paper.rows if not row.is_teacher]
    students = list(dict.fromkeys(row.student for row in rows))
    pair = facts.of(cell_id, "pair.name") or facts.of(cell_id, "pair")
    student = STUDENTS.get(pair or "", students[0])
    rows = [row for row in rows if row.student == student]
    if paper.number in (1, 5, 6):
        method = METHODS.get(facts.of(cell_id, "method") or "")
        return next((row for row in rows if row.name == method), None)
    if paper.number == 4:
        strategy = facts.of(cell_id, "strategy.name") or facts.of(cell_id, "strategy")
        rows = [row for row in rows if row.sgo == strategy]
    else:
        key = (facts.of(cell_id, "divergence.name") or "", facts.of(cell_id, "divergence.order") or "")
        rows = [row for row in rows if row.divergence == DIVERGENCES.get(key)]
    if ours.chosen:
        return next((row for row in rows if row.chosen), None)
    alpha = facts.of(cell_id, ALPHA)
    return next((row for row in rows if not row.chosen and _same(row.alpha, alpha)), None)


def _same(printed: str | None, ours: str | None) -> bool:
    if printed == ours:
        return printed is not None
    try:
        return float(printed or "") == float(ours or "")
    except ValueError:
        return False
