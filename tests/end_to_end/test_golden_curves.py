"""The numbers of training, step by step: a refactor leaves them, a change of numbers says why it changes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from golden_curves import CASES, GOLDEN, curves_of


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


def test_every_case_has_a_golden_curve() -> None:
    assert set(json.loads(GOLDEN.read_text())) == set(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_ten_steps_have_the_golden_losses_gradients_and_validations(name: str, shared_folder: Path) -> None:
    golden = json.loads(GOLDEN.read_text())[name]
    found = curves_of(name, shared_folder)
    assert found.keys() == golden.keys()
    for curve, values in golden.items():
        # float32 products in another order, on another processor or number of threads, over ten steps
        assert found[curve] == pytest.approx(values, rel=2e-4, abs=1e-6), curve
