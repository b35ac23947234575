"""The mathematics of the lab: log-probabilities, assistants, divergences, schedules, objectives. Torch only."""

from amid.core.alpha_beta import ab, amari
from amid.core.assistants import alpha_mixture
from amid.core.dense import dense_objective
from amid.core.divergence_names import NAMED_DIVERGENCES, NamedDivergence, named_divergence
from amid.core.divergences import (
    DIVERGENCES,
    Divergence,
    akl,
    bdkd,
    csd,
    f_divergence,
    gjs,
    jeffreys,
    js,
    kl,
    resolve_divergence,
    tv,
    weighted_sum,
    wsd,
)
from amid.core.fused import chunked_objective_from_logits, linear_objective
from amid.core.heads import Head, LowRank
from amid.core.logprob import LogProb, to_log_prob
from amid.core.objective import LossParts, Objective, signal_means
from amid.core.schedules import (
    SCHEDULES,
    OverlapAdaptive,
    Schedule,
    TaidAdaptive,
    constant,
    cosine,
    linear,
)
from amid.core.terms import (
    ORDERS,
    Compat,
    CrossEntropy,
    DivergenceTerm,
    MaxDivergence,
    Order,
    Term,
    bind_divergence,
)

__all__ = [
    "DIVERGENCES",
    "NAMED_DIVERGENCES",
    "ORDERS",
    "SCHEDULES",
    "Compat",
    "CrossEntropy",
    "Divergence",
    "DivergenceTerm",
    "Head",
    "LogProb",
    "LossParts",
    "LowRank",
    "MaxDivergence",
    "NamedDivergence",
    "Objective",
    "Order",
    "OverlapAdaptive",
    "Schedule",
    "TaidAdaptive",
    "Term",
    "ab",
    "akl",
    "alpha_mixture",
    "amari",
    "bdkd",
    "bind_divergence",
    "chunked_objective_from_logits",
    "constant",
    "cosine",
    "csd",
    "dense_objective",
    "f_divergence",
    "gjs",
    "jeffreys",
    "js",
    "kl",
    "linear",
    "linear_objective",
    "named_divergence",
    "resolve_divergence",
    "signal_means",
    "to_log_prob",
    "tv",
    "weighted_sum",
    "wsd",
]
