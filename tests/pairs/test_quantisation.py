"""Quantised teachers: which layers, how near they stay, and that loss and generation take them as any other."""

import copy
import enum
import importlib.util
import logging
import subprocess
import sys

import pytest
import torch
from families import FAMILIES, greedy, steps
from torch import nn

from amid.config import QUANTISATIONS
from amid.pairs import output_head, quantise
from amid.training.objective import objective_of

KINDS = [
    pytest.param(
        kind,
        marks=pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"the extra quantised: {package}"),
    )
    for kind, package in QUANTISATIONS.items()
]
NOISE = {"int8": 0.02, "int4": 0.3, "nf4": 0.3}  # of 8 bits a hundredth, of 4 some tenths of the logits
FAMILIES_OF_32 = {
    "llama": {"hidden_size": 64, "intermediate_size": 128},
    "gpt2": {"n_embd": 64},
    "qwen3_moe": {"hidden_size": 64, "head_dim": 32},
}


def wide(name):
    """A model of a family whose rows are whole groups."""
    family = FAMILIES[name]
    sizes = {**family.sizes, **FAMILIES_OF_32[name], "initializer_range": 0.05}
    return type(family)(family.config, sizes).model()


@pytest.mark.parametrize("name", FAMILIES_OF_32)
@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_teacher_is_near_the_whole_one_and_teaches(kind, name, run):
    whole = wide(name).eval()
    quantised = copy.deepcopy(whole)
    found = quantise(quantised, kind)
    per_layer = {"llama": 7, "gpt2": 4, "qwen3_moe": 4}[name]
    assert found.num_layers == per_layer * 2
    assert 0 < found.num_weights < found.num_parameters == whole.num_parameters()
    ids = torch.arange(1, 33).reshape(1, 32)
    with torch.no_grad():
        expected, given = (model(input_ids=ids).logits for model in (whole, quantised))
    change = float((given - expected).norm() / expected.norm())
    assert 0 < change < NOISE[kind]
    # The head is data of the fused loss, in the dtype that it had
    head = output_head(quantised)
    assert head is not None
    assert torch.equal(head.weight, whole.get_output_embeddings().weight)
    assert [len(text) for text in greedy(quantised)] == [4, 4]
    step, defined = steps(FAMILIES["llama"].model(seed=9), quantised, objective_of(run.terms, run.compat))
    assert step.loss == pytest.approx(defined.loss, rel=1e-5)
    assert not any(weight.requires_grad for weight in quantised.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_teacher_computes_under_autocast_and_as_a_copy_of_16_bits(kind):
    whole = wide("llama").eval()
    quantise(whole, kind)
    ids = torch.arange(1, 33).reshape(1, 32)
    with torch.no_grad():
        expected = whole(input_ids=ids).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = whole(input_ids=ids).logits
        copied = copy.deepcopy(whole).to(torch.bfloat16)(input_ids=ids).logits
    for given in (mixed, copied):
        assert float((given.float() - expected).norm() / expected.norm()) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_weights_take_fewer_bytes(kind):
    model = wide("llama")
    layer = model.model.layers[0].mlp.up_proj
    before = layer.weight.numel() * 4
    quantise(model, kind)
    weight = model.model.layers[0].mlp.up_proj.weight
    parts = [getattr(weight, name, None) for name in ("qdata", "scale", "zero_point")]
    tensors = [part for part in parts if part is not None] or [weight.data]
    after = sum(part.numel() * part.element_size() for part in tensors)
    assert after < before / (7 if kind == "nf4" else 3)
    assert isinstance(model.get_output_embeddings(), nn.Linear)


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="the extra quantised: torchao")
def test_importing_torchao_says_nothing_and_leaves_the_log_as_it_is():
    program = (
        "import logging, sys, amid.pairs; assert 'torchao' in sys.modules;"
        "[logging.getLogger(name).warning('heard') for name in ('torchao', 'torch.utils._pytree')]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    said = [line for line in done.stderr.splitlines() if line]
    assert len(said) == 2 and all("heard" in line for line in said), done.stderr


def test_only_the_lines_that_torchao_brings_are_dropped():
    class OfTorchao(enum.Enum):
        KERNEL = 1

    class OfUser(enum.Enum):
        KERNEL = 1

    OfTorchao.__module__ = "torchao.kernel"
    enumeration = "%s is an Enum subclass and is now natively supported by torch.compile as an opaque one"

    def is_heard(name, text, *arguments):
        logger = logging.getLogger(name)
        return bool(logger.filter(logger.makeRecord(name, logging.WARNING, "file", 1, text, arguments, None)))

    assert not is_heard("torch.utils._pytree", enumeration, OfTorchao)
    assert not is_heard("torchao", "Failed to load /a/torchao/_C_other.abi3.so: Could not load this library")
    assert is_heard("torch.utils._pytree", enumeration, OfUser)
    assert is_heard("torch.utils._pytree", "%s is registered twice", OfTorchao)
    assert is_heard("torchao", "Failed to load the weights of a model")
    assert is_heard("torch", enumeration, OfTorchao)
