"""The measures of single positions against their formulas, written out in float64 and plain Python."""

import math

import pytest
import torch

from amid.core import (
    ORDERS,
    Assistant,
    Compat,
    CrossEntropy,
    DivergenceTerm,
    MaxDivergence,
    Objective,
    PolicyGradient,
    akl,
    constant,
    kl,
    linear,
)
from amid.core.assistants import log_power_mean
from amid.core.diagnostics import (
    FIRST_TOKENS,
    entropy,
    in_dead_zone,
    measure_names,
    outside_nucleus,
    position_sums,
    weight_logit,
)

NUM, VOCAB = 6, 23
ALPHAS = [-math.inf, -5.0, -1.0, 0.5, 1.0, 3.0, 6.0, math.inf]


def logits(*shape, seed=0, spread=2.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread


def rows(tensor):
    """Probabilities in float64 as lists."""
    return tensor.double().softmax(-1).tolist()


def means(found):
    return {name: float(pair[0] / pair[1]) for name, pair in found.items()}


def bound(alpha, lam):
    """((1 - lam) / lam)^(1/kappa); 1 for an infinite kappa."""
    kappa = (1.0 - alpha) / 2.0
    return 1.0 if math.isinf(kappa) else ((1.0 - lam) / lam) ** (1.0 / kappa)


def is_dead(p, q, alpha, lam, order):
    """The dead zone as the documentation says it, by the ratio p / q."""
    kappa = (1.0 - alpha) / 2.0
    if kappa == 0.0:
        return False
    goes_with_p = p / q > bound(alpha, lam) if kappa > 0 else p / q < bound(alpha, lam)
    goes_with_q = p / q < bound(alpha, lam) if kappa > 0 else p / q > bound(alpha, lam)
    return goes_with_p if "p" in order else goes_with_q


def weight(p, q, alpha, lam):
    """w by the first form of Prop. 3.5: powers, no logarithm."""
    kappa = (1.0 - alpha) / 2.0
    if math.isinf(kappa):
        return float(q > p) if kappa > 0 else float(q < p)
    scale = max(p, q)  # of which w does not depend
    p_part, q_part = lam * (p / scale) ** kappa, (1.0 - lam) * (q / scale) ** kappa
    return q_part / (p_part + q_part)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_measures_of_an_assistant_are_their_formulas(alpha, order):
    lam = 0.1 if "p" in order else 0.9
    student, teacher = logits(NUM, VOCAB), logits(NUM, VOCAB, seed=1)
    found = position_sums(student, teacher, {"": Assistant(alpha, lam, order)}, vocab_size=VOCAB)
    above, below, dead = [0.0, 0.0], [0.0, 0.0], 0.0
    for p_row, q_row in zip(rows(teacher), rows(student), strict=True):
        for p, q in zip(p_row, q_row, strict=True):
            side = above if p > q else below
            side[0] += abs(p - q) * weight(p, q, alpha, lam)
            side[1] += abs(p - q)
            if is_dead(p, q, alpha, lam, order):
                dead += p if "p" in order else q
    measured = means(found)
    assert measured["gradient_weight_p_above_q"] == pytest.approx(above[0] / above[1], rel=1e-5, abs=1e-7)
    assert measured["gradient_weight_q_above_p"] == pytest.approx(below[0] / below[1], rel=1e-5, abs=1e-7)
    assert measured["dead_zone_share"] == pytest.approx(dead / NUM, rel=1e-5, abs=1e-7)
    if alpha == 1.0:
        assert measured["gradient_weight_p_above_q"] == pytest.approx(1.0 - lam)
        assert measured["dead_zone_share"] == 0.0
    elif alpha != 0.5:  # whose bound is 6561
        assert 0.0 < measured["dead_zone_share"] < 1.0


def test_the_bound_of_the_best_alpha_of_the_paper_is_2_08():
    assert bound(-5.0, 0.1) == pytest.approx(2.08, abs=5e-4)
    log_p, log_q = torch.tensor([[0.4, 0.6]]).log(), torch.tensor([[0.4 / 2.07, 0.6 / 2.09]]).log()
    for order, lam, reversed_ in (("pr", 0.1, False), ("qr", 0.9, True)):  # the mirror image: q/p above 2.08
        assistant = Assistant(-5.0, lam, order)
        logit = weight_logit(log_q, log_p, assistant) if reversed_ else weight_logit(log_p, log_q, assistant)
        assert in_dead_zone(logit, assistant).tolist() == [[False, True]]


@pytest.mark.parametrize("lam", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("alpha", [-5.0, -1.0, 0.0, 3.0])
def test_w_is_the_derivative_of_the_assistant_in_the_student(alpha, lam):
    log_p, log_q = (logits(NUM, VOCAB, seed=seed).double().log_softmax(-1) for seed in (2, 3))
    log_q.requires_grad_()
    log_power_mean(log_p, log_q, kappa=(1.0 - alpha) / 2.0, lam=lam).sum().backward()
    logit = weight_logit(log_p, log_q.detach(), Assistant(alpha, lam, "pr"))
    torch.testing.assert_close(logit.sigmoid(), log_q.grad, rtol=1e-9, atol=1e-12)


def test_in_the_dead_zone_the_pull_does_not_grow_with_the_error():
    """A divergence's change with one log q_k, as q_k (order pr) or p_k (qr) is moved away from the other."""
    for order, lam in (("pr", 0.1), ("qr", 0.9)):
        pulls = {}
        for alpha in (-5.0, None):
            term = DivergenceTerm(kl, order, None if alpha is None else constant(value=alpha), constant(value=lam))
            for ratio in (8.0, 64.0):  # beyond 2.08
                high, low = torch.tensor([0.3, 0.7]), torch.tensor([0.3 / ratio, 1.0 - 0.3 / ratio])
                p, q = (high, low) if order == "pr" else (low, high)
                log_q = q.double().log().requires_grad_()
                term.per_token(p.double().log(), log_q, alpha=alpha, lam=lam).backward()
                pulls[alpha, ratio] = abs(float(log_q.grad[0])) / float(q[0] if order == "qr" else p[0])
        assert pulls[-5.0, 64.0] < 1.2 * pulls[-5.0, 8.0], order
        if order == "qr":
            assert pulls[None, 64.0] > pulls[None, 8.0] + 1.9  # log 8 more
        else:
            assert pulls[-5.0, 8.0] < 0.02 * pulls[None, 8.0]


def test_the_measures_of_p_and_q_are_their_formulas():
    student, teacher = logits(NUM, VOCAB), logits(NUM, VOCAB, seed=1)
    measured = means(position_sums(student, teacher, {}, vocab_size=VOCAB))
    p_rows, q_rows = rows(teacher), rows(student)
    both = list(zip(p_rows, q_rows, strict=True))

    def outside(of, by):
        order = sorted(range(VOCAB), key=lambda k: -by[k])
        mass, inside = 0.0, []
        for k in order:
            inside.append(k)
            mass += by[k]
            if mass >= 0.95:
                break
        return sum(of[k] for k in range(VOCAB) if k not in inside)

    expected = {
        "entropy_p": sum(-x * math.log(x) for row in p_rows for x in row) / NUM,
        "entropy_q": sum(-x * math.log(x) for row in q_rows for x in row) / NUM,
        "overlap": sum(min(a, b) for p, q in both for a, b in zip(p, q, strict=True)) / NUM,
        "top1_agreement": sum(p.index(max(p)) == q.index(max(q)) for p, q in both) / NUM,
        "q_outside_nucleus_of_p": sum(outside(q, p) for p, q in both) / NUM,
        "p_outside_nucleus_of_q": sum(outside(p, q) for p, q in both) / NUM,
    }
    assert measured == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert expected["q_outside_nucleus_of_p"] != pytest.approx(expected["p_outside_nucleus_of_q"], rel=0.01)


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
def test_a_nucleus_of_any_size_is_that_of_a_whole_sort(spread):
    """From one of nearly all tokens, past what is looked at first, to one of a few."""
    vocab_size = 40 * FIRST_TOKENS
    by, of = (logits(4, vocab_size, seed=seed, spread=scale).softmax(-1) for seed, scale in ((0, spread), (1, 1.0)))
    by[0] = logits(vocab_size, spread=6.0).softmax(-1)  # of another size than the others in the same block
    values, order = by.double().sort(descending=True, stable=True)
    inside = values.cumsum(-1) - values < 0.95
    expected = [float(of[i].double()[order[i][~inside[i]]].sum()) for i in range(4)]
    sizes = inside.sum(-1)
    assert sizes[0] < FIRST_TOKENS < max(sizes[1:]) or spread == 3.0
    found = outside_nucleus(of, by)
    # Where all tokens are equally likely which of them are in is open, and rounding moves the bound by a few
    assert found.tolist() == pytest.approx(expected, abs=1e-5 if spread else 3e-2)


def test_one_token_can_be_the_whole_nucleus():
    certain = torch.tensor([[0.97, 0.02, 0.01]])
    assert outside_nucleus(torch.tensor([[0.2, 0.3, 0.5]]), certain).tolist() == pytest.approx([0.8])


def test_entries_without_mass_add_nothing_and_are_no_gap():
    teacher, student = torch.tensor([[0.0, 1.0, -math.inf]]), torch.tensor([[1.0, -math.inf, -math.inf]])
    for alpha in ALPHAS:
        measured = means(position_sums(student, teacher, {"": Assistant(alpha, 0.1, "pr")}, vocab_size=3))
        assert all(math.isfinite(value) for value in measured.values()), (alpha, measured)
        assert measured["entropy_q"] == 0.0
        # The second token, which the student never says, is where p is above q
        expected = {True: 0.0, False: 1.0}[alpha < 1.0] if alpha != 1.0 else 0.9
        assert measured["gradient_weight_p_above_q"] == pytest.approx(expected)
        assert measured["dead_zone_share"] == pytest.approx(math.e / (1 + math.e) if alpha < 1.0 else dead_below(alpha))


def dead_below(alpha):
    """For kappa < 0 the first token, of which the student has more: ratio 0.27, below the bound."""
    return 0.0 if alpha == 1.0 or 1 / (1 + math.e) > bound(alpha, 0.1) else 1 / (1 + math.e)


def test_a_position_that_is_no_number_is_left_out_of_sum_and_count():
    student, teacher = logits(4, VOCAB), logits(4, VOCAB, seed=1)
    alone = position_sums(student[[0, 2]], teacher[[0, 2]], {"": Assistant(-5.0, 0.1, "pr")}, vocab_size=VOCAB)
    student[1, 3], teacher[3, 0] = math.nan, math.inf
    per_token = torch.full((4, 1), -5.0)
    for alpha in (-5.0, per_token):
        found = position_sums(student, teacher, {"": Assistant(alpha, 0.1, "pr")}, vocab_size=VOCAB)
        assert found["overlap"][1] == 2
        assert means(found) == pytest.approx(means(alone), rel=1e-6)
    only = position_sums(student, None, {}, vocab_size=VOCAB)
    assert list(only) == ["entropy_q"] and only["entropy_q"][1] == 3


def test_wider_heads_are_cut_to_the_shared_vocabulary():
    student, teacher = logits(NUM, VOCAB + 3), logits(NUM, VOCAB + 8, seed=1)
    cut = means(position_sums(student[:, :VOCAB], teacher[:, :VOCAB], {}, vocab_size=VOCAB))
    assert means(position_sums(student, teacher, {}, vocab_size=VOCAB)) == cut


def test_16_bit_logits_and_autocast_leave_the_measures_in_float32():
    student, teacher = logits(NUM, VOCAB).bfloat16(), logits(NUM, VOCAB, seed=1).bfloat16()
    plain = position_sums(student.float(), teacher.float(), {"": Assistant(-5.0, 0.1, "pr")}, vocab_size=VOCAB)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = position_sums(student, teacher, {"": Assistant(-5.0, 0.1, "pr")}, vocab_size=VOCAB)
    assert means(found) == means(plain)


def test_the_entropy_of_a_uniform_distribution_is_the_logarithm_of_its_size():
    uniform = torch.full((2, 8), -math.log(8))
    assert entropy(uniform.exp(), uniform).tolist() == pytest.approx([math.log(8)] * 2)


def test_the_names_are_those_that_are_measured():
    found = position_sums(
        logits(NUM, VOCAB),
        logits(NUM, VOCAB, seed=1),
        {"_0": Assistant(-5.0, 0.1, "pr"), "_2": Assistant(0.0, 0.9, "qr")},
        vocab_size=VOCAB,
    )
    assert set(found) == set(measure_names(teacher=True, assistants=("_0", "_2")))
    assert measure_names(teacher=False, assistants=()) == ("entropy_q",)


def term(alpha, order="pr", lam=0.1, **more):
    return DivergenceTerm(kl, order, None if alpha is None else constant(value=alpha), constant(value=lam), **more)


def test_an_objective_says_what_its_divergences_mix_under_the_numbers_of_their_schedules():
    moving = DivergenceTerm(kl, "pr", linear(start=-5.0, end=1.0), constant(value=0.2))
    alone = Objective((CrossEntropy(), moving))
    alone.update({"progress": 0.5})
    assert alone.assistants() == {"": (moving, Assistant(-2.0, 0.2, "pr"))}
    candidates = MaxDivergence((term(-1.0), term(None)))
    several = Objective((term(None), candidates, term(0.0, "qr", 0.9), term(1.0, "rq", 0.5, detach_student=True)))
    assert {name: found[1].alpha for name, found in several.assistants().items()} == {"_1": -1.0, "_3": 0.0}
    assert several.assistants()["_1"][0] is candidates
    # As the schedules are numbered
    assert {name for name, _ in several.schedules} == {"alpha_1", "lam_1", "alpha_3", "lam_3", "alpha_4", "lam_4"}


def test_without_an_assistant_there_is_nothing_mixed():
    plain = DivergenceTerm(akl, "pr", None, constant(value=0.5))
    assert Objective((CrossEntropy(), PolicyGradient(), plain)).assistants() == {}


def test_the_rule_of_the_reference_for_alpha_above_1_counts_here_too():
    (_, found) = Objective((term(3.0),), Compat(alpha_ge1_geometric=True)).assistants()[""]
    assert found.alpha == 1.0
