"""The toy experiment of Figure 2c: q = N(mu, sigma^2) by Adam on KL(p || r), r between p and q.

Legend: N fits at once, one for each alpha and lambda; G grid points. Adam treats every entry by itself and the loss is
the sum over the fits, so that they are as independent as one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amid.core.assistants import alpha_mixture
from amid.core.divergences import kl
from amid.errors import RunError
from amid.toy_experiment.result import PARAMETRISATIONS, Fit, Parametrisation, Setting


def grid_of(setting: Setting) -> Tensor:
    """The grid points [G], float64."""
    return torch.linspace(setting.low, setting.high, setting.points, dtype=torch.float64)


def log_mixture(setting: Setting) -> Tensor:
    """log p on the grid [G], density times cell width, normalised over the grid: what lies beyond it is left out."""
    x = grid_of(setting)
    parts = [
        torch.log(torch.tensor(peak.weight / peak.variance**0.5, dtype=x.dtype))
        - 0.5 * (x - peak.mean) ** 2 / peak.variance
        for peak in setting.peaks
    ]
    return torch.log_softmax(torch.logsumexp(torch.stack(parts), dim=0), dim=-1)


def log_student(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log q on the grid x [G] for means and variances [N]: [N, G], normalised over the grid."""
    return torch.log_softmax(-0.5 * (x - mean[:, None]) ** 2 / variance[:, None], dim=-1)


def fit_all(setting: Setting, parametrisations: Sequence[Parametrisation] = PARAMETRISATIONS) -> list[Fit]:
    """A fit for each parametrisation, lambda and alpha, in this order, each from N(0, 1).

    `variance`: Adam moves (mu, sigma^2), as the paper's notation says; `log_std`: (mu, log sigma), which cannot become
    negative and takes other paths. Raises RunError where a variance becomes negative or a loss is not finite.

    Source: paper Appendix B.1 and Eq. 10.
    """
    asked = [(each, lam, alpha) for each in parametrisations for lam in setting.lams for alpha in setting.alphas]
    x = grid_of(setting)
    log_p = log_mixture(setting).expand(len(asked), -1)
    alphas = torch.tensor([[alpha] for _, _, alpha in asked], dtype=x.dtype)
    lams = torch.tensor([[lam] for _, lam, _ in asked], dtype=x.dtype)
    by_log = torch.tensor([each == "log_std" for each, _, _ in asked])
    mean = torch.zeros(len(asked), dtype=x.dtype, requires_grad=True)
    scale = torch.where(by_log, 0.0, 1.0).to(x.dtype).requires_grad_()  # log sigma or sigma^2 of N(0, 1)
    optimiser = torch.optim.Adam([mean, scale], lr=setting.lr)
    losses, before = torch.zeros_like(mean), _mean_and_std(mean, scale, by_log)
    for step in range(setting.steps):
        if step == setting.steps - max(1, setting.steps // 10):
            before = _mean_and_std(mean, scale, by_log)
        variance = torch.where(by_log, torch.exp(2.0 * scale), scale)
        losses = kl(log_p, alpha_mixture(log_p, log_student(x, mean, variance), alpha=alphas, lam=lams))
        lost = ~torch.isfinite(losses) | (variance <= 0.0)
        if bool(lost.any()):
            each, lam, alpha = asked[int(lost.nonzero()[0])]
            raise RunError(f"the toy fit diverged at step {step} (alpha {alpha:g}, lambda {lam:g}, {each})")
        optimiser.zero_grad()
        losses.sum().backward()
        optimiser.step()
    after = _mean_and_std(mean, scale, by_log)
    moved = (after - before).abs().amax(dim=0).tolist()
    means, stds = after.tolist()
    return [
        Fit(alpha, lam, each, m, s, loss, far)
        for (each, lam, alpha), m, s, loss, far in zip(asked, means, stds, losses.detach().tolist(), moved, strict=True)
    ]


def _mean_and_std(mean: Tensor, scale: Tensor, by_log: Tensor) -> Tensor:
    """Of every fit [2, N]."""
    std = torch.where(by_log, torch.exp(scale.detach()), scale.detach().clamp(min=0.0).sqrt())
    return torch.stack([mean.detach().clone(), std])
