"""What is minimised: assistant, divergence, their schedules, and the weight of the labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from amid.config.checks import at_least, one_of, within
from amid.errors import RequestError, unknown_name

ORDERS = ("pr", "rp", "qr", "rq")
REDUCTIONS = ("global_token_mean", "sequence_mean")
# Names and parameters of DIVERGENCES and SCHEDULES in amid.core (a test asserts that they are equal).
DIVERGENCE_PARAMS: dict[str, tuple[str, ...]] = {
    "ab": ("ab_alpha", "ab_beta"),
    "akl": ("akl_mu",),
    "amari": ("amari_alpha",),
    "bdkd": ("bdkd_factor",),
    "csd": ("csd_weights", "csd_temperature", "csd_mix"),
    "f_divergence": ("generator", "amari_alpha"),
    "gjs": ("gjs_weight",),
    "jeffreys": (),
    "js": (),
    "kl": (),
    "tv": (),
    "wsd": ("wsd_reverse_weight",),
}
SCHEDULE_PARAMS: dict[str, tuple[str, ...]] = {
    "constant": (),
    "linear": ("start", "end"),
    "cosine": ("start", "end"),
    "taid_adaptive": ("t_start", "t_end", "step_size", "momentum"),
    "overlap_adaptive": ("at_zero", "at_full", "momentum"),
}


@dataclass
class ScheduleCfg:
    """How alpha or lam changes over training: `constant` keeps the node's own value, the others replace it."""

    name: str = "constant"
    params: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("schedule", self.name, tuple(SCHEDULE_PARAMS))
        unknown = sorted(set(self.params) - set(SCHEDULE_PARAMS[self.name]))
        if unknown:
            raise RequestError(
                f"schedule '{self.name}' has no parameter {', '.join(unknown)}; "
                f"valid: {', '.join(SCHEDULE_PARAMS[self.name]) or 'none'}"
            )


@dataclass
class AmidCfg:
    """The assistant r: the alpha-mixture of teacher p and student q (paper Eqs. 7-8)."""

    alpha: float | None = None  # geometry, any real or +-inf; null = no assistant
    lam: float = 0.1  # weight of the teacher, [0, 1]
    detach_student: bool = False  # no gradient through q inside r (TAID)
    alpha_schedule: ScheduleCfg = field(default_factory=ScheduleCfg)
    lam_schedule: ScheduleCfg = field(default_factory=ScheduleCfg)

    def __post_init__(self) -> None:
        if self.alpha is not None and math.isnan(self.alpha):
            raise RequestError("amid.alpha must be a real number, inf, -inf or null, got nan")
        within("amid.lam", self.lam, 0.0, 1.0)


@dataclass
class ObjectiveCfg:
    """What is minimised: (1 - kd_ratio) x cross-entropy on the labels + kd_ratio x divergence, or a list of terms."""

    kd_ratio: float = 1.0
    terms: list[Any] | None = None  # in place of kd_ratio, see amid.config.terms and docs/divergences.md
    reduction: str = "global_token_mean"  # or sequence_mean: mean per sequence, then over sequences
    lm_coef: float = 0.0  # weight of the pretraining loss, the cross-entropy on a batch of plain_text; 0 = none
    lm_kd_ratio: float = 0.0  # share of the teacher's soft targets in it (MiniLLM: 0.5)

    def __post_init__(self) -> None:
        within("objective.kd_ratio", self.kd_ratio, 0.0, 1.0)
        one_of("objective.reduction", self.reduction, REDUCTIONS)
        at_least("objective.lm_coef", self.lm_coef, 0)
        within("objective.lm_kd_ratio", self.lm_kd_ratio, 0.0, 1.0)


@dataclass
class DivergenceCfg:
    """D(left, right): a name, its argument order (p teacher, q student, r assistant) and its own parameters."""

    name: str = MISSING
    order: str = "pr"
    params: dict[str, Any] = field(default_factory=dict)
    function: str | None = None  # your own, as "module:function" (docs/divergences.md); null = the one called `name`
    version: int = 1  # of your function: raise it when its values change

    def __post_init__(self) -> None:
        one_of("divergence.order", self.order, ORDERS)
        if self.function is not None:
            return  # its parameters are known only to the function, which preflight asks
        if self.name not in DIVERGENCE_PARAMS:
            raise unknown_name("divergence", self.name, DIVERGENCE_PARAMS)
        expected = DIVERGENCE_PARAMS[self.name]
        if set(self.params) != set(expected):
            raise RequestError(
                f"divergence.params of '{self.name}' must be exactly {list(expected)}, got {sorted(self.params)}"
            )
