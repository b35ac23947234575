"""From configuration to objective: the terms of core that the compiled terms of a configuration name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

import torch
from torch import Tensor

from amid.config import (
    CompatCfg,
    DivergenceCfg,
    DivergenceTermCfg,
    LabelsTermCfg,
    MaxTermCfg,
    PolicyGradientTermCfg,
    ScheduleCfg,
    TermCfg,
)
from amid.config.own_function import own_function, users_code
from amid.core import (
    SCHEDULES,
    Compat,
    CrossEntropy,
    Divergence,
    DivergenceTerm,
    MaxDivergence,
    Objective,
    Order,
    PolicyGradient,
    Schedule,
    Term,
    bind_divergence,
    constant,
    to_log_prob,
)
from amid.errors import RequestError


def objective_of(terms: Iterable[TermCfg], flags: CompatCfg) -> Objective:
    """The objective of compiled terms, its schedules at their start.

    Raises RequestError for parameters or combinations that the divergence, the schedule or the order does not allow.
    """
    compat = compat_of(flags)
    return Objective(tuple(BUILDERS[term.kind](term, compat) for term in terms), compat)


def compat_of(flags: CompatCfg) -> Compat:
    """The deviations that concern the objective, by the names that they have in the configuration."""
    return Compat(**{flag.name: getattr(flags, flag.name) for flag in fields(Compat)})


def check_divergence(divergence: Divergence, *, order: str) -> None:
    """Raises ValueError unless a user's divergence, tried on a few distributions, can be trained with.

    It must map log-probabilities [N, V] twice to finite values [N], with a finite gradient to the arguments of the
    order that the student is part of (q, r).
    """
    num_tokens, vocab_size = 3, 5  # all differ from 1 and from each other: no shape is right by chance
    logits = torch.linspace(-1.0, 1.0, num_tokens * vocab_size).reshape(num_tokens, vocab_size)
    pair = [to_log_prob(each, vocab_size).requires_grad_() for each in (logits, -0.5 * logits.flip(0) ** 2)]
    value = divergence(*pair)
    if not isinstance(value, Tensor) or value.shape != (num_tokens,):
        found = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"it must map [N, V] x2 to a tensor [N]; for [{num_tokens}, {vocab_size}] it returns {found}, "
            f"not [{num_tokens}]"
        )
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"its values on plain distributions are not finite: {value.tolist()}")
    if not value.requires_grad:
        raise ValueError("its value has no gradient (a detach(), item() or no_grad() on the way?)")
    gradients = torch.autograd.grad(value.sum(), pair, allow_unused=True)
    of_student = [
        gradient for name, gradient in zip(order, gradients, strict=True) if name != "p" and gradient is not None
    ]
    if not any(bool(gradient.any()) for gradient in of_student):
        raise ValueError(f"it has no gradient to the student (order {order})")
    if not all(bool(torch.isfinite(gradient).all()) for gradient in of_student):
        raise ValueError("its gradient on plain distributions is not finite")


def _labels_term(cfg: LabelsTermCfg, compat: Compat) -> CrossEntropy:
    return CrossEntropy(weight=cfg.weight)


def _divergence_term(cfg: DivergenceTermCfg, compat: Compat) -> DivergenceTerm:
    amid, where = cfg.amid, f"{cfg.place}: " if cfg.place else ""
    try:
        lam = _schedule(amid.lam_schedule, amid.lam)
        assert lam is not None
        return DivergenceTerm(
            divergence=_divergence(cfg.divergence, compat),
            order=cast(Order, cfg.divergence.order),
            alpha=_schedule(amid.alpha_schedule, amid.alpha) if cfg.has_assistant else None,
            lam=lam,
            detach_student=amid.detach_student,
            weight=cfg.weight,
        )
    except RequestError as err:
        raise RequestError(f"{where}{err}") from err
    except ValueError as err:
        raise RequestError(f"{where}divergence '{cfg.divergence.name}': {err}") from err


def _max_term(cfg: MaxTermCfg, compat: Compat) -> MaxDivergence:
    return MaxDivergence(tuple(_divergence_term(each, compat) for each in cfg.candidates), weight=cfg.weight)


def _policy_gradient_term(cfg: PolicyGradientTermCfg, compat: Compat) -> PolicyGradient:
    return PolicyGradient(clip_ratio=cfg.clip_ratio, weight=cfg.weight)


def _divergence(cfg: DivergenceCfg, compat: Compat) -> Divergence:
    """The divergence with its parameters bound; one's own, found and tried."""
    if cfg.function is None:
        return bind_divergence(cfg.name, params=cfg.params, compat=compat)
    function = own_function("divergence", cfg.function)
    with users_code("divergence", cfg.function):
        try:
            bound = bind_divergence(function, params=cfg.params, compat=compat)
            check_divergence(bound, order=cfg.order)
        except ValueError as err:
            raise RequestError(f"divergence function '{cfg.function}': {err}") from err
    return bound


def _schedule(cfg: ScheduleCfg, value: float | None) -> Schedule | None:
    if cfg.name == "constant":
        return None if value is None else constant(value=value)
    try:
        return SCHEDULES[cfg.name](**cfg.params)
    except TypeError as err:
        raise ValueError(f"schedule '{cfg.name}': {err}") from err


# What a kind of term in the configuration becomes.
BUILDERS: Mapping[str, Callable[[Any, Compat], Term]] = {
    "divergence": _divergence_term,
    "labels": _labels_term,
    "max": _max_term,
    "policy_gradient": _policy_gradient_term,
}
