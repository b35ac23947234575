"""Run `run.py` in this process and SIGKILL it in the middle of a chosen call: python killed.py PHASE NUMBER OVERRIDES.

PHASE: step (a step asks for its batch), rollout (a strategy's generation), validation (its generation), checkpoint (the
file is half written), sealing (it is whole, but not sealed), between (the file is written, but not in its place),
published (the model is in its place, and nothing says so yet), corpus (its generation), evaluation (its generation).
NUMBER: which call of that phase, counted from 1 in this process. Ends normally if there are fewer.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TOKENS_BEFORE = 3  # drawn by the generation that is killed


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def when_called(owner: Any, name: str, number: int, act: Callable[..., Any]) -> None:
    """Replace a function by one whose call `number` is `act(function, *arguments)`."""
    function = getattr(owner, name)
    calls = 0

    def counting(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            return act(function, *arguments, **named)
        return function(*arguments, **named)

    setattr(owner, name, counting)


def while_generating(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    from amid.generation.sampler import Sampler

    when_called(Sampler, "next_tokens", TOKENS_BEFORE, lambda *_, **__: die())
    return function(*arguments, **named)


def half_written(function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    function(*arguments, **named)
    path = Path(arguments[1])
    os.truncate(path, path.stat().st_size // 2)
    die()


def arrange(phase: str, number: int) -> None:
    import torch

    from amid.data.loader import StepBatches
    from amid.evaluation import entry as evaluation
    from amid.stages import corpus
    from amid.training import checkpoints, fit
    from amid.training.rollout import Rollout

    places: dict[str, tuple[Any, str, Callable[..., Any]]] = {
        "step": (StepBatches, "__call__", lambda *_, **__: die()),
        "rollout": (Rollout, "_write", while_generating),
        "validation": (fit, "validation_rouge_l", while_generating),
        "checkpoint": (torch, "save", half_written),
        "sealing": (checkpoints, "seal_zip", lambda *_, **__: die()),
        "between": (Path, "replace", lambda *_, **__: die()),
        "published": (Path, "rename", lambda function, *arguments: [function(*arguments), die()]),
        "corpus": (corpus, "_job", while_generating),
        "evaluation": (evaluation, "generate_missing", while_generating),
    }
    owner, name, act = places[phase]
    when_called(owner, name, number, act)


if __name__ == "__main__":
    arrange(sys.argv[1], int(sys.argv[2]))
    sys.argv = [str(ROOT / "run.py"), *sys.argv[3:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
