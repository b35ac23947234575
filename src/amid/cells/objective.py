"""What an objective adds to the identity of a cell: its terms, without what has no effect. No torch here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from amid.config import CompatCfg, DivergenceTermCfg, MaxTermCfg, PolicyGradientTermCfg, RunCfg, kd_ratio_of
from amid.errors import RequestError


def reads_teacher(run: RunCfg) -> bool:
    """Whether a term of the objective, or of its pretraining loss, gives the teacher a say."""
    return any(term.reads_teacher for term in (*run.terms, *run.plain_text_terms))


def objective_identity(run: RunCfg, ignored: list[str]) -> dict[str, Any]:
    """The nodes objective, divergence and amid of the identity.

    Terms that the shorthand can express are named by it, however they were written; others are listed, each with its
    own divergence and amid. Adds to `ignored` one sentence per knob that has no effect.
    Raises RequestError for a term that is identically 0.
    """
    terms, objective = run.terms, asdict(run.objective)
    ratio = kd_ratio_of(terms)
    if run.objective.terms is not None:
        ignored += [
            f"objective.terms[{index}] has no effect with weight 0"
            for index, entry in enumerate(run.objective.terms)
            if entry["weight"] == 0
        ]
        if run.objective.kd_ratio not in (1.0, ratio):
            ignored.append(f"objective.kd_ratio={run.objective.kd_ratio:g} has no effect with objective.terms")
    if objective["lm_coef"] == 0.0 and objective.pop("lm_kd_ratio") > 0.0:
        ignored.append("objective.lm_kd_ratio has no effect with objective.lm_coef=0")
    if not any(term.reads_teacher for term in terms):
        which = "objective.kd_ratio=0" if run.objective.terms is None else "objective.terms without a divergence"
        ignored.append(f"{which}: amid and divergence have no effect")
    values = [IDENTITIES.get(term.kind, _no_more)(term, run.compat, ignored) for term in terms]
    if ratio is None:
        del objective["kd_ratio"]
        listed = zip(terms, values, strict=True)
        objective["terms"] = [
            {"kind": term.kind, "weight": term.weight, **of_term, **({"source": term.source} if term.source else {})}
            for term, of_term in listed
        ]
        return {"objective": objective}
    nodes = {name: node for of_term in values for name, node in of_term.items()}
    return {"objective": {**objective, "kd_ratio": ratio, "terms": None}, **nodes}


def _no_more(term: Any, compat: CompatCfg, ignored: list[str]) -> dict[str, Any]:
    """Of a kind that has no values beside its weight."""
    return {}


def _divergence_identity(term: DivergenceTermCfg, compat: CompatCfg, ignored: list[str]) -> dict[str, Any]:
    """Divergence, order and assistant of a term, without what has no effect."""
    order, amid = term.divergence.order, term.amid
    divergence = asdict(term.divergence)
    if term.divergence.function is None and term.divergence.version != 1:
        ignored.append(f"{term.key('version')} has no effect without {term.key('function')}")
        del divergence["version"]
    if amid.alpha is None and not term.is_scheduled("alpha"):
        return {"divergence": divergence}
    if not term.is_scheduled("lam") and amid.lam == 1.0 - term.neutral_lam:
        raise RequestError(
            f"{term.key('lam')}={amid.lam:g} makes {term.key('order')}={order} identically 0 (r equals the other "
            f"argument); valid: [0, 1] without {amid.lam:g}"
        )
    if not term.has_assistant:
        ignored.append(
            f"{term.key('lam')}={amid.lam:g} with order {order} is no assistant: {term.key('alpha')} has no effect"
        )
        return {"divergence": divergence}
    assistant: dict[str, Any] = {"detach_student": amid.detach_student}
    for name, value in (("alpha", amid.alpha), ("lam", amid.lam)):
        if term.is_scheduled(name):
            schedule = getattr(amid, f"{name}_schedule")
            assistant[f"{name}_schedule"] = asdict(schedule)
            ignored.append(f"{term.key(name)} has no effect with {term.key(name)}_schedule={schedule.name}")
        else:
            assistant[name] = value
    alpha = assistant.get("alpha")
    if compat.alpha_ge1_geometric and alpha is not None and alpha > 1.0:
        ignored.append(f"compat.alpha_ge1_geometric: {term.key('alpha')}={alpha:g} acts as 1")
        assistant["alpha"] = 1.0
    elif alpha is not None and math.isinf(alpha) and not term.is_scheduled("lam"):
        ignored.append(f"{term.key('alpha')}={alpha:g} does not depend on {term.key('lam')}")
        del assistant["lam"]
    return {"divergence": divergence, "amid": assistant}


def _max_identity(term: MaxTermCfg, compat: CompatCfg, ignored: list[str]) -> dict[str, Any]:
    """The candidates, each as a divergence is named; their order does not matter."""
    named = [_divergence_identity(candidate, compat, ignored) for candidate in term.candidates]
    return {"candidates": sorted(named, key=lambda values: json.dumps(values, sort_keys=True, default=str))}


def _policy_gradient_identity(term: PolicyGradientTermCfg, compat: CompatCfg, ignored: list[str]) -> dict[str, Any]:
    return {"clip_ratio": term.clip_ratio}


IDENTITIES: Mapping[str, Callable[[Any, CompatCfg, list[str]], dict[str, Any]]] = {
    "divergence": _divergence_identity,
    "max": _max_identity,
    "policy_gradient": _policy_gradient_identity,
}
