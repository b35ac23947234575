"""Models: from a reference or from scratch, their size, and saving them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerBase

from amid.config import ArchCfg
from amid.errors import RequestError, one_line
from amid.pairs.gguf import local_source
from amid.pairs.loading import quiet_loading


def load_model(name: str, *, revision: str | None, cache: Path) -> PreTrainedModel:
    """The float32 model of a reference, from safetensors where there are any, never running remote code.

    Raises RequestError if it cannot be loaded.
    """
    source = local_source(name, cache)
    try:
        with quiet_loading():
            model = AutoModelForCausalLM.from_pretrained(
                source, revision=revision or "main", dtype=torch.float32, trust_remote_code=False
            )
    except (OSError, ValueError) as err:
        raise RequestError(f"model '{name}' cannot be loaded: {one_line(str(err))[:200]}") from err
    assert isinstance(model, PreTrainedModel)
    return model


def model_from_scratch(arch: ArchCfg, *, vocab_size: int, eos_id: int, seed: int) -> PreTrainedModel:
    """A GPT-2 with random weights, a function of the seed alone."""
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=arch.positions,
        n_embd=arch.width,
        n_layer=arch.layers,
        n_head=arch.heads,
        resid_pdrop=arch.dropout,
        embd_pdrop=arch.dropout,
        attn_pdrop=arch.dropout,
        initializer_range=arch.init_std,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own function, in torch's fused form
        bos_token_id=eos_id,
        eos_token_id=eos_id,
        pad_token_id=eos_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config)


def num_non_embedding_parameters(model: PreTrainedModel) -> int:
    """Parameters outside the token and position embeddings and the output head, tied or not."""
    embeddings = {
        id(weight) for module in model.modules() if isinstance(module, nn.Embedding) for weight in module.parameters()
    }
    head = model.get_output_embeddings()
    outside = embeddings | ({id(weight) for weight in head.parameters()} if isinstance(head, nn.Module) else set())
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in outside)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """None; writes weights (safetensors), configuration and tokenizer into the folder."""
    with quiet_loading():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
