"""Axes, points and lines as SVG, from numbers alone: no style in it but classes of page.css. No torch here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amid.reports.page.markup import element, single, text

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 46  # margins that hold the axes
CHAR_WIDTH = 7  # about, of the text at an axis
STYLES = 8  # of series: colour and shape, repeated after the last
SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-4 -4h8v8h-8z",
    "M0 -5l5 9h-10z",
    "M0 -5l5 5l-5 5l-5 -5z",
    "M-5 -4h10l-5 9z",
    "M-1.5 -5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
    "M-4 -2l4 -3l4 3l-2 6h-4z",
    "M-5 -2.5h10v5h-10z",
)


@dataclass(frozen=True)
class Scale:
    """Values [low, high] on the pixels from begin to end."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def scale_of(values: Sequence[float], begin: float, end: float) -> Scale:
    """A scale that holds all the values, with some air."""
    low, high = min(values), max(values)
    air = (high - low) * 0.06 or max(abs(low), 1.0) * 0.05
    return Scale(low - air, high + air, begin, end)


def ticks_of(scale: Scale, *, count: int = 5) -> list[float]:
    """Round numbers within a scale, about so many."""
    rough = (scale.high - scale.low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * each for each in (1, 2, 5, 10) if unit * each >= rough)
    first = math.ceil(scale.low / step)
    return [round(step * each, 10) for each in range(first, math.floor(scale.high / step) + 1)]


def picture(name: str, described: str, *parts: str, width: int = WIDTH, height: int = HEIGHT, id_: str) -> str:
    """An SVG element with its name and description for those who do not see it."""
    return element(
        "svg",
        element("title", text(name), id=f"{id_}-name"),
        element("desc", text(described), id=f"{id_}-desc"),
        *parts,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_labelledby=f"{id_}-name",
        aria_describedby=f"{id_}-desc",
        id=id_,
    )


def axis_left(scale: Scale, name: str, *, right: float, form: Callable[[float], str] = "{:g}".format) -> str:
    """Lines across and their values, and what they are of."""
    parts = []
    for tick in ticks_of(scale):
        y = scale(tick)
        parts += [line(LEFT, y, right, y, class_="grid"), words(LEFT - 6, y + 4, form(tick), class_="end")]
    middle = (scale.begin + scale.end) / 2
    parts.append(
        element("text", text(name), transform=f"translate(14 {number(middle)}) rotate(-90)", class_="middle axis")
    )
    return "".join(parts)


def axis_below(places: Sequence[tuple[float, str]], name: str, *, bottom: float) -> str:
    """Ticks from left to right, as many of them with their names as there is room for, and what they are of."""
    every = next(step for step in range(1, len(places) + 1) if _fits(places[::step]))
    parts = [line(x, bottom, x, bottom + 4, class_="tick") for x, _ in places]
    parts += [words(x, bottom + 17, shown, class_="middle") for x, shown in places[::every]]
    parts.append(words((LEFT + WIDTH - RIGHT) / 2, bottom + 36, name, class_="middle axis"))
    return "".join(parts)


def _fits(places: Sequence[tuple[float, str]]) -> bool:
    ends = [(x - CHAR_WIDTH * len(shown) / 2, x + CHAR_WIDTH * len(shown) / 2) for x, shown in places]
    return all(end + CHAR_WIDTH <= begin for (_, end), (begin, _) in itertools.pairwise(ends))


def line(x1: float, y1: float, x2: float, y2: float, *, class_: str) -> str:
    """A straight line."""
    return single("line", x1=number(x1), y1=number(y1), x2=number(x2), y2=number(y2), class_=class_)


def path(points: Sequence[tuple[float, float]], *, class_: str) -> str:
    """A line through points."""
    return single("polyline", points=" ".join(f"{number(x)},{number(y)}" for x, y in points), class_=class_)


def marker(x: float, y: float, series: int, said: str, *, hollow: bool = False) -> str:
    """The shape of a series at a point; said: what a pointer that rests on it is told."""
    style = series % STYLES
    return element(
        "g",
        single("path", d=SHAPES[style]),
        element("title", text(said)),
        transform=f"translate({number(x)} {number(y)})",
        class_=f"s{style}{' hollow' if hollow else ''}",
    )


def words(x: float, y: float, shown: str, *, class_: str) -> str:
    """A piece of text."""
    return element("text", text(shown), x=number(x), y=number(y), class_=class_)


def number(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    shown = f"{value:.1f}"
    return shown[:-2] if shown.endswith(".0") else shown
