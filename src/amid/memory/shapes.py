"""The shape of a model: its widths and counts as its config.json says them, by whatever names. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from amid.errors import RequestError
from amid.model_folders.weights import TensorHeader

# Families whose MLP is two matrices; elsewhere a third one is its gate.
UNGATED = frozenset(
    ("gpt2", "gpt_neo", "gpt_neox", "gptj", "gpt_bigcode", "codegen", "opt", "bloom", "falcon", "phi", "mpt", "xglm")
    + ("starcoder2", "persimmon", "nemotron")
)
# Families that norm by mean and variance: one tensor less is kept for the gradient than by root mean square.
LAYER_NORM = UNGATED | {"stablelm", "cohere", "cohere2", "olmo"}
# Families whose attention and MLP read one norm, and those that norm what both give back too.
ONE_NORM = frozenset(("gptj", "phi", "falcon", "cohere", "cohere2", "codegen"))
FOUR_NORMS = frozenset(("gemma2", "gemma3", "gemma3_text"))
# Families that have no fused attention in transformers: every layer keeps the weights between all tokens.
EAGER = frozenset(("gptj", "gpt_neo", "codegen", "mpt", "bloom", "gemma2", "falcon"))
# Families that norm queries and keys.
QUERY_NORM = frozenset(("qwen3", "qwen3_moe", "gemma3", "gemma3_text", "olmo2", "olmoe"))
# Families with a vector per position.
LEARNED_POSITIONS = frozenset(("gpt2", "gpt_neo", "gpt_bigcode", "opt"))
# Families whose head has weights of its own where the configuration says nothing.
UNTIED = frozenset(
    ("llama", "mistral", "mixtral", "gpt_neox", "gptj", "codegen", "phi", "phi3", "stablelm", "persimmon", "nemotron")
    + ("qwen2_moe", "qwen3_moe", "olmo2", "olmoe", "qwen2", "qwen3", "olmo")
)
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|layer)\.(\d+)\.")


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder. All widths are numbers per token.

    query_width, key_width: of all heads. inner_width: of the MLP, of as many experts as read a token.
    mlp_kept: tensors of that width that a gradient reads. num_read: experts that read a token, 0 without any.
    query_norm: queries and keys are normed. embedded: parameters outside of the layers, the head among
    them. per_layer: parameters of a layer, all its experts among them. num_layers: may be cut.
    """

    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    query_width: int
    key_width: int
    inner_width: int
    mlp_kept: int
    gated: bool
    num_read: int
    query_norm: bool
    num_norms: int
    layer_norm: bool
    eager: bool
    tied: bool
    embedded: int
    per_layer: int
    softcap: bool = False

    @property
    def num_parameters(self) -> int:
        """All of them, a tied head counted once."""
        return self.embedded + self.num_layers * self.per_layer

    @property
    def head(self) -> int:
        """Parameters of the output head."""
        return self.vocab_size * self.width

    def cut(self, num_layers: int) -> Shape:
        """The shape with so many layers."""
        return replace(self, num_layers=num_layers)


def shape_of(config: Mapping[str, Any], *, name: str, tensors: Mapping[str, TensorHeader] | None = None) -> Shape:
    """The shape of a config.json. tensors: of the whole model, which are counted in place of what the sizes say.

    Raises RequestError for a configuration without the sizes.
    """
    text = config["text_config"] if isinstance(config.get("text_config"), Mapping) else config
    family = str(text.get("model_type", config.get("model_type")))
    width, num_layers = _size(text, "hidden_size", "n_embd", "d_model"), _size(text, "num_hidden_layers", "n_layer")
    num_layers = num_layers or _size(text, "n_layers", "num_layers")
    num_heads, vocab_size = _size(text, "num_attention_heads", "n_head", "n_heads"), _size(text, "vocab_size")
    num_heads = num_heads or _size(text, "num_heads")
    if not (width and num_layers and num_heads and vocab_size):
        raise RequestError(f"model '{name}': its config.json does not say its sizes")
    head_width = _size(text, "head_dim") or width // num_heads
    query_width, key_width = num_heads * head_width, _num_key_heads(text, family, num_heads) * head_width
    gated = family not in UNGATED
    matrices = 3 if gated else 2
    inner = _size(text, "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size") or 4 * width
    num_experts, read, of_expert, shared = _experts(text)
    if num_experts:
        of_expert = of_expert or inner
        mlp = matrices * width * (num_experts * of_expert + shared) + width * num_experts
        inner = read * of_expert + shared
    else:
        mlp = matrices * width * inner
    num_norms = 4 if family in FOUR_NORMS else 1 if family in ONE_NORM else 2
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    tied = tied if isinstance(tied, bool) else family not in UNTIED
    positions = _size(text, "n_positions", "max_position_embeddings") or 0
    embedded = vocab_size * width * (1 if tied else 2) + width  # and the last norm
    embedded += positions * width if family in LEARNED_POSITIONS else 0
    shape = Shape(
        vocab_size=vocab_size,
        width=width,
        num_layers=num_layers,
        num_heads=num_heads,
        query_width=query_width,
        key_width=key_width,
        inner_width=inner,
        mlp_kept=_mlp_kept(text, gated=gated),
        gated=gated,
        num_read=read if num_experts else 0,
        query_norm=family in QUERY_NORM,
        num_norms=num_norms,
        layer_norm=family in LAYER_NORM,
        eager=family in EAGER,
        tied=tied,
        embedded=embedded,
        per_layer=width * (2 * query_width + 2 * key_width + num_norms) + mlp,
        softcap=bool(text.get("final_logit_softcapping")),
    )
    return shape if not tensors else _counted(shape, tensors)


def _counted(shape: Shape, tensors: Mapping[str, TensorHeader]) -> Shape:
    """The shape with the parameters that the files hold. A model of several parts has its others outside the layers."""
    of_layers = sum(each.num_values for name, each in tensors.items() if _LAYER.search(name))
    total = sum(each.num_values for each in tensors.values())
    per_layer = of_layers // shape.num_layers
    return replace(shape, per_layer=per_layer, embedded=total - shape.num_layers * per_layer)


def _num_key_heads(text: Mapping[str, Any], family: str, num_heads: int) -> int:
    if family == "falcon":  # as many as num_kv_heads in its newer form alone
        if text.get("new_decoder_architecture"):
            return _size(text, "num_kv_heads") or num_heads
        return 1 if text.get("multi_query", True) else num_heads
    if family == "gpt_bigcode":
        return 1 if text.get("multi_query", True) else num_heads
    return _size(text, "num_key_value_heads") or num_heads


def _experts(text: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """How many experts a layer has, how many read a token, the width of one (0 = the MLP's), and of the shared ones."""
    number = _size(text, "num_local_experts", "num_experts", "n_routed_experts") or 0
    if number < 2:
        return 0, 0, 0, 0
    of_expert = _size(text, "moe_intermediate_size") or 0
    shared = _size(text, "shared_expert_intermediate_size") or (_size(text, "n_shared_experts") or 0) * of_expert
    return number, _size(text, "num_experts_per_tok", "moe_top_k") or 1, of_expert, shared


def _mlp_kept(text: Mapping[str, Any], *, gated: bool) -> int:
    """Tensors of the MLP's inner width that a gradient reads: of GPT-2's function, written out, every step of it."""
    function = text.get("hidden_act") or text.get("activation_function") or text.get("hidden_activation")
    written_out = 3 if function in ("gelu_new", "gelu_fast") else 0
    return (4 if gated else 2) + written_out


def _size(text: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = text.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
