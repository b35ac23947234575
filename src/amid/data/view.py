"""Training examples as a person can check them: their text by what is learnt, and counts of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from amid.data.prompt import Asking
from amid.data.records import Record
from amid.data.tokenise import Counts, Example, tokenise_records, within_vocabulary


@dataclass(frozen=True)
class Part:
    """The examples of a part of the data, and what became of its records: how many, and a description, of each kind."""

    num_records: int
    examples: list[Example]
    changed: list[tuple[int, str]]

    @property
    def summary(self) -> str:
        """How many examples, tokens and labels there are."""
        lengths = [len(example) for example in self.examples]
        num_tokens, num_labels = sum(lengths), sum(example.num_labels for example in self.examples)
        return (
            f"{len(lengths)} examples of {self.num_records} records, {num_tokens} tokens, of which {num_labels} are "
            f"labels ({100 * num_labels / max(1, num_tokens):.0f} %), longest {max(lengths, default=0)} tokens"
        )


def part_of(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int,
    max_tokens: int,
    truncate_prompt: bool,
    asking: Asking,
    vocab_size: int,
) -> Part:
    """The examples of the records as they are trained on, of tokens below `vocab_size`.

    Raises RequestError as `tokenise_records`.
    """
    counts = Counts()
    limits = {"max_prompt_tokens": max_prompt_tokens, "max_tokens": max_tokens}
    whole = tokenise_records(
        records, tokenizer, **limits, truncate_prompt=truncate_prompt, asking=asking, counts=counts
    )
    kept = within_vocabulary(whole, vocab_size, counts=counts)
    changed = [*counts.said(**limits, truncate_prompt=truncate_prompt), *counts.said_of_vocabulary()]
    return Part(len(records), kept, [(count, what) for count, what in changed if count])


def spans_of(example: Example, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[str, bool]]:
    """The text of an example in pieces, special tokens among it, each with whether its tokens are labels."""
    tokens, start = [*example.prompt_ids, *example.response_ids], 0
    for begin, end in [*example.earlier, (len(example.prompt_ids), len(tokens))]:
        for ids, learnt in ((tokens[start:begin], False), (tokens[begin:end], True)):
            if ids:
                yield str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)), learnt
        start = end
