"""The training and validation records of a pair as tokens, read once for all its trainings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from amid.config import ROLES, DataCfg, PlainTextCfg, Role
from amid.data.plain_text import check_enough_chunks, chunks_of
from amid.data.prompt import asking_of
from amid.data.splits import drawn, training_records
from amid.data.tokenise import Example, tokenise_records, within_vocabulary
from amid.errors import RequestError

Part = Literal["train", "dev"]


class TokenisedData:
    """Examples by role: whose tokenizer reads them, the teacher's or the student's.

    one_vocabulary: both split text alike, so that what one has read serves the other.
    """

    def __init__(
        self, data: DataCfg, tokenizer: Callable[[Role], PreTrainedTokenizerBase], *, one_vocabulary: bool
    ) -> None:
        self._data = data
        self._tokenizer = tokenizer
        self._one_vocabulary = one_vocabulary
        self._tokenised: dict[tuple[Role, Part, int | None], list[Example]] = {}
        self._usable: dict[tuple[Role, Part, int | None, int], list[Example]] = {}

    def examples(self, role: Role, vocab_size: int, *, num_train: int | None) -> list[Example]:
        """Training examples of `num_train` of the records (None = all), of tokens below `vocab_size`.

        `index` is the position among all training records.
        """
        return self._of_tokens_below(vocab_size, role, "train", num_train)

    def dev(self, role: Role, vocab_size: int) -> list[Example]:
        """Validation examples, as `examples`. Raises RequestError if none is left."""
        dev = self._of_tokens_below(vocab_size, role, "dev", None)
        if not dev:
            limit = self._data.max_prompt_tokens
            raise RequestError(f"no validation record can be used within data.max_prompt_tokens={limit}")
        return dev

    def plain_chunks(self, plain: PlainTextCfg, role: Role, vocab_size: int, *, batch_size: int) -> Tensor:
        """Chunks [C, L] of plain text, of tokens below `vocab_size`. Raises RequestError if they fill no batch."""
        chunk_tokens = plain.chunk_tokens or self._data.max_tokens
        chunks = chunks_of(plain, self._tokenizer(role), chunk_tokens=chunk_tokens, vocab_size=vocab_size)
        check_enough_chunks(plain, chunks, batch_size=batch_size)
        return chunks

    def _of_tokens_below(self, vocab_size: int, role: Role, part: Part, number: int | None) -> list[Example]:
        key = (role, part, number, vocab_size)
        if key not in self._usable:
            self._usable[key] = within_vocabulary(self._tokenised_records(role, part, number), vocab_size)
        return self._usable[key]

    def _tokenised_records(self, role: Role, part: Part, number: int | None) -> list[Example]:
        other: Role = "student" if role == "teacher" else "teacher"
        tokenizer, found = self._tokenizer(role), self._tokenised
        # With a part of the vocabulary in common one of the two lacks tokens.
        same = tokenizer is self._tokenizer(other) or (self._one_vocabulary and self._one_form())
        if same and (other, part, number) in found:
            return found[other, part, number]
        if (role, part, number) not in found:
            data = self._data
            train, dev = training_records(data)
            records = train if part == "train" else dev
            places = drawn(len(records), number, seed=data.split_seed)
            examples = tokenise_records(
                [records[place] for place in places],
                tokenizer,
                max_prompt_tokens=data.max_prompt_tokens,
                max_tokens=data.max_tokens,
                truncate_prompt=data.truncate_prompt,
                asking=asking_of(data),
            )
            found[role, part, number] = [replace(example, index=places[example.index]) for example in examples]
        return found[role, part, number]

    def _one_form(self) -> bool:
        """Whether both tokenizers make the same text of a record: in a chat their templates may differ."""
        templates = [self._tokenizer(role).chat_template for role in ROLES]
        return self._data.prompt != "chat" or self._data.chat_template is not None or templates[0] == templates[1]
