"""Completions of prompts by a causal language model; a text depends on its example, not on its batch.

Nothing is imported here: `decoding` needs no torch, and the configuration and the protocol read it.
"""
