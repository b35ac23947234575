"""Terms as a kind of thing: what a new one must bring, and that it is all it must bring."""

import functools
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from amid.core import (
    LABELS,
    CrossEntropy,
    DivergenceTerm,
    Head,
    Kernel,
    Objective,
    ab,
    bind_divergence,
    chunked_objective_from_logits,
    constant,
    declares,
    dense_objective,
    kl,
    linear,
    linear_objective,
)

CORE = Path(__file__).resolve().parents[2] / "src" / "amid" / "core"
NUM_TOKENS, VOCAB = 7, 11


@dataclass(frozen=True)
class PolicyGradient:
    """A kind of term that core does not know: -advantage log q(label), the advantages being the caller's."""

    weight: float = 1.0
    name = "policy_gradient"
    needs_teacher = False
    schedules = ()

    def assistants(self, compat):
        return ()

    def check(self, inputs, *, vocab_size):
        if "advantages" not in inputs:
            raise ValueError("a policy-gradient term needs advantages")

    def settle(self, compat, sum_of):
        return self

    def rows(self, rows):
        return self

    def per_token(self, log_p, log_q, inputs):
        return -inputs["advantages"] * log_q.gather(-1, inputs[LABELS].unsqueeze(-1)).squeeze(-1)

    def signals(self, log_p, log_q):
        return {}

    def closed_form(self):
        return None


def divergence(alpha=-5.0, **kwargs):
    bound = functools.partial(ab, ab_alpha=0.2, ab_beta=0.7)
    return DivergenceTerm(bound, "pr", None if alpha is None else constant(value=alpha), constant(value=0.1), **kwargs)


def inputs():
    generator = torch.Generator().manual_seed(5)
    return {
        "student": torch.randn(NUM_TOKENS, 6, generator=generator),
        "student_weight": torch.randn(VOCAB, 6, generator=generator),
        "teacher": torch.randn(NUM_TOKENS, 4, generator=generator),
        "teacher_weight": torch.randn(VOCAB, 4, generator=generator),
        "labels": torch.randint(VOCAB, (NUM_TOKENS,), generator=generator),
        "token_weights": torch.rand(NUM_TOKENS, generator=generator),
        "advantages": torch.randn(NUM_TOKENS, generator=generator),
    }


def in_every_form(objective, **changed):
    """Loss parts and gradients to hidden states and head, by the dense, the fused and the chunked form."""
    given = inputs()
    common = {
        "labels": given["labels"],
        "inputs": {"advantages": given["advantages"]},
        "token_weights": given["token_weights"],
        "vocab_size": VOCAB,
        **changed,
    }
    teacher = Head(given["teacher_weight"])
    found = {}
    for form in ("dense", "fused", "chunked"):
        hidden, weight = (given[name].clone().requires_grad_() for name in ("student", "student_weight"))
        if form == "fused":
            parts = linear_objective(
                hidden, Head(weight), given["teacher"], teacher, objective, **common, chunk_tokens=3
            )
        else:
            logits, taught = Head(weight).logits(hidden), teacher.logits(given["teacher"])
            if form == "dense":
                parts = dense_objective(logits, taught, objective, **common)
            else:
                parts = chunked_objective_from_logits(logits, taught, objective, **common, chunk_tokens=3)
        found[form] = parts, torch.autograd.grad(parts.loss, (hidden, weight))
    return found


@pytest.mark.parametrize(
    "beside", [(), (CrossEntropy(0.3),), (divergence(weight=0.7), CrossEntropy(0.3))], ids=["alone", "labels", "both"]
)
def test_a_new_kind_of_term_is_one_class_and_equal_in_every_form(beside):
    objective = Objective((*beside, PolicyGradient(weight=0.4)))
    assert objective.needs_teacher == (len(beside) == 2)
    found = in_every_form(objective)
    dense, gradients = found["dense"]
    given = inputs()
    log_q = torch.log_softmax(given["student"] @ given["student_weight"].t(), -1)
    values = -given["advantages"] * log_q[torch.arange(NUM_TOKENS), given["labels"]]
    torch.testing.assert_close(dense.terms["policy_gradient"], 0.4 * (given["token_weights"] * values).sum())
    for form in ("fused", "chunked"):
        parts, theirs = found[form]
        assert parts.num_dense == NUM_TOKENS  # it brings no closed form
        torch.testing.assert_close(parts.loss, dense.loss)
        torch.testing.assert_close(parts.terms, dense.terms)
        torch.testing.assert_close(theirs, gradients)


def test_what_a_new_term_reads_is_checked_by_the_term():
    with pytest.raises(ValueError, match="a policy-gradient term needs advantages"):
        in_every_form(Objective((PolicyGradient(),)), inputs=None)
    with pytest.raises(ValueError, match=r"input 'advantages' must hold 7 tokens, got shape \(6,\)"):
        in_every_form(Objective((PolicyGradient(),)), inputs={"advantages": torch.zeros(6)})


def test_core_names_no_kind_of_term_outside_of_its_own_file():
    kinds = ("DivergenceTerm", "MaxDivergence", "CrossEntropy", "SettledDivergence")
    knowing = {
        path.relative_to(CORE).as_posix()
        for path in CORE.rglob("*.py")
        if path.name != "__init__.py" and any(kind in path.read_text() for kind in kinds)
    }
    # AmidLoss makes two of them; the maximum is one of divergences.
    assert knowing == {"amid_loss.py", "terms/divergence.py", "terms/labels.py", "terms/maximum.py"}


def test_schedules_are_named_by_the_divergence_they_belong_to():
    moving = linear(start=-5.0, end=1.0)
    first = DivergenceTerm(kl, "pr", moving, constant(value=0.1))
    alone = Objective((PolicyGradient(), first))
    assert [name for name, _ in alone.schedules] == ["alpha", "lam"]
    several = Objective((divergence(alpha=None), PolicyGradient(), first))
    assert [name for name, _ in several.schedules] == ["alpha_1", "lam_1"]


def test_a_function_of_ones_own_may_declare_a_kernel_and_the_teacher_on_its_left():
    def reversed_kl(log_left, log_right):
        return kl(log_right, log_left)

    @declares(kernel=Kernel, teacher_left=True)
    def own_kl(log_left, log_right):
        return kl(log_left, log_right)

    for function, num_dense in ((reversed_kl, NUM_TOKENS), (own_kl, 0)):
        term = DivergenceTerm(bind_divergence(function), "pr", None, constant(value=0.5))
        found = in_every_form(Objective((term,)))
        assert found["fused"][0].num_dense == num_dense
        torch.testing.assert_close(found["fused"][0].loss, found["dense"][0].loss)
        torch.testing.assert_close(found["fused"][1], found["dense"][1])
    with pytest.raises(ValueError, match="divergence 'own_kl' takes its weights from the teacher"):
        DivergenceTerm(own_kl, "rp", None, constant(value=0.5))
