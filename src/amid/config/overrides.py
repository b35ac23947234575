"""Texts in Hydra's override grammar."""

from __future__ import annotations

import re


def override(key: str, value: object) -> str:
    """`KEY=VALUE` in which quotes, blanks, commas and `${` of the value stand for themselves; a text stays a text."""
    from hydra.core.override_parser.types import Quote, QuotedString  # slow to import, and reading writes no override

    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", str(value))
    return f"{key}={QuotedString(text=text, quote=Quote.single).with_quotes()}"
