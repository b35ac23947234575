"""Prompts of an evaluation set as a model reads them, and whether it can: token ids, chats, lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from amid.data.chat import chat_texts
from amid.data.prompt import name_of_set
from amid.data.tokenise import encode
from amid.errors import RequestError
from amid.evaluation.protocol import SetProtocol
from amid.pairs.sizes import Sizes


def prompt_ids(tokenizer: PreTrainedTokenizerBase, each: SetProtocol, *, set_name: str) -> list[list[int]]:
    """Token ids of each prompt of a set, uncut. Raises RequestError for a chat that the tokenizer cannot render."""
    assert each.data is not None
    texts = each.data.prompts
    if each.prompt == "chat":
        noun, node = name_of_set(set_name)
        texts = tuple(chat_texts(tokenizer, texts, noun=noun, node=node))
    return encode(tokenizer, texts)


def check_sets(sets: Mapping[str, SetProtocol], tokenizer: PreTrainedTokenizerBase, sizes: Sizes) -> None:
    """Raises RequestError unless a model of these sizes can read every set, and has room to answer it."""
    for name, each in sets.items():
        prompts = prompt_ids(tokenizer, each, set_name=name)
        check_prompts([prompt[: each.max_prompt_tokens] for prompt in prompts], each, set_name=name, sizes=sizes)


def check_prompts(prompts: Sequence[Sequence[int]], each: SetProtocol, *, set_name: str, sizes: Sizes) -> None:
    """Raises RequestError unless a model of these sizes can read the prompts, already cut, and answer them."""
    longest = max(map(len, prompts)) + each.decoding.max_new_tokens
    if sizes.num_positions is not None and longest > sizes.num_positions:
        raise RequestError(
            f"evaluation set '{set_name}' may need {longest} tokens, the model has {sizes.num_positions} positions; "
            f"lower evaluation.sets.{set_name}.max_prompt_tokens or .max_new_tokens"
        )
    for index, prompt in enumerate(prompts):
        if max(prompt, default=0) >= sizes.vocab_size:
            raise RequestError(
                f"evaluation set '{set_name}': prompt {index} holds token id {max(prompt)}, which the model lacks: it "
                f"knows {sizes.vocab_size} tokens"
            )
