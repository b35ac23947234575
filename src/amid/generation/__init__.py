"""Completions of prompts by a causal language model; a text depends on its example, not on its batch."""

from amid.generation.decoding import Completion, Decoding
from amid.generation.engine import generate
from amid.generation.randomness import Key
from amid.generation.speculative import Interleaving, generate_speculative
from amid.generation.stopping import StopStrings

__all__ = [
    "Completion",
    "Decoding",
    "Interleaving",
    "Key",
    "StopStrings",
    "generate",
    "generate_speculative",
]
