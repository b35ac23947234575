"""Surgery: a smaller model of some of a model's own layers."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from amid.errors import RequestError


def keep_layers(model: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A new model of the same kind with only the given decoder layers (counted from 0); other weights are copied.

    Works for every decoder whose layers stand in one list of `config.num_hidden_layers` modules.
    Raises RequestError for a layer the model does not have, or a model without such a list.
    """
    total = model.config.num_hidden_layers
    if max(layers) >= total:
        raise RequestError(f"pair.keep_layers names layer {max(layers)}, but the model has layers 0 to {total - 1}")
    stacks = [
        name for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) == total
    ]
    if len(stacks) != 1:
        raise RequestError(f"pair.keep_layers cannot tell the decoder layers of {type(model).__name__} apart")
    prefix = f"{stacks[0]}."
    config = _config_with_layers(model.config, layers)
    with torch.random.fork_rng(devices=[]):
        smaller = type(model)(config)
    position = {layer: new for new, layer in enumerate(layers)}
    weights = {}
    for key, value in model.state_dict().items():
        if key.startswith(prefix):
            layer, _, rest = key.removeprefix(prefix).partition(".")
            if int(layer) not in position:
                continue
            key = f"{prefix}{position[int(layer)]}.{rest}"
        weights[key] = value
    smaller.load_state_dict(weights)
    smaller.tie_weights()
    dtype: torch.dtype = model.dtype
    smaller.to(dtype)  # type: ignore[arg-type]  # transformers wraps nn.Module.to without its types
    return smaller


def _config_with_layers(config: PretrainedConfig, layers: Sequence[int]) -> PretrainedConfig:
    changed = copy.deepcopy(config)
    changed.num_hidden_layers = len(layers)
    layer_types = getattr(changed, "layer_types", None)
    if layer_types is not None:
        changed.layer_types = [layer_types[layer] for layer in layers]
    return changed
