"""Surgery: a smaller model of some of a model's own layers."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from amid.errors import RequestError, one_line
from amid.model_folders.folder import check_layers
from amid.pairs.sizes import sizes_of


def keep_layers(model: PreTrainedModel, layers: Sequence[int], *, name: str = "teacher") -> PreTrainedModel:
    """A new model of the same kind with only the given decoder layers (counted from 0); other weights are copied.

    Works for every decoder whose layers stand in one list of `config.num_hidden_layers` modules; other parts of the
    model, such as one that sees, stay whole. name: how a message calls the model.
    Raises RequestError for a layer the model does not have, or a model that cannot be made smaller so.
    """
    total = sizes_of(model.config).num_layers
    check_layers(layers, num_layers=total, name=name)
    kind = type(model).__name__
    decoder = model.get_decoder()
    inside = next((f"{key}." if key else "" for key, module in model.named_modules() if module is decoder), "")
    stacks = [
        inside + key
        for key, module in decoder.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == total
    ]
    if len(stacks) != 1:
        raise RequestError(f"pair.keep_layers cannot tell the decoder layers of {kind} apart")
    prefix = f"{stacks[0]}."
    config = _config_with_layers(model.config, layers)
    position = {layer: new for new, layer in enumerate(layers)}
    weights = {}
    for key, value in model.state_dict().items():
        if key.startswith(prefix):
            layer, _, rest = key.removeprefix(prefix).partition(".")
            if int(layer) not in position:
                continue
            key = f"{prefix}{position[int(layer)]}.{rest}"
        weights[key] = value
    try:
        with torch.random.fork_rng(devices=[]):
            smaller = type(model)(config)
        smaller.load_state_dict(weights)
    except RuntimeError as err:  # a weight whose shape depends on the number of layers
        raise RequestError(f"pair.keep_layers cannot make {kind} smaller: {one_line(str(err))[:200]}") from err
    smaller.tie_weights()
    dtype: torch.dtype = model.dtype
    smaller.to(dtype)  # type: ignore[arg-type]  # transformers wraps nn.Module.to without its types
    return smaller


def _config_with_layers(config: PretrainedConfig, layers: Sequence[int]) -> PretrainedConfig:
    changed = copy.deepcopy(config)
    text = changed.get_text_config()  # the configuration itself, or the part of it that is the decoder's
    text.num_hidden_layers = len(layers)
    layer_types = getattr(text, "layer_types", None)
    if layer_types is not None:
        text.layer_types = [layer_types[layer] for layer in layers]
    return changed
