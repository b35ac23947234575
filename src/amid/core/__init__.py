"""The mathematics of the lab: log-probabilities, assistants, divergences, schedules, objectives. Torch only."""

from amid.core.alpha_beta import ab, amari
from amid.core.assistants import Assistant, alpha_mixture
from amid.core.binding import bind_divergence, resolve_divergence
from amid.core.closed_form import ClosedForm, Kernel
from amid.core.compat import Compat
from amid.core.declaration import Divergence, declares
from amid.core.dense import dense_objective
from amid.core.divergence_names import NAMED_DIVERGENCES, NamedDivergence, named_divergence
from amid.core.divergences import (
    DIVERGENCES,
    akl,
    bdkd,
    csd,
    f_divergence,
    gjs,
    jeffreys,
    js,
    kl,
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
    ADVANTAGE,
    BEHAVIOUR_LOG_PROB,
    LABELS,
    ORDERS,
    CrossEntropy,
    DivergenceTerm,
    MaxDivergence,
    Order,
    PolicyGradient,
    SettledTerm,
    Term,
    TokenInputs,
)

__all__ = [
    "ADVANTAGE",
    "BEHAVIOUR_LOG_PROB",
    "DIVERGENCES",
    "LABELS",
    "NAMED_DIVERGENCES",
    "ORDERS",
    "SCHEDULES",
    "Assistant",
    "ClosedForm",
    "Compat",
    "CrossEntropy",
    "Divergence",
    "DivergenceTerm",
    "Head",
    "Kernel",
    "LogProb",
    "LossParts",
    "LowRank",
    "MaxDivergence",
    "NamedDivergence",
    "Objective",
    "Order",
    "PolicyGradient",
    "OverlapAdaptive",
    "Schedule",
    "SettledTerm",
    "TaidAdaptive",
    "Term",
    "TokenInputs",
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
    "declares",
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
