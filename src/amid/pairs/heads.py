"""Heads: the states a model's output head reads, and the head as data."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from amid.core import Head
from amid.pairs.lora import low_rank


def hidden_states(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
    """[B, T, H]: the states the output head reads, for right-padded input_ids [B, T].

    No attention mask: a causal decoder's position never sees the padding to its right.
    """
    output = model.base_model(input_ids=input_ids, use_cache=False)
    states = output.last_hidden_state
    assert isinstance(states, Tensor)
    return states


def output_head(model: PreTrainedModel) -> Head | None:
    """The model's output head as data, or None if its logits are not those of a linear head on its hidden states.

    The head is tried on a few tokens: a model that does anything else to its logits gives None.
    """
    parts = low_rank(model.get_output_embeddings())
    if parts is None:
        return None
    layer, lora = parts
    if not isinstance(layer, nn.Linear):
        return None
    config = model.config.get_text_config()
    factor, scaling = (getattr(config, name, None) or 1.0 for name in ("logit_scale", "logits_scaling"))
    probe = torch.arange(min(8, layer.weight.shape[0]), device=layer.weight.device).unsqueeze(0)
    training = model.training
    model.eval()
    with torch.no_grad():
        expected = model(input_ids=probe, use_cache=False).logits.float()
        states = hidden_states(model, probe)
    model.train(training)
    # float32 products in another order; bf16 weights round the reference itself
    tolerance = 1e-4 if layer.weight.dtype == torch.float32 else 3e-2
    largest = float(expected.abs().max().clamp(min=1.0))
    for scale in dict.fromkeys((factor / scaling, factor * scaling)):  # Granite divides by it, HyperCLOVA X multiplies
        softcap = getattr(config, "final_logit_softcapping", None)
        head = Head(weight=layer.weight, bias=layer.bias, scale=scale, softcap=softcap, lora=lora)
        with torch.no_grad():
            is_close = (head.logits(states) - expected).abs() <= tolerance * largest  # False where NaN
        if bool(is_close.all()):
            return head
    return None
