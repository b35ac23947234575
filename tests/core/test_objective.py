import functools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from amid.core import (
    ORDERS,
    Compat,
    CrossEntropy,
    DivergenceTerm,
    MaxDivergence,
    Objective,
    OverlapAdaptive,
    TaidAdaptive,
    ab,
    akl,
    alpha_mixture,
    bind_divergence,
    constant,
    dense_objective,
    kl,
    linear,
    signal_means,
    to_log_prob,
)
from tests.reference import oracle

AB = functools.partial(ab, ab_alpha=0.2, ab_beta=0.7)
ALPHAS = [-math.inf, -5.0, -1.0, 0.0, 0.5, 1 - 1e-5, 1.0, 1 + 1e-5, 3.0, 6.0, math.inf]


def term(divergence=kl, order="pr", alpha=-1.0, lam=0.1, **kwargs):
    return DivergenceTerm(
        divergence, order, None if alpha is None else constant(value=alpha), constant(value=lam), **kwargs
    )


def logits(seed, rows, size, *, scale=2.0, dtype=torch.float32):
    z = torch.randn(2, rows, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale
    return z[0].to(dtype), z[1].to(dtype)


def run(objective, teacher, student, *, labels=None, weights=None):
    z = student.clone().requires_grad_()
    rows, size = student.shape
    weights = torch.full((rows,), 1.0 / max(rows, 1)) if weights is None else weights
    parts = dense_objective(z, teacher, objective, labels=labels, token_weights=weights, vocab_size=size)
    parts.loss.backward()
    return parts, z.grad


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("divergence", ["kl", "ab"])
def test_value_and_gradient_equal_the_float64_re_derivation(divergence, order, alpha):
    z_p, z_q = logits(1, 1, 25)
    reference = oracle.kl if divergence == "kl" else functools.partial(oracle.ab, first=0.2, second=0.7)

    def value(z):
        p, q = oracle.softmax(z_p[0].double().numpy()), oracle.softmax(z)
        return reference(*oracle.arguments(order, p, q, oracle.assistant(p, q, alpha, 0.3)))

    parts, gradient = run(Objective((term(kl if divergence == "kl" else AB, order, alpha, 0.3),)), z_p, z_q)
    z = z_q[0].double().numpy()
    assert parts.loss.item() == pytest.approx(value(z), rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(gradient[0].numpy(), oracle.student_gradient(value, z, step=1e-4), atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("alpha", [-5.0, -1.0, 0.0, 1.0, 3.0])
def test_kl_gradient_equals_the_worked_special_case(order, alpha):
    z_p, z_q = logits(2, 1, 12, dtype=torch.float64)
    log_p, log_q = z_p.log_softmax(-1), z_q.log_softmax(-1)
    log_r = alpha_mixture(log_p, log_q, alpha=alpha, lam=0.3)
    p, q, r = log_p.exp(), log_q.exp(), log_r.exp()
    w = torch.sigmoid(math.log(0.7 / 0.3) + (1 - alpha) / 2 * (log_q - log_p))
    u = {
        "pr": w * (r - p),
        "rp": w * r * (log_r - log_p - kl(log_r, log_p)),
        "qr": q * (log_q - log_r + 1) + w * (r - q),
        "rq": w * r * (log_r - log_q - kl(log_r, log_q)) - r,
    }[order]
    z = z_q.clone().requires_grad_()
    term(kl, order, alpha, 0.3).per_token(log_p, z.log_softmax(-1), alpha=alpha, lam=0.3).sum().backward()
    torch.testing.assert_close(z.grad, u - q * u.sum(), atol=1e-12, rtol=1e-9)


@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("divergence", [kl, AB], ids=["kl", "ab"])
@given(seed=st.integers(0, 2**31), size=st.integers(2, 20), alpha=st.floats(-8, 8), lam=st.floats(0.05, 0.95))
def test_objective_is_zero_only_when_student_equals_teacher(divergence, order, seed, size, alpha, lam):  # Thm 3.4
    z_p, z_q = logits(seed, 1, size, dtype=torch.float64)
    log_p, log_q = z_p.log_softmax(-1), z_q.log_softmax(-1)
    assume((log_p - log_q).abs().max() > 0.1)
    per_token = functools.partial(term(divergence, order, alpha, lam).per_token, alpha=alpha, lam=lam)
    assert abs(per_token(log_p, log_p.clone()).item()) < 1e-12
    assert per_token(log_p, log_q).item() > 1e-10


@pytest.mark.parametrize("order", ORDERS)
def test_no_assistant_is_the_end_point_the_order_does_not_hold(order):
    z_p, z_q = logits(3, 4, 10)
    lam = 0.0 if "p" in order else 1.0
    without = run(Objective((term(kl, order, None, 0.5),)), z_p, z_q)
    with_end_point = run(Objective((term(kl, order, -1.0, lam),)), z_p, z_q)
    torch.testing.assert_close(without[0].loss, with_end_point[0].loss)
    torch.testing.assert_close(without[1], with_end_point[1])


def test_skew_kl_of_distillm_is_kl_pr_at_alpha_minus_one():
    z_p, z_q = logits(4, 3, 10)
    p, q = z_p.softmax(-1), z_q.softmax(-1)
    parts, _ = run(Objective((term(kl, "pr", -1.0, 0.1),)), z_p, z_q, weights=torch.ones(3))
    torch.testing.assert_close(parts.per_token, (p * (p / (0.1 * p + 0.9 * q)).log()).sum(-1))


def test_skew_reverse_kl_of_distillm_is_kl_qr_at_alpha_minus_one_lam_nine_tenths():
    z_p, z_q = logits(4, 3, 10)
    p, q = z_p.softmax(-1), z_q.softmax(-1)
    parts, _ = run(Objective((term(kl, "qr", -1.0, 0.9),)), z_p, z_q, weights=torch.ones(3))
    torch.testing.assert_close(parts.per_token, (q * (q / (0.9 * p + 0.1 * q)).log()).sum(-1))


def test_gjs_is_the_weighted_pair_of_arithmetic_assistant_terms():
    z_p, z_q = logits(5, 3, 10)
    gjs = run(Objective((term(bind_divergence("gjs", params={"gjs_weight": 0.3}), "pr", None),)), z_p, z_q)
    pair = Objective((term(kl, "pr", -1.0, 0.3, weight=0.3), term(kl, "qr", -1.0, 0.3, weight=0.7)))
    parts = run(pair, z_p, z_q)
    torch.testing.assert_close(gjs[0].loss, parts[0].loss)
    torch.testing.assert_close(gjs[1], parts[1])


def test_taid_is_rq_with_the_student_detached():
    z_p, z_q = logits(6, 3, 10)
    parts, gradient = run(Objective((term(kl, "rq", 1.0, 0.4, detach_student=True),)), z_p, z_q, weights=torch.ones(3))
    target = (0.6 * z_q + 0.4 * z_p).softmax(-1)
    torch.testing.assert_close(gradient, z_q.softmax(-1) - target, atol=1e-6, rtol=1e-5)
    expected = (target * (target.log() - z_q.log_softmax(-1))).sum(-1)
    torch.testing.assert_close(parts.per_token, expected, atol=1e-6, rtol=1e-5)


def test_loss_is_the_weighted_sum_of_terms_and_tokens():
    z_p, z_q = logits(7, 5, 10)
    labels, weights = torch.tensor([1, 2, 3, 4, 9]), torch.tensor([0.5, 0.1, 0.0, 0.2, 0.2])
    objective = Objective((term(AB, "pr", -5.0, 0.1, weight=0.7), CrossEntropy(weight=0.3)))
    parts, _ = run(objective, z_p, z_q, labels=labels, weights=weights)
    log_q = z_q.log_softmax(-1)
    divergence = AB(z_p.log_softmax(-1), alpha_mixture(z_p.log_softmax(-1), log_q, alpha=-5.0, lam=0.1))
    cross_entropy = torch.nn.functional.cross_entropy(z_q, labels, reduction="none")
    torch.testing.assert_close(parts.per_token, 0.7 * divergence + 0.3 * cross_entropy)
    torch.testing.assert_close(parts.loss.detach(), (weights * parts.per_token).sum())
    assert set(parts.terms) == {"ab_pr", "cross_entropy"}
    torch.testing.assert_close(parts.terms["cross_entropy"], (weights * 0.3 * cross_entropy).sum())
    torch.testing.assert_close(sum(parts.terms.values()), parts.loss.detach())


def test_cross_entropy_alone_needs_no_teacher_and_a_zero_weight_term_is_skipped():
    _, z_q = logits(8, 3, 10)
    objective = Objective((CrossEntropy(), term(weight=0.0)))
    assert not objective.needs_teacher
    parts, _ = run(objective, None, z_q, labels=torch.tensor([1, 2, 3]))
    torch.testing.assert_close(parts.loss.detach(), torch.nn.functional.cross_entropy(z_q, torch.tensor([1, 2, 3])))


def test_maximum_takes_the_larger_candidate_with_its_gradient():
    z_p, z_q = logits(9, 4, 10)
    candidates = (term(kl, "pr", None), term(kl, "rp", None))
    losses = [run(Objective((candidate,)), z_p, z_q) for candidate in candidates]
    best = max(losses, key=lambda pair: pair[0].loss.item())
    parts, gradient = run(Objective((MaxDivergence(candidates),)), z_p, z_q)
    torch.testing.assert_close(parts.loss, best[0].loss)
    torch.testing.assert_close(gradient, best[1])


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("divergence", [kl, AB], ids=["kl", "ab"])
def test_extreme_inputs_leave_loss_and_gradient_finite(divergence, order, alpha):
    inf = math.inf
    z_p = torch.tensor([[1e4, -1e4, 0, 5], [0, -inf, 1, 2], [0, -inf, -inf, -inf], [0, 1, 2, 3], [math.nan] * 4])
    z_q = torch.tensor([[-1e4, 1e4, 3, -2], [1, 2, -inf, 0], [1, 2, 3, 0], [0, 1, 2, 3.0], [1, 2, 3, 4.0]])
    parts, gradient = run(Objective((term(divergence, order, alpha, 0.3),)), z_p, z_q)
    assert torch.isfinite(parts.loss)
    assert torch.isfinite(gradient).all()
    left_out = ~torch.isfinite(parts.per_token)
    assert left_out[4]
    assert not left_out[3]
    assert parts.num_nonfinite.item() == left_out.sum().item()
    assert gradient[left_out].abs().max() == 0
    assert parts.per_token[3].abs() < 1e-6


def test_a_left_out_token_does_not_change_the_others():
    z_p, z_q = logits(10, 4, 10)
    broken = z_p.clone()
    broken[1, 3] = math.nan
    weights = torch.full((4,), 0.25)
    keep = torch.tensor([0, 2, 3])
    parts, gradient = run(Objective((term(AB),)), broken, z_q, weights=weights)
    alone, expected = run(Objective((term(AB),)), z_p[keep], z_q[keep], weights=weights[keep])
    torch.testing.assert_close(parts.loss, alone.loss)
    torch.testing.assert_close(gradient[keep], expected)
    assert parts.num_nonfinite.item() == 1


@pytest.mark.parametrize("rows", [0, 1])
def test_no_token_and_a_single_token_are_fine(rows):
    z_p, z_q = logits(11, rows, 10)
    parts, gradient = run(Objective((term(AB), CrossEntropy())), z_p, z_q, labels=torch.zeros(rows, dtype=torch.int64))
    assert torch.isfinite(parts.loss)
    assert gradient.shape == (rows, 10)
    assert (parts.loss.item() == 0) == (rows == 0)


def test_different_head_widths_are_cut_to_the_shared_vocabulary():
    z_p, z_q = logits(12, 3, 10)
    wide = torch.cat([z_p, torch.full((3, 4), 50.0)], dim=1)
    z = z_q.clone().requires_grad_()
    arguments = {"labels": None, "token_weights": torch.ones(3), "vocab_size": 10}
    torch.testing.assert_close(
        dense_objective(z, wide, Objective((term(),)), **arguments).loss,
        dense_objective(z, z_p, Objective((term(),)), **arguments).loss,
    )


def test_teacher_gets_no_gradient():
    z_p, z_q = logits(13, 3, 10)
    z_p.requires_grad_()
    run(Objective((term(),)), z_p, z_q)
    assert z_p.grad is None


def test_schedules_move_with_update_and_resume():
    def make():
        return Objective(
            (DivergenceTerm(kl, "pr", linear(start=-5.0, end=1.0), OverlapAdaptive(at_zero=0.1, at_full=0.5)),)
        )

    first = make()
    assert first.signals == {"progress", "overlap"}
    first.update({"progress": 0.5, "overlap": 0.5})
    assert first.current_values() == pytest.approx({"alpha": -2.0, "lam": 0.3})
    second = make()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.current_values() == first.current_values()
    with pytest.raises(ValueError, match="schedules"):
        second.load_state_dict({"alpha": {}})


def test_overlap_and_assistant_cross_entropy_are_measured_when_a_schedule_reads_them():
    z_p, z_q = logits(14, 3, 10)
    p, q = z_p.softmax(-1), z_q.softmax(-1)
    overlap = Objective((DivergenceTerm(kl, "pr", OverlapAdaptive(), constant(value=0.1)),))
    parts, _ = run(overlap, z_p, z_q)
    assert overlap.measured_signals == ("overlap",)
    assert signal_means(parts.signals)["overlap"] == pytest.approx(torch.minimum(p, q).sum(-1).mean().item(), rel=1e-5)
    taid = DivergenceTerm(kl, "rq", constant(value=1.0), TaidAdaptive(), detach_student=True)
    parts, _ = run(Objective((taid,)), z_p, z_q)
    target = (0.6 * z_q + 0.4 * z_p).softmax(-1)
    expected = -(target * z_q.log_softmax(-1)).sum(-1).mean()
    assert signal_means(parts.signals)["assistant_cross_entropy"] == pytest.approx(expected.item(), rel=1e-5)
    assert run(Objective((term(),)), z_p, z_q)[0].signals == {}


@pytest.mark.parametrize("sizes", [(7,), (1, 6), (3, 0, 4), (2, 2, 2, 1)])
def test_signals_of_any_division_of_the_tokens_add_up_to_the_same_mean(sizes):
    z_p, z_q = logits(20, 7, 10)
    objective = Objective((DivergenceTerm(kl, "pr", OverlapAdaptive(), constant(value=0.1)),))
    summed = torch.zeros(2)
    for p, q in zip(z_p.split(sizes), z_q.split(sizes), strict=True):
        summed += run(objective, p, q)[0].signals["overlap"]
    expected = torch.minimum(z_p.softmax(-1), z_q.softmax(-1)).sum(-1).mean().item()
    assert signal_means({"overlap": summed})["overlap"] == pytest.approx(expected, rel=1e-5)


def test_a_token_whose_signal_is_infinite_is_not_counted_in_its_mean():
    z_p, z_q = logits(21, 3, 4)
    z_q[1, 2] = -math.inf  # the teacher gives it mass, so -r log q is infinite; KL(r||p) is finite
    objective = Objective((DivergenceTerm(kl, "rp", constant(value=-1.0), TaidAdaptive(t_end=0.9)),))
    parts, _ = run(objective, z_p, z_q)
    assert parts.num_nonfinite == 0
    keep = torch.tensor([0, 2])
    total, count = run(objective, z_p[keep], z_q[keep])[0].signals["assistant_cross_entropy"].tolist()
    assert parts.signals["assistant_cross_entropy"].tolist() == pytest.approx([total, count])
    assert count == 2


def test_a_step_without_a_token_moves_the_schedules_by_progress_only():
    objective = Objective((DivergenceTerm(kl, "pr", OverlapAdaptive(), TaidAdaptive(t_start=0.2, t_end=0.8)),))
    means = signal_means({"overlap": (0.0, 0.0), "assistant_cross_entropy": (0.0, 0.0)})
    before = objective.current_values()
    objective.update({"progress": 0.5, **means})
    assert objective.current_values() == {"alpha": before["alpha"], "lam": pytest.approx(0.5)}


def test_compat_clamps_alpha_at_the_geometric_mean():
    z_p, z_q = logits(15, 3, 10)
    clamped = run(Objective((term(AB, "pr", 3.0),), Compat(alpha_ge1_geometric=True)), z_p, z_q)
    geometric = run(Objective((term(AB, "pr", 1.0),)), z_p, z_q)
    harmonic = run(Objective((term(AB, "pr", 3.0),)), z_p, z_q)
    assert torch.equal(clamped[1], geometric[1])
    assert (harmonic[0].loss - geometric[0].loss).abs() > 1e-3


def test_compat_takes_the_softmax_in_the_native_dtype():
    z_p, z_q = logits(16, 3, 200, dtype=torch.bfloat16)
    native = run(Objective((term(AB),), Compat(native_loss_dtype=True)), z_p, z_q)[0].per_token
    log_p, log_q = z_p.log_softmax(-1).float(), z_q.log_softmax(-1).float()
    torch.testing.assert_close(native, AB(log_p, alpha_mixture(log_p, log_q, alpha=-1.0, lam=0.1)))
    assert (native - run(Objective((term(AB),)), z_p, z_q)[0].per_token).abs().max() > 1e-4


def test_compat_fixes_ab_constants_swaps_akl_and_takes_abkd_prefactors():
    log_p, log_q = (to_log_prob(z, 10) for z in logits(17, 3, 10))
    params = {"ab_alpha": 0.0, "ab_beta": 0.5}
    fixed = bind_divergence("ab", params=params, compat=Compat(ab_constants=True))
    torch.testing.assert_close(fixed(log_p, log_q), AB(log_p, log_q))
    halved = bind_divergence("ab", params=params, compat=Compat(abkd_prefactors=True))
    torch.testing.assert_close(halved(log_p, log_q), 0.5 * ab(log_p, log_q, **params))
    swapped = bind_divergence("akl", compat=Compat(akl_swapped=True))
    torch.testing.assert_close(swapped(log_p, log_q), akl(log_p, log_q, akl_swapped=True))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: term(order="pr", lam=1.0), "lam 1.0 makes r equal to the teacher, so order 'pr' is 0"),
        (lambda: term(order="rp", lam=1.0), "order 'rp' is 0"),
        (lambda: term(order="qr", lam=0.0), "lam 0.0 makes r equal to the student, so order 'qr' is 0"),
        (lambda: term(order="rq", lam=0.0), "order 'rq' is 0"),
        (lambda: DivergenceTerm(kl, "pr", constant(value=0.0), linear(start=0.1, end=1.0)), "equal to the teacher"),
        (lambda: term(lam=1.5), r"lam must lie in \[0, 1\], got 1.5"),
        (lambda: term(order="pq"), "order 'pq' unknown"),
        (lambda: term(weight=-1.0), "weight of a term must be finite and at least 0, got -1.0"),
        (lambda: term(order="pr", detach_student=True), "detach_student with order 'pr'"),
        (lambda: term(order="rq", alpha=None, detach_student=True), "detach_student"),
        (lambda: term(akl, "rp", None), "divergence 'akl' takes its weights from the teacher"),
        (lambda: term(akl, "pr", -1.0), "divergence 'akl' takes its weights from the teacher"),
        (lambda: MaxDivergence((term(),)), "at least two candidate terms, got 1"),
        (lambda: Objective(()), "at least one term"),
        (lambda: Objective((CrossEntropy(weight=0.0),)), "at least one term"),
        (lambda: bind_divergence("ab"), r"divergence 'ab' does not accept the parameters \[\]"),
        (lambda: bind_divergence("kl", params={"ab_alpha": 1.0}), "does not accept the parameters"),
        (lambda: bind_divergence(torch.add), r"must map \[N, V\] x2 to a tensor \[N\]"),
    ],
)
def test_bad_objectives_are_refused_before_anything_runs(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_bad_inputs_are_refused():
    z_p, z_q = logits(18, 3, 10)
    good = {"labels": None, "token_weights": torch.ones(3), "vocab_size": 10}
    kd, ce = Objective((term(),)), Objective((CrossEntropy(),))
    for objective, teacher, changed, text in [
        (kd, None, {}, "pass teacher_logits"),
        (kd, z_p, {"token_weights": torch.ones(2)}, r"token_weights must have shape \(3,\), got \(2,\)"),
        (ce, None, {}, "needs labels"),
        (ce, None, {"labels": torch.tensor([0, -100, 1])}, r"labels must lie in \[0, 10\), got -100 .. 1"),
        (kd, z_p, {"vocab_size": 11}, "fewer than vocab_size 11"),
    ]:
        with pytest.raises(ValueError, match=text):
            dense_objective(z_q, teacher, objective, **{**good, **changed})


def test_per_token_schedules_give_each_token_its_own_assistant():
    class PerToken:
        signals = frozenset()

        def value(self):
            return torch.tensor([[-5.0], [1.0], [3.0]])

        def bounds(self):
            return -5.0, 3.0

    z_p, z_q = logits(19, 3, 10)
    together, _ = run(Objective((DivergenceTerm(kl, "pr", PerToken(), constant(value=0.1)),)), z_p, z_q)
    for row, alpha in enumerate((-5.0, 1.0, 3.0)):
        alone, _ = run(Objective((term(kl, "pr", alpha, 0.1),)), z_p[row : row + 1], z_q[row : row + 1])
        torch.testing.assert_close(together.per_token[row], alone.per_token[0])
