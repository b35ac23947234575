"""Conversations as a model reads them: put into a chat template, with the place of every answer in the text.

A record's text is never searched for an answer. The prompt of every answer is rendered as it is when the model has to
answer, and must be the beginning of the text that holds the answer; a template for which it is not is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from amid.data.chat import CHAT_DATE
from amid.data.prompt import Asking, no_chat_template
from amid.data.records import Record
from amid.data.turns import Turn, answers_in
from amid.errors import RequestError, one_line

PROBE = (Turn("user", "amid-question"), Turn("assistant", "amid-answer"))
OTHER_TEMPLATE = "data.chat_template=NAME or a .jinja file chooses another template"


@dataclass(frozen=True)
class Rendered:
    """A conversation as text up to its last answer.

    pieces: what comes before an answer, and the answer with what ends it, by turns. answers: as the record has them.
    goes_on: the record has turns after its last answer, which are left out.
    """

    pieces: tuple[str, ...]
    answers: tuple[str, ...]
    goes_on: bool


class ChatTemplate:
    """A tokenizer's chat template, or another in its place, and how it ends a turn of the assistant.

    end_id: the token that ends it; None where the template writes none, so that an answer ends with EOS.
    noun, node: what asks so, and its node of the configuration, for messages.
    Raises RequestError for a tokenizer without a template, and one that ends turns with text of other tokens.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, text: str | None = None, *, noun: str = "data", node: str = "data"
    ) -> None:
        if text is None and tokenizer.chat_template is None:
            raise no_chat_template(noun, node, in_turns=True)
        self._tokenizer, self._text = tokenizer, text
        self._advice = OTHER_TEMPLATE.replace("data.", f"{node}.", 1)
        rendered = self._render(PROBE, ask=False, where=noun)
        before, found, self._tail = rendered.rpartition(PROBE[1].content)
        if not found:
            raise RequestError(f"{noun}: the chat template leaves out what the assistant says; {self._advice}")
        end = _first_token(tokenizer, self._tail)
        if end is None and self._tail.strip():
            raise RequestError(
                f"{noun}: the chat template ends a turn of the assistant with {one_line(self._tail)!r}, which is no "
                f"token of the tokenizer, so that no model would stop there; {node}.chat_template=plain suits every one"
            )
        self._end = "" if end is None else self._tail[: end.end()]
        self.end_id: int | None = None
        if end is not None:
            end_id = tokenizer.convert_tokens_to_ids(end.group())
            assert isinstance(end_id, int)
            self.end_id = end_id

    @property
    def end_ids(self) -> frozenset[int]:
        """The token that ends an answer besides EOS, if there is one."""
        return frozenset() if self.end_id is None else frozenset((self.end_id,))

    def question(self, turns: Sequence[Turn], *, where: str) -> str:
        """The text to which the assistant's answer is the continuation.

        Raises RequestError for a conversation that the template cannot render, or of which it leaves out something.
        """
        text = self._render(turns, ask=True, where=where)
        seen = _squeezed(text)
        for turn in turns:
            if turn.role != "assistant" and _squeezed(turn.content) not in seen:
                raise RequestError(
                    f"{where}: the chat template leaves out or changes the message of the {turn.role}; {self._advice}"
                )
        return text

    def conversation(self, turns: Sequence[Turn], num_given: int, *, last_only: bool, where: str) -> Rendered:
        """The text of a conversation whose answers are the assistant's turns after the first `num_given`, or the last.

        Raises RequestError as `question`, and for a template that does not leave an answer as it was written.
        """
        places = [place for place in answers_in(turns) if place >= num_given]
        assert places  # records without an answer are refused where they are read
        if last_only:
            places = places[-1:]
        prompts = [self.question(turns[:place], where=where) for place in places]
        answers = [
            self._answer(turns[: place + 1], prompt, where=where) for place, prompt in zip(places, prompts, strict=True)
        ]
        text, pieces, start = prompts[-1] + answers[-1], list[str](), 0
        for prompt, answer in zip(prompts, answers, strict=True):
            if not text.startswith(prompt + answer) or len(prompt) < start:
                raise RequestError(
                    f"{where}: the chat template writes an earlier answer otherwise once the conversation goes on, so "
                    f"that it cannot be learnt where it stands; data.turns=last learns the last one only, or "
                    f"{self._advice}"
                )
            pieces += [text[start : len(prompt)], answer]
            start = len(prompt) + len(answer)
        if len(places) > 1 and self.end_id is None:
            raise RequestError(
                f"{where}: the chat template ends a turn of the assistant with no token, so that an earlier answer "
                f"would have no end; data.turns=last learns the last one only, or {self._advice}"
            )
        return Rendered(tuple(pieces), tuple(turns[place].content for place in places), places[-1] + 1 < len(turns))

    def _answer(self, turns: Sequence[Turn], prompt: str, *, where: str) -> str:
        """The last turn with what ends it, as it follows its prompt."""
        text = self._render(turns, ask=False, where=where)
        answer = text[len(prompt) :]
        begins, ends = text.startswith(prompt), answer.endswith(self._tail)
        if not begins or not ends or _squeezed(turns[-1].content) not in _squeezed(answer):
            raise RequestError(
                f"{where}: the chat template does not write the answer after the prompt that asks for it; "
                f"{self._advice}"
            )
        return answer[: len(answer) - len(self._tail)] + self._end

    def _render(self, turns: Sequence[Turn], *, ask: bool, where: str) -> str:
        """The template's text of the turns; ask: with what begins the assistant's next one."""
        try:
            return self._apply(turns, ask=ask)
        except Exception as err:  # a template is a program of the model's authors, which raises what it likes
            raise RequestError(
                f"{where}: the chat template cannot render the conversation ({one_line(str(err))[:100]}); "
                f"{self._way_out(turns, ask=ask)}"
            ) from err

    def _apply(self, turns: Sequence[Turn], *, ask: bool) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                [turn._asdict() for turn in turns],
                chat_template=self._text,
                tokenize=False,
                add_generation_prompt=ask,
                date_string=CHAT_DATE,
            )
        )

    def _way_out(self, turns: Sequence[Turn], *, ask: bool) -> str:
        """What to do about turns that the template cannot render."""
        spoken = [turn for turn in turns if turn.role != "system"]
        if len(spoken) < len(turns) and self._can_render(spoken, ask=ask):
            return f"it takes no system message: leave that out, or {self._advice}"
        due = ["user", "assistant"] * len(spoken)
        if [turn.role for turn in spoken] != due[: len(spoken)]:
            return f"user and assistant may have to take turns, a user first; {self._advice}"
        return self._advice

    def _can_render(self, turns: Sequence[Turn], *, ask: bool) -> bool:
        try:
            self._apply(turns, ask=ask)
        except Exception:  # as in _render
            return False
        return True


def rendered_records(
    records: Sequence[Record], tokenizer: PreTrainedTokenizerBase, *, asking: Asking
) -> tuple[list[Rendered], ChatTemplate]:
    """The conversation of each record in the chat template, and that template. Raises RequestError as it does."""
    template = ChatTemplate(tokenizer, asking.chat_template)
    rendered = [
        template.conversation(
            *asking.turns(record), last_only=asking.last_only, where=record.where or f"data: record {record.id}"
        )
        for record in records
    ]
    return rendered, template


def end_ids(tokenizer: PreTrainedTokenizerBase, asking: Asking) -> frozenset[int]:
    """The token that ends an answer to records asked so, besides EOS: none where they are no conversations."""
    return ChatTemplate(tokenizer, asking.chat_template).end_ids if asking.in_turns else frozenset()


def _first_token(tokenizer: PreTrainedTokenizerBase, text: str) -> re.Match[str] | None:
    """The first of the tokens in a text that are kept whole wherever they stand; those of white space do not count."""
    whole = {str(token) for token in tokenizer.added_tokens_decoder.values()} | {str(tokenizer.eos_token)}
    ordered = sorted((token for token in whole if token.strip()), key=len, reverse=True)
    return re.search("|".join(map(re.escape, ordered)), text)


def _squeezed(text: str) -> str:
    """The text without white space: templates trim what they are given."""
    return "".join(text.split())
