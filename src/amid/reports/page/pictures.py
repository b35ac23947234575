"""The pictures of a sweep: profiles over alpha, quality against diversity, curves of a training. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from amid.reports.aggregate import DIVERSITY_COLUMN
from amid.reports.curves import SHOWN, series
from amid.reports.page.markup import element, scrolling, text
from amid.reports.page.places import Place, alphas_of, as_number, lead_column, series_of
from amid.reports.page.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    SHAPES,
    STYLES,
    TOP,
    WIDTH,
    Scale,
    axis_below,
    axis_left,
    line,
    marker,
    path,
    picture,
    scale_of,
    ticks_of,
    words,
)
from amid.reports.table import Interval, Table, Value

MAX_POINTS = 100  # of a curve; of a longer one every so many-th step is drawn, and the last
RIGHT_END, BELOW = WIDTH - RIGHT, HEIGHT - BOTTOM
CURVE_WIDTH, CURVE_HEIGHT = 300, 150


def profiles(table: Table, places: Sequence[Place], intervals: Mapping[int, Interval | None]) -> str | None:
    """A line per divergence over alpha, ±∞ and none apart, with intervals; None where nothing is scored."""
    column = lead_column(table)
    known = [(place, value) for place in places if (value := table.rows[place.row].values[column]) is not None]
    if not known:
        return None
    alphas, names = alphas_of(places), series_of(places)
    x = _positions(alphas)
    heights = [value.mean for _, value in known]
    heights += [v.paper.mean for _, v in known if v.paper is not None]
    for place, _ in known:
        if (found := intervals.get(place.row)) is not None:
            heights += [found.low, found.high]
    y = scale_of(heights, BELOW, TOP)
    parts = [axis_left(y, table.columns[column], right=RIGHT_END)]
    parts.append(axis_below([(x[alpha], alpha) for alpha in alphas], "alpha", bottom=BELOW))
    for number, name in enumerate(names):
        own = sorted(((x[p.alpha], p, v) for p, v in known if p.series == name), key=lambda each: each[0])
        finite = [(at, y(v.mean)) for at, p, v in own if _is_finite(p.alpha)]
        style = f"s{number % STYLES}"
        parts.append(path(finite, class_=f"curve {style}") if len(finite) > 1 else "")
        shift = (number - (len(names) - 1) / 2) * min(5.0, 24 / len(names))  # intervals beside each other
        for at, place, value in own:
            interval = intervals.get(place.row)
            if interval is not None:
                low, high = y(interval.low), y(interval.high)
                parts.append(line(at + shift, low, at + shift, high, class_=f"interval {style}"))
            parts.append(marker(at, y(value.mean), number, _said(name, place.alpha, value, interval)))
            if value.paper is not None:
                said = f"{name}, alpha {place.alpha}: paper {value.paper.mean:.2f}"
                parts.append(marker(at, y(value.paper.mean), number, said, hollow=True))
    described = (
        f"{table.columns[column]} over alpha, a line for each of: {'; '.join(names)}. The numbers are in the table."
    )
    return _framed("Profile over alpha", described, *parts, id_="profile") + legend(
        names, paper=any(value.paper is not None for _, value in known)
    )


def front(table: Table, places: Sequence[Place], *, lower: bool) -> str | None:
    """Quality against diversity, with the front of rows that no other beats in both; None without Self-BLEU.

    lower: whether low values of quality are good ones.
    """
    if DIVERSITY_COLUMN not in table.columns:
        return None
    column, across = lead_column(table), table.columns.index(DIVERSITY_COLUMN)
    names = series_of(places)
    points: list[tuple[float, float, Place]] = []
    for place in places:
        good, alike = table.rows[place.row].values[column], table.rows[place.row].values[across]
        if good is not None and alike is not None:
            points.append((alike.mean, good.mean, place))
    if not points:
        return None
    y = scale_of([quality for _, quality, _ in points], BELOW, TOP)
    x = scale_of([likeness for likeness, _, _ in points], RIGHT_END, LEFT)  # more diverse to the right
    parts = [axis_left(y, table.columns[column], right=RIGHT_END)]
    ticks = [(x(tick), f"{tick:g}") for tick in reversed(ticks_of(x))]
    parts.append(axis_below(ticks, "Self-BLEU: less alike, more diverse to the right", bottom=BELOW))
    best = front_of([(likeness, -quality if lower else quality) for likeness, quality, _ in points])
    steps = [(x(points[i][0]), y(points[i][1])) for i in best]
    parts.append(path(steps, class_="front") if len(steps) > 1 else "")
    for likeness, quality, place in points:
        at, height = x(likeness), y(quality)
        series_number = names.index(place.series)
        said = f"{place.series}, alpha {place.alpha}: {quality:.2f}, Self-BLEU {likeness:.3f}"
        parts.append(marker(at, height, series_number, said))
        if len(points) <= 40:  # more would lie over each other; a pointer that rests on one is told
            parts.append(words(at + 7, height - 6, place.alpha, class_="near"))
    on = ", ".join(f"{points[i][2].series} at alpha {points[i][2].alpha}" for i in best)
    described = f"Quality against diversity. On the front: {on}. The numbers are in the table."
    return _framed("Quality and diversity", described, *parts, id_="quality") + legend(names)


def front_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points (Self-BLEU, quality) that no other one beats: as good in both, and better in one."""
    found = []
    for i, (likeness, quality) in enumerate(points):
        beaten = any(other[0] <= likeness and other[1] >= quality and other != (likeness, quality) for other in points)
        if not beaten:
            found.append(i)
    return sorted(found, key=lambda i: points[i])


def curves(folder: Path, *, id_: str) -> str:
    """The curves of a training from its journal, a picture each; empty without one."""
    made = []
    for name in SHOWN:
        points = _thinned(series(folder, name))
        if len(points) < 2:
            continue
        y = scale_of([value for _, value in points], CURVE_HEIGHT - 22, 8)
        x = Scale(float(points[0][0]), float(points[-1][0]), 44, CURVE_WIDTH - 8)
        ticks = []
        for tick in ticks_of(y, count=3):
            ticks.append(line(44, y(tick), CURVE_WIDTH - 8, y(tick), class_="grid"))
            ticks.append(words(40, y(tick) + 4, f"{tick:g}", class_="end"))
        ends = [words(44, CURVE_HEIGHT - 6, f"step {points[0][0]}", class_="begin")]
        ends.append(words(CURVE_WIDTH - 8, CURVE_HEIGHT - 6, str(points[-1][0]), class_="end"))
        drawn = path([(x(step), y(value)) for step, value in points], class_="curve s0")
        said = f"{name} from {points[0][1]:.4g} to {points[-1][1]:.4g}"
        own_id = f"{id_}-{name.replace('/', '-')}"
        svg = picture(name, said, *ticks, *ends, drawn, width=CURVE_WIDTH, height=CURVE_HEIGHT, id_=own_id)
        made.append(element("figure", svg, element("figcaption", text(said)), class_="training"))
    return "".join(made)


def legend(names: Sequence[str], *, paper: bool = False) -> str:
    """Which shape is which series. paper: whether hollow shapes are the paper's numbers."""
    items = [
        element(
            "li",
            element(
                "svg",
                f'<g transform="translate(7 7)" class="s{number % STYLES}"><path d="{SHAPES[number % STYLES]}"/></g>',
                viewBox="0 0 14 14",
                aria_hidden="true",
            ),
            " ",
            text(name),
        )
        for number, name in enumerate(names)
    ]
    if paper:
        items.append(element("li", "hollow: the paper"))
    return element("ul", *items, class_="legend")


def _framed(name: str, described: str, *parts: str, id_: str) -> str:
    """A picture in a frame of its own, for windows that are narrower than it can be read in."""
    return scrolling(picture(name, described, *parts, id_=id_), f"{name}, picture")


def _positions(alphas: Sequence[str]) -> dict[str, float]:
    """A pixel for each alpha: the finite ones to scale, the others as categories beside them."""
    finite = {alpha: value for alpha in alphas if _is_finite(alpha) and (value := as_number(alpha)) is not None}
    before = [alpha for alpha in alphas if as_number(alpha) == float("-inf")]
    after = [alpha for alpha in alphas if alpha not in finite and alpha not in before]
    room = (RIGHT_END - LEFT) / (len(before) + len(after) + max(2, len(finite)))
    begin, end = LEFT + room * (len(before) + 0.5), RIGHT_END - room * (len(after) + 0.5)
    found = {alpha: LEFT + room * (i + 0.5) for i, alpha in enumerate(before)}
    if len(finite) > 1:
        scale = Scale(min(finite.values()), max(finite.values()), begin, end)
        found |= {alpha: scale(value) for alpha, value in finite.items()}
    else:
        found |= dict.fromkeys(finite, (begin + end) / 2)
    return found | {alpha: RIGHT_END - room * (len(after) - i - 0.5) for i, alpha in enumerate(after)}


def _is_finite(alpha: str) -> bool:
    value = as_number(alpha)
    return value is not None and abs(value) != float("inf")


def _said(name: str, alpha: str, value: Value, interval: Interval | None) -> str:
    between = "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"
    return f"{name}, alpha {alpha}: {value.mean:.2f}{between}"


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(points) <= MAX_POINTS:
        return list(points)
    step = -(-len(points) // MAX_POINTS)
    kept = list(points[::step])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]
