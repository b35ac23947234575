"""Records to token ids: prompt, response and EOS, without special tokens of the tokenizer's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from transformers import PreTrainedTokenizerBase

from amid.data.batch import Source
from amid.data.chat import chat_texts
from amid.data.conversations import rendered_records
from amid.data.encoding import encode_pieces
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
    earlier: (start, stop) of each earlier answer among the prompt's tokens, which are learnt as the response is; a
    conversation's last answer is its response, and ends with the end of the turn.
    """

    index: int
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    references: tuple[str, ...]
    source: Source = "gold"
    beside: tuple[Example, ...] = ()
    earlier: tuple[tuple[int, int], ...] = ()

    @property
    def num_labels(self) -> int:
        """How many of the tokens are learnt."""
        return len(self.response_ids) + sum(stop - start for start, stop in self.earlier)

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
    counts: Counts | None = None,
) -> list[Example]:
    """Examples of the records, in order, asked as an evaluation set would ask them.

    A prompt of more than `max_prompt_tokens` tokens drops its record, or is cut with `truncate_prompt`; prompt and
    response together are cut to `max_tokens` (a long response loses its EOS). A conversation is cut to the turns before
    the first answer whose prompt is longer than `max_prompt_tokens`. Each is counted in the log, and in `counts`.
    """
    counts = counts or Counts()
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
        *counts.said(max_prompt_tokens=max_prompt_tokens, max_tokens=max_tokens, truncate_prompt=truncate_prompt),
    )
    return examples


def within_vocabulary(examples: Sequence[Example], vocab_size: int, *, counts: Counts | None = None) -> list[Example]:
    """The examples as far as their tokens lie below `vocab_size`, in order.

    A prompt with another token drops its example; a response is cut before its first one (and loses its EOS), or drops
    its example if it begins with it. Both are counted in the log, and in `counts`.
    """
    within = [_within(example, vocab_size) for example in examples]
    kept = [example for example in within if example is not None]
    found = counts or Counts()
    found.lacking += len(examples) - len(kept)
    found.cut_before += sum(new is not None and len(new) < len(old) for old, new in zip(examples, within, strict=True))
    _say(len(examples), *found.said_of_vocabulary())
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
    counts, num_usable = Counts(), 0
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


def record_texts(
    records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, *, asking: Asking
) -> list[tuple[str, str]]:
    """The prompt of each record and what is learnt after it, as the tokenizer reads them.

    Raises RequestError for a chat that it cannot render.
    """
    if asking.in_turns:
        rendered, _ = rendered_records(records, tokenizer, asking=asking)
        return [("".join(each.pieces[:-1]), each.pieces[-1]) for each in rendered]
    prompts = _prompt_texts(records, tokenizer, asking=asking)
    return [(prompt, record.outputs[0]) for prompt, record in zip(prompts, records, strict=True)]


def tokenizer_texts(records: Sequence[Record]) -> list[str]:
    """What a tokenizer is trained on, besides the pieces of the template."""
    return [_spoken(record) for record in records]


def decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[int]], str]:
    """Token ids to text, as responses are read: without special tokens."""
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True))


def eos_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the end-of-sequence token."""
    value = tokenizer.eos_token_id
    assert isinstance(value, int)  # checked when the pair is loaded
    return value


@dataclass
class Counts:
    """What happened to records, and the length of the shortest prompt.

    shortened: conversations of which later turns did not fit. goes_on: those with turns after the last answer.
    """

    long_prompts: int = 0
    cut: int = 0
    merged: int = 0
    shortened: int = 0
    goes_on: int = 0
    lacking: int = 0
    cut_before: int = 0
    shortest_prompt: int | None = None

    def said(self, *, max_prompt_tokens: int, max_tokens: int, truncate_prompt: bool) -> list[tuple[int, str]]:
        """How often each happened, and what it is called."""
        return [
            (self.long_prompts, f"prompts over {max_prompt_tokens} tokens {'cut' if truncate_prompt else 'dropped'}"),
            (self.shortened, f"conversations cut to the turns whose prompts have at most {max_prompt_tokens} tokens"),
            (self.cut, f"responses cut at {max_tokens} tokens"),
            (self.merged, "responses tokenised apart from their prompt (merge across the boundary)"),
            (self.goes_on, "conversations go on after the assistant's last turn, which is left out"),
        ]

    def said_of_vocabulary(self) -> list[tuple[int, str]]:
        """As `said`, of examples with tokens that not both models have."""
        return [
            (self.lacking, "examples dropped for a token that a model of the pair lacks"),
            (self.cut_before, "responses cut before a token that a model of the pair lacks"),
        ]


def _tokenised(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int,
    max_tokens: int,
    truncate_prompt: bool,
    asking: Asking,
    counts: Counts,
) -> list[Example]:
    """As `tokenise_records`, adding to `counts` instead of the log."""
    if asking.in_turns:
        limits = (max_prompt_tokens, max_tokens)
        return _tokenised_turns(records, tokenizer, limits=limits, asking=asking, counts=counts)
    prompts = _prompt_texts(records, tokenizer, asking=asking)
    pieces = [(prompt, record.outputs[0]) for prompt, record in zip(prompts, records, strict=True)]
    examples: list[Example] = []
    rows = zip(records, encode_pieces(tokenizer, pieces), strict=True)
    for index, (record, ((prompt_ids, response_ids), merged)) in enumerate(rows):
        # A merge across the boundary: the response on its own keeps the prompt as it is at test time.
        counts.merged += merged
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


def _tokenised_turns(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    limits: tuple[int, int],
    asking: Asking,
    counts: Counts,
) -> list[Example]:
    """Examples of conversations: the last answer that fits is the response, earlier ones are learnt in the prompt.

    limits: most tokens of a prompt, and of all.
    """
    max_prompt_tokens, max_tokens = limits
    rendered, template = rendered_records(records, tokenizer, asking=asking)
    end = [] if template.end_id is not None else [eos_id(tokenizer)]
    examples: list[Example] = []
    rows = zip(rendered, encode_pieces(tokenizer, [each.pieces for each in rendered]), strict=True)
    for index, (found, (pieces, merged)) in enumerate(rows):
        counts.merged += merged
        counts.goes_on += found.goes_on
        starts = [0, *accumulate(map(len, pieces))]
        shortest = starts[1]
        counts.shortest_prompt = min(shortest, counts.shortest_prompt or shortest)
        fitting = [place for place in range(1, len(pieces), 2) if starts[place] <= max_prompt_tokens]
        if not fitting:
            counts.long_prompts += 1
            continue
        last = fitting[-1]
        counts.shortened += last < len(pieces) - 1
        prompt_ids = [token for piece in pieces[:last] for token in piece]
        response_ids = [*pieces[last], *end]
        counts.cut += len(prompt_ids) + len(response_ids) > max_tokens
        examples.append(
            Example(
                index,
                tuple(prompt_ids),
                tuple(response_ids[: max_tokens - len(prompt_ids)]),
                references=(found.answers[last // 2],),
                earlier=tuple((starts[place], starts[place + 1]) for place in fitting[:-1]),
            )
        )
    return examples


def _prompt_texts(records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, *, asking: Asking) -> list[str]:
    """The prompt of each record as the tokenizer reads it. Raises RequestError for a chat that it cannot render."""
    texts = [asking.text(record) for record in records]
    noun, node = NAME_OF_DATA
    return chat_texts(tokenizer, texts, noun=noun, node=node) if asking.chat else texts


def _spoken(record: Record) -> str:
    if record.turns:
        return "\n".join(turn.content for turn in record.turns)
    if record.prompt is not None:
        return f"{record.prompt}\n{record.outputs[0]}"
    return f"{record.instruction}\n{record.input}\n{record.outputs[0]}"


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
