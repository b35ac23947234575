"""From configuration to objective: the same numbers whether it was written as a shorthand or as a list."""

from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amid.config import KINDS, AmidCfg, CompatCfg, DivergenceCfg, ObjectiveCfg, compiled_terms
from amid.core import Compat, Head, dense_objective, linear_objective
from amid.errors import RequestError
from amid.training.objective import BUILDERS, compat_of, objective_of

PARAMS = {"kl": {}, "ab": {"ab_alpha": 0.2, "ab_beta": 0.7}, "tv": {}, "gjs": {"gjs_weight": 0.3}}


def value_and_gradients(objective, form):
    generator = torch.Generator().manual_seed(7)
    hidden, weight = (torch.randn(*shape, generator=generator).requires_grad_() for shape in ((6, 5), (13, 5)))
    teacher, teacher_weight = (torch.randn(*shape, generator=generator) for shape in ((6, 4), (13, 4)))
    common = {
        "labels": torch.randint(13, (6,), generator=generator),
        "token_weights": torch.full((6,), 1 / 6),
        "vocab_size": 13,
    }
    if form == "fused":
        parts = linear_objective(hidden, Head(weight), teacher, Head(teacher_weight), objective, **common)
    else:
        parts = dense_objective(hidden @ weight.t(), teacher @ teacher_weight.t(), objective, **common)
    return [parts.loss, *torch.autograd.grad(parts.loss, (hidden, weight))]


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(PARAMS)),
    order=st.sampled_from(["pr", "rp", "qr", "rq"]),
    alpha=st.sampled_from([None, -5.0, 0.5, 1.0, 3.0]),
    lam=st.floats(0.05, 0.95),
    kd_ratio=st.floats(0.0, 1.0).map(lambda ratio: round(ratio, 6)),
    labels_first=st.booleans(),
)
def test_shorthand_and_list_give_equal_bits(name, order, alpha, lam, kd_ratio, labels_first):
    divergence, amid = DivergenceCfg(name, order, PARAMS[name]), AmidCfg(alpha=alpha, lam=lam)
    entries = [
        {"kind": "divergence", "weight": kd_ratio, "name": name, "order": order, "params": PARAMS[name]}
        | {"alpha": alpha, "lam": lam},
        {"kind": "labels", "weight": round(1.0 - kd_ratio, 6)},
    ]
    elsewhere = DivergenceCfg("jeffreys", "pr"), AmidCfg(alpha=7.0, lam=0.5)
    shorthand = compiled_terms(ObjectiveCfg(kd_ratio), divergence, amid)
    explicit = compiled_terms(ObjectiveCfg(terms=entries[::-1] if labels_first else entries), *elsewhere)
    assert explicit == shorthand
    objectives = [objective_of(terms, CompatCfg()) for terms in (shorthand, explicit)]
    assert [names for names, _ in objectives[0].active_terms] == [names for names, _ in objectives[1].active_terms]
    for form in ("dense", "fused"):
        for ours, theirs in zip(*(value_and_gradients(each, form) for each in objectives), strict=True):
            assert torch.equal(ours, theirs)


def test_every_kind_of_the_configuration_has_a_builder():
    assert set(BUILDERS) == set(KINDS)


@pytest.mark.parametrize("flag", [field.name for field in fields(Compat)])
def test_a_deviation_has_one_name_from_the_configuration_to_core(flag):
    assert compat_of(CompatCfg(**{flag: True})) == Compat(**{flag: True})


def test_a_list_is_the_weighted_sum_of_its_terms():
    divergence, amid = DivergenceCfg("ab", "pr", PARAMS["ab"]), AmidCfg(alpha=-5.0, lam=0.1)
    entries = [
        {"kind": "divergence", "weight": 0.9},
        {"kind": "divergence", "weight": 0.2, "name": "kl", "order": "rp", "alpha": None},
        {"kind": "labels", "weight": 0.1},
    ]

    def found(*chosen):
        return value_and_gradients(
            objective_of(compiled_terms(ObjectiveCfg(terms=list(chosen)), divergence, amid), CompatCfg()), "fused"
        )

    together = found(*entries)
    alone = [found(entry) for entry in entries]
    for whole, *parts in zip(together, *alone, strict=True):
        torch.testing.assert_close(whole, sum(parts))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "akl", "params": {"akl_mu": 0.5}}, "divergence 'akl': .*takes its weights from the teacher"),
        ({"alpha": None, "detach_student": True}, "divergence 'kl': detach_student with order 'pr' and alpha null"),
        (
            {"lam_schedule": {"name": "linear", "params": {"start": 0.1, "end": 1.0}}},
            "divergence 'kl': lam 1.0 makes r equal to the teacher",
        ),
        ({"function": "nowhere_at_all:f"}, "divergence function 'nowhere_at_all:f': module .* cannot be imported"),
        ({"function": "os:system"}, "divergence function 'os:system'"),
    ],
)
def test_what_a_term_cannot_be_is_said_with_its_place(entry, said):
    listed = [{"kind": "divergence", "weight": 0.5}, {"kind": "divergence", "weight": 0.5, **entry}]
    terms = compiled_terms(ObjectiveCfg(terms=listed), DivergenceCfg("kl"), AmidCfg(alpha=-1.0))
    with pytest.raises(RequestError, match=rf"^objective.terms\[1\]: {said}") as caught:
        objective_of(terms, CompatCfg())
    assert "\n" not in str(caught.value)
