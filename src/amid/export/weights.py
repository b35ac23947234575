"""The weights that an export writes, merged and rounded or as an adapter, and how the model ends its texts."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.data.tokenise import eos_id
from amid.generation.engine import eos_ids_of
from amid.pairs import has_lora, merge_lora, save_model
from amid.pairs.loading import quiet_loading

ADAPTER_CONFIG = "adapter_config.json"


def make_whole(model: PreTrainedModel, *, dtype: str) -> None:
    """Merges low-rank factors and rounds the weights to the dtype, in place."""
    wanted = getattr(torch, dtype)
    assert isinstance(wanted, torch.dtype)
    if has_lora(model):
        model.float()  # a sum of factors and weights that stay is rounded once, when it is written
        merge_lora(model)
    model.to(wanted)  # type: ignore[arg-type]  # transformers wraps nn.Module.to without its types


def write_adapter(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, *, base: str, revision: str | None
) -> None:
    """Writes the low-rank factors as peft does, with the name of the model they are added to, and the tokenizer."""
    save_model(model, tokenizer, folder)
    path = folder / ADAPTER_CONFIG
    config = json.loads(path.read_text())
    config |= {"base_model_name_or_path": base, "revision": revision, "inference_mode": True}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    assert model.generation_config is not None
    with quiet_loading():
        model.generation_config.save_pretrained(folder)


def end_as_trained(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, chat: bool) -> list[str]:
    """The tokens that end the model's texts, which its generation configuration names afterwards.

    The tokenizer's EOS, which it was trained with; chat: its own end of turn too, as training and evaluation read it.
    """
    first = eos_id(tokenizer)
    ids = [first, *(each for each in eos_ids_of(model) if chat and each != first)]
    config = model.generation_config
    config.eos_token_id = ids if len(ids) > 1 else first
    config.pad_token_id = first if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return [str(token) for token in tokenizer.convert_ids_to_tokens(ids)]


def num_bytes(model: PreTrainedModel, *, dtype: str) -> int:
    """How large the weights are when they are written with the dtype."""
    wanted = getattr(torch, dtype)
    return sum(weight.numel() for weight in model.parameters()) * int(torch.empty((), dtype=wanted).element_size())
