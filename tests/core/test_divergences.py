import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from amid.core import (
    DIVERGENCES,
    ab,
    akl,
    alpha_mixture,
    amari,
    bdkd,
    csd,
    f_divergence,
    gjs,
    jeffreys,
    js,
    kl,
    resolve_divergence,
    to_log_prob,
    tv,
    weighted_sum,
    wsd,
)
from tests.reference import oracle

AB_POINTS = [
    (0.2, 0.7), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5), (0.5, 0.0), (0.0, 0.5), (0.5, -0.5), (0.0, 0.0),
    (1.5, -0.5), (-0.3, 1.2), (0.7, 0.2),
]  # fmt: skip
# Those that vanish only at equal arguments.
PROPER = {
    "kl": kl,
    "jeffreys": jeffreys,
    "js": js,
    "gjs": functools.partial(gjs, gjs_weight=0.3),
    "tv": tv,
    "wsd": wsd,
    "akl": akl,
    "amari": functools.partial(amari, amari_alpha=-0.4),
    "csd": csd,
    "weighted_sum": weighted_sum([(0.3, kl), (0.2, tv)]),
    **{f"ab{a, b}": functools.partial(ab, ab_alpha=a, ab_beta=b) for a, b in AB_POINTS},
    **{f"f_{name}": functools.partial(f_divergence, generator=name) for name in oracle.GENERATORS},
}


def logits(seed, size, *, scale=2.0):
    return torch.randn(2, 1, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def log_pair(seed, size, **kwargs):
    z_p, z_q = logits(seed, size, **kwargs)
    return z_p.log_softmax(-1), z_q.log_softmax(-1)


def probabilities(log_p, log_q):
    return log_p[0].exp().numpy(), log_q[0].exp().numpy()


@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("name", PROPER)
@given(seed=st.integers(0, 2**31), size=st.integers(2, 30))
def test_divergence_is_zero_for_equal_arguments_and_positive_otherwise(name, seed, size):
    log_p, log_q = log_pair(seed, size)
    assume((log_p - log_q).abs().max() > 1e-2)
    assert abs(PROPER[name](log_p, log_p.clone()).item()) < 1e-12
    assert PROPER[name](log_p, log_q).item() > 1e-9


@pytest.mark.parametrize("point", AB_POINTS, ids=str)
def test_ab_equals_the_textbook_case(point):
    log_p, log_q = log_pair(1, 40)
    expected = oracle.ab(*probabilities(log_p, log_q), *point)
    assert ab(log_p, log_q, ab_alpha=point[0], ab_beta=point[1]).item() == pytest.approx(expected, rel=1e-9)
    in_float32 = ab(log_p.float(), log_q.float(), ab_alpha=point[0], ab_beta=point[1]).item()
    assert in_float32 == pytest.approx(expected, rel=2e-5)


def test_ab_identities():
    log_p, log_q = log_pair(2, 40)
    p, q = log_p.exp(), log_q.exp()
    for (a, b), expected in {
        (1.0, 0.0): kl(log_p, log_q),
        (0.0, 1.0): kl(log_q, log_p),
        (1.0, 1.0): 0.5 * (p - q).square().sum(-1),
        (0.5, 0.5): 2 * (p.sqrt() - q.sqrt()).square().sum(-1),
        (0.3, 0.7): amari(log_p, log_q, amari_alpha=0.4),
    }.items():
        torch.testing.assert_close(ab(log_p, log_q, ab_alpha=a, ab_beta=b), expected)


@pytest.mark.parametrize(
    ("near", "limit"),
    [
        ((1e-5, 0.7), (0.0, 0.7)),
        ((0.7, 1e-5), (0.7, 0.0)),
        ((0.5, -0.5 + 1e-5), (0.5, -0.5)),
        ((1e-4, 2e-4), (0.0, 0.0)),
        ((1e-9, 0.7), (0.0, 0.7)),
        ((1e-9, -1e-9), (0.0, 0.0)),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ab_is_continuous_at_its_singular_lines_also_in_float32(near, limit, dtype):
    log_p, log_q = (x.to(dtype) for x in log_pair(3, 40))
    value = ab(log_p, log_q, ab_alpha=near[0], ab_beta=near[1]).item()
    assert value == pytest.approx(ab(log_p, log_q, ab_alpha=limit[0], ab_beta=limit[1]).item(), rel=2e-3)


@pytest.mark.parametrize(("a", "b", "factor"), [(0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, -0.5, 0.5), (0.2, 0.7, 1.0)])
def test_abkd_prefactors_change_the_singular_lines_only(a, b, factor):
    log_p, log_q = log_pair(4, 20)
    plain = ab(log_p, log_q, ab_alpha=a, ab_beta=b)
    torch.testing.assert_close(ab(log_p, log_q, ab_alpha=a, ab_beta=b, abkd_prefactors=True), plain * factor)


def test_amari_limits_are_the_two_kls():
    log_p, log_q = log_pair(5, 20)
    torch.testing.assert_close(amari(log_p, log_q, amari_alpha=-1.0), kl(log_p, log_q))
    torch.testing.assert_close(amari(log_p, log_q, amari_alpha=1.0), kl(log_q, log_p))
    torch.testing.assert_close(amari(log_p, log_q, amari_alpha=-1 + 1e-6), kl(log_p, log_q), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", oracle.GENERATORS)
def test_f_divergence_equals_its_generator(name):
    log_p, log_q = log_pair(6, 40)
    expected = oracle.f_divergence(*probabilities(log_p, log_q), oracle.GENERATORS[name])
    assert f_divergence(log_p, log_q, generator=name).item() == pytest.approx(expected, rel=1e-9)


def test_amari_generator_is_the_amari_divergence():
    log_p, log_q = log_pair(7, 40)
    c = 0.4
    expected = oracle.f_divergence(*probabilities(log_p, log_q), lambda v: 4 / (1 - c * c) * (1 - v ** ((1 - c) / 2)))
    assert f_divergence(log_p, log_q, generator="amari", amari_alpha=c).item() == pytest.approx(expected, rel=1e-9)


def test_kl_jeffreys_gjs_tv_wsd_equal_their_definitions():
    log_p, log_q = log_pair(8, 40)
    p, q = probabilities(log_p, log_q)
    m = 0.3 * p + 0.7 * q
    expected = {
        kl: oracle.kl(p, q),
        jeffreys: oracle.kl(p, q) + oracle.kl(q, p),
        functools.partial(gjs, gjs_weight=0.3): 0.3 * oracle.kl(p, m) + 0.7 * oracle.kl(q, m),
        tv: np.abs(p - q).sum() / 2,
        functools.partial(wsd, wsd_reverse_weight=0.2): 0.8 * oracle.kl(p, q) + 0.2 * oracle.kl(q, p),
    }
    for divergence, value in expected.items():
        assert divergence(log_p, log_q).item() == pytest.approx(value, rel=1e-10)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_gjs_end_points_are_zero_with_zero_gradient(weight):
    log_p, log_q = log_pair(8, 10)
    log_q.requires_grad_()
    value = gjs(log_p, log_q, gjs_weight=weight)
    value.sum().backward()
    assert value.item() == 0
    assert log_q.grad.abs().max() == 0


@pytest.mark.parametrize("mu", [0.2, 0.5, 0.8])
def test_akl_equals_the_token_by_token_head(mu):
    log_p, log_q = log_pair(9, 30)
    assert akl(log_p, log_q, akl_mu=mu).item() == pytest.approx(oracle.akl(*probabilities(log_p, log_q), mu), rel=1e-9)


def test_swapped_akl_is_akl_of_exchanged_arguments_with_gradient_through_the_weights():
    log_p, log_q = log_pair(10, 30)
    log_q.requires_grad_()
    swapped = akl(log_p, log_q, akl_swapped=True)
    torch.testing.assert_close(swapped, akl(log_q, log_p))
    (with_weights,) = torch.autograd.grad(swapped.sum(), log_q)
    (without,) = torch.autograd.grad(akl(log_q, log_p).sum(), log_q)
    assert (with_weights - without).abs().max() > 1e-4


def test_bdkd_doubles_the_term_of_the_higher_entropy():
    flat, peaked = torch.zeros(1, 4).log_softmax(-1), torch.tensor([[3.0, 0, 0, 0]]).log_softmax(-1)

    def cross_entropy(a, b):
        return -(a.exp() * b).sum(-1)

    torch.testing.assert_close(bdkd(flat, peaked), 2 * cross_entropy(flat, peaked) + kl(peaked, flat))
    torch.testing.assert_close(bdkd(peaked, flat), cross_entropy(peaked, flat) + 2 * kl(flat, peaked))
    torch.testing.assert_close(bdkd(flat, flat), cross_entropy(flat, flat))


@pytest.mark.parametrize("weights", ["student", "teacher_student", "uniform_student", "mixed"])
def test_csd_equals_the_double_sum_and_its_gradient_ignores_the_weights(weights):
    z_p, z_q = logits(11, 12)
    p, q = oracle.softmax(z_p[0].numpy()), oracle.softmax(z_q[0].numpy())
    flat, mix = np.full(12, 1 / 12), 0.5 * p + 0.5 * q
    u, v = {"student": (q, q), "teacher_student": (p, q), "uniform_student": (flat, q), "mixed": (mix, mix)}[weights]
    z = z_q.clone().requires_grad_()
    value = csd(z_p.log_softmax(-1), z.log_softmax(-1), csd_weights=weights)
    value.sum().backward()
    d = (z_q - z_p)[0].numpy()
    assert value.item() == pytest.approx(oracle.csd(d, u, v), rel=1e-9)
    expected = 0.5 * (v * (d - (u * d).sum()) + u * (d - (v * d).sum()))
    np.testing.assert_allclose(z.grad[0].numpy(), expected, atol=1e-10)


EXTREMES = {
    "huge": (torch.tensor([[1e4, -1e4, 0.0, 5.0]]), torch.tensor([[-1e4, 1e4, 3.0, -2.0]])),
    "teacher zero": (torch.tensor([[0.0, -math.inf, 1.0, 2.0]]), torch.tensor([[1.0, 2.0, 3.0, 0.0]])),
    "shared zero": (torch.tensor([[0.0, -math.inf, 1.0, 2.0]]), torch.tensor([[1.0, -math.inf, 3.0, 0.0]])),
    "one-hot teacher": (
        torch.tensor([[0.0, -math.inf, -math.inf, -math.inf]]),
        torch.tensor([[1.0, 2.0, 3.0, 0.0]]),
    ),
}
BOUNDED = {
    name: PROPER[name]
    for name in ("tv", "js", "gjs", "ab(0.2, 0.7)", "ab(1.0, 1.0)", "ab(0.5, 0.5)", "amari", "f_hellinger", "f_tv")
}


@pytest.mark.parametrize("case", EXTREMES)
@pytest.mark.parametrize("name", BOUNDED)
def test_bounded_divergences_and_their_gradients_survive_exact_zeros_and_huge_logits(name, case):
    z_p, z_q = EXTREMES[case]
    z = z_q.clone().requires_grad_()
    for reverse in (False, True):
        pair = [to_log_prob(z_p, 4), to_log_prob(z, 4)]
        value = BOUNDED[name](*(reversed(pair) if reverse else pair))
        (gradient,) = torch.autograd.grad(value.sum(), z)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()


def test_kl_is_finite_where_the_left_argument_is_zero_and_infinite_where_the_right_is():
    z_p, z_q = EXTREMES["one-hot teacher"]
    z = z_q.clone().requires_grad_()
    log_p, log_q = to_log_prob(z_p, 4), to_log_prob(z, 4)
    forward = kl(log_p, log_q)
    forward.sum().backward()
    torch.testing.assert_close(forward, -log_q[:, 0])
    torch.testing.assert_close(z.grad, log_q.exp() - torch.tensor([[1.0, 0, 0, 0]]), atol=1e-6, rtol=0)
    assert not torch.isfinite(kl(log_q, log_p)).any()


INF = math.inf
# Logits of p and q with exact zeros: in q, in p, in both at one place, everywhere but one place.
ZEROS = {
    "q zero": ([0.0, 1.0, -1.0, 0.5], [0.5, -INF, 2.0, 1.0]),
    "p zero": ([0.0, 1.0, -INF, 0.5], [0.5, 0.0, 2.0, 1.0]),
    "issue": ([0.0, 1.0, -INF], [0.5, 0.0, 2.0]),
    "both zero": ([0.0, 1.0, -INF, 0.5], [0.5, 0.0, -INF, 1.0]),
    "different zeros": ([0.0, -INF, -INF, 0.5], [0.5, -INF, 1.0, -INF]),
    "p one-hot": ([0.0, -INF, -INF, -INF], [0.5, 0.0, 2.0, 1.0]),
    "q one-hot": ([0.0, 1.0, 2.0, 0.5], [0.5, -INF, -INF, -INF]),
    "both one-hot": ([0.0, -INF, -INF, -INF], [0.5, -INF, -INF, -INF]),
}
# Whose limit at zeros exists for every ratio of two vanishing entries: powers of S > 0.
ZEROABLE = {
    **{
        f"ab{point}": functools.partial(ab, ab_alpha=point[0], ab_beta=point[1])
        for point in [
            (1.0, 0.0), (0.0, 1.0), (0.5, 0.0), (0.0, 0.5), (2.0, 0.0), (0.0, 2.0), (1e-9, 0.7), (0.7, 1e-9),
            (0.2, 0.7), (1.4, -0.5), (-0.5, 1.4), (1.0, 1.0),
        ]
    },
    **{f"amari{c}": functools.partial(amari, amari_alpha=c) for c in (-1.0, 1.0, -1 + 1e-9, 0.0, 0.3, 3.0)},
    **{f"f_{name}": functools.partial(f_divergence, generator=name) for name in oracle.GENERATORS},
    **{f"gjs{w}": functools.partial(gjs, gjs_weight=w) for w in (0.0, 0.1, 0.9, 1.0)},
    **{f"wsd{w}": functools.partial(wsd, wsd_reverse_weight=w) for w in (0.0, 0.5, 1.0)},
    "weighted_sum": weighted_sum([(1.0, kl), (0.0, jeffreys)]),
    "tv": tv,
    "akl": akl,
    "bdkd": bdkd,
}  # fmt: skip


def value_and_gradient(divergence, z_p, z_q, *, swapped, deepest=None):
    """Of one token; deepest: in float64, with the zeros replaced by probabilities of about exp(-deepest)."""
    z_p, z_q = (torch.tensor([z], dtype=torch.float64) for z in (z_p, z_q))
    if deepest is None:
        z_p, z_q = z_p.float(), z_q.float()
    else:
        z_p, z_q = (z.masked_fill(z.isneginf(), -deepest) for z in (z_p, z_q))
    z_q.requires_grad_()
    pair = [z_p.log_softmax(-1), z_q.log_softmax(-1)]
    value = divergence(*(reversed(pair) if swapped else pair)).sum()
    (gradient,) = torch.autograd.grad(value, z_q)
    return value.item(), gradient[0]


@pytest.mark.parametrize("swapped", [False, True], ids=["p left", "q left"])
@pytest.mark.parametrize("case", ZEROS)
@pytest.mark.parametrize("name", ZEROABLE)
def test_at_exact_zeros_value_and_gradient_are_the_limit_or_not_finite_where_it_diverges(name, case, swapped):
    evaluate = functools.partial(value_and_gradient, ZEROABLE[name], *ZEROS[case], swapped=swapped)
    near = [evaluate(deepest=depth) for depth in (150.0, 300.0)]
    value, gradient = evaluate()
    if near[0][0] != pytest.approx(near[1][0], rel=1e-6, abs=1e-9):
        assert not math.isfinite(value)
        return
    assert value == pytest.approx(near[1][0], rel=2e-5, abs=1e-6)
    torch.testing.assert_close(gradient.double(), near[1][1], rtol=1e-4, atol=1e-5)


def test_ab_on_its_singular_line_is_kl_also_at_exact_zeros():
    log_p, log_q = (torch.tensor([z]).log_softmax(-1) for z in ZEROS["issue"])
    p, q = log_p.exp(), log_q.exp()
    expected = (p[0, :2] * (p[0, :2] / q[0, :2]).log()).sum()
    assert expected.item() == pytest.approx(1.590, abs=1e-3)
    torch.testing.assert_close(ab(log_p, log_q, ab_alpha=1.0, ab_beta=0.0), expected.unsqueeze(0))
    torch.testing.assert_close(ab(log_q, log_p, ab_alpha=0.0, ab_beta=1.0), expected.unsqueeze(0))


@pytest.mark.parametrize("weights", ["student", "teacher_student", "uniform_student", "mixed"])
def test_csd_ignores_an_entry_outside_both_supports(weights):
    z_p, z_q = torch.tensor([[0.0, 1.0, -INF, 0.5]]), torch.tensor([[0.5, 0.0, -INF, 1.0]])
    value = csd(z_p.log_softmax(-1), z_q.log_softmax(-1), csd_weights=weights)
    keep = torch.tensor([0, 1, 3])
    alone = csd(z_p[:, keep].log_softmax(-1), z_q[:, keep].log_softmax(-1), csd_weights=weights)
    torch.testing.assert_close(value, alone)


# Finite differences see through the weights that akl and csd keep constant: those two have their own tests.
@pytest.mark.parametrize("name", [name for name in PROPER if name not in ("akl", "csd")])
def test_gradient_equals_finite_differences(name):
    z_p, z_q = logits(12, 9)

    def value(z):
        return PROPER[name](z_p.log_softmax(-1), torch.tensor(z).unsqueeze(0).log_softmax(-1)).item()

    z = z_q.clone().requires_grad_()
    PROPER[name](z_p.log_softmax(-1), z.log_softmax(-1)).sum().backward()
    np.testing.assert_allclose(
        z.grad[0].numpy(), oracle.student_gradient(value, z_q[0].numpy(), step=1e-4), rtol=1e-6, atol=1e-8
    )


def test_ab_does_not_call_back_a_student_that_has_put_all_on_one_token_and_kl_does():
    """docs/divergences.md: of a flat student and a collapsed one, AB takes the collapsed one, and leaves it there."""
    size = 49152
    teacher = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2.5

    def of_student(logits, divergence, alpha):
        logits = logits.clone().requires_grad_()
        log_p, log_q = to_log_prob(teacher, size), to_log_prob(logits, size)
        right = log_q if alpha is None else alpha_mixture(log_p, log_q, alpha=alpha, lam=0.1)
        value = divergence(log_p, right)
        return value.item(), torch.autograd.grad(value, logits)[0].norm().item()

    best = torch.zeros(size, dtype=torch.float64)
    best[teacher.argmax()] = 60.0
    for alpha in (-5.0, -1.0):
        flat, _ = of_student(torch.zeros_like(best), PROPER["ab(0.2, 0.7)"], alpha)
        collapsed, slope = of_student(best, PROPER["ab(0.2, 0.7)"], alpha)
        assert collapsed < flat
        assert slope < 1e-20
    flat, _ = of_student(torch.zeros_like(best), kl, None)
    collapsed, slope = of_student(best, kl, None)
    assert collapsed > 10 * flat
    assert slope > 0.5


def test_unknown_name_offers_the_nearest_and_lists_all():
    with pytest.raises(ValueError, match=r"divergence 'kll' unknown; did you mean 'kl'\? valid: ab, akl, amari, bdkd"):
        resolve_divergence("kll")


def test_every_registered_name_resolves_to_its_function():
    assert {name: resolve_divergence(name) for name in DIVERGENCES} == DIVERGENCES


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda p, q: gjs(p, q, gjs_weight=1.5), r"gjs_weight must lie in \[0, 1\], got 1.5"),
        (lambda p, q: akl(p, q, akl_mu=0.0), r"akl_mu must lie in \(0, 1\), got 0.0"),
        (lambda p, q: wsd(p, q, wsd_reverse_weight=-1.0), "wsd_reverse_weight must lie"),
        (lambda p, q: ab(p, q, ab_alpha=math.inf, ab_beta=0.0), "ab_alpha must be finite, got inf"),
        (lambda p, q: f_divergence(p, q, generator="ch2"), "did you mean 'chi2'"),
        (lambda p, q: f_divergence(p, q, generator="amari"), "needs amari_alpha"),
        (lambda p, q: f_divergence(p, q, generator="kl", amari_alpha=0.1), "has no effect"),
        (lambda p, q: csd(p, q, csd_weights="students"), "did you mean 'student'"),
        (lambda p, q: weighted_sum([(0.0, kl)]), "at least one .* pair of weight not 0, got 1 of weight 0"),
    ],
)
def test_bad_parameters_are_refused_with_value_and_range(call, text):
    with pytest.raises(ValueError, match=text):
        call(*log_pair(14, 4))
