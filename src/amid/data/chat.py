"""Prompts as a model reads them: text to token ids, a chat first put into the model's own template."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from amid.data.prompt import no_chat_template
from amid.errors import RequestError, one_line

# For chat templates that name a date: with the day of the run, a resumed run would ask other questions.
CHAT_DATE = "26 Jul 2024"  # the one Llama 3.1's template falls back to


def chat_texts(tokenizer: PreTrainedTokenizerBase, turns: Sequence[str], *, noun: str, node: str) -> list[str]:
    """Each user turn in the model's chat template, as text that is tokenised once: a BOS in it stays the only one.

    noun, node: what asks so, and its node of the configuration, for messages. Raises RequestError for a tokenizer that
    has no template, or one that cannot render a single user turn.
    """
    if tokenizer.chat_template is None:
        raise no_chat_template(noun, node)
    try:
        return [
            str(
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": turn}],
                    tokenize=False,
                    add_generation_prompt=True,
                    date_string=CHAT_DATE,
                )
            )
            for turn in turns
        ]
    except Exception as err:  # a template is a program of the model's authors, which raises what it likes
        raise RequestError(
            f"{noun}: the model's chat template cannot render one user turn ({one_line(str(err))[:100]})"
        ) from err
