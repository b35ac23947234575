"""docs/migrate.md: the losses of TRL's GKD in our words are TRL's own, in value and gradient."""

from __future__ import annotations

import warnings

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that what is experimental may change: the constraints pin it
    from trl.experimental.gkd import GKDTrainer

from amid import AmidLoss

OURS = {
    0.0: {"divergence": "kl"},
    1.0: {"divergence": "rkl"},
    0.1: {"divergence": "gjs", "divergence_params": {"gjs_weight": 0.1}},
    0.5: {"divergence": "gjs", "divergence_params": {"gjs_weight": 0.5}},
    0.9: {"divergence": "gjs", "divergence_params": {"gjs_weight": 0.9}},
}


@pytest.mark.parametrize("beta", OURS)
def test_a_beta_of_trl_is_a_divergence_of_ours(beta):
    generator = torch.Generator().manual_seed(3)
    student, teacher = (3 * torch.randn(2, 7, 11, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(11, (2, 7), generator=generator)
    labels[0, :3] = labels[1, 5:] = -100
    values, gradients = [], []
    for loss in (
        lambda q: GKDTrainer.generalized_jsd_loss(q, teacher, labels=labels, beta=beta),
        lambda q: AmidLoss(alpha=None, **OURS[beta])(q, teacher, labels),
    ):
        logits = student.clone().requires_grad_()
        value = loss(logits)
        value.backward()
        values.append(value.detach())
        gradients.append(logits.grad)
    torch.testing.assert_close(values[1], values[0], atol=1e-7, rtol=1e-6, check_dtype=False)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-7, rtol=1e-6)
