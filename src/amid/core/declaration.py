"""What a divergence declares of itself beside its values: its closed form, its roles, what deviations do to it.

Legend: V vocabulary.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from torch import Tensor

from amid.core.closed_form import Kernel
from amid.core.logprob import LogProb

# left, right [..., V] -> [...], its own parameters bound.
Divergence: TypeAlias = Callable[[LogProb, LogProb], Tensor]
_Function = TypeVar("_Function", bound=Callable[..., Tensor])


@dataclass(frozen=True)
class Declaration:
    """What is known of a divergence's function.

    kernel: its parameters, as keywords -> the arithmetic of `block` that computes it, None where that loses digits.
    teacher_left: it takes weights from the teacher, so that left must be p and right q.
    compat: flag of `Compat` -> the parameters that the flag sets.
    """

    kernel: Callable[..., Kernel | None] | None = None
    teacher_left: bool = False
    compat: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_DECLARED: dict[Callable[..., Tensor], Declaration] = {}
_NOTHING = Declaration()


def declares(
    *,
    kernel: Callable[..., Kernel | None] | None = None,
    teacher_left: bool = False,
    compat: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[_Function], _Function]:
    """Decorator of a divergence's function, which stays as it is; see `Declaration`."""

    def declared(function: _Function) -> _Function:
        _DECLARED[function] = Declaration(kernel, teacher_left, compat or {})
        return function

    return declared


def function_of(divergence: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function of a divergence whose parameters may be bound."""
    return divergence.func if isinstance(divergence, functools.partial) else divergence


def declaration_of(divergence: Callable[..., Tensor]) -> Declaration:
    """What the divergence's function declares; nothing for one that declares nothing, such as most of users' own."""
    return _DECLARED.get(function_of(divergence), _NOTHING)


def kernel_of(divergence: Divergence) -> Kernel | None:
    """The arithmetic of `block` for a divergence with its parameters bound; None where autograd must be used."""
    declared = declaration_of(divergence).kernel
    if declared is None:
        return None
    if not isinstance(divergence, functools.partial):
        return declared()
    # An argument bound by position would be the left one.
    return None if divergence.args else declared(**divergence.keywords)
