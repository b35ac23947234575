"""Pieces of HTML: everything that is put into a page goes through here and is escaped. No torch here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from amid.errors import visible

UNSEEN = "sr"  # the class of what only a screen reader says


def text(value: object) -> str:
    """Text of any origin, escaped, with what would change direction or hide spelled out."""
    return escape(visible(str(value)))


def element(name: str, *content: str, **attributes: object) -> str:
    """An element. content: HTML. attributes: by name, `class_` for class, `_` for `-`; None and False leave one out."""
    return f"<{name}{_attributes(attributes)}>{''.join(content)}</{name}>"


def single(name: str, **attributes: object) -> str:
    """An element without content, of SVG."""
    return f"<{name}{_attributes(attributes)}/>"


def unseen(value: str) -> str:
    """What a mark means, for those who hear the page."""
    return element("span", text(value), class_=UNSEEN)


def simple_table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], **attributes: object) -> str:
    """A table of texts whose first column names the rows."""
    head = element("tr", *(element("th", text(each), scope="col") for each in heads))
    body = [
        element("tr", element("th", text(first), scope="row"), *(element("td", text(each)) for each in rest))
        for first, *rest in rows
    ]
    return scrolling(
        element(
            "table",
            element("caption", text(caption)),
            element("thead", head),
            element("tbody", *body),
            **attributes,
        ),
        caption,
    )


def scrolling(table: str, name: str) -> str:
    """A wide table in a frame of its own, which the keyboard reaches."""
    return element("div", table, class_="wide", tabindex=0, role="region", aria_label=name)


def embedded_json(values: Any) -> str:
    """JSON that may stand in a script element: no `<`, so that nothing in it ends the element."""
    made = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False, sort_keys=True)
    for char in "<>&\u2028\u2029":
        made = made.replace(char, f"\\u{ord(char):04x}")
    return made


def _attributes(attributes: dict[str, object]) -> str:
    shown = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        key = name.rstrip("_").replace("_", "-")
        shown.append(f" {key}" if value is True else f' {key}="{text(value)}"')
    return "".join(shown)
