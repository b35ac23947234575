"""What saves memory gives the gradient that it saves memory of: micro-batches, recomputed activations, LoRA."""

import copy

import pytest
import torch
from stepping import VOCAB, module_of

from amid.config import LoraCfg
from amid.core import DivergenceTerm, Objective, constant, kl
from amid.data.batch import collate
from amid.pairs import add_lora

TERM = DivergenceTerm(kl, "pr", constant(value=-1.0), constant(value=0.3))
LORA = LoraCfg(rank=3, alpha=6, dropout=0.0, targets=["c_attn", "c_proj", "c_fc"])
NOISE = 1e-5  # of the largest entry: float32 sums in another order


def rows():
    generator = torch.Generator().manual_seed(3)

    def drawn(length):
        return torch.randint(VOCAB, (length,), generator=generator).tolist()

    return collate([(drawn(4), drawn(n)) for n in (9, 1, 6, 12)], example_ids=range(4), pad_id=0)


def gradients(module):
    """Name -> gradient of the mean loss of one step."""
    module.student.zero_grad()
    module._accumulate(rows(), module._objective)
    return {name: weight.grad for name, weight in module.student.named_parameters() if weight.grad is not None}


def assert_alike(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0, name
        assert (found[name] - gradient).abs().max() <= NOISE * gradient.abs().max(), name


@pytest.fixture
def plain():
    return gradients(module_of(Objective((TERM,))))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_step_in_micro_batches_has_the_gradient_of_the_whole(plain, size):
    assert_alike(gradients(module_of(Objective((TERM,)), options={"micro_batch_size": size})), plain)


def test_recomputed_activations_have_the_same_gradient(plain):
    found = gradients(module_of(Objective((TERM,)), options={"gradient_checkpointing": True}))
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[name], gradient) for name, gradient in plain.items())


def test_the_factors_of_lora_have_the_gradient_of_the_weight_that_they_add_up_to():
    """With W + s B A in the place of W and G its dense gradient: dA = s Bᵀ G and dB = s G Aᵀ."""
    module = module_of(Objective((TERM,)))
    before = copy.deepcopy(module.student)
    add_lora(module.student, LORA, seed=0)
    generator = torch.Generator().manual_seed(4)
    layers = {name: layer for name, layer in module.student.named_modules() if hasattr(layer, "lora_A")}
    for layer in layers.values():
        up = layer.lora_B["default"].weight
        up.data = torch.randn(up.shape, generator=generator) * 0.05
    found = gradients(module)

    merged = module_of(Objective((TERM,)))
    merged.student.load_state_dict(before.state_dict())
    for name, layer in layers.items():  # Conv1D of GPT-2 keeps the weight transposed
        merged.student.get_parameter(f"{name}.weight").data += layer.get_delta_weight("default")
    dense = gradients(merged)

    expected = {}
    for name, layer in layers.items():
        whole, scaling = dense[f"{name}.weight"].T, layer.scaling["default"]
        down, up = (part["default"].weight.detach() for part in (layer.lora_A, layer.lora_B))
        expected[f"{name}.lora_A.default.weight"] = scaling * up.T @ whole
        expected[f"{name}.lora_B.default.weight"] = scaling * whole @ down.T
    assert_alike(found, expected)
