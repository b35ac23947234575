"""The identity of an objective: one id for one meaning, whether it was written as a shorthand or as a list."""

import copy

import pytest

from amid.cells.cell import cell_of
from amid.config import ScheduleCfg
from amid.errors import RequestError

KL = {"kind": "divergence", "weight": 0.2, "name": "kl", "order": "rp", "alpha": None}


def listed(run, *entries, **objective):
    changed = copy.deepcopy(run)
    changed.objective.terms = list(entries)
    for key, value in objective.items():
        setattr(changed.objective, key, value)
    return changed


def divergence(weight, **given):
    return {"kind": "divergence", "weight": weight, **given}


def labels(weight):
    return {"kind": "labels", "weight": weight}


@pytest.mark.parametrize("kd_ratio", [0.0, 0.1, 0.5, 0.7, 1.0])
def test_a_list_that_the_shorthand_can_express_has_its_id(run, kd_ratio):
    run.objective.kd_ratio = kd_ratio
    written = [divergence(kd_ratio), labels(round(1.0 - kd_ratio, 12))]
    shorthand = cell_of(run)
    for entries in (written, written[::-1]):
        assert cell_of(listed(run, *entries)).id == shorthand.id
        assert cell_of(listed(run, *entries)).values == shorthand.values


def test_values_of_a_term_name_the_cell_as_those_of_the_nodes_do(run):
    run.divergence.name, run.divergence.params, run.divergence.order = "kl", {}, "rq"
    run.amid.alpha, run.amid.lam, run.amid.detach_student = 1, 0.4, True
    entry = divergence(1.0, name="kl", order="rq", alpha=1.0, lam=0.4, detach_student=True)
    before = copy.deepcopy(run)
    before.divergence.name, before.amid.alpha, before.amid.lam = "tv", None, 0.9
    assert cell_of(listed(before, entry)).id == cell_of(run).id


AB = {"name": "ab", "order": "pr", "alpha": None}


def largest(*candidates):
    return {"kind": "max", "weight": 1.0, "candidates": list(candidates)}


def test_a_largest_candidate_is_named_by_its_candidates_in_any_order_and_by_how_a_step_is_divided(run):
    one, other = ({**AB, "params": {"ab_alpha": a, "ab_beta": b}} for a, b in ((0.2, 0.8), (0.7, 0.3)))
    cell = cell_of(listed(run, largest(one, other)))
    assert cell.id == cell_of(listed(run, largest(other, one))).id
    assert cell.id != cell_of(listed(run, largest(one, {**other, "order": "rp"}))).id
    assert cell.values["teacher"] == cell_of(run).values["teacher"], "the teacher has a say"
    divided = listed(run, largest(one, other))
    divided.trainer.micro_batch_size = 4
    assert cell_of(divided).id != cell.id, "the choice is made per forward pass"


@pytest.mark.parametrize(
    ("candidates", "words"),
    [
        (None, ("objective.terms[0].candidates", "at least two", "null")),
        ([AB], ("at least two",)),
        ([AB, "ab"], ("objective.terms[0].candidates[1]", "must be a mapping")),
        ([AB, {"weight": 1}], ("unknown key 'objective.terms[0].candidates[1].weight'",)),
        ([AB, {"name": "kll"}], ("objective.terms[0].candidates[1]", "kll")),
    ],
)
def test_candidates_that_cannot_be_are_named_by_their_place(run, candidates, words):
    with pytest.raises(RequestError) as caught:
        cell_of(
            listed(run, {"kind": "max", "weight": 1.0, **({} if candidates is None else {"candidates": candidates})})
        )
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_another_list_is_another_cell_and_the_order_of_its_terms_is_none(run):
    entries = [divergence(0.9), KL, labels(0.1)]
    cell = cell_of(listed(run, *entries))
    assert cell.id != cell_of(run).id
    assert cell.id == cell_of(listed(run, *entries[::-1])).id
    assert [term["kind"] for term in cell.values["objective"]["terms"]] == ["divergence", "divergence", "labels"]
    ids = {cell.id}
    for index, change in ((0, {"weight": 0.8}), (1, {"order": "pr"}), (1, {"alpha": -1.0}), (2, {"weight": 0.2})):
        changed = [{**entry, **change} if index == i else entry for i, entry in enumerate(entries)]
        ids.add(cell_of(listed(run, *changed)).id)
    assert len(ids) == 5


def test_what_has_no_effect_on_a_term_is_left_out_and_said(run):
    first = cell_of(listed(run, divergence(0.9), KL))
    assert first.ignored == ()
    same = cell_of(listed(run, divergence(0.9), {**KL, "lam": 0.7, "version": 2}, labels(0), kd_ratio=0.3))
    assert same.id == first.id
    assert set(same.ignored) == {
        "objective.terms[2] has no effect with weight 0",
        "objective.kd_ratio=0.3 has no effect with objective.terms",
        "objective.terms[1].version has no effect without objective.terms[1].function",
    }
    run.compat.alpha_ge1_geometric = True
    clamped = cell_of(listed(run, divergence(0.9, alpha=3.0), KL))
    assert clamped.id == cell_of(listed(run, divergence(0.9, alpha=1.0), KL)).id
    assert "compat.alpha_ge1_geometric: objective.terms[0].alpha=3 acts as 1" in clamped.ignored


def test_lam_0_in_a_term_of_a_teacher_order_is_no_assistant(run):
    assert (
        cell_of(listed(run, divergence(0.9, lam=0), KL)).id == cell_of(listed(run, divergence(0.9, alpha=None), KL)).id
    )


def test_a_scheduled_term_is_named_by_its_schedule(run):
    moving = {"name": "linear", "params": {"start": 1, "end": -5}}
    cell = cell_of(listed(run, divergence(0.9, alpha_schedule=moving), KL))
    run.amid.alpha_schedule = ScheduleCfg("linear", {"start": 1.0, "end": -5.0})
    assert cell_of(listed(run, divergence(0.9), KL)).id == cell.id
    assert cell_of(listed(run, divergence(0.9, alpha=-5.0), KL)).id != cell.id


def test_a_term_that_is_identically_0_is_refused_by_its_place(run):
    text = r"objective.terms\[1\].lam=0 makes objective.terms\[1\].order=qr identically 0"
    with pytest.raises(RequestError, match=text):
        cell_of(listed(run, divergence(0.9), divergence(0.1, order="qr", lam=0.0)))


def test_the_teacher_names_a_cell_if_a_term_reads_it(run):
    other = copy.deepcopy(run)
    other.pair.teacher_sft.epochs += 1
    assert cell_of(listed(run, labels(0.5))).id == cell_of(listed(other, labels(0.5))).id
    assert cell_of(listed(run, labels(0.5), KL)).id != cell_of(listed(other, labels(0.5), KL)).id
