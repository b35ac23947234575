"""Pairs: a teacher, a student and their one tokenizer, from scratch, a package, a folder or a model hub."""

from __future__ import annotations

from amid.pairs.heads import hidden_states, output_head
from amid.pairs.lora import add_lora, has_lora, load_lora, merge_lora
from amid.pairs.models import also_end_texts_with, end_texts_with, load_model, model_from_scratch, save_model
from amid.pairs.pair import Pair, shared_ids, shared_vocab_size
from amid.pairs.quantisation import Quantised, quantise
from amid.pairs.sizes import Sizes, head_size, load_sizes, num_non_embedding_parameters
from amid.pairs.surgery import keep_layers
from amid.pairs.tokenizers import (
    EOS,
    check_one_tokenizer,
    load_tokenizer,
    load_tokenizers,
    num_ids,
    train_tokenizer,
)

__all__ = [
    "EOS",
    "Pair",
    "Quantised",
    "Sizes",
    "add_lora",
    "also_end_texts_with",
    "check_one_tokenizer",
    "end_texts_with",
    "has_lora",
    "head_size",
    "hidden_states",
    "keep_layers",
    "load_lora",
    "load_model",
    "load_sizes",
    "load_tokenizer",
    "load_tokenizers",
    "merge_lora",
    "model_from_scratch",
    "num_ids",
    "num_non_embedding_parameters",
    "output_head",
    "quantise",
    "save_model",
    "shared_ids",
    "shared_vocab_size",
    "train_tokenizer",
]
