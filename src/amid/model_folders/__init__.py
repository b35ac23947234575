"""Model folders as plain files: what a model is, and whether its files can be what they say. No torch here."""

from __future__ import annotations

from amid.model_folders.folder import ModelFolder, check_model, read_model_folder
from amid.model_folders.tokenizer import TokenizerFiles, read_tokenizer

__all__ = [
    "ModelFolder",
    "TokenizerFiles",
    "check_model",
    "read_model_folder",
    "read_tokenizer",
]
