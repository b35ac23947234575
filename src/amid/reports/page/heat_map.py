"""Alpha across, divergence down: a table whose cells are coloured by their value. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amid.reports.page.markup import element, scrolling, text
from amid.reports.page.places import Place, alphas_of, kind_of_gap, lead_column, series_of
from amid.reports.page.scores import cells_by_row
from amid.reports.table import Interval, Table

LEVELS = 6  # of colour, from the worst to the best value
NAME = "Heat map of alpha and divergence"


def heat_map(table: Table, places: Sequence[Place], intervals: Mapping[int, Interval | None], *, lower: bool) -> str:
    """The table. intervals: of the mean of a row. lower: whether low values are good ones."""
    column, lines = lead_column(table), cells_by_row(table)
    alphas, series = alphas_of(places), series_of(places)
    levels = levels_of({place.row: _mean(table, place.row, column) for place in places}, lower=lower)
    by_place: dict[tuple[str, str], list[int]] = {}
    for place in places:
        by_place.setdefault((place.series, place.alpha), []).append(place.row)
    head = [element("th", "divergence \\ alpha", scope="col"), *(element("th", text(a), scope="col") for a in alphas)]
    body = []
    for name in series:
        cells = [element("th", text(name), scope="row")]
        for alpha in alphas:
            rows = by_place.get((name, alpha), [])
            shown = [
                _button(table, row, lines[row].cells[column].text, intervals.get(row), levels.get(row), column)
                for row in rows
            ]
            cells.append(element("td", *(shown or ['<span class="none">·</span>'])))
        body.append(element("tr", *cells))
    made = element(
        "table",
        element("caption", text(f"{table.columns[column]} and its 95 % interval over prompts")),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        id="heat",
    )
    return scrolling(made, NAME)


def levels_of(values: Mapping[int, float | None], *, lower: bool) -> dict[int, int]:
    """The level of colour of each row that has a value, from 0 for the worst to LEVELS - 1 for the best."""
    known = {row: value for row, value in values.items() if value is not None}
    if not known:
        return {}
    low, high = min(known.values()), max(known.values())
    if low == high:
        return dict.fromkeys(known, LEVELS // 2)
    found = {row: min(LEVELS - 1, int((value - low) / (high - low) * LEVELS)) for row, value in known.items()}
    return {row: LEVELS - 1 - level for row, level in found.items()} if lower else found


def _mean(table: Table, row: int, column: int) -> float | None:
    value = table.rows[row].values[column]
    return None if value is None else value.mean


def _button(table: Table, row: int, shown: str, interval: Interval | None, level: int | None, column: int) -> str:
    value = table.rows[row].values[column]
    if value is None:
        kind, inside = kind_of_gap(table.rows[row]), element("span", text(_gap(table, row)))
    else:
        kind, inside = f"h{level}", element("span", text(shown))
        if interval is not None:
            inside += element("small", f"[{interval.low:.2f}, {interval.high:.2f}]")
        if value.paper is not None:
            inside += element("small", f"paper {value.paper.mean:.2f}")
    return element("button", inside, type="button", class_=f"pick {kind}", data_row=row, aria_pressed="false")


def _gap(table: Table, row: int) -> str:
    state = table.rows[row].state
    return "missing" if state == "absent" else "no score" if state == "done" else state
