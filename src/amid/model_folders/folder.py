"""A model folder: what its files say of the model, and what can be refused before a library is asked to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amid.errors import RequestError
from amid.model_folders.architecture import Architecture, architecture_of
from amid.model_folders.files import read_json
from amid.model_folders.tokenizer import TokenizerFiles, read_tokenizer
from amid.model_folders.weights import TensorHeader, read_tensors

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
# Names under which transformers' models keep one row per token.
_TOKEN_ROWS = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in|lm_head|embed_out)\.weight$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|layer)\.(\d+)\.")


@dataclass(frozen=True)
class ModelFolder:
    """A model by its files. name: how the user calls it.

    tensors: empty where the weights are no safetensors, or not there yet.
    """

    name: str
    path: Path
    architecture: Architecture
    tensors: Mapping[str, TensorHeader]

    @property
    def dtype(self) -> str | None:
        """The type of most of the weights, as safetensors calls it; None where it is not known."""
        sizes: dict[str, int] = {}
        for tensor in self.tensors.values():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.num_values
        return max(sizes, key=lambda dtype: sizes[dtype], default=None)


def check_model(name: str, revision: str | None) -> tuple[ModelFolder, TokenizerFiles | None] | None:
    """The model and tokenizer of a reference by their files; None for one whose files are not on this machine.

    Of a hub model it reads what has been downloaded, and asks no network. Raises RequestError as `read_model_folder`
    and `read_tokenizer`.
    """
    folder, whole = Path(name).expanduser(), True
    if not folder.is_dir():
        snapshot = _snapshot(name, revision)
        if snapshot is None:
            return None
        folder, whole = snapshot, False  # parts may still be downloaded
    found = read_model_folder(folder, name=name, whole=whole)
    return found, read_tokenizer(folder, name=name, whole=whole, vocab_size=found.architecture.vocab_size)


def _snapshot(name: str, revision: str | None) -> Path | None:
    """The folder of a hub model in the local cache; None if it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=CONFIG))
    except (HFValidationError, LocalEntryNotFoundError):
        return None
    return folder if (folder / CONFIG).is_file() else None


def read_model_folder(folder: Path, *, name: str, whole: bool = True) -> ModelFolder:
    """The model that a folder holds, its files read but not its weights.

    whole: False for a folder of which parts may still be downloaded.
    Raises RequestError for a file that is missing, damaged or a git LFS pointer, for a model that is no causal language
    model of attention layers, and for weights that do not fit its configuration. Its tokenizer: `read_tokenizer`.
    """
    if (folder / ADAPTER).exists():
        raise RequestError(
            f"model folder {folder} holds an adapter ({ADAPTER}), which is a part of a model; "
            "merge it into its base model and give the folder of the result"
        )
    architecture = architecture_of(read_json(folder / CONFIG), name=name)
    found = ModelFolder(
        name=name,
        path=folder,
        architecture=architecture,
        tensors=read_tensors(folder, whole=whole),
    )
    if (folder / "generation_config.json").exists():
        read_json(folder / "generation_config.json")
    _check_weights(found)
    return found


def check_positions(num_positions: int | None, *, num_tokens: int, needed_by: str, name: str) -> None:
    """Raises RequestError for a model with fewer positions than the longest sequence it will meet has tokens."""
    if num_positions is not None and num_tokens > num_positions:
        raise RequestError(
            f"model '{name}' has {num_positions} positions, but {needed_by} needs {num_tokens}; "
            f"lower {needed_by.partition('=')[0]} or take another model"
        )


def check_layers(keep_layers: Sequence[int], *, num_layers: int | None, name: str) -> None:
    """Raises RequestError for a layer to be kept that the model does not have."""
    if num_layers is not None and max(keep_layers) >= num_layers:
        raise RequestError(
            f"pair.keep_layers names layer {max(keep_layers)}, but the model has layers 0 to {num_layers - 1} "
            f"(model '{name}')"
        )


def check_full_attention(*, has_sliding_windows: bool, name: str) -> None:
    """Raises RequestError for a model that strategy=speculative cannot decode."""
    if has_sliding_windows:
        raise RequestError(
            f"strategy=speculative needs models with full attention, '{name}' has sliding windows; "
            "valid: fixed, on_policy, mixed, adaptive_off_policy"
        )


def _check_weights(found: ModelFolder) -> None:
    """Raises RequestError where the headers contradict the configuration for certain.

    What only the model's own class knows (every name and shape) is checked when it is loaded.
    """
    architecture, tensors = found.architecture, found.tensors
    if architecture.composite or not tensors:
        return  # the names of the other parts of such a model may be the same
    vocab_size = architecture.vocab_size
    rows = {name: each.shape for name, each in tensors.items() if _TOKEN_ROWS.search(name) and len(each.shape) == 2}
    for name, shape in rows.items():
        if vocab_size is not None and shape[0] != vocab_size:
            raise RequestError(
                f"model '{found.name}': its weights do not fit its config.json: {name} has {shape[0]} rows, "
                f"vocab_size is {vocab_size}"
            )
    if architecture.num_layers is not None:
        present = {int(match[1]) for name in tensors if (match := _LAYER.search(name))}
        missing = sorted(set(range(architecture.num_layers)) - present)
        if present and missing:
            raise RequestError(
                f"model '{found.name}': the weights of layer {missing[0]} ({len(missing)} in all) are missing; "
                f"its config.json counts {architecture.num_layers} layers"
            )
    per_token = [name for name, each in tensors.items() if len(each.shape) == 2 and each.shape[0] == vocab_size]
    if architecture.tied is False and len(per_token) == 1 and per_token[0] in rows:
        raise RequestError(
            f"model '{found.name}': the weights of its output head are missing; only {per_token[0]} has a row per "
            "token, and its config.json says that the head is not tied to it (tie_word_embeddings)"
        )
