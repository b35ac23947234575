import numpy as np
import pytest
import torch

from amid.certificate import certify, render
from amid.certificate.mutants import MUTANTS
from amid.certificate.oracle import FORMULAS, truth
from tests.reference import oracle as reference


@pytest.fixture(scope="module")
def certificate():
    return certify(short=True)


def test_the_short_certificate_passes(certificate):
    failed = [item for item in (*certificate.rows, *certificate.identities, *certificate.steps) if not item.passed]
    assert failed == []


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
