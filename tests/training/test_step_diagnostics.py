"""The diagnostics of one step, without a trainer: which positions are read, and what is made of their logits."""

from dataclasses import replace

import pytest
import torch
from stepping import VOCAB, module_of

from amid.core import CrossEntropy, DivergenceTerm, Objective, constant, kl
from amid.data.batch import IGNORE_INDEX, SOURCES, collate
from amid.training.diagnostics import SAMPLED, diagnostic_metrics, sampled

ALPHA, LAM = -5.0, 0.1
KEY = (10, 3, 0)


def term(order="pr", alpha=ALPHA, lam=LAM, **more):
    return DivergenceTerm(kl, order, None if alpha is None else constant(value=alpha), constant(value=lam), **more)


def batch(lengths=(9, 1, 2, 5), seed=1):
    generator = torch.Generator().manual_seed(seed)

    def drawn(length):
        return torch.randint(VOCAB, (length,), generator=generator).tolist()

    return collate([(drawn(3), drawn(n)) for n in lengths], example_ids=range(len(lengths)), pad_id=0)


def marked(rows):
    return rows.inputs[SAMPLED] > 0


def measured(module, rows):
    return diagnostic_metrics(module._summed_over_ranks(module._accumulate_all(rows)).positions)


def probabilities(module, rows, places):
    """p and q in float64, [n, V], from whole logits."""
    with torch.no_grad():
        return [
            one(input_ids=rows.input_ids).logits[places].double().softmax(-1)
            for one in (module._teacher[0], module.student)
        ]


@pytest.mark.parametrize("micro_batch_size", [None, 1, 3])
@pytest.mark.parametrize(("order", "lam"), [("pr", 0.1), ("rp", 0.1), ("qr", 0.9)])
def test_the_dead_zone_is_that_of_the_stored_logits(order, lam, micro_batch_size):
    module = module_of(Objective((term(order, lam=lam),)), options={"micro_batch_size": micro_batch_size})
    rows = sampled(batch(), num_positions=6, key=KEY)
    p, q = probabilities(module, rows, marked(rows))
    bound = ((1 - LAM) / LAM) ** (1 / 3)
    mass, dead = (p, p / q > bound) if "p" in order else (q, q / p > bound)
    found = measured(module, rows)
    assert found["diagnostics/num_positions"] == 6 == len(p)
    assert found["diagnostics/dead_zone_share"] == pytest.approx(float((mass * dead).sum(-1).mean()), rel=1e-4)
    assert 0.01 < found["diagnostics/dead_zone_share"] < 0.99
    assert found["diagnostics/overlap"] == pytest.approx(float(torch.minimum(p, q).sum(-1).mean()), rel=1e-5)
    assert found["diagnostics/entropy_q"] == pytest.approx(float(-(q * q.log()).sum(-1).mean()), rel=1e-5)


def test_whole_logits_give_the_measures_of_heads():
    module, rows = module_of(Objective((term(),))), sampled(batch(), num_positions=6, key=KEY)
    through_heads = measured(module, rows)
    module._forward._heads = [None, None]
    assert measured(module, rows) == pytest.approx(through_heads, rel=1e-4, abs=1e-6)


def test_more_positions_than_are_projected_at_once_are_all_measured():
    module, rows = module_of(Objective((term(),))), sampled(batch((28, 27, 26, 25)), num_positions=90, key=KEY)
    found = measured(module, rows)
    p, q = probabilities(module, rows, marked(rows))
    assert found["diagnostics/num_positions"] == 90
    assert found["diagnostics/overlap"] == pytest.approx(float(torch.minimum(p, q).sum(-1).mean()), rel=1e-5)


def test_the_sample_is_a_function_of_seed_step_and_rank_and_moves_no_other_generator():
    before = torch.get_rng_state()
    rows = batch((30, 30))
    first = marked(sampled(rows, num_positions=8, key=KEY))
    assert torch.equal(first, marked(sampled(rows, num_positions=8, key=KEY)))
    for other in ((11, 3, 0), (10, 4, 0), (10, 3, 1)):
        assert not torch.equal(first, marked(sampled(rows, num_positions=8, key=other)))
    assert torch.equal(torch.get_rng_state(), before)
    assert int(first.sum()) == 8
    assert bool((rows.labelled | ~first).all()), "labelled positions only"


def test_every_labelled_position_is_as_likely_as_any_other():
    rows = batch((7, 0, 5))
    counts = sum(marked(sampled(rows, num_positions=3, key=(1, step, 0))).float() for step in range(2000))
    shares = counts[rows.labelled] / 2000
    assert shares.tolist() == pytest.approx([3 / len(shares)] * len(shares), abs=0.04)  # 4 standard deviations


@pytest.mark.parametrize("num_positions", [17, 64])
def test_a_batch_with_no_more_positions_is_read_whole(num_positions):
    rows = batch()  # 17 labels
    assert torch.equal(marked(sampled(rows, num_positions=num_positions, key=KEY)), rows.labelled)


def test_a_step_without_diagnostics_measures_nothing_and_one_with_them_has_the_same_gradient():
    module, rows = module_of(Objective((term(),))), batch()
    plain = module._summed_over_ranks(module._accumulate_all(rows))
    gradients = [weight.grad.clone() for weight in module.student.parameters()]
    assert diagnostic_metrics(plain.positions) == {}
    module.student.zero_grad()
    total = module._summed_over_ranks(module._accumulate_all(sampled(rows, num_positions=6, key=KEY)))
    assert total.loss == plain.loss
    for weight, gradient in zip(module.student.parameters(), gradients, strict=True):
        assert torch.equal(weight.grad, gradient)


def test_a_batch_without_a_label_has_no_measures():
    module, rows = module_of(Objective((term(),))), batch()
    rows.labels.fill_(IGNORE_INDEX)
    assert measured(module, sampled(rows, num_positions=6, key=KEY)) == {}


def test_without_a_teacher_only_the_student_is_measured():
    rows = sampled(batch(), num_positions=6, key=KEY)
    found = measured(module_of(Objective((CrossEntropy(),))), rows)
    assert set(found) == {"diagnostics/entropy_q", "diagnostics/num_positions"}


def test_without_an_assistant_there_is_no_weight_and_no_dead_zone():
    rows = sampled(batch(), num_positions=6, key=KEY)
    for one in (term(alpha=None), term("rq", alpha=1.0, lam=0.5, detach_student=True)):
        found = measured(module_of(Objective((one,))), rows)
        assert not any("weight" in name or "dead" in name for name in found)
        assert "diagnostics/overlap" in found


def test_ranks_exchange_the_same_names_whether_or_not_they_have_a_label():
    objective = Objective((term(),))
    parts = []
    for rank, lengths in enumerate(((9, 3), (0, 0))):
        rows = batch(tuple(max(n, 1) for n in lengths), seed=rank)
        if not any(lengths):
            rows.labels.fill_(IGNORE_INDEX)
        module = module_of(objective)
        parts.append(module._accumulate(sampled(rows, num_positions=6, key=(10, 3, rank)), objective))
    assert list(parts[0].positions) == list(parts[1].positions)
    assert parts[1].positions["overlap"] == [0.0, 0.0]


def test_terms_of_two_writers_are_each_measured_on_their_own_rows():
    of_teacher, of_student = term(), term("qr", lam=0.9)
    objective = Objective((of_teacher, of_student))
    rows = batch((6, 8, 5, 4))
    source = torch.tensor([SOURCES.index(name) for name in ("teacher", "student", "teacher", "student")])
    rows = sampled(replace(rows, source=source), num_positions=16, key=KEY)
    module = module_of(objective, sources=("teacher", "student"))
    found = measured(module, rows)
    for index, (row_numbers, is_p) in enumerate((([0, 2], True), ([1, 3], False))):
        places = marked(rows).clone()
        places[[number for number in range(4) if number not in row_numbers]] = False
        p, q = probabilities(module, rows, places)
        bound = ((1 - LAM) / LAM) ** (1 / 3)
        mass, dead = (p, p / q > bound) if is_p else (q, q / p > bound)
        assert found[f"diagnostics/dead_zone_share_{index}"] == pytest.approx(
            float((mass * dead).sum(-1).mean()), rel=1e-4
        )
    p, q = probabilities(module, rows, marked(rows))
    assert found["diagnostics/overlap"] == pytest.approx(float(torch.minimum(p, q).sum(-1).mean()), rel=1e-5)
    assert found["diagnostics/num_positions"] == 16
