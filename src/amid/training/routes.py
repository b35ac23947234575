"""Routes: which terms of an objective are taken over whose responses."""

from __future__ import annotations

from collections.abc import Sequence

from amid.core import Objective, Term


def objectives_by_source(objective: Objective, sources: Sequence[str | None]) -> dict[str | None, Objective]:
    """The objective in parts, by whose responses they are taken over; None = all. Schedules are shared with the whole.

    sources: of each term; empty = None for all. Raises ValueError if there are not as many as terms.
    """
    if not any(source is not None for source in sources):
        return {None: objective}
    parts: dict[str | None, list[Term]] = {}
    for source, term in zip(sources, objective.terms, strict=True):
        parts.setdefault(source, []).append(term)
    return {source: Objective(tuple(terms), objective.compat) for source, terms in parts.items()}
