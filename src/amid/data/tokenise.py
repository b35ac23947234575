"""Records to token ids: prompt, response and EOS, without special tokens of the tokenizer's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from amid.data.batch import Source
from amid.data.chat import chat_texts
from amid.data.prompt import NAME_OF_DATA, Asking
from amid.data.records import Record
from amid.errors import RequestError

log = logging.getLogger(__name__)
ALPACA = Asking()
RECORDS_PER_LOOK = 256  # tokenised at a time where only so many usable ones are looked for


@dataclass(frozen=True)
class Example:
    """One tokenised record. `index`: its position in the file, a stable id. `response_ids` ends with EOS unless cut.

    source: who wrote the response. beside: the same prompt with other responses, in the same batch.
    """

    index: int
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    references: tuple[str, ...]
    source: Source = "gold"
    beside: tuple[Example, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


def tokenise_records(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int,
    max_tokens: int,
    truncate_prompt: bool,
    asking: Asking = ALPACA,
) -> list[Example]:
    """Examples of the records, in order, asked as an evaluation set would ask them.

    A prompt of more than `max_prompt_tokens` tokens drops its record, or is cut with `truncate_prompt`; prompt and
    response together are cut to `max_tokens` (a long response loses its EOS). Both are counted in the log.
    """
    counts = _Counts()
    examples = _tokenised(
        records,
        tokenizer,
        max_prompt_tokens=max_prompt_tokens,
        max_tokens=max_tokens,
        truncate_prompt=truncate_prompt,
        asking=asking,
        counts=counts,
    )
    _say(
        len(records),
        (counts.long_prompts, f"prompts over {max_prompt_tokens} tokens {'cut' if truncate_prompt else 'dropped'}"),
        (counts.cut, f"responses cut at {max_tokens} tokens"),
        (counts.merged, "responses tokenised apart from their prompt (merge across the boundary)"),
    )
    return examples


def within_vocabulary(examples: Sequence[Example], vocab_size: int) -> list[Example]:
    """The examples as far as their tokens lie below `vocab_size`, in order.

    A prompt with another token drops its example; a response is cut before its first one (and loses its EOS), or drops
    its example if it begins with it. Both are counted in the log.
    """
    within = [_within(example, vocab_size) for example in examples]
    kept = [example for example in within if example is not None]
    num_cut = sum(new is not None and len(new) < len(old) for old, new in zip(examples, within, strict=True))
    _say(
        len(examples),
        (len(examples) - len(kept), "examples dropped for a token that a model of the pair lacks"),
        (num_cut, "responses cut before a token that a model of the pair lacks"),
    )
    return kept


def check_enough(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int,
    max_tokens: int,
    truncate_prompt: bool,
    vocab_size: int,
    num_needed: int,
    needed_by: str,
    asking: Asking = ALPACA,
) -> None:
    """Raises RequestError unless so many records become examples of tokens below `vocab_size`.

    Tokenises no more records than it must. needed_by: the setting that needs them.
    """
    counts, num_usable = _Counts(), 0
    for start in range(0, len(records), RECORDS_PER_LOOK):
        examples = _tokenised(
            records[start : start + RECORDS_PER_LOOK],
            tokenizer,
            max_prompt_tokens=max_prompt_tokens,
            max_tokens=max_tokens,
            truncate_prompt=truncate_prompt,
            asking=asking,
            counts=counts,
        )
        num_usable += sum(_within(example, vocab_size) is not None for example in examples)
        if num_usable >= num_needed:
            return
    num_long = 0 if truncate_prompt else counts.long_prompts
    num_lacking = len(records) - num_usable - num_long
    reasons = []
    if num_long:
        reasons.append(
            f"{num_long} prompts have more than data.max_prompt_tokens={max_prompt_tokens} tokens (the shortest "
            f"prompt has {counts.shortest_prompt}): raise it, or cut them with data.truncate_prompt=true"
        )
    if num_lacking:
        reasons.append(f"{num_lacking} have a token that a model of the pair lacks")
    raise RequestError(
        f"{needed_by} needs {num_needed} records, {num_usable} of {len(records)} can be used; {'; '.join(reasons)}"
    )


def prompt_texts(records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, *, asking: Asking) -> list[str]:
    """The prompt of each record as the tokenizer reads it. Raises RequestError for a chat that it cannot render."""
    texts = [asking.text(record) for record in records]
    noun, node = NAME_OF_DATA
    return chat_texts(tokenizer, texts, noun=noun, node=node) if asking.chat else texts


def tokenizer_texts(records: Sequence[Record]) -> list[str]:
    """What a tokenizer is trained on, besides the pieces of the template."""
    return [f"{record.instruction}\n{record.input}\n{record.outputs[0]}" for record in records]


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without special tokens, never truncated."""
    if not texts:
        return []
    rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return rows


def decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[int]], str]:
    """Token ids to text, as responses are read: without special tokens."""
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True))


def eos_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the end-of-sequence token."""
    value = tokenizer.eos_token_id
    assert isinstance(value, int)  # checked when the pair is loaded
    return value


@dataclass
class _Counts:
    """What happened to records, and the length of the shortest prompt."""

    long_prompts: int = 0
    cut: int = 0
    merged: int = 0
    shortest_prompt: int | None = None


def _tokenised(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int,
    max_tokens: int,
    truncate_prompt: bool,
    asking: Asking,
    counts: _Counts,
) -> list[Example]:
    """As `tokenise_records`, adding to `counts` instead of the log."""
    prompts = prompt_texts(records, tokenizer, asking=asking)
    prompt_rows = encode(tokenizer, prompts)
    full_rows = encode(tokenizer, [prompt + record.outputs[0] for prompt, record in zip(prompts, records, strict=True)])
    examples: list[Example] = []
    for index, (record, prompt_ids, full_ids) in enumerate(zip(records, prompt_rows, full_rows, strict=True)):
        response_ids = full_ids[len(prompt_ids) :]
        if full_ids[: len(prompt_ids)] != prompt_ids:
            # A merge across the boundary: the response on its own keeps the prompt as it is at test time.
            counts.merged += 1
            response_ids = encode(tokenizer, [record.outputs[0]])[0]
        counts.shortest_prompt = min(len(prompt_ids), counts.shortest_prompt or len(prompt_ids))
        if len(prompt_ids) > max_prompt_tokens:
            counts.long_prompts += 1
            if not truncate_prompt:
                continue
            prompt_ids = prompt_ids[:max_prompt_tokens]
        response_ids = [*response_ids, eos_id(tokenizer)]
        counts.cut += len(prompt_ids) + len(response_ids) > max_tokens
        response_ids = response_ids[: max_tokens - len(prompt_ids)]
        examples.append(Example(index, tuple(prompt_ids), tuple(response_ids), record.outputs))
    return examples


def _within(example: Example, vocab_size: int) -> Example | None:
    if max(example.prompt_ids, default=0) >= vocab_size:
        return None
    length = next((place for place, token in enumerate(example.response_ids) if token >= vocab_size), None)
    if length is None:
        return example
    return replace(example, response_ids=example.response_ids[:length]) if length else None


def _say(num_records: int, *counted: tuple[int, str]) -> None:
    for count, what in counted:
        if count:
            log.info("data: %d of %d %s", count, num_records, what)
