"""How an exported model ends its texts: as it was trained, and in chat form as its authors end a turn too."""

from __future__ import annotations

import pytest
from folders import small_model, small_tokenizer
from tokenizers import AddedToken
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.export.weights import end_as_trained, num_bytes


@pytest.fixture
def chatty() -> tuple[PreTrainedModel, PreTrainedTokenizerBase, int]:
    """A model whose authors end texts with either of two tokens, and the id of its end of turn."""
    tokenizer = small_tokenizer()
    tokenizer.add_tokens([AddedToken("<|end|>", special=True)])
    end = int(tokenizer.convert_tokens_to_ids("<|end|>"))
    model = small_model("llama", vocab_size=len(tokenizer))
    model.generation_config.eos_token_id = [end, tokenizer.eos_token_id]
    return model, tokenizer, end


def test_a_chat_ends_with_its_own_end_of_turn_too(
    chatty: tuple[PreTrainedModel, PreTrainedTokenizerBase, int],
) -> None:
    model, tokenizer, end = chatty
    assert end_as_trained(model, tokenizer, chat=True) == [tokenizer.eos_token, "<|end|>"]
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id, end]


def test_other_texts_end_with_what_they_were_trained_to(
    chatty: tuple[PreTrainedModel, PreTrainedTokenizerBase, int],
) -> None:
    model, tokenizer, _ = chatty
    assert end_as_trained(model, tokenizer, chat=False) == [tokenizer.eos_token]
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    tokenizer.eos_token = "<|end|>"  # as pair.eos does
    assert end_as_trained(model, tokenizer, chat=False) == ["<|end|>"]
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_the_size_is_that_of_the_dtype() -> None:
    model = small_model("gpt2", vocab_size=360)
    assert num_bytes(model, dtype="float16") * 2 == num_bytes(model, dtype="float32")
