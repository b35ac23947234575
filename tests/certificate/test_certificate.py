from dataclasses import replace

import numpy as np
import pytest
import torch

from amid.certificate import certify, render
from amid.certificate.grid import kept
from amid.certificate.mutants import MUTANTS
from amid.certificate.oracle import FORMULAS, Truth, truth
from amid.certificate.settings import make_wide_inputs
from amid.core import DivergenceTerm, Objective, constant, dense_objective, kl
from tests.reference import oracle as reference

ONE = constant(value=0.5)


@pytest.fixture(scope="module")
def certificate():
    return certify(short=True)


def test_the_short_certificate_passes(certificate):
    failed = [item for item in (*certificate.rows, *certificate.identities, *certificate.steps) if not item.passed]
    assert failed == []


def test_wide_inputs_lie_30_to_100_apart_and_keep_the_closed_forms_of_kl_and_ab(certificate):
    inputs = make_wide_inputs()
    gap = (inputs.teacher_hidden.log_softmax(-1) - inputs.student_hidden.log_softmax(-1)).abs().amax(-1)
    assert gap.min() > 30
    assert gap.max() > 100
    wide = {row.divergence: row for row in certificate.rows if row.is_wide and row.form == "fused"}
    assert {name for name, row in wide.items() if row.num_dense == 0} == {"kl", "ab(0.2,0.7)"}
    assert all(row.num_tokens > 0 for row in wide.values())


def test_a_token_lost_or_kept_against_the_truth_fails_its_row():
    def errors(*, value, lost):
        parts = dense_objective(
            torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 2), Objective((DivergenceTerm(kl, "pr", None, ONE),)),
            labels=None, token_weights=torch.ones(1), vocab_size=2,
        )  # fmt: skip
        parts = replace(parts, per_token=torch.tensor([torch.nan if lost else value]))
        one = torch.ones(1, dtype=torch.float64)
        return kept(parts, Truth(value * one, one, one.unsqueeze(1), one.unsqueeze(1), one))

    assert errors(value=1.0, lost=False).tolist() == [True]
    assert errors(value=1e20, lost=True).tolist() == [False]
    assert errors(value=1.0, lost=True) is None
    assert errors(value=1e20, lost=False) is None


def test_at_least_fifteen_mutants_are_caught(certificate):
    caught = {item.name for item in certificate.steps if not item.should_pass and item.passed}
    assert caught == set(MUTANTS)
    assert len(caught) >= 15


def test_the_page_says_what_failed(certificate):
    page = render(certificate)
    assert "Result: **pass** (short version)" in page
    assert "FAIL" not in page
    certificate.rows[0].value_plain = 1.0
    assert "FAIL" in render(certificate)


@pytest.mark.parametrize("name", ["kl", "ab(0.2,0.7)", "ab(0.5,0)", "ab(0,0.5)", "ab(0.5,-0.5)", "f(chi2)"])
@pytest.mark.parametrize("alpha", [-5.0, 1.0, 3.0])
def test_the_oracle_agrees_with_the_reference_and_finite_differences(name, alpha):
    generator = torch.Generator().manual_seed(0)
    z_p, z_q = torch.randn(2, 1, 8, generator=generator, dtype=torch.float64)
    value_of = {
        "kl": reference.kl,
        "f(chi2)": lambda a, b: reference.f_divergence(a, b, reference.GENERATORS["chi2"]),
    }.get(name)
    if value_of is None:
        powers = [float(x) for x in name[3:-1].split(",")]

        def value_of(a, b):
            return reference.ab(a, b, *powers)

    def value(z):
        p, q = reference.softmax(z_p[0].numpy()), reference.softmax(z)
        return value_of(p, reference.assistant(p, q, alpha, 0.3))

    true = truth(FORMULAS[name], "pr", alpha=alpha, lam=0.3, student_z=z_q, teacher_z=z_p)
    assert true.value.item() == pytest.approx(value(z_q[0].numpy()), rel=1e-10)
    np.testing.assert_allclose(
        true.gradient[0].numpy(), reference.student_gradient(value, z_q[0].numpy(), step=1e-4), atol=1e-8
    )
