"""Models: from a reference or from scratch, their sizes, and saving them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from amid.config import ArchCfg
from amid.digests.seals import check_folder
from amid.errors import RequestError
from amid.model_folders import read_model_folder
from amid.model_folders.architecture import check_attention
from amid.pairs.gguf import local_source
from amid.pairs.loading import loading, quiet_loading
from amid.pairs.lora import has_lora, save_lora
from amid.pairs.reading import check_reads_left_to_right

SHOWN = 3  # names of weights in a message


def load_model(
    name: str,
    *,
    revision: str | None,
    cache: Path,
    seal: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> PreTrainedModel:
    """The model of a reference with weights of the dtype, from safetensors where there are any.

    Code of the model's own is never run.

    Every weight is the one of the files: none is missing (a tied head aside), left over, of another shape, or not
    finite. The model reads from left to right, and can be decoded token by token.
    seal: the digest that a folder of ours was published with; without it a sealed folder vouches for itself.
    Raises RequestError if it cannot be loaded so, DamagedError for a folder that was published sealed and has changed.
    """
    source = local_source(name, cache)
    if Path(source).is_dir():
        check_folder(Path(source), expected=seal, remedy="put back what it held, or name another model")
        read_model_folder(Path(source), name=name)
    with loading(f"model '{name}' cannot be loaded", source=source, revision=revision):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            revision=revision or "main",
            dtype=dtype,
            trust_remote_code=False,
            weights_only=True,  # a pickle of anything but tensors is refused
            ignore_mismatched_sizes=True,  # only so that the report names them
            output_loading_info=True,
        )
    model, report = loaded
    assert isinstance(model, PreTrainedModel)
    _check_report(report, name=name)
    _check_finite(model, name=name)
    layer_types = tuple(getattr(model.config.get_text_config(), "layer_types", None) or ())
    check_attention(
        layer_types,
        recurrent=not layer_types and bool(getattr(model, "_is_stateful", False)),
        name=name,
        kind=type(model).__name__,
    )
    check_reads_left_to_right(model, name=name)
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


def end_texts_with(model: PreTrainedModel, eos_id: int) -> None:
    """The model's configurations name this token as the one that ends a text, also after saving."""
    model.config.get_text_config().eos_token_id = eos_id
    model.config.eos_token_id = eos_id
    if model.generation_config is not None:
        model.generation_config.eos_token_id = eos_id


def also_end_texts_with(model: PreTrainedModel, end_ids: Collection[int]) -> None:
    """The model's own generation ends at these tokens too, also after saving."""
    config = model.generation_config
    if config is None or not end_ids:
        return
    known = config.eos_token_id if config.eos_token_id is not None else []
    known = [known] if isinstance(known, int) else list(known)
    new = sorted(set(end_ids) - set(known))
    if new:
        config.eos_token_id = [*known, *new]


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes weights (safetensors), configuration and tokenizer into the folder; of a model with LoRA its factors."""
    with quiet_loading():
        if has_lora(model):
            save_lora(model, folder)
        else:
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _check_report(report: Mapping[str, Any], *, name: str) -> None:
    """Raises RequestError, with names, for weights that the files lack, do not fit, or hold for another model."""
    shapes = [f"{key} {list(found)} instead of {list(due)}" for key, found, due in report.get("mismatched_keys", ())]
    parts = [
        _named("missing", report.get("missing_keys", ())),
        _named("of another shape", shapes),
        _named("not of this model", report.get("unexpected_keys", ())),
        _named("errors", report.get("error_msgs", ())),
    ]
    found = [part for part in parts if part]
    if found:
        raise RequestError(f"model '{name}': its weights do not fit its config.json; {'; '.join(found)}")


def _named(what: str, names: Iterable[str]) -> str:
    names = sorted(names)
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what}: {', '.join(names[:SHOWN])}{more}"


def _check_finite(model: PreTrainedModel, *, name: str) -> None:
    for key, weight in model.named_parameters():
        low, high = torch.aminmax(weight.detach())  # one pass, no copy; NaN is passed on
        if not (torch.isfinite(low) and torch.isfinite(high)):
            num = int((~torch.isfinite(weight.detach())).sum())
            raise RequestError(
                f"model '{name}': {key} holds {num} values of {weight.numel()} that are not finite (NaN or infinity); "
                "its training has diverged or its file is damaged"
            )
