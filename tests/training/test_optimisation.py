"""What the optimiser does: the learning rate of every step, and AdamW with the values that were asked for."""

import pytest
import torch

from amid.training.optimisation import Optimisation


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.8, 0.6, 0.4]),
        ("cosine", [0.5, 1.0, 1.0, 0.6 + 0.4 * 0.5**0.5, 0.6, 0.6 - 0.4 * 0.5**0.5]),
    ],
)
def test_the_learning_rate_warms_up_and_then_follows_its_schedule(schedule, expected):
    optimisation = Optimisation(total_steps=6, lr=1.0, lr_final=0.2, warmup_steps=2, lr_schedule=schedule)
    assert [optimisation.lr_at(step) for step in range(6)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_ends_at_its_end_and_stays_there(schedule):
    optimisation = Optimisation(total_steps=10, lr=1.0, lr_final=0.1, lr_schedule=schedule)
    assert optimisation.lr_at(10) == optimisation.lr_at(12) == pytest.approx(0.1)


def test_adamw_has_the_betas_and_the_eps_asked_for(tiny_model, tokenizer):
    from amid.core import CrossEntropy, Objective
    from amid.pairs import Pair
    from amid.training.step import DistillModule

    pair = Pair(teacher=None, student=tiny_model, tokenizer=tokenizer, vocab_size=len(tokenizer))
    module = DistillModule(
        pair, Objective((CrossEntropy(),)), Optimisation(total_steps=1, lr=1e-3, betas=(0.8, 0.95), eps=1e-5)
    )
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.AdamW)
    assert all((group["betas"], group["eps"]) == ((0.8, 0.95), 1e-5) for group in optimizer.param_groups)
