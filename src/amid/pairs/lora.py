"""LoRA (Hu et al. 2021) by peft: the weights of a model stay, and low-rank additions to some of them train."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from amid.config import LoraCfg
from amid.core import LowRank
from amid.errors import RequestError, one_line

if TYPE_CHECKING:  # peft takes more than a second to import: where it is used, only
    import peft
    from peft.tuners.lora import LoraLayer

WEIGHTS = "adapter_model.safetensors"  # as peft names it
_PREFIX = "base_model.model."  # of names in peft's wrapper, by which it reads a file


def add_lora(model: PreTrainedModel, lora: LoraCfg, *, seed: int) -> None:
    """Adds low-rank factors, float32, to the model, in place; nothing else trains any more.

    The upper factor is 0 at first, so that the model says what it said before. seed: of the lower one.
    Raises RequestError for modules that the model lacks, and where none are named and peft knows none for its family.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _inject(model, _peft_config(lora))


def has_lora(model: nn.Module) -> bool:
    """Whether the model has low-rank factors that train."""
    return any(_is_lora(module) for module in model.modules())


def low_rank(layer: nn.Module) -> tuple[nn.Module, LowRank | None] | None:
    """A layer without what was added to it, and that; None where it is no data: it draws."""
    if not _is_lora(layer):
        return layer, None
    adapted: LoraLayer = layer  # type: ignore[assignment]
    if len(adapted.active_adapters) != 1:
        return None
    name = adapted.active_adapters[0]
    if not isinstance(adapted.lora_dropout[name], nn.Identity):
        return None
    down, up = adapted.lora_A[name].weight, adapted.lora_B[name].weight
    assert isinstance(down, Tensor) and isinstance(up, Tensor)
    return adapted.get_base_layer(), LowRank(down, up, float(adapted.scaling[name]))


def merge_lora(model: PreTrainedModel) -> None:
    """Adds the products of the low-rank factors to the weights they belong to, in place; the factors are gone."""
    for parent, name, layer in list(_layers(model)):
        layer.merge()
        setattr(parent, name, layer.get_base_layer())
    model.requires_grad_(True)


def save_lora(model: PreTrainedModel, folder: Path) -> None:
    """Writes the factors into the folder, as peft does; what they are added to is not in it."""
    import peft

    config = next(iter(getattr(model, "peft_config").values()))  # noqa: B009  # set by peft, on a class of transformers
    config.save_pretrained(folder)
    weights = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({f"{_PREFIX}{name}": weight.contiguous() for name, weight in weights.items()}, folder / WEIGHTS)


def load_lora(model: PreTrainedModel, folder: Path) -> None:
    """Adds the factors that a folder of ours holds to the model that they were trained on, in place.

    Raises RequestError for factors of another model.
    """
    import peft

    config = peft.LoraConfig.from_pretrained(str(folder))
    _inject(model, config)
    weights = {name.removeprefix(_PREFIX): weight for name, weight in load_file(folder / WEIGHTS).items()}
    expected = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    if {name: weight.shape for name, weight in weights.items()} != {n: w.shape for n, w in expected.items()}:
        raise RequestError(f"{folder / WEIGHTS} holds low-rank factors of another model")
    peft.set_peft_model_state_dict(model, weights)


def _peft_config(lora: LoraCfg) -> peft.LoraConfig:
    import peft

    return peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=None if lora.targets is None else list(lora.targets),
    )


def _inject(model: PreTrainedModel, config: peft.LoraConfig) -> None:
    import peft

    kind = type(model).__name__
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="fan_in_fan_out")  # peft sets what it warns of
            peft.inject_adapter_in_model(config, model)
    except ValueError as err:
        names = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if _takes_lora(module)})
        raise RequestError(
            f"LoRA does not fit {kind} ({one_line(str(err))[:120]}); lora.targets may name: {', '.join(names)}"
        ) from err
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()  # whatever the weights that stay are


def _takes_lora(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _is_lora(module: nn.Module) -> bool:
    return hasattr(module, "lora_A")


def _layers(model: nn.Module) -> Iterator[tuple[nn.Module, str, LoraLayer]]:
    """Parent, name and module of every layer with low-rank factors."""
    for parent in model.modules():
        for name, module in parent.named_children():
            if _is_lora(module):
                yield parent, name, module  # type: ignore[misc]
