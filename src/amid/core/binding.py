"""Binding: from a divergence's name or function, and parameters, to a function of left and right alone."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from amid.core.compat import Compat
from amid.core.declaration import Divergence, declaration_of
from amid.core.divergences import DIVERGENCES, unknown_name_text


def resolve_divergence(name: str) -> Callable[..., Tensor]:
    """The divergence called `name`, parameters not yet bound. Raises ValueError with the nearest match for another."""
    if name not in DIVERGENCES:
        raise ValueError(unknown_name_text("divergence", name, DIVERGENCES))
    return DIVERGENCES[name]


def bind_divergence(
    divergence: str | Callable[..., Tensor],
    *,
    params: Mapping[str, Any] | None = None,
    compat: Compat | None = None,
) -> Divergence:
    """The divergence of that name, or a function of your own, with its parameters bound.

    A function takes log_left, log_right [..., V] and keyword parameters, and returns [...], differentiable.
    compat: deviations, some of which set parameters.
    Raises ValueError if the name is unknown (nearest match named) or a parameter does not exist or is missing.
    """
    function = resolve_divergence(divergence) if isinstance(divergence, str) else divergence
    given = divergence if isinstance(divergence, str) else getattr(divergence, "__name__", type(divergence).__name__)
    bound = dict(params or {})
    for flag, sets in declaration_of(function).compat.items():
        if getattr(compat or Compat(), flag):
            bound |= sets
    ready = functools.partial(function, **bound) if bound else function
    # One tiny call shows a missing or unknown parameter before anything trains.
    uniform = torch.full((1, 2), -math.log(2.0))
    try:
        value = ready(uniform, uniform)
    except TypeError as err:
        raise ValueError(f"divergence '{given}' does not accept the parameters {sorted(bound)}: {err}") from err
    if not isinstance(value, Tensor) or value.shape != (1,):
        raise ValueError(f"divergence '{given}' must map [N, V] x2 to a tensor [N]; its result is {value!r}")
    return ready
