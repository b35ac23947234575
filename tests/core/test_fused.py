import functools
import math
import os
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from amid.core import (
    ORDERS,
    Compat,
    CrossEntropy,
    DivergenceTerm,
    Head,
    LowRank,
    MaxDivergence,
    Objective,
    OverlapAdaptive,
    TaidAdaptive,
    ab,
    bind_divergence,
    chunked_objective_from_logits,
    constant,
    dense_objective,
    gjs,
    kl,
    linear_objective,
)

AB = functools.partial(ab, ab_alpha=0.2, ab_beta=0.7)
ALPHAS = [None, -math.inf, -5.0, -1.0, 0.0, 0.5, 1 - 1e-5, 1.0, 1 + 1e-5, 1.5, 3.0, 6.0, math.inf]
NUM_TOKENS, VOCAB = 7, 31


def term(divergence=kl, order="pr", alpha=-1.0, lam=0.1, **kwargs):
    schedule = None if alpha is None else constant(value=alpha)
    return DivergenceTerm(divergence, order, schedule, constant(value=lam), **kwargs)


def problem(*, width=VOCAB, teacher_width=VOCAB, dtype=torch.float32, spread=2.0, **head_parts):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape, scale=1.0):
        return torch.randn(*shape, generator=generator) * scale

    student = normal(NUM_TOKENS, 6).to(dtype).requires_grad_()
    parts = {name: part(normal, width) if callable(part) else part for name, part in head_parts.items()}
    head = Head(normal(width, 6, scale=spread / 2).to(dtype).requires_grad_(), **parts)
    teacher, teacher_head = normal(NUM_TOKENS, 9).to(dtype), Head(normal(teacher_width, 9, scale=spread / 3).to(dtype))
    labels = torch.randint(VOCAB, (NUM_TOKENS,), generator=generator)
    weights = torch.rand(NUM_TOKENS, generator=generator)
    return student, head, teacher, teacher_head, labels, weights


def leaves(student, head):
    lora = [] if head.lora is None else [head.lora.down, head.lora.up]
    return [x for x in (student, head.weight, head.bias, *lora) if x is not None and x.requires_grad]


def both(objective, made, *, chunk_tokens=3):
    student, head, teacher, teacher_head, labels, weights = made
    common = {"labels": labels, "token_weights": weights, "vocab_size": VOCAB}
    dense = dense_objective(head.logits(student), teacher_head.logits(teacher), objective, **common)
    fused = linear_objective(student, head, teacher, teacher_head, objective, **common, chunk_tokens=chunk_tokens)
    inputs = leaves(student, head)
    return (dense, torch.autograd.grad(dense.loss, inputs)), (fused, torch.autograd.grad(fused.loss, inputs))


def assert_equal(objective, made, **kwargs):
    (dense, dense_gradients), (fused, fused_gradients) = both(objective, made, **kwargs)
    # float32 on both sides, different order of operations; values of AB carry the cancellation of its terms.
    torch.testing.assert_close(fused.loss, dense.loss, rtol=2e-5, atol=2e-6)
    torch.testing.assert_close(fused.per_token, dense.per_token, rtol=2e-5, atol=5e-6)
    for name, value in dense.terms.items():
        torch.testing.assert_close(fused.terms[name], value, rtol=2e-5, atol=5e-6)
    for ours, theirs in zip(fused_gradients, dense_gradients, strict=True):
        # Near lam = 0 or 1 a small gradient is the difference of terms of order 0.1 to 1.
        scale = theirs.abs().max().clamp(min=0.1).item()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * scale)
    assert fused.num_nonfinite == dense.num_nonfinite
    assert set(fused.signals) == set(dense.signals)
    for name, value in dense.signals.items():
        torch.testing.assert_close(fused.signals[name], value)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["kl", "ab", "ab_general"])
def test_closed_forms_equal_the_dense_form(name, order, alpha):
    divergence = {"kl": kl, "ab": AB, "ab_general": functools.partial(ab, ab_alpha=1.4, ab_beta=-0.5)}[name]
    assert_equal(Objective((term(divergence, order, alpha, 0.3),)), problem())


@pytest.mark.parametrize("lam", [0.0, 1e-3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("alpha", [-5.0, 0.5, 1.0, 3.0, math.inf])
@pytest.mark.parametrize("order", ORDERS)
def test_closed_forms_equal_the_dense_form_for_every_lam(order, alpha, lam):
    if lam == (1.0 if "p" in order else 0.0):
        with pytest.raises(ValueError, match="is 0 everywhere"):
            term(AB, order, alpha, lam)
        return
    for divergence in (kl, AB):
        assert_equal(Objective((term(divergence, order, alpha, lam),)), problem())


@pytest.mark.parametrize("alpha", [-math.inf, -5.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("order", ["qr", "rq"])
@pytest.mark.parametrize("divergence", [kl, AB], ids=["kl", "ab"])
def test_detached_student_equals_the_dense_form(divergence, order, alpha):
    assert_equal(Objective((term(divergence, order, alpha, 0.3, detach_student=True),)), problem())


OTHERS = {
    "tv": {},
    "js": {},
    "gjs": {"gjs_weight": 0.3},
    "jeffreys": {},
    "wsd": {},
    "amari": {"amari_alpha": 0.3},
    "f_divergence": {"generator": "hellinger"},
    "ab": {"ab_alpha": 0.0, "ab_beta": 0.5},
}


@pytest.mark.parametrize("order", ["pr", "rq"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_divergences_equal_the_dense_form(name, order):
    divergence = bind_divergence(name, params=OTHERS[name])
    for alpha in (None, -1.0, 3.0):
        assert_equal(Objective((term(divergence, order, alpha, 0.3),)), problem())


@pytest.mark.parametrize("name", ["akl", "bdkd", "csd"])
def test_divergences_weighted_by_the_teacher_equal_the_dense_form(name):
    assert_equal(Objective((term(bind_divergence(name), "pr", None),)), problem())


def test_several_terms_and_label_cross_entropy_equal_the_dense_form():
    made = problem()
    assert_equal(Objective((term(AB, "pr", -5.0, weight=0.7), CrossEntropy(weight=0.3))), made)
    assert_equal(Objective((term(kl, "pr", -1.0, weight=0.3), term(kl, "qr", -1.0, 0.3, weight=0.7))), made)
    assert_equal(Objective((MaxDivergence((term(kl, "pr", None), term(kl, "rp", None)), weight=0.5),)), made)
    assert_equal(Objective((CrossEntropy(weight=0.3),)), made)


@pytest.mark.parametrize("divergence", [kl, bind_divergence("tv")], ids=["closed form", "autograd"])
@pytest.mark.parametrize(
    "parts",
    [
        {"bias": lambda normal, width: normal(width).requires_grad_()},
        {"bias": lambda normal, width: normal(width)},
        {"scale": 0.25},
        {"softcap": 1.5},
        {"lora": lambda normal, width: LowRank(normal(2, 6).requires_grad_(), normal(width, 2).requires_grad_(), 0.5)},
        {
            "bias": lambda normal, width: normal(width).requires_grad_(),
            "scale": 0.5,
            "softcap": 3.0,
            "lora": lambda normal, width: LowRank(normal(2, 6).requires_grad_(), normal(width, 2).requires_grad_()),
        },
    ],
    ids=["bias", "frozen bias", "scale", "softcap", "lora", "all"],
)
def test_every_part_of_a_head_equals_the_dense_form(divergence, parts):
    assert_equal(Objective((term(divergence, "pr", -5.0), CrossEntropy())), problem(**parts))


def test_wider_heads_are_cut_to_the_shared_vocabulary():
    made = problem(width=VOCAB + 4, teacher_width=VOCAB + 9, bias=lambda normal, width: normal(width).requires_grad_())
    assert_equal(Objective((term(AB),)), made)
    (_, _), (_, gradients) = both(Objective((term(AB),)), made)
    assert gradients[1][VOCAB:].abs().max() == 0
    assert gradients[2][VOCAB:].abs().max() == 0


@pytest.mark.parametrize("chunk_tokens", [1, 2, 7, 100])
def test_the_chunk_size_does_not_matter(chunk_tokens):
    assert_equal(Objective((term(AB, "pr", -5.0),)), problem(), chunk_tokens=chunk_tokens)


def test_blocks_inside_a_chunk_do_not_matter(monkeypatch):
    monkeypatch.setattr("amid.core.fused.BLOCK_ELEMENTS_CPU", 2 * VOCAB)
    for divergence in (AB, bind_divergence("tv")):
        assert_equal(Objective((term(divergence, "pr", -5.0), CrossEntropy())), problem(), chunk_tokens=5)


def test_bfloat16_inputs_are_computed_in_float32(monkeypatch):
    monkeypatch.setattr("amid.core.heads.WEIGHT_ROWS", 8)
    made = problem(dtype=torch.bfloat16)
    (dense, dense_gradients), (fused, fused_gradients) = both(Objective((term(AB, "pr", -5.0),)), made)
    torch.testing.assert_close(fused.loss, dense.loss, rtol=2e-5, atol=2e-6)
    for ours, theirs in zip(fused_gradients, dense_gradients, strict=True):
        assert ours.dtype == torch.bfloat16
        # One rounding to bfloat16 at the end, on either side.
        torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=1e-5)


def test_measured_signals_equal_the_dense_form():
    overlap = DivergenceTerm(AB, "pr", OverlapAdaptive(), constant(value=0.1))
    taid = DivergenceTerm(kl, "rq", constant(value=1.0), TaidAdaptive(), detach_student=True)
    tv = DivergenceTerm(bind_divergence("tv"), "pr", OverlapAdaptive(), constant(value=0.1))
    for one in (overlap, taid, tv):
        assert_equal(Objective((one,)), problem())


def test_per_token_schedules_equal_the_dense_form():
    class PerToken:
        signals = frozenset()

        def value(self):
            return torch.linspace(-5, 4, NUM_TOKENS).unsqueeze(1)

        def bounds(self):
            return -5.0, 4.0

    assert_equal(Objective((DivergenceTerm(AB, "pr", PerToken(), constant(value=0.1)),)), problem())


@pytest.mark.parametrize("compat", [Compat(alpha_ge1_geometric=True), Compat(native_loss_dtype=True)])
def test_compat_equals_the_dense_form(compat):
    assert_equal(Objective((term(AB, "pr", 3.0),), compat), problem())


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("divergence", [kl, AB], ids=["kl", "ab"])
def test_extreme_inputs_are_left_out_exactly_as_in_the_dense_form(divergence, order, alpha):
    inf = math.inf
    z_p = torch.tensor([[1e4, -1e4, 0, 5], [0, -inf, 1, 2], [0, -inf, -inf, -inf], [0, 1, 2, 3], [math.nan] * 4])
    z_q = torch.tensor([[-1e4, 1e4, 3, -2], [1, 2, -inf, 0], [1, 2, 3, 0], [0, 1, 2, 3.0], [1, 2, 3, 4.0]])
    student = z_q.clone().requires_grad_()
    common = {"labels": None, "token_weights": torch.ones(5), "vocab_size": 4}
    objective = Objective((term(divergence, order, alpha, 0.3),))
    dense = dense_objective(student, z_p, objective, **common)
    chunked = chunked_objective_from_logits(student, z_p, objective, **common, chunk_tokens=2)
    (dense_gradient,) = torch.autograd.grad(dense.loss, student)
    (chunked_gradient,) = torch.autograd.grad(chunked.loss, student)
    assert chunked.num_nonfinite == dense.num_nonfinite
    assert torch.equal(torch.isfinite(chunked.per_token), torch.isfinite(dense.per_token))
    torch.testing.assert_close(chunked.loss, dense.loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(chunked_gradient, dense_gradient, rtol=1e-4, atol=1e-5 * max(1.0, dense.loss.item()))


def wide_logits(num_tokens=8, size=40):
    """Logits of a teacher and a student whose log-probabilities differ by 30 to 100 at some entries of every token."""
    generator = torch.Generator().manual_seed(2)
    z_p, z_q = torch.randn(2, num_tokens, size, generator=generator) * 3
    far = torch.linspace(30.0, 100.0, num_tokens).unsqueeze(1)
    z_p[:, 3:12] -= far  # what the student thinks likely
    z_q[:, 20:30] -= far  # what the teacher thinks likely
    return z_p, z_q


@pytest.mark.parametrize("lam", [0.1, 0.9])
@pytest.mark.parametrize(
    "alpha", [None, -math.inf, -20.0, -5.0, -3.0, -1.0, 0.0, 0.5, 1 - 1e-5, 1.0, 3.0, 6.0, math.inf]
)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("divergence", [kl, AB, functools.partial(gjs, gjs_weight=0.3)], ids=["kl", "ab", "gjs"])
def test_differences_of_30_to_100_keep_the_closed_form_and_equal_float64(divergence, order, alpha, lam):
    if divergence not in (kl, AB) and alpha is not None:
        return  # GJS through an assistant has no closed form
    z_p, z_q = wide_logits()
    one = term(divergence, order, alpha, lam)
    z = z_q.double().requires_grad_()
    true = one.per_token(z_p.double().log_softmax(-1), z.log_softmax(-1), alpha=alpha, lam=lam)
    (true_gradient,) = torch.autograd.grad(true.sum(), z)
    student = z_q.clone().requires_grad_()
    parts = chunked_objective_from_logits(
        student, z_p, Objective((one,)), labels=None, token_weights=torch.ones(len(z_q)), vocab_size=z_q.shape[1]
    )
    (gradient,) = torch.autograd.grad(parts.loss, student)
    assert parts.num_dense == 0
    assert parts.num_nonfinite == 0
    torch.testing.assert_close(parts.per_token.double(), true.detach(), rtol=2e-5, atol=5e-6)
    # A logarithm of 100 is known to 4e-6 in float32, times kappa where it meets the other one.
    torch.testing.assert_close(gradient.double(), true_gradient, rtol=2e-4, atol=2e-5 * max(1.0, true.max().item()))


OFFSET_ERROR = """
import torch
from amid.core import DivergenceTerm, Objective, chunked_objective_from_logits, constant, kl
term = DivergenceTerm(kl, "pr", constant(value=-5.0), constant(value=0.1))
z_q, z_p = torch.randn(2, 4, 500, generator=torch.Generator().manual_seed(0)) * 3 + 1000.0
z, student = z_q.double().requires_grad_(), z_q.clone().requires_grad_()
true = term.per_token(z_p.double().log_softmax(-1), z.log_softmax(-1), alpha=-5.0, lam=0.1)
common = {"labels": None, "token_weights": torch.ones(4), "vocab_size": 500}
loss = chunked_objective_from_logits(student, z_p, Objective((term,)), **common).loss
(gradient,), (exact,) = torch.autograd.grad(loss, student), torch.autograd.grad(true.sum(), z)
print(float((gradient - exact).norm() / exact.norm()))
"""


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_a_common_offset_of_1000_costs_no_digits_also_without_fused_multiply_add(capability):
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
    done = subprocess.run([sys.executable, "-c", OFFSET_ERROR], capture_output=True, text=True, env=environment)
    assert float(done.stdout) < 3e-6, done.stderr


def test_tokens_that_take_the_dense_form_are_counted():
    z_p, z_q = wide_logits(num_tokens=5)
    z_p[1, 0] = -math.inf  # 0 log 0
    common = {"labels": None, "token_weights": torch.ones(5), "vocab_size": 40}
    z_q.requires_grad_()
    counts = []
    for divergence in (kl, AB, bind_divergence("tv")):
        objective = Objective((term(divergence, "pr", -5.0),))
        assert dense_objective(z_q, z_p, objective, **common).num_dense == 5
        counts.append(int(chunked_objective_from_logits(z_q, z_p, objective, **common, chunk_tokens=2).num_dense))
    assert counts == [1, 0, 5]


# AB(2, -1) and chi-square are sums of p^2 / q: near e^88, the end of float32.
OVERFLOWING = {
    "ab(2, -1)": functools.partial(ab, ab_alpha=2.0, ab_beta=-1.0),
    "chi2": bind_divergence("f_divergence", params={"generator": "chi2"}),
}


@pytest.mark.parametrize("depth", [60.0, 80.0, 87.5, 88.3, 95.0])
@pytest.mark.parametrize("form", ["dense", "chunked", "linear"])
@pytest.mark.parametrize("name", OVERFLOWING)
def test_a_token_whose_gradient_float32_cannot_carry_leaves_the_sum_and_is_counted(name, form, depth):
    z_p, z_q = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]]), torch.tensor([[0.3, 0.0, -depth], [0.3, 0.0, -1.0]])
    student, objective = z_q.clone().requires_grad_(), Objective((term(OVERFLOWING[name], "pr", None),))
    common = {"labels": None, "token_weights": torch.ones(2), "vocab_size": 3}
    if form == "linear":
        heads = Head(torch.eye(3).requires_grad_()), Head(torch.eye(3))
        parts = linear_objective(student, heads[0], z_p, heads[1], objective, **common)
        (of_head,) = torch.autograd.grad(parts.loss, heads[0].weight, retain_graph=False)
        assert torch.isfinite(of_head).all()
        parts = linear_objective(student, heads[0], z_p, heads[1], objective, **common)
    else:
        evaluate = dense_objective if form == "dense" else chunked_objective_from_logits
        parts = evaluate(student, z_p, objective, **common)
    (gradient,) = torch.autograd.grad(parts.loss, student)
    assert parts.num_nonfinite == 1
    assert torch.isfinite(parts.per_token).tolist() == [False, True]
    assert gradient[0].tolist() == [0.0, 0.0, 0.0]
    alone = z_q[1:].clone().requires_grad_()
    kept = dense_objective(alone, z_p[1:], objective, **{**common, "token_weights": torch.ones(1)})
    torch.testing.assert_close(parts.loss, kept.loss)
    torch.testing.assert_close(gradient[1:], torch.autograd.grad(kept.loss, alone)[0])


@pytest.mark.parametrize("form", [dense_objective, chunked_objective_from_logits])
def test_a_divergence_whose_gradient_alone_is_not_finite_loses_that_token_only(form):
    def root(log_left, log_right):
        return (log_left.exp() - log_right.exp()).abs().sum(-1).sqrt()  # infinite slope at equality, where it is 0

    z_p, z_q = torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.5]], requires_grad=True)
    parts = form(z_q, z_p, Objective((term(root, "pr", None),)), labels=None, token_weights=torch.ones(2), vocab_size=2)
    parts.loss.backward()
    assert parts.num_nonfinite == 1
    assert z_q.grad[0].tolist() == [0.0, 0.0]
    assert z_q.grad[1].abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunked_form_from_logits_equals_the_dense_form_and_keeps_the_logits(dtype):
    generator = torch.Generator().manual_seed(1)
    z_q, z_p = (torch.randn(2, 7, 12, generator=generator) * 2).to(dtype)
    before, student = z_q.clone(), z_q.clone().requires_grad_()
    common = {"labels": torch.arange(7), "token_weights": torch.rand(7, generator=generator), "vocab_size": 10}
    for divergence in (AB, bind_divergence("js")):
        objective = Objective((term(divergence, "pr", -5.0), CrossEntropy()))
        dense = dense_objective(student, z_p, objective, **common)
        chunked = chunked_objective_from_logits(student, z_p, objective, **common, chunk_tokens=3)
        torch.testing.assert_close(chunked.loss, dense.loss)
        (ours,), (theirs,) = (torch.autograd.grad(x.loss * 2.0, student) for x in (chunked, dense))
        torch.testing.assert_close(ours, theirs, rtol=1e-5 if dtype == torch.float32 else 2**-7, atol=1e-6)
    assert torch.equal(student.detach(), before)


@pytest.mark.parametrize(
    "parts", [{}, {"bias": lambda normal, width: normal(width).requires_grad_()}], ids=["", "bias"]
)
def test_native_loss_dtype_under_autocast_is_that_of_the_models_own_logits(parts):
    student, head, teacher, teacher_head, labels, weights = problem(**parts)
    assert student.dtype == torch.float32
    common = {"labels": labels, "token_weights": weights, "vocab_size": VOCAB}
    native, plain = (Objective((term(AB, "pr", -5.0),), Compat(native_loss_dtype=flag)) for flag in (True, False))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        own = [
            torch.nn.functional.linear(states, one.weight, one.bias)
            for states, one in ((student, head), (teacher, teacher_head))
        ]
        assert own[0].dtype == torch.bfloat16
        dense = dense_objective(own[0], own[1], native, **common)
        fused = linear_objective(student, head, teacher, teacher_head, native, **common)
        in_float32 = linear_objective(student, head, teacher, teacher_head, plain, **common)
    # The products are summed in another order, which may move a logit by one bfloat16 step of 2^-8.
    torch.testing.assert_close(fused.per_token, dense.per_token, rtol=1e-3, atol=1e-3)
    assert (fused.per_token - in_float32.per_token).abs().max() > 3e-3
    gradients = [torch.autograd.grad(x.loss, head.weight)[0] for x in (fused, dense)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.05, atol=2**-8)


def test_native_loss_dtype_is_each_models_own():
    generator = torch.Generator().manual_seed(1)
    z_q, z_p = torch.randn(2, 7, 12, generator=generator) * 3
    objective = Objective((term(AB, "pr", -5.0),), Compat(native_loss_dtype=True))
    common = {"labels": None, "token_weights": torch.ones(7), "vocab_size": 12}
    student = z_q.bfloat16().requires_grad_()
    chunked = chunked_objective_from_logits(student, z_p, objective, **common)
    torch.testing.assert_close(chunked.per_token, dense_objective(student, z_p, objective, **common).per_token)
    head = Head(torch.eye(12, dtype=torch.bfloat16).requires_grad_())
    linear = linear_objective(z_q.bfloat16(), head, z_p, Head(torch.eye(12)), objective, **common)
    torch.testing.assert_close(linear.per_token, chunked.per_token)


def test_a_frozen_head_gets_no_gradient_and_the_hidden_states_still_do():
    student, head, teacher, teacher_head, labels, weights = problem()
    frozen = Head(head.weight.detach())
    parts = linear_objective(
        student, frozen, teacher, teacher_head, Objective((term(),)),
        labels=labels, token_weights=weights, vocab_size=VOCAB,
    )  # fmt: skip
    parts.loss.backward()
    assert frozen.weight.grad is None
    assert student.grad.abs().max() > 0


def test_without_grad_the_value_is_the_same_and_has_no_graph():
    student, head, teacher, teacher_head, labels, weights = problem()
    arguments = (student, head, teacher, teacher_head, Objective((term(AB),)))
    common = {"labels": labels, "token_weights": weights, "vocab_size": VOCAB}
    with torch.no_grad():
        value = linear_objective(*arguments, **common).loss
    assert not value.requires_grad
    torch.testing.assert_close(value, linear_objective(*arguments, **common).loss.detach())


def test_backward_scales_with_the_outer_gradient_and_runs_once():
    student, head, teacher, teacher_head, labels, weights = problem()
    common = {"labels": labels, "token_weights": weights, "vocab_size": VOCAB}
    gradients = []
    for factor in (1.0, 0.5):
        loss = linear_objective(student, head, teacher, teacher_head, Objective((term(AB),)), **common).loss
        gradients.append(torch.autograd.grad(loss * factor, head.weight, retain_graph=True)[0])
        with pytest.raises(RuntimeError, match="have been used"):
            torch.autograd.grad(loss, head.weight)
    torch.testing.assert_close(gradients[1], 0.5 * gradients[0])


def test_no_token_gives_zero_loss_and_zero_gradients():
    student, head, teacher, teacher_head, labels, weights = problem()
    parts = linear_objective(
        student[:0], head, teacher[:0], teacher_head, Objective((term(AB), CrossEntropy())),
        labels=labels[:0], token_weights=weights[:0], vocab_size=VOCAB,
    )  # fmt: skip
    parts.loss.backward()
    assert parts.loss.item() == 0
    assert head.weight.grad.abs().max() == 0
    assert student.grad.shape == student.shape


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"teacher_hidden": None}, "pass teacher_hidden and teacher_head"),
        ({"student_hidden": torch.zeros(7, 5)}, r"student_hidden must have shape \[N, 6\], got \(7, 5\)"),
        ({"teacher_hidden": torch.zeros(6, 9)}, "teacher_hidden holds 6 tokens, student_hidden 7"),
        ({"vocab_size": VOCAB + 1}, f"the student's head scores {VOCAB} tokens, fewer than vocab_size {VOCAB + 1}"),
        ({"chunk_tokens": 0}, "chunk_tokens must be at least 1, got 0"),
    ],
)
def test_bad_inputs_are_refused(changed, text):
    student, head, teacher, teacher_head, labels, weights = problem()
    arguments = {
        "student_hidden": student, "student_head": head, "teacher_hidden": teacher, "teacher_head": teacher_head,
        "objective": Objective((term(),)), "labels": labels, "token_weights": weights, "vocab_size": VOCAB,
    }  # fmt: skip
    with pytest.raises(ValueError, match=text):
        linear_objective(**{**arguments, **changed})


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Head(torch.zeros(3)), r"weight must be \[V, H\]"),
        (lambda: Head(torch.zeros(3, 2), bias=torch.zeros(2)), r"bias must have shape \(3,\)"),
        (lambda: Head(torch.zeros(3, 2), softcap=0.0), "softcap must be finite and above 0"),
        (lambda: Head(torch.zeros(3, 2), scale=0.0), "scale must be finite and not 0"),
        (lambda: LowRank(torch.zeros(2, 3), torch.zeros(4, 3)), "low-rank factors must be"),
        (lambda: Head(torch.zeros(3, 2), lora=LowRank(torch.zeros(1, 5), torch.zeros(3, 1))), r"of a \[3, 2\] head"),
    ],
)
def test_bad_heads_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that any operation gives."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, tuple | list) else (result,):
            if isinstance(item, torch.Tensor) and not item._is_view():
                self.largest = max(self.largest, item.numel())
        return result


@pytest.mark.parametrize("divergence", [AB, bind_divergence("tv")], ids=["closed form", "autograd"])
def test_no_tensor_of_all_tokens_and_the_vocabulary_is_ever_made(divergence):
    num_tokens, vocab_size, size, chunk_tokens = 64, 500, 6, 8
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(num_tokens, size, generator=generator).requires_grad_()
    head = Head(torch.randn(vocab_size, size, generator=generator).requires_grad_())
    with LargestTensor() as mode:
        linear_objective(
            student, head, student.detach(), Head(head.weight.detach()), Objective((term(divergence, "pr", -5.0),)),
            labels=None, token_weights=torch.ones(num_tokens), vocab_size=vocab_size, chunk_tokens=chunk_tokens,
        ).loss.backward()  # fmt: skip
    assert mode.largest == max(chunk_tokens, size) * vocab_size
