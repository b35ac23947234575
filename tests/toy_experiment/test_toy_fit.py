"""The toy fit of Figure 2c against cases whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from amid.core.assistants import alpha_mixture
from amid.core.divergences import kl
from amid.errors import RunError
from amid.toy_experiment.fit import fit_all, grid_of, log_mixture, log_student
from amid.toy_experiment.result import Peak, Setting

ONE_PEAK = Setting(
    peaks=(Peak(1.0, 1.5, 2.25),), alphas=(-5.0, -1.0, 1.0, 3.0), lams=(0.1, 0.3), steps=1500, points=301
)


@pytest.fixture(scope="module")
def of_one_peak():
    return fit_all(ONE_PEAK, ("log_std",))


def test_a_single_normal_distribution_is_recovered_at_every_alpha_and_lambda(of_one_peak) -> None:
    # D(p || r) = 0 exactly where q = p, which q can be here
    assert len(of_one_peak) == 8
    for fit in of_one_peak:
        assert fit.mean == pytest.approx(1.5, abs=1e-3), fit
        assert fit.std == pytest.approx(1.5, abs=1e-3), fit
        assert fit.loss == pytest.approx(0.0, abs=1e-6), fit


def test_both_parametrisations_recover_it_and_begin_at_the_standard_normal() -> None:
    setting = Setting(peaks=(Peak(1.0, 0.5, 1.44),), alphas=(-1.0,), lams=(0.1,), steps=600, points=201)
    for fit in fit_all(setting):
        assert (fit.mean, fit.std) == pytest.approx((0.5, 1.2), abs=1e-3)
    beginning = fit_all(Setting(peaks=setting.peaks, alphas=(-1.0,), lams=(0.1,), steps=1, points=201))
    for fit in beginning:  # Adam's first step is lr, whatever the gradient
        assert abs(fit.mean) == pytest.approx(0.05, abs=1e-6)
        first = fit.std**2 - 1.0 if fit.parametrisation == "variance" else math.log(fit.std)
        assert abs(first) == pytest.approx(0.05, abs=1e-6)


def test_many_fits_at_once_are_the_fits_one_by_one() -> None:
    every = fit_all(Setting(steps=40, points=201))
    for alpha in (-5.0, -1.0, 1.0, 3.0):
        (alone,) = fit_all(Setting(alphas=(alpha,), lams=(0.3,), steps=40, points=201), ("variance",))
        (found,) = [f for f in every if (f.alpha, f.lam, f.parametrisation) == (alpha, 0.3, "variance")]
        assert (found.mean, found.std, found.loss) == pytest.approx((alone.mean, alone.std, alone.loss), abs=1e-9)


def test_the_grid_is_fine_enough() -> None:
    coarse, fine = fit_all(Setting(steps=30)), fit_all(Setting(steps=30, points=4001))
    for a, b in zip(coarse, fine, strict=True):  # what lies beyond the ends is cut at another place, by one cell
        assert (a.mean, a.std) == pytest.approx((b.mean, b.std), abs=1e-4)


def test_the_loss_said_is_that_of_the_definition() -> None:
    setting = Setting(alphas=(-3.0,), lams=(0.3,), steps=1)
    x, log_p = grid_of(setting), log_mixture(setting)
    start = torch.zeros(1, dtype=x.dtype), torch.ones(1, dtype=x.dtype)
    expected = kl(log_p, alpha_mixture(log_p, log_student(x, *start)[0], alpha=-3.0, lam=0.3))
    assert fit_all(setting)[0].loss == pytest.approx(float(expected), rel=1e-12)


def test_mean_and_std_of_p_are_those_of_its_grid() -> None:
    setting = Setting()
    x, p = grid_of(setting), log_mixture(setting).exp()
    mean = float((p * x).sum())
    assert setting.mean == pytest.approx(mean, abs=1e-9)
    assert setting.std == pytest.approx(float((p * (x - mean) ** 2).sum()) ** 0.5, abs=1e-9)


def test_a_variance_that_becomes_negative_is_said() -> None:
    setting = Setting(peaks=(Peak(1.0, 0.0, 0.01),), alphas=(-1.0,), lams=(0.1,), steps=50, lr=0.6, points=601)
    with pytest.raises(RunError, match=r"the toy fit diverged at step \d+ \(alpha -1, lambda 0.1, variance\)"):
        fit_all(setting, ("variance",))
