"""Conversations in the chat template of a real instruct model, SmolLM2: make test-real."""

from __future__ import annotations

import pytest
from chats import chat_tokenizer
from transformers import PreTrainedTokenizerBase

from amid.config import SMOLLM2_PACKAGE
from amid.data.prompt import Asking
from amid.data.records import Record
from amid.data.tokenise import tokenise_records
from amid.data.turns import Turn
from amid.errors import RequestError
from amid.pairs import load_tokenizer

pytestmark = pytest.mark.real
TURNS = (
    Turn("user", "Hi, 2 + 2?"),
    Turn("assistant", "It is 4."),
    Turn("user", "Sure?"),
    Turn("assistant", "\nYes!\n"),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return load_tokenizer(SMOLLM2_PACKAGE, revision=None, cache=tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_every_answer_is_learnt_with_the_end_of_its_turn(
    tokenizer: PreTrainedTokenizerBase, system: str | None
) -> None:
    record = Record("1", "", "", ("\nYes!\n",), turns=TURNS)
    asking = Asking(chat=True, in_turns=True, system=system)
    limits = {"max_prompt_tokens": 500, "max_tokens": 600}
    (found,) = tokenise_records([record], tokenizer, **limits, truncate_prompt=False, asking=asking)
    answers = [found.prompt_ids[start:stop] for start, stop in found.earlier] + [found.response_ids]
    assert [tokenizer.decode(list(ids)) for ids in answers] == ["It is 4.<|im_end|>", "\nYes!\n<|im_end|>"]
    asked = [*([Turn("system", system)] if system else []), *TURNS[:-1]]
    prompt = tokenizer.apply_chat_template(
        [turn._asdict() for turn in asked], add_generation_prompt=True, tokenize=False
    )
    assert list(found.prompt_ids) == tokenizer(prompt, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(("name", "said"), [("llama3", "<\\|eot_id\\|>"), ("gemma", "<end_of_turn>")])
def test_templates_of_other_families_are_refused(tokenizer: PreTrainedTokenizerBase, name: str, said: str) -> None:
    text = chat_tokenizer(name).chat_template
    record = Record("1", "", "", ("b",), turns=TURNS)
    with pytest.raises(RequestError, match=f"ends a turn of the assistant with '{said}', which is no token"):
        tokenise_records(
            [record],
            tokenizer,
            max_prompt_tokens=500,
            max_tokens=600,
            truncate_prompt=False,
            asking=Asking(chat=True, in_turns=True, chat_template=text),
        )
