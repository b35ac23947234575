"""Run `run.py`, in which one rank fails in the middle of its part of a job: failing_rank.py RANK HOW NUMBER OVERRIDES.

HOW: killed or raises. NUMBER: which job of that rank, counted from 1.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from typing import Any

from killed import ROOT, TOKENS_BEFORE, die, when_called


def fail(how: str) -> None:
    if how == "killed":
        die()
    raise KeyError("a bug of one rank")


def arrange(how: str, number: int) -> None:
    from amid.evaluation.writer import Writer
    from amid.generation.sampler import Sampler

    def while_writing(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        when_called(Sampler, "next_tokens", TOKENS_BEFORE, lambda *_, **__: fail(how))
        return function(*arguments, **named)

    when_called(Writer, "together", number, while_writing)


if __name__ == "__main__":
    rank, how, number, *overrides = sys.argv[1:]
    if os.environ["RANK"] == rank:
        arrange(how, int(number))
    sys.argv = [str(ROOT / "run.py"), *overrides]
    runpy.run_path(sys.argv[0], run_name="__main__")
