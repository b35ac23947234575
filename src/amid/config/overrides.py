"""Texts in Hydra's override grammar."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

_BARE = re.compile(r"[A-Za-z_][\w.+-]*")  # a text that the grammar reads as itself
_WORDS = ("null", "true", "false", "inf", "nan")


def override(key: str, value: object) -> str:
    """`KEY=VALUE` in which quotes, blanks, commas and `${` of the value stand for themselves; a text stays a text."""
    from hydra.core.override_parser.types import Quote, QuotedString  # slow to import, and reading writes no override

    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", str(value))
    return f"{key}={QuotedString(text=text, quote=Quote.single).with_quotes()}"


def value_text(value: object) -> str:
    """A value of a configuration in the grammar: null, true, -5.0, inf, text, [a, b], {a: b}."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (int, float)):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {value_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(value_text, value)) + "]"
    text = str(value)
    return text if _BARE.fullmatch(text) and text.lower() not in _WORDS else override("", text)[1:]
