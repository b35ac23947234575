"""From configuration to objective: (1 - kd_ratio) x cross-entropy on the labels + kd_ratio x divergence."""

from __future__ import annotations

from typing import cast

from amid.cell import neutral_lam_of
from amid.config import RunCfg, ScheduleCfg
from amid.core import (
    SCHEDULES,
    Compat,
    CrossEntropy,
    DivergenceTerm,
    Objective,
    Order,
    Schedule,
    bind_divergence,
    constant,
)
from amid.errors import RequestError


def objective_of(run: RunCfg) -> Objective:
    """The objective of a checked configuration, its schedules at their start.

    Raises RequestError for parameters or combinations that the divergence, the schedule or the order does not allow.
    """
    kd_ratio, compat = run.objective.kd_ratio, _compat(run)
    terms: list[DivergenceTerm | CrossEntropy] = []
    try:
        if kd_ratio > 0.0:
            terms.append(_divergence_term(run, compat, weight=kd_ratio))
    except ValueError as err:
        raise RequestError(f"divergence '{run.divergence.name}': {err}") from err
    if kd_ratio < 1.0:
        terms.append(CrossEntropy(weight=1.0 - kd_ratio))
    return Objective(terms=tuple(terms), compat=compat)


def _divergence_term(run: RunCfg, compat: Compat, *, weight: float) -> DivergenceTerm:
    divergence, amid = run.divergence, run.amid
    lam = _schedule(amid.lam_schedule, amid.lam)
    assert lam is not None
    alpha = _schedule(amid.alpha_schedule, amid.alpha)
    if amid.lam_schedule.name == "constant" and amid.lam == neutral_lam_of(divergence.order):
        alpha = None  # r is an end point itself: no assistant
    return DivergenceTerm(
        divergence=bind_divergence(
            divergence.name, function=divergence.function, params=divergence.params, compat=compat
        ),
        order=cast(Order, divergence.order),
        alpha=alpha,
        lam=lam,
        detach_student=amid.detach_student,
        weight=weight,
    )


def _schedule(cfg: ScheduleCfg, value: float | None) -> Schedule | None:
    if cfg.name == "constant":
        return None if value is None else constant(value=value)
    try:
        return SCHEDULES[cfg.name](**cfg.params)
    except TypeError as err:
        raise ValueError(f"schedule '{cfg.name}': {err}") from err


def _compat(run: RunCfg) -> Compat:
    flags = run.compat
    return Compat(
        alpha_ge1_geometric=flags.alpha_ge1_geometric,
        native_loss_dtype=flags.native_loss_dtype,
        ab_constants=flags.ab_constants,
        akl_swapped=flags.akl_swapped,
        abkd_prefactors=flags.abkd_prefactors,
    )
