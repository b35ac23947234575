"""What a sweep says, in one sentence, and what it cannot say yet. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from amid.reports.best import VALIDATION, Ranking, called, ranking_of
from amid.reports.layout import protocols_of
from amid.reports.tables import View
from amid.store import Store


def verdict_of(manifest: Mapping[str, Any], store: Store, view: View) -> tuple[str, list[str]]:
    """The sentence, and what limits it, a sentence each. Who is best is asked as `amid best` asks it."""
    validated = any(each.validation is not None for each in protocols_of(manifest).values())
    by = VALIDATION if validated else next(iter(view.plan.metric_of_set), VALIDATION)
    ranking = ranking_of(manifest, store, by=by)
    missing = _missing(view)
    limits = [*missing, *_limits(ranking, view, by=by)]
    return _sentence(ranking, num_rows=len(ranking.planned)), limits


def _sentence(ranking: Ranking, *, num_rows: int) -> str:
    if not ranking.rows:
        return f"Nothing can be said yet: none of the {num_rows} rows has a score of {ranking.what}."
    best, others = ranking.rows[0], ranking.rows[1:]
    value = ranking.chosen_by[best]
    assert value is not None
    name = called(ranking.planned[best], ranking.names)
    leads = f"{name} is best by {ranking.what} ({value.mean:.2f})"
    if not others:
        other = "there is no other row" if num_rows == 1 else f"no other of the {num_rows} rows has a score yet"
        return f"{leads}, and {other} to compare it with."
    told = [ranking.told_apart(row) for row in others]
    same, unknown = told.count(False), told.count(None)
    if unknown == len(others):
        return f"No winner is known: {leads}, but {_cannot(unknown, others)} be compared with it prompt by prompt."
    end = f" on {ranking.column.name} at 5 %" + (f"; {unknown} cannot be compared." if unknown else ".")
    if same:
        return f"The intervals overlap, no winner: {leads}, but {_cannot(same, others)} be told from it{end}"
    better = sum(bool(ranking.told_apart(row)) and not _ahead(ranking, row) for row in others)
    if better:
        one = "the only other row does" if len(others) == 1 else f"of the {len(others)} other rows {better} do"
        return f"No winner: {leads}, but {one} significantly better{end}"
    ahead = "the only other row" if len(others) == 1 else f"{len(others) - unknown} of the {len(others)} other rows"
    return f"{name} wins: it is best by {ranking.what} ({value.mean:.2f}) and ahead of {ahead}{end}"


def _cannot(number: int, others: Sequence[int]) -> str:
    """That so many of the others cannot, up to the verb."""
    if len(others) == 1:
        return "the only other row cannot"
    if number == len(others):
        return f"none of the {number} other rows can"
    return f"{number} of the {len(others)} other rows cannot"


def _ahead(ranking: Ranking, row: int) -> bool:
    """Whether the best one is ahead of a row in what is compared too."""
    lower = ranking.column.higher_is_better is False
    found = ranking.pairs.difference(ranking.rows[0], row).difference
    return found < 0 if lower else found > 0


def _missing(view: View) -> list[str]:
    """Which cells are not there, by their state, and that nothing is said of them."""
    rows = [row for row in view.planned if not row.is_reference]
    members = [member for row in rows for member in row.members]
    states = Counter(view.reading.of(member.folder).state for member in members)
    others = {state: number for state, number in sorted(states.items()) if state != "done"}
    unchosen = sum(not row.members for row in rows)
    said = []
    if others:
        listed = ", ".join(f"{number} {state}" for state, number in others.items())
        said.append(
            f"It cannot yet say anything of {sum(others.values())} of {len(members)} cells ({listed}): any of them may "
            "change it (amid status says more)."
        )
    if unchosen:
        those = "1 row" if unchosen == 1 else f"{unchosen} rows"
        said.append(
            f"It cannot yet say anything of {those} whose cell validation chooses once all of its cells are done."
        )
    return said


def _limits(ranking: Ranking, view: View, *, by: str) -> list[str]:
    said = []
    if by != VALIDATION:
        said.append(f"There is no validation: it is chosen by {by}, on which it is reported.")
    if ranking.rows and not ranking.column.sets:
        said.append("The sets have different metrics and so no average: rows are not compared.")
    trainings = [len(row.members) for row in view.planned if row.members and not row.is_reference]
    if ranking.rows and trainings and max(trainings) == 1:
        said.append("Each row is one training: another training seed is another draw, of which this says nothing.")
    return said
