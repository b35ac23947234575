"""What a config.json says of a model: causal or not, its layers, and its sizes, by whatever names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amid.errors import RequestError

# Layers that our generation can decode token by token (generation/engine.py refuses the others).
ATTENTION_LAYERS = ("full_attention", "sliding_attention")
# Families without attention, or with other layers among it, that do not say so in `layer_types`.
RECURRENT = frozenset(
    ("mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm", "recurrent_gemma", "jamba", "bamba", "zamba", "zamba2")
    + ("falcon_h1", "nemotron_h")
)
# Families that read in both directions unless their configuration has is_decoder.
BIDIRECTIONAL = frozenset(
    ("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert")
    + ("rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod")
)
# Classes without a task of their own (XModel) may hold every weight of a language model with a tied head.
_OTHER_TASK = re.compile(r"For(?!CausalLM|ConditionalGeneration)[A-Z]\w*$")
# The names of a size, in the order in which they are asked for.
_SIZES = {
    "vocab_size": ("vocab_size",),
    "num_positions": ("max_position_embeddings", "n_positions"),
    "num_layers": ("num_hidden_layers", "n_layer", "n_layers"),
}


@dataclass(frozen=True)
class Architecture:
    """What a configuration says; None where it leaves the answer to the defaults of its family.

    num_positions: longest sequence in tokens. layer_types: one name per layer, or empty.
    """

    model_type: str
    class_name: str | None
    vocab_size: int | None
    num_positions: int | None
    num_layers: int | None
    tied: bool | None
    layer_types: tuple[str, ...]
    composite: bool  # the text model is a part of it

    @property
    def has_sliding_windows(self) -> bool:
        """Whether a layer sees only the last tokens."""
        return "sliding_attention" in self.layer_types


def architecture_of(config: Mapping[str, Any], *, name: str) -> Architecture:
    """The architecture that a config.json describes.

    Raises RequestError unless it can be a causal language model whose layers are attention, in plain (not quantised)
    weights.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise RequestError(f"model '{name}': its config.json names no model_type")
    classes = config.get("architectures")
    class_name = classes[0] if isinstance(classes, list) and classes and isinstance(classes[0], str) else None
    if config.get("quantization_config") is not None:
        raise RequestError(
            f"model '{name}' holds quantised weights (quantization_config); give its unquantised version"
        )
    text = config["text_config"] if isinstance(config.get("text_config"), Mapping) else config
    text_type = str(text.get("model_type", model_type))
    _check_causal(config, text, name=name, text_type=text_type, class_name=class_name)
    layer_types = text.get("layer_types")
    layer_types = tuple(map(str, layer_types)) if isinstance(layer_types, list) else ()
    check_attention(layer_types, recurrent=text_type in RECURRENT, name=name, kind=text_type)
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    return Architecture(
        model_type=model_type,
        class_name=class_name,
        **{size: _size(text, names, name=name) for size, names in _SIZES.items()},
        tied=tied if isinstance(tied, bool) else None,
        layer_types=layer_types,
        composite=text is not config,
    )


def check_attention(layer_types: tuple[str, ...], *, recurrent: bool, name: str, kind: str) -> None:
    """Raises RequestError for a model with layers other than attention. kind: what the line calls the model."""
    others = sorted(set(layer_types) - set(ATTENTION_LAYERS))
    if others or recurrent:
        found = ", ".join(others) or "recurrent layers"
        raise RequestError(
            f"model '{name}' ({kind}) has {found}; only causal language models whose layers are attention "
            f"({', '.join(ATTENTION_LAYERS)}) can be distilled or evaluated"
        )


def not_causal(name: str, what: str) -> RequestError:
    """What is said of a model that cannot write text from left to right."""
    return RequestError(
        f"model '{name}' is no causal language model: {what}; valid: a decoder with a language-modelling head, "
        "such as GPT-2, Llama, Qwen2 or Gemma"
    )


def _check_causal(
    config: Mapping[str, Any], text: Mapping[str, Any], *, name: str, text_type: str, class_name: str | None
) -> None:
    if config.get("is_encoder_decoder") is True:
        raise not_causal(name, f"{class_name or text_type} is an encoder with a decoder")
    if class_name is not None and _OTHER_TASK.search(class_name):
        raise not_causal(name, f"its architecture is {class_name}")
    if text_type in BIDIRECTIONAL and text.get("is_decoder") is not True:
        raise not_causal(name, f"{class_name or text_type} reads text in both directions")


def _size(text: Mapping[str, Any], names: tuple[str, ...], *, name: str) -> int | None:
    for key in names:
        value = text.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise RequestError(f"model '{name}': {key} in its config.json must be an integer, got {value!r}")
        if value < 1:
            if value == -1:  # how a family says "no limit"
                return None
            raise RequestError(f"model '{name}': {key} in its config.json must be at least 1, got {value}")
        return value
    return None
