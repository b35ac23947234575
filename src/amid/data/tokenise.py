"""Records to token ids: prompt, response and EOS, without special tokens of the tokenizer's own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from amid.data.prompt import render_prompt
from amid.data.records import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One tokenised record. `index`: its position in the file, a stable id. `response_ids` ends with EOS unless cut."""

    index: int
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    references: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


def tokenise_records(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int,
    max_tokens: int,
    truncate_prompt: bool,
) -> list[Example]:
    """Examples of the records, in order.

    A prompt of more than `max_prompt_tokens` tokens drops its record, or is cut with `truncate_prompt`; prompt and
    response together are cut to `max_tokens` (a long response loses its EOS). Both are counted in the log.
    """
    prompts = [render_prompt(record) for record in records]
    prompt_rows = encode(tokenizer, prompts)
    full_rows = encode(tokenizer, [prompt + record.outputs[0] for prompt, record in zip(prompts, records, strict=True)])
    examples: list[Example] = []
    num_merged = num_long_prompts = num_cut = 0
    for index, (record, prompt_ids, full_ids) in enumerate(zip(records, prompt_rows, full_rows, strict=True)):
        response_ids = full_ids[len(prompt_ids) :]
        if full_ids[: len(prompt_ids)] != prompt_ids:
            # A merge across the boundary: the response on its own keeps the prompt as it is at test time.
            num_merged += 1
            response_ids = encode(tokenizer, [record.outputs[0]])[0]
        if len(prompt_ids) > max_prompt_tokens:
            num_long_prompts += 1
            if not truncate_prompt:
                continue
            prompt_ids = prompt_ids[:max_prompt_tokens]
        response_ids = [*response_ids, eos_id(tokenizer)]
        num_cut += len(prompt_ids) + len(response_ids) > max_tokens
        response_ids = response_ids[: max_tokens - len(prompt_ids)]
        examples.append(Example(index, tuple(prompt_ids), tuple(response_ids), record.outputs))
    for count, what in (
        (num_long_prompts, f"prompts over {max_prompt_tokens} tokens {'cut' if truncate_prompt else 'dropped'}"),
        (num_cut, f"responses cut at {max_tokens} tokens"),
        (num_merged, "responses tokenised apart from their prompt (merge across the boundary)"),
    ):
        if count:
            log.info("data: %d of %d %s", count, len(records), what)
    return examples


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without special tokens, never truncated."""
    if not texts:
        return []
    rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return rows


def eos_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the end-of-sequence token."""
    value = tokenizer.eos_token_id
    assert isinstance(value, int)  # checked when the pair is loaded
    return value
