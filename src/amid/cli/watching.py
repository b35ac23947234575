"""Looking again and again: redrawn in place on a terminal, elsewhere only the lines that are new. No torch here."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable

from amid.cli.printing import say
from amid.errors import visible
from amid.reports.states import States


def watch_states(look: Callable[[], States], *, every_s: float) -> None:
    """Shows what `look` finds until every cell has ended or Ctrl-C, which is the end and no failure."""
    try:
        if sys.stdout.isatty():
            _redraw(look, every_s=every_s)
        else:
            _print_news(look, every_s=every_s)
    except KeyboardInterrupt:
        return


def _redraw(look: Callable[[], States], *, every_s: float) -> None:
    from rich.live import Live
    from rich.text import Text

    def text(found: States) -> Text:
        return Text(visible("\n".join(found.lines)), no_wrap=True, overflow="ellipsis")

    found = look()
    with Live(text(found), auto_refresh=False) as live:
        while not found.ended:
            time.sleep(every_s)
            found = look()
            live.update(text(found), refresh=True)


def _print_news(look: Callable[[], States], *, every_s: float) -> None:
    said: set[str] = set()
    while True:
        found = look()
        lines = {_without_age(line): line for line in found.lines}
        for news, line in lines.items():
            if news not in said:
                say(line)
        sys.stdout.flush()
        said = set(lines)
        if found.ended:
            return
        time.sleep(every_s)


def _without_age(line: str) -> str:
    """A line without what changes although nothing happens."""
    return re.sub(r"last sign of life: \d+ s ago", "", line)
