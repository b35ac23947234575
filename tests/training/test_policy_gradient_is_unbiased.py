"""The policy gradient against the exact one, on a language of three words small enough to write out every text.

A text is up to three words, the first one ending it. Teacher and student are tables: next-word logits of every prefix.
Exact: the gradient of KL(q || p) over whole texts, in float64 by autograd over the enumeration.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from amid.core import PolicyGradient
from amid.data.batch import Row
from amid.strategies import STUDENT_LOG_PROB, TEACHER_LOG_PROB, Advantages

WORDS, END = 3, 0


def texts(longest):
    """All texts: ended by END, or as long as may be."""
    found = []
    for length in range(1, longest + 1):
        for text in itertools.product(range(WORDS), repeat=length):
            if END not in text[:-1] and (text[-1] == END or length == longest):
                found.append(text)
    return found


def prefixes(longest):
    return sorted({text[:i] for text in texts(longest) for i in range(len(text))})


def table(longest, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(prefixes(longest)), WORDS, generator=generator, dtype=torch.float64)


def log_probs(logits, text, longest):
    """Log-probability of each word of a text, [N]."""
    place = {prefix: index for index, prefix in enumerate(prefixes(longest))}
    rows = torch.stack([logits[place[text[:i]]] for i in range(len(text))]).log_softmax(-1)
    return rows.gather(1, torch.tensor(text)[:, None])[:, 0], rows


def exact_gradient(teacher, student, longest):
    """Of KL(q || p) over all texts."""
    student = student.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for text in texts(longest):
        log_q, log_p = (log_probs(each, text, longest)[0].sum() for each in (student, teacher))
        total = total + log_q.exp() * (log_q - log_p)
    return torch.autograd.grad(total, student)[0]


def expected_gradient(teacher, student, longest, *, advantages, single_step):
    """What the objective gives on average over texts drawn from the mixture, each with its exact probability."""
    student = student.clone().requires_grad_()
    term = PolicyGradient(clip_ratio=math.inf)
    total = torch.zeros((), dtype=torch.float64)
    for text in texts(longest):
        log_q, rows_q = log_probs(student, text, longest)
        log_p, rows_p = log_probs(teacher, text, longest)
        inputs = {STUDENT_LOG_PROB: log_q.detach(), TEACHER_LOG_PROB: log_p}
        (row,) = advantages([Row(torch.tensor(text), torch.tensor(text), torch.tensor([1]), 0, inputs=inputs)], list_of)
        kept = {name: values.double() for name, values in row.inputs.items()}
        value = term.per_token(None, rows_q, {**kept, "labels": torch.tensor(text)}).sum()
        if single_step:
            value = value + (rows_q.exp() * (rows_q - rows_p)).sum()
        total = total + advantages.behaviour(log_p, log_q.detach()).double().sum().exp() * value
    return torch.autograd.grad(total, student)[0]


def list_of(value):
    return [value]


def plain(**changed):
    """Rewards as they are: nothing scaled, discounted, normalised or whitened."""
    options = {"teacher_share": 0.0, "discount": 1.0, "reward_scale": 1.0, "length_normalised": False}
    return Advantages(**{**options, "whitened": False, **changed})


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("single_step", [False, True])
def test_the_estimator_is_unbiased(seed, single_step):
    """The immediate reward is in the return, or in the single-step term, as in the paper of MiniLLM."""
    teacher, student = table(3, seed), table(3, 100 + seed)
    found = expected_gradient(
        teacher,
        student,
        3,
        advantages=plain(immediate_reward=not single_step),
        single_step=single_step,
    )
    exact = exact_gradient(teacher, student, 3)
    assert float(exact.norm()) > 0.1
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6)


def test_both_at_once_count_the_immediate_reward_twice():
    """What MiniLLM's repository does, and so the default."""
    teacher, student = table(3, 0), table(3, 100)
    both = expected_gradient(teacher, student, 3, advantages=plain(), single_step=True)
    assert float((both - exact_gradient(teacher, student, 3)).norm()) > 0.05


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_texts_of_a_mixture_are_weighed_back(share):
    """Exact for one word; beyond it the ratio is of a token, not of its text, which is MiniLLM's approximation."""
    advantages = plain(teacher_share=share)
    for longest, is_exact in ((1, True), (3, False)):
        teacher, student = table(longest, 0), table(longest, 100)
        found = expected_gradient(teacher, student, longest, advantages=advantages, single_step=False)
        gap = float((found - exact_gradient(teacher, student, longest)).norm())
        assert (gap < 1e-6) == is_exact, gap


def test_a_teacher_that_is_the_student_gives_no_gradient_on_average():
    both = table(3, 5)
    found = expected_gradient(both, both, 3, advantages=plain(), single_step=True)
    assert float(found.norm()) < 1e-6


def test_clipping_holds_the_gradient_of_ratios_that_went_far_enough():
    log_q = torch.tensor([[0.5, 0.3, 0.2]]).log().repeat(4, 1).requires_grad_()
    # Ratios of label 0: 0.5 / 0.5 = 1 twice, 0.5 / 0.25 = 2 with either sign of the advantage
    inputs = {
        "labels": torch.zeros(4, dtype=torch.int64),
        "behaviour_log_prob": torch.tensor([0.5, 0.5, 0.25, 0.25]).log(),
        "advantage": torch.tensor([1.0, -1.0, 1.0, -1.0]),
    }
    value = PolicyGradient(clip_ratio=0.2).per_token(None, log_q, inputs)
    assert value.tolist() == pytest.approx([-1.0, 1.0, -1.2, 2.0])
    (gradient,) = torch.autograd.grad(value.sum(), log_q)
    assert gradient[:, 0].tolist() == pytest.approx([-1.0, 1.0, 0.0, 2.0]), "only what would go further is held"
    assert not gradient[:, 1:].any()
