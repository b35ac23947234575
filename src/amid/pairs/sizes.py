"""Sizes of a model: its tokens, positions, layers and parameters, wherever its family keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from amid.pairs.gguf import local_source
from amid.pairs.loading import loading


@dataclass(frozen=True)
class Sizes:
    """What a model is large enough for.

    vocab_size: tokens it knows, padded rows of its head included. num_positions: the longest sequence it can read, in
    tokens; None for no limit. num_layers: of its decoder. has_sliding_windows: a layer sees only the last tokens.
    """

    vocab_size: int
    num_positions: int | None
    num_layers: int
    has_sliding_windows: bool = False


def load_sizes(name: str, *, revision: str | None, cache: Path) -> Sizes:
    """The sizes of a model reference, from its configuration alone. Raises RequestError if it cannot be loaded."""
    source = local_source(name, cache)
    with loading(f"model '{name}' cannot be loaded", source=source, revision=revision):
        config = AutoConfig.from_pretrained(source, revision=revision or "main", trust_remote_code=False)
        return sizes_of(config)


def sizes_of(config: PretrainedConfig) -> Sizes:
    """The sizes of a configuration, or of its text model where that is a part of it."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    return Sizes(
        vocab_size=int(text.vocab_size),
        num_positions=positions if isinstance(positions, int) and positions > 0 else None,
        num_layers=int(text.num_hidden_layers),
        has_sliding_windows="sliding_attention" in (getattr(text, "layer_types", None) or ()),
    )


def head_size(model: PreTrainedModel) -> int:
    """Number of tokens the model knows, padded rows of its head included."""
    return sizes_of(model.config).vocab_size


def num_non_embedding_parameters(model: PreTrainedModel) -> int:
    """Parameters outside the token and position embeddings and the output head, tied or not."""
    embeddings = {
        id(weight) for module in model.modules() if isinstance(module, nn.Embedding) for weight in module.parameters()
    }
    head = model.get_output_embeddings()
    outside = embeddings | ({id(weight) for weight in head.parameters()} if isinstance(head, nn.Module) else set())
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in outside)
