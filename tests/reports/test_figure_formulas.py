"""What Figures 1 and 2 draw, against the definitions that training uses, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import yaml

from amid.config import config_root
from amid.core.assistants import alpha_mixture, log_power_mean
from amid.reports.figures import figure1, figure2a
from amid.reports.figures.formulas import gradient_weight, log_assistant, log_normal

ALPHAS = (-math.inf, -20.0, -5.0, -1.0, 0.0, 0.99, 1.0, 1.01, 3.0, 20.0, math.inf)
RNG = np.random.default_rng(5)
LOG_P, LOG_Q = (torch.log_softmax(torch.tensor(RNG.normal(0.0, 3.0, (6, 40))), dim=-1) for _ in range(2))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("lam", [0.001, 0.1, 0.3, 0.9])
def test_the_drawn_assistant_is_that_of_training(alpha: float, lam: float) -> None:
    expected = alpha_mixture(LOG_P, LOG_Q, alpha=alpha, lam=lam).numpy()
    found = log_assistant(LOG_P.numpy(), LOG_Q.numpy(), alpha=alpha, lam=lam)
    # The plain formula drawn here loses digits over |kappa|: 1e-16 / 0.005 of numbers up to 20
    assert found == pytest.approx(expected, abs=1e-12 if abs(1.0 - alpha) != pytest.approx(0.01) else 1e-11)
    assert np.exp(found).sum(axis=-1) == pytest.approx(np.ones(6))


@pytest.mark.parametrize("alpha", [-5.0, -1.0, 0.0, 3.0])
@pytest.mark.parametrize("lam", [0.1, 0.3, 0.9])
def test_the_drawn_weight_is_the_derivative_of_the_mean(alpha: float, lam: float) -> None:
    log_q = LOG_Q.clone().requires_grad_()
    log_power_mean(LOG_P, log_q, kappa=(1.0 - alpha) / 2.0, lam=lam).sum().backward()  # type: ignore[no-untyped-call]
    assert log_q.grad is not None
    found = gradient_weight((LOG_P - LOG_Q).numpy(), alpha=alpha, lam=lam)
    assert found == pytest.approx(log_q.grad.numpy(), abs=1e-12)


def test_at_alpha_1_the_weight_is_that_of_the_student_everywhere() -> None:
    assert gradient_weight(np.linspace(-9.0, 9.0, 19), alpha=1.0, lam=0.3) == pytest.approx(np.full(19, 0.7))


def test_a_density_of_figure_1_is_the_assistant_of_its_grid() -> None:
    x = np.linspace(-2.5, 7.0, 1901)
    log_p, log_q = log_normal(x, **figure1.P), log_normal(x, **figure1.Q)
    assert np.exp(log_p).sum() * (x[1] - x[0]) == pytest.approx(1.0, abs=1e-5)
    tensors = (torch.log_softmax(torch.tensor(each), dim=-1) for each in (log_p, log_q))
    expected = alpha_mixture(*tensors, alpha=-1.0, lam=figure1.LAM).exp().numpy()
    found = np.exp(log_assistant(log_p, log_q, alpha=-1.0, lam=figure1.LAM))
    assert found == pytest.approx(expected, abs=1e-7)  # q reaches a little over the end of the grid


def test_paths_begin_at_q_and_end_at_p_and_the_arithmetic_one_is_straight() -> None:
    ends = figure2a.path(np.array([1e-9, 1.0 - 1e-9]), -1.0)
    corners = np.array([figure2a.Q, figure2a.P]) @ figure2a._CORNERS
    assert ends == pytest.approx(corners, abs=1e-7)
    middle = figure2a.path(np.array([0.25]), -1.0)[0]
    assert middle == pytest.approx(0.75 * corners[0] + 0.25 * corners[1])


def test_the_points_of_the_map_are_the_methods_of_the_configuration() -> None:
    def amid_of(method: str) -> dict[str, float]:
        return yaml.safe_load((config_root() / "conf" / "method" / f"{method}.yaml").read_text())["amid"]

    for method, (alpha, lam, _) in figure1.POINTS.items():
        assert (amid_of(method)["alpha"], amid_of(method)["lam"]) == (alpha, lam)
    taid = amid_of("taid")
    params = taid["lam_schedule"]["params"]  # type: ignore[index]
    assert (taid["alpha"], params["t_start"], params["t_end"]) == figure1.TAID
