"""Quantised teachers: the linear layers of a frozen model in 8 or 4 bits, computed with as they are read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

GROUP = 32  # weights of int4 that share a scale
# What the libraries say of kernels for other machines, and of torch to its developers
LOUD = ("torchao", "torch.utils._pytree")


@dataclass(frozen=True)
class Quantised:
    """How much of a model was quantised: linear layers, and their weights among all of its parameters."""

    num_layers: int
    num_weights: int
    num_parameters: int

    def __str__(self) -> str:
        return (
            f"{self.num_layers} linear layers, {self.num_weights / 1e6:.2f} of "
            f"{self.num_parameters / 1e6:.2f} M parameters"
        )


def quantise(model: PreTrainedModel, kind: str) -> Quantised:
    """Quantises the weights of all linear layers but the output head, in place; nothing trains any more.

    Left as they are: layers whose rows are no whole groups.
    kind: int8 (a scale a row), int4 (a scale a group, a byte a weight), both by torchao, or nf4 (QLoRA's, half a byte),
    by bitsandbytes. What is multiplied with stays in the model's dtype. The head's weight is read as data by the loss.
    """
    model.requires_grad_(False)
    num_parameters = model.num_parameters()
    _make_linear(model)
    layers = [(parent, name, layer) for parent, name, layer in _layers(model) if _is_quantised(layer, model)]
    found = Quantised(len(layers), sum(layer.weight.numel() for _, _, layer in layers), num_parameters)
    if kind == "nf4":
        for parent, name, layer in layers:
            setattr(parent, name, _nf4(layer))
    else:
        _by_torchao(model, kind, chosen={id(layer) for _, _, layer in layers})
    return found


def _by_torchao(model: nn.Module, kind: str, *, chosen: Collection[int]) -> None:
    with _quiet():
        from torchao import quantization

        if kind == "int8":
            config = quantization.Int8WeightOnlyConfig()
        else:
            four = getattr(torch, "int4")  # noqa: B009  # in no list of torch's types
            config = quantization.IntxWeightOnlyConfig(weight_dtype=four, granularity=quantization.PerGroup(GROUP))
        quantization.quantize_(model, config, filter_fn=lambda module, _: id(module) in chosen)


def _nf4(layer: nn.Linear) -> nn.Module:
    import bitsandbytes

    weight, device = layer.weight.data, layer.weight.device
    made = bitsandbytes.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=weight.dtype,
        quant_type="nf4",
        device="meta",
    )
    made.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
    made.bias = layer.bias
    quantised = made.to(device)  # which is when it is quantised
    assert isinstance(quantised, nn.Module)
    return quantised


def _make_linear(model: nn.Module) -> None:
    """GPT-2 keeps its weights the other way round; afterwards as all others."""
    for parent in model.modules():
        for name, layer in parent.named_children():
            if isinstance(layer, Conv1D):
                inputs, outputs = layer.weight.shape
                linear = nn.Linear(inputs, outputs, device="meta")
                linear.weight = nn.Parameter(layer.weight.data.t().contiguous(), requires_grad=False)
                linear.bias = layer.bias
                setattr(parent, name, linear)


def _layers(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    for parent in model.modules():
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Linear):
                yield parent, name, layer


def _is_quantised(layer: nn.Linear, model: PreTrainedModel) -> bool:
    whole_groups = layer.in_features % GROUP == 0
    return layer is not model.get_output_embeddings() and whole_groups


@contextmanager
def _quiet() -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in LOUD}
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
