"""What a model reference stands for: its content as an identity, and its configuration as plain data. No torch here.

A reference is `scratch`, a package, a local folder or a name on the model hub.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from amid.config import SCRATCH, SMOLLM2_PACKAGE
from amid.digests.fingerprint import FileDigests
from amid.digests.hub import hub_file, hub_revision
from amid.errors import RequestError

# Dropout of heads that no causal language model has, although its configuration names them.
_UNUSED_DROPOUT = ("summary_", "classifier_")


def model_identity(name: str, revision: str | None, digests: FileDigests) -> dict[str, Any]:
    """What names a model's weights: the package's version, a folder's digest, or a hub commit.

    Raises RequestError for a model that cannot be identified.
    """
    if name == SCRATCH:
        return {"scratch": "gpt2"}
    if name == SMOLLM2_PACKAGE:
        package = name.removeprefix("package:")
        try:
            return {"package": package, "version": metadata.version(package)}
        except metadata.PackageNotFoundError:
            raise RequestError(f"model '{name}': the package {package} is not installed; make setup-smollm2") from None
    folder = local_folder(name)
    if folder is not None:
        if not (folder / "config.json").is_file():
            raise RequestError(f"model folder {folder} holds no config.json")
        return {"files": digests.folder(folder)}
    if name.startswith(("/", ".", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise RequestError(f"model folder {name} does not exist")
    return {"hub": name, "commit": hub_revision(name, revision)}


def local_folder(name: str) -> Path | None:
    """The folder that a reference names; None for a package or a hub name."""
    folder = Path(os.path.expanduser(name))  # which leaves the home of nobody as it is; pathlib raises
    return folder if folder.is_dir() else None


def has_dropout(name: str, revision: str | None) -> bool:
    """Whether a model draws at random while it trains, as its configuration says: dropout, or noise on its router.

    Then the division of a step into micro-batches and ranks decides which masks are drawn.
    """
    if name == SMOLLM2_PACKAGE:
        return False  # a Llama, whose GGUF file holds no dropout
    folder = local_folder(name)
    path = folder / "config.json" if folder is not None else hub_file(name, revision, "config.json")
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError):
        return True  # what cannot be read is refused elsewhere; until then nothing is claimed
    return _names_dropout(config)


def _names_dropout(config: Any) -> bool:
    if not isinstance(config, Mapping):
        return False
    for key, value in config.items():
        if isinstance(value, Mapping):
            if _names_dropout(value):
                return True
        elif _draws(key) and isinstance(value, int | float) and value > 0:
            return True
    return False


def _draws(key: str) -> bool:
    """Whether a value of this name is a probability of dropping, or the size of a router's noise."""
    return ("drop" in key or "jitter" in key) and not key.startswith(_UNUSED_DROPOUT)
