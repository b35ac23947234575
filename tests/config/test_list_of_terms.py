"""The terms of an objective: what a list of them means, what each entry inherits, and what is refused."""

import itertools
import math
import re

import pytest

from amid import config
from amid.config import AmidCfg, DivergenceCfg, ObjectiveCfg, ScheduleCfg, compiled_terms, kd_ratio_of
from amid.errors import RequestError

AB = DivergenceCfg("ab", params={"ab_alpha": 0.2, "ab_beta": 0.7})
AMID = AmidCfg(alpha=-5.0, lam=0.1)
KL = {"kind": "divergence", "weight": 0.2, "name": "kl", "order": "rp", "alpha": None}
LABELS = {"kind": "labels", "weight": 0.3}
PLAIN = {"kind": "divergence", "weight": 0.5}


def compiled(*entries, divergence=AB, amid=AMID, kd_ratio=1.0):
    return compiled_terms(ObjectiveCfg(kd_ratio, list(entries) or None), divergence, amid)


@pytest.mark.parametrize("kd_ratio", [0.0, 0.3, 1.0])
def test_without_a_list_the_terms_are_those_of_the_shorthand(kd_ratio):
    terms = compiled(kd_ratio=kd_ratio)
    kinds = {0.0: ["labels"], 0.3: ["divergence", "labels"], 1.0: ["divergence"]}[kd_ratio]
    assert [term.kind for term in terms] == kinds
    assert sum(term.weight for term in terms) == 1.0
    assert [term.reads_teacher for term in terms] == [kind == "divergence" for kind in kinds]
    assert kd_ratio_of(terms) == kd_ratio


def test_what_an_entry_leaves_out_is_that_of_the_nodes():
    (plain,) = compiled(PLAIN)
    assert (plain.divergence, plain.amid) == (AB, AMID)
    (ordered,) = compiled({**PLAIN, "order": "qr", "lam": 0.4})
    assert ordered.divergence == DivergenceCfg("ab", "qr", AB.params)
    assert ordered.amid == AmidCfg(alpha=-5.0, lam=0.4)


def test_parameters_and_versions_belong_to_the_divergence_they_were_given_for():
    own = DivergenceCfg("mine", "rq", {"x": 1}, "my_module:mine", version=3)
    assert compiled({**PLAIN, "version": 4}, divergence=own)[0].divergence == DivergenceCfg(
        "mine", "rq", {"x": 1}, "my_module:mine", version=4
    )
    assert compiled({**PLAIN, "name": "kl"}, divergence=own)[0].divergence == DivergenceCfg("kl", "rq")
    other = {"function": "my_module:other", "params": {"y": 2}}
    assert compiled({**PLAIN, **other}, divergence=own)[0].divergence == DivergenceCfg("mine", "rq", **other)


def test_a_schedule_belongs_to_the_value_it_was_given_for():
    moving = ScheduleCfg("linear", {"start": 1.0, "end": -5.0})
    amid = AmidCfg(alpha=-5.0, lam=0.1, alpha_schedule=moving)
    assert compiled({**PLAIN, "lam": 0.2}, amid=amid)[0].amid.alpha_schedule == moving
    assert compiled({**PLAIN, "alpha": -1}, amid=amid)[0].amid.alpha_schedule == ScheduleCfg()
    other = {"name": "cosine", "params": {"start": 0.0, "end": 1.0}}
    assert compiled({**PLAIN, "alpha_schedule": other}, amid=amid)[0].amid.alpha_schedule == ScheduleCfg(**other)


def test_the_order_of_a_list_does_not_matter_and_no_weight_is_no_term():
    entries = [PLAIN, KL, {**KL, "weight": 0.1}, LABELS, {**LABELS, "weight": 0.0}]
    assert all(compiled(*permuted) == compiled(*entries) for permuted in itertools.permutations(entries))
    assert [(term.kind, term.weight) for term in compiled(*entries)] == [
        ("divergence", 0.5),
        ("divergence", 0.1),
        ("divergence", 0.2),
        ("labels", 0.3),
    ]


def test_weights_that_add_up_to_1_as_written_do_so_exactly():
    divergence, labels = compiled({**PLAIN, "weight": 0.9}, {**LABELS, "weight": 0.1})
    assert (divergence.weight, labels.weight) == (0.9, 1.0 - 0.9)
    assert kd_ratio_of((divergence, labels)) == 0.9
    nearly = compiled({**PLAIN, "weight": 1 - 1e-10}, {**LABELS, "weight": 2e-10})
    assert nearly[1].weight == 2e-10


@pytest.mark.parametrize(
    "entries",
    [(PLAIN,), (PLAIN, {**LABELS, "weight": 0.6}), (PLAIN, {**KL, "weight": 0.5}), (LABELS, LABELS), (LABELS,)],
    ids=["half", "more", "two divergences", "labels twice", "labels alone"],
)
def test_what_no_kd_ratio_says_is_no_shorthand(entries):
    assert kd_ratio_of(compiled(*entries)) is None


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "objective.terms needs at least one term with a weight above 0, got []"),
        ([{**LABELS, "weight": 0}], 'with a weight above 0, got [{"kind": "labels", "weight": 0}]'),
        ([PLAIN, 3], "objective.terms[1] must be a mapping such as {kind: labels, weight: 0.1}, got 3"),
        ([{"weight": 1}], "objective.terms[0].kind has no value and no default; valid: divergence, labels"),
        ([{**LABELS, "kind": "label"}], "objective.terms[0].kind 'label' unknown; did you mean 'labels'?"),
        ([{"kind": ["labels"], "weight": 1}], "objective.terms[0].kind '['labels']' unknown"),
        ([{"kind": "labels"}], "objective.terms[0].weight must be a number, at least 0, got null"),
        *(
            ([{**LABELS, "weight": weight}], f"objective.terms[0].weight must be a number, at least 0, got {text}")
            for weight, text in ((-0.1, "-0.1"), (math.nan, "NaN"), (math.inf, "Inf"), ("1", '"1"'), (True, "true"))
        ),
        ([{**LABELS, "weight": 10**400}], "objective.terms[0].weight must be a number, at least 0, got 1000"),
        ([PLAIN, {**KL, "lma": 1}], "unknown key 'objective.terms[1].lma'; did you mean 'objective.terms[1].lam'?"),
        (
            [{**LABELS, "alpha": 1}],
            "unknown key 'objective.terms[0].alpha'; valid in objective.terms[0]: kind, source, weight",
        ),
        ([{**KL, "alpha_schedule": {"nam": "linear"}}], "did you mean 'objective.terms[0].alpha_schedule.name'?"),
        ([{**KL, "name": "kll"}], "objective.terms[0]: divergence 'kll' unknown; did you mean 'kl'?"),
        ([{**KL, "name": "gjs"}], "objective.terms[0]: divergence.params of 'gjs' must be exactly ['gjs_weight']"),
        ([{**KL, "order": "pq"}], "objective.terms[0]: divergence.order 'pq' unknown"),
        ([{**KL, "lam": 1.5}], "objective.terms[0]: amid.lam must lie in [0, 1], got 1.5"),
        ([{**KL, "alpha": math.nan}], "objective.terms[0]: amid.alpha must be a real number, inf, -inf or null, got"),
        ([{**KL, "alpha": "x"}], "objective.terms[0]: Value 'x' of type 'str' could not be converted to Float"),
    ],
)  # fmt: skip
def test_a_bad_list_is_one_line(entries, said):
    with pytest.raises(RequestError, match=re.escape(said)) as caught:
        compiled_terms(ObjectiveCfg(terms=entries), AB, AMID)
    assert "\n" not in str(caught.value)


def test_two_terms_that_follow_the_measurement_of_one_are_refused():
    amid = AmidCfg(alpha=1.0, lam_schedule=ScheduleCfg("taid_adaptive"))
    text = r"objective.terms\[0\], objective.terms\[1\]: schedule 'taid_adaptive' follows .* got 2"
    with pytest.raises(RequestError, match=text):
        compiled(PLAIN, {**PLAIN, "order": "rq"}, amid=amid)
    assert len(compiled(PLAIN, {**PLAIN, "lam": 0.3}, amid=amid)) == 2


def test_every_key_of_an_entry_belongs_to_one_node():
    keys = config.KINDS["divergence"].keys
    assert len(set(keys)) == len(keys)
    assert not {"kind", "weight"} & set(keys)
