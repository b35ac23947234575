"""Metrics by name, a user's own among them: a name that reads "module:function" is one. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from amid.config import check_metric
from amid.config.own_function import own_function, users_code
from amid.errors import RequestError
from amid.metrics import METRICS, Generations, Metric
from amid.metrics.metric import mean_metric

# What a user's function is tried on before a model has answered anything.
TRIED = (["a cat sat", "no"], [["a cat sat on a mat"], ["yes", "no"]])


def is_own(name: str) -> bool:
    """Whether a metric's name is that of a user's function."""
    return ":" in name


def signature_of(name: str) -> str:
    """What decides the numbers of a metric, by its name alone: a user's function is not imported."""
    return f"own|{name}" if is_own(name) else METRICS[name].signature


def metric_of(name: str) -> Metric:
    """The metric of that name. Importing a user's module runs it, once per process.

    Raises RequestError for an unknown name, or a function that cannot be used.
    """
    check_metric("evaluation metric", name)
    if not is_own(name):
        return METRICS[name]
    function = own_function("metric", name.partition("@")[0])
    with users_code("metric", name):
        whole = isinstance(_tried(function, name), float)

    def values(generations: Generations) -> list[float] | float:
        found = function(list(generations.predictions), [list(texts) for texts in generations.references])
        return _checked(found, name, num_examples=len(generations.predictions))

    if whole:
        return Metric(name, signature_of(name), None, "", lambda of: _as(float, values(of), name))
    return mean_metric(name, signature_of(name), None, "", lambda of: _as(list, values(of), name))


def _tried(function: Callable[..., Any], name: str) -> list[float] | float:
    predictions, references = TRIED
    return _checked(function(list(predictions), [list(texts) for texts in references]), name, num_examples=2)


def _checked(found: Any, name: str, *, num_examples: int) -> list[float] | float:
    """What a user's function gave, as one number or one per example. Raises RequestError for anything else."""
    try:
        numbers = [float(found)] if not isinstance(found, Sequence) else [float(each) for each in found]
    except (TypeError, ValueError):
        numbers = []
    if isinstance(found, Sequence) and len(numbers) != num_examples or not numbers:
        what = f"{len(found)} values" if isinstance(found, Sequence) and numbers else f"{found!r}"[:100]
        raise RequestError(
            f"metric '{name}' must map predictions and lists of references to one number, or to a list of one per "
            f"example; for {num_examples} examples it returns {what}"
        )
    if not all(map(math.isfinite, numbers)):
        raise RequestError(f"metric '{name}' gives a value that is not finite: {numbers[:8]}")
    return numbers if isinstance(found, Sequence) else numbers[0]


def _as(kind: type, found: Any, name: str) -> Any:
    if not isinstance(found, kind):
        raise RequestError(f"metric '{name}' gives one number for some texts and a list for others")
    return found
