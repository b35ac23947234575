"""Prompts of an evaluation set as a model reads them, and whether it can: token ids, chats, lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from amid.data.chat import chat_texts
from amid.data.conversations import ChatTemplate
from amid.data.encoding import encode
from amid.data.prompt import name_of_set
from amid.errors import RequestError
from amid.evaluation.protocol import SetProtocol
from amid.pairs.sizes import Sizes


def prompt_ids(tokenizer: PreTrainedTokenizerBase, each: SetProtocol, *, set_name: str) -> list[list[int]]:
    """Token ids of each prompt of a set, uncut. Raises RequestError for a chat that the tokenizer cannot render."""
    assert each.data is not None
    noun, node = name_of_set(set_name)
    prompts = each.data.prompts
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    if each.data.in_turns:
        template = ChatTemplate(tokenizer, each.data.chat_template, noun=noun, node=node)
        texts = [
            template.question(prompt, where=f"{noun}, prompt {index}")
            for index, prompt in enumerate(prompts)
            if not isinstance(prompt, str)
        ]
    elif each.prompt == "chat":
        texts = chat_texts(tokenizer, texts, noun=noun, node=node)
    assert len(texts) == len(prompts)
    return encode(tokenizer, texts)


def cut_prompts(prompts: Sequence[list[int]], each: SetProtocol) -> list[list[int]]:
    """The prompts, each cut to the set's limit at its end, as in the reference; a conversation at its beginning."""
    limit = each.max_prompt_tokens
    assert each.data is not None
    if limit is not None and each.data.in_turns:  # at the end stand the question and what begins the answer
        return [prompt[-limit:] for prompt in prompts]
    return [prompt[:limit] for prompt in prompts]


def answer_ends(tokenizer: PreTrainedTokenizerBase, each: SetProtocol) -> frozenset[int]:
    """The token that ends an answer to a set as its chat template ends a turn, besides EOS; none without turns."""
    assert each.data is not None
    if not each.data.in_turns:
        return frozenset()
    return ChatTemplate(tokenizer, each.data.chat_template).end_ids


def check_sets(sets: Mapping[str, SetProtocol], tokenizer: PreTrainedTokenizerBase, sizes: Sizes) -> None:
    """Raises RequestError unless a model of these sizes can read every set, and has room to answer it."""
    for name, each in sets.items():
        prompts = prompt_ids(tokenizer, each, set_name=name)
        check_prompts(cut_prompts(prompts, each), each, set_name=name, sizes=sizes)


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
