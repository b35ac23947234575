import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", ["plain_loop", "hf_trainer", "trl_trainer", "lightning_trainer"])
def test_the_example_runs_and_its_loss_falls(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    losses = module.main()
    assert losses[-1] < 0.8 * losses[0]
