import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amid.core import alpha_mixture, to_log_prob
from tests.reference import oracle

ALPHAS = [-math.inf, -20.0, -5.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1 - 1e-5, 1.0, 1 + 1e-5, 1.5, 3.0, 6.0, 21.0, math.inf]
LAMS = [0.0, 1e-3, 0.1, 0.5, 0.9, 1.0]

vocab = st.integers(2, 40)
seeds = st.integers(0, 2**31)
finite_alphas = st.floats(-20, 21)
interior_lams = st.floats(1e-3, 1 - 1e-3)


def pair(seed, size, *, scale=3.0, rows=1):
    generator = torch.Generator().manual_seed(seed)
    z_p, z_q = torch.randn(2, rows, size, generator=generator, dtype=torch.float64) * scale
    return z_p, z_q


def log_pair(seed, size, **kwargs):
    z_p, z_q = pair(seed, size, **kwargs)
    return to_log_prob(z_p, size), to_log_prob(z_q, size)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("lam", LAMS)
def test_assistant_equals_the_power_mean_of_float64_probabilities(alpha, lam):
    z_p, z_q = pair(1, 500)
    r = alpha_mixture(to_log_prob(z_p, 500), to_log_prob(z_q, 500), alpha=alpha, lam=lam)[0].numpy()
    expected = np.log(oracle.assistant(oracle.softmax(z_p[0].numpy()), oracle.softmax(z_q[0].numpy()), alpha, lam))
    # float32 log-probabilities near -20 carry 2e-6; the mixture may add a few of those.
    np.testing.assert_allclose(r, expected, atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(seeds, vocab, finite_alphas, interior_lams)
def test_assistant_sums_to_one(seed, size, alpha, lam):
    log_p, log_q = log_pair(seed, size)
    assert torch.exp(alpha_mixture(log_p, log_q, alpha=alpha, lam=lam)).sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("alpha", "mean"),
    [
        (-1.0, lambda p, q, lam: lam * p + (1 - lam) * q),
        (1.0, lambda p, q, lam: p**lam * q ** (1 - lam)),
        (3.0, lambda p, q, lam: 1 / (lam / p + (1 - lam) / q)),
        (-math.inf, lambda p, q, lam: torch.maximum(p, q)),
        (math.inf, lambda p, q, lam: torch.minimum(p, q)),
    ],
    ids=["arithmetic", "geometric", "harmonic", "maximum", "minimum"],
)
def test_named_alphas_are_the_named_means(alpha, mean):
    log_p, log_q = log_pair(3, 30)
    unnormalised = mean(log_p.double().exp(), log_q.double().exp(), 0.3)
    expected = (unnormalised / unnormalised.sum()).log()
    torch.testing.assert_close(alpha_mixture(log_p, log_q, alpha=alpha, lam=0.3).double(), expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_lam_end_points_return_the_arguments_themselves(alpha):
    log_p, log_q = log_pair(4, 10)
    assert alpha_mixture(log_p, log_q, alpha=alpha, lam=0.0) is log_q
    assert alpha_mixture(log_p, log_q, alpha=alpha, lam=1.0) is log_p


def test_geometric_assistant_is_the_softmax_of_mixed_logits():  # Prop. 3.1
    z_p, z_q = pair(5, 30)
    r = alpha_mixture(to_log_prob(z_p, 30), to_log_prob(z_q, 30), alpha=1.0, lam=0.3)
    torch.testing.assert_close(r, to_log_prob(0.3 * z_p + 0.7 * z_q, 30), atol=5e-6, rtol=0)


@pytest.mark.parametrize("offset", [1e-3, 1e-5, 1e-7, -1e-3, -1e-5, -1e-7])
def test_assistant_is_continuous_at_alpha_one(offset):  # Prop. 3.3
    log_p, log_q = log_pair(6, 5000)
    here = alpha_mixture(log_p, log_q, alpha=1 + offset, lam=0.3)
    there = alpha_mixture(log_p, log_q, alpha=1.0, lam=0.3)
    # The difference is linear in 1 - alpha with a slope of about lam (1 - lam) d^2 / 4; plus float32 rounding.
    slope = (0.3 * 0.7 * (log_p - log_q).square().max() / 4).item()
    assert (here - there).abs().max().item() < abs(offset) * slope * 2 + 1e-5


@pytest.mark.parametrize("sign", [-1, 1])
def test_large_alpha_converges_to_the_limit(sign):
    log_p, log_q = log_pair(7, 200)
    far = alpha_mixture(log_p, log_q, alpha=sign * 2e4, lam=0.3)
    torch.testing.assert_close(far, alpha_mixture(log_p, log_q, alpha=sign * math.inf, lam=0.3), atol=2e-4, rtol=0)


@settings(max_examples=40, deadline=None)
@given(seeds, vocab, finite_alphas, finite_alphas, interior_lams)
def test_normaliser_does_not_increase_with_alpha(seed, size, first, second, lam):
    z_p, z_q = pair(seed, size)
    log_p, log_q = z_p.log_softmax(-1), z_q.log_softmax(-1)
    low, high = sorted((first, second))

    def log_normaliser(alpha):
        # log r~ = log r + log Z; read log Z off the token with the largest p, through the float64 power mean.
        k = int(log_p[0].argmax())
        p, q = math.exp(log_p[0, k]), math.exp(log_q[0, k])
        power = (1 - alpha) / 2
        mean = p**lam * q ** (1 - lam) if power == 0 else (lam * p**power + (1 - lam) * q**power) ** (1 / power)
        return math.log(mean) - alpha_mixture(log_p, log_q, alpha=alpha, lam=lam)[0, k].item()

    if abs(low - 1) < 1e-3 or abs(high - 1) < 1e-3:
        return  # the direct power mean used as truth loses its digits there
    assert log_normaliser(low) >= log_normaliser(high) - 1e-8
    assert (log_normaliser(low) >= -1e-8) if low <= -1 else True
    assert (log_normaliser(high) <= 1e-8) if high >= -1 else True


@pytest.mark.parametrize("alpha", [-5.0, -1.0, 0.0, 0.5, 3.0])
@pytest.mark.parametrize("lam", [0.1, 0.5, 0.9])
def test_assistant_minimises_the_weighted_amari_divergences(alpha, lam):  # Thm 3.2
    z_p, z_q = pair(8, 12, scale=1.0)
    p, q = oracle.softmax(z_p[0].numpy()), oracle.softmax(z_q[0].numpy())
    r = alpha_mixture(z_p.log_softmax(-1), z_q.log_softmax(-1), alpha=alpha, lam=lam)[0].exp().numpy()

    def amari(a, b):
        if alpha == -1:
            return oracle.kl(a, b)
        return 4 / (1 - alpha**2) * (1 - np.sum(a ** ((1 - alpha) / 2) * b ** ((1 + alpha) / 2)))

    def cost(candidate):
        return lam * amari(p, candidate) + (1 - lam) * amari(q, candidate)

    rng = np.random.default_rng(0)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(20):
            moved = oracle.softmax(np.log(r) + size * rng.standard_normal(12))
            assert cost(moved) > cost(r)


@pytest.mark.parametrize("alpha", [-5.0, -1.0, 0.0, 1.0, 3.0, math.inf, -math.inf])
def test_sensitivity_to_the_student_is_the_closed_form_weight(alpha):  # Prop. 3.5
    z_p, z_q = pair(9, 8)
    log_p, log_q = z_p.log_softmax(-1)[0], z_q.log_softmax(-1)[0].requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda x: alpha_mixture(log_p, x, alpha=alpha, lam=0.3), log_q)
    r = alpha_mixture(log_p, log_q, alpha=alpha, lam=0.3).detach().exp()
    if math.isinf(alpha):
        w = ((log_q > log_p) if alpha < 0 else (log_q < log_p)).double()
    else:
        w = torch.sigmoid(math.log(0.7 / 0.3) + (1 - alpha) / 2 * (log_q - log_p)).detach()
    torch.testing.assert_close(jacobian, torch.diag(w) - (r * w).unsqueeze(0).expand(8, 8), atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("alpha", [-math.inf, -5.0, -1.0, 0.0, 1 - 1e-5, 1.0, 1 + 1e-5, 3.0, math.inf])
@pytest.mark.parametrize("lam", [0.0, 0.1, 1.0])
def test_per_token_values_equal_the_scalar_ones_in_value_and_gradient(alpha, lam):
    z_p, z_q = pair(10, 20, rows=3)
    log_p = to_log_prob(z_p, 20)
    results = []
    for per_token in (False, True):
        z = z_q.clone().requires_grad_()
        a, w = (torch.full((3, 1), alpha), torch.full((3, 1), lam)) if per_token else (alpha, lam)
        r = alpha_mixture(log_p, to_log_prob(z, 20), alpha=a, lam=w)
        ((r + 0 * z).exp() * torch.arange(20)).sum().backward()
        results.append((r.detach(), z.grad))
    torch.testing.assert_close(results[1][0], results[0][0], atol=5e-6, rtol=0)
    torch.testing.assert_close(results[1][1], results[0][1], atol=1e-5, rtol=1e-5)


def test_per_token_values_may_differ_between_tokens():
    log_p, log_q = log_pair(11, 20, rows=4)
    alphas, lams = [-5.0, 1.0, math.inf, 3.0], [0.1, 0.5, 0.9, 0.0]
    together = alpha_mixture(log_p, log_q, alpha=torch.tensor(alphas).unsqueeze(1), lam=torch.tensor(lams).unsqueeze(1))
    for row, (alpha, lam) in enumerate(zip(alphas, lams, strict=True)):
        alone = alpha_mixture(log_p[row], log_q[row], alpha=alpha, lam=lam)
        torch.testing.assert_close(together[row], alone, atol=5e-6, rtol=0)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_exact_zeros_give_the_support_of_section_3_2(alpha):
    p = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).log()
    q = torch.tensor([[0.5, 0.0, 0.5, 0.0]]).log().requires_grad_()
    r = alpha_mixture(p, q, alpha=alpha, lam=0.3)
    union = alpha < 1
    assert (r[0].detach() > -math.inf).tolist() == [True, union, union, False]
    assert torch.exp(r).sum().item() == pytest.approx(1, abs=1e-6)
    torch.exp(r).mul(torch.arange(4)).sum().backward()
    assert torch.isfinite(q.grad).all()


def test_disjoint_supports_leave_the_assistant_undefined_only_at_alpha_at_least_one():
    p, q = torch.tensor([[1.0, 0.0]]).log(), torch.tensor([[0.0, 1.0]]).log()
    assert alpha_mixture(p, q, alpha=1.0, lam=0.3).isnan().all()
    assert not alpha_mixture(p, q, alpha=0.99, lam=0.3).isnan().any()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_huge_logits_keep_assistant_and_gradient_finite(alpha):
    z_p = torch.tensor([[1e4, -1e4, 0.0, 5.0]])
    z_q = torch.tensor([[-1e4, 1e4, 3.0, -2.0]]).requires_grad_()
    r = alpha_mixture(to_log_prob(z_p, 4), to_log_prob(z_q, 4), alpha=alpha, lam=0.1)
    r.sum().backward()
    assert torch.isfinite(r).all()
    assert torch.isfinite(z_q.grad).all()


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"alpha": math.nan, "lam": 0.1}, "alpha must be a real number"),
        ({"alpha": 0.0, "lam": 1.5}, r"lam must lie in \[0, 1\], got 1.5"),
        ({"alpha": 0.0, "lam": math.nan}, r"lam must lie in \[0, 1\]"),
        ({"alpha": 0.0, "lam": torch.tensor([[-0.1]])}, r"lam must lie in \[0, 1\] at every token"),
    ],
)
def test_bad_values_are_refused_with_value_and_range(kwargs, text):
    log_p, log_q = log_pair(12, 4)
    with pytest.raises(ValueError, match=text):
        alpha_mixture(log_p, log_q, **kwargs)


def test_different_shapes_are_refused():
    log_p, log_q = log_pair(12, 4)
    with pytest.raises(ValueError, match="one shape"):
        alpha_mixture(log_p, log_q[:, :3], alpha=0.0, lam=0.1)
