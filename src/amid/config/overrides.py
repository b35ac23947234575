"""Texts in Hydra's override grammar."""

from __future__ import annotations

import re

from hydra.core.override_parser.types import Quote, QuotedString


def override(key: str, value: object) -> str:
    """`KEY=VALUE` in which quotes, blanks, commas and `${` of the value stand for themselves; a text stays a text."""
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", str(value))
    return f"{key}={QuotedString(text=text, quote=Quote.single).with_quotes()}"
