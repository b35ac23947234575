"""Conversations: what is learnt are the assistant's texts and their ends, or the template is refused."""

import json

import pytest
import torch
from chats import (
    ENDS,
    EOS,
    NO_END,
    NO_PROMPT,
    NO_SYSTEM,
    OTHER_END,
    PHI,
    SHOUTS,
    SILENT,
    STYLES,
    SYSTEM_LAST,
    THINKS,
    TRIMS,
    chat_tokenizer,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from amid.data.batch import IGNORE_INDEX, collate
from amid.data.conversations import ChatTemplate
from amid.data.encoding import encode
from amid.data.loader import validation_batches
from amid.data.prompt import Asking
from amid.data.records import Form, Record, records_of
from amid.data.rows import read_rows
from amid.data.tokenise import Counts, Example, tokenise_records, within_vocabulary
from amid.data.turns import Turn
from amid.errors import RequestError

TOKENIZERS = {style: chat_tokenizer(style) for style in STYLES}
CONTENTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
# Texts that begin or end as templates do, so that tokens may merge across a boundary
EDGY = st.sampled_from(
    ["\n\nyes", " no ", "maybe\n", "", "\n", "user", "7</s>", "assistant\n", "e\u0301", "\U0001f642"]
)
TALKS = st.lists(st.tuples(CONTENTS | EDGY, CONTENTS | EDGY), min_size=1, max_size=4)


def talk(*pairs, system=None):
    """A record of questions and answers in turn."""
    turns = [Turn("system", system)] if system is not None else []
    for question, answer in pairs:
        turns += [Turn("user", question), Turn("assistant", answer)]
    return Record("1", "", "", (pairs[-1][1],), turns=tuple(turns), where="a.jsonl:1")


def tokenised(record, tokenizer, *, max_prompt_tokens=4000, max_tokens=8000, counts=None, **asking):
    (found,) = tokenise_records(
        [record],
        tokenizer,
        max_prompt_tokens=max_prompt_tokens,
        max_tokens=max_tokens,
        truncate_prompt=False,
        asking=Asking(chat=True, in_turns=True, **asking),
        counts=counts,
    )
    return found


def learnt(found, tokenizer):
    """The text of every answer that is learnt, in order."""
    ids = [*(found.prompt_ids[start:stop] for start, stop in found.earlier), found.response_ids]
    return [tokenizer.decode(list(each)) for each in ids]


@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs=TALKS)
@example(pairs=[("a", "\n\nb"), ("\nc", "d\n")])
def test_what_is_learnt_reads_as_the_assistants_texts_and_their_ends(style, pairs):
    tokenizer, counts = TOKENIZERS[style], Counts()
    found = tokenised(talk(*pairs), tokenizer, counts=counts)
    said = [answer.strip() if style in TRIMS else answer for _, answer in pairs]
    lead = " " if style == "mistral" else ""
    assert learnt(found, tokenizer) == [f"{lead}{answer}{ENDS[style]}" for answer in said]
    whole = tokenizer.decode([*found.prompt_ids, *found.response_ids])
    rendered = tokenizer.apply_chat_template([turn._asdict() for turn in talk(*pairs).turns], tokenize=False)
    assert rendered.startswith(whole), "the text is the template's"
    assert found.references == (pairs[-1][1],)
    if not counts.merged:
        asked = [turn._asdict() for turn in talk(*pairs).turns[:-1]]
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        assert list(found.prompt_ids) == encode(tokenizer, [prompt])[0], "as it is asked when the model has to answer"


@pytest.mark.parametrize("style", ["chatml", "llama3", "plain"])
def test_a_system_message_is_read_and_not_learnt_and_the_datas_own_stands_in_for_one_that_is_missing(style):
    tokenizer = TOKENIZERS[style]
    own = tokenised(talk(("a", "b"), ("c", "d"), system="Be kind."), tokenizer, system="Be brief.")
    other = tokenised(talk(("a", "b"), ("c", "d")), tokenizer, system="Be brief.")
    assert "Be kind." in tokenizer.decode(own.prompt_ids) and "Be brief." not in tokenizer.decode(own.prompt_ids)
    assert "Be brief." in tokenizer.decode(other.prompt_ids)
    assert learnt(own, tokenizer) == learnt(other, tokenizer) == [f"b{ENDS[style]}", f"d{ENDS[style]}"]


def test_the_labels_of_a_batch_are_the_learnt_tokens_one_place_earlier():
    tokenizer = TOKENIZERS["chatml"]
    found = tokenised(talk(("hi", "yes"), ("and", "no")), tokenizer)
    (batch,) = validation_batches([found], batch_size=1, pad_id=0)
    ids, labels = batch.input_ids[0], batch.labels[0]
    whole = torch.tensor([*found.prompt_ids, *found.response_ids])
    places = torch.nonzero(labels != IGNORE_INDEX).flatten()
    assert torch.equal(ids, whole[:-1]) and torch.equal(labels[places], whole[places + 1])
    assert tokenizer.decode(labels[places]) == "yes<|im_end|>no<|im_end|>"
    assert len(places) == found.num_labels
    assert batch.prompts() == [list(found.prompt_ids)], "a strategy writes in place of the last answer"
    alone = collate([(found.prompt_ids, (5, 6))], example_ids=[0], pad_id=0, source="fresh")
    assert int(alone.labelled.sum()) == 2, "and what it writes is all that is learnt of it"


def test_without_earlier_answers_a_batch_is_what_it_was():
    rows, ids = [((1, 2, 3), (4, 5)), ((6,), (7,))], [0, 1]
    before, after = (collate(rows, example_ids=ids, pad_id=0, earlier=each) for each in (None, [(), ()]))
    assert torch.equal(before.labels, after.labels) and torch.equal(before.input_ids, after.input_ids)


def test_a_completion_in_turns_is_learnt_and_an_answer_in_its_prompt_is_not():
    tokenizer = TOKENIZERS["chatml"]
    record = talk(("a", "given"), ("c", "learnt"), ("d", "too"))
    found = tokenised(Record("1", "", "", ("too",), turns=record.turns, num_given=3), tokenizer)
    assert learnt(found, tokenizer) == ["learnt<|im_end|>", "too<|im_end|>"]


def test_turns_last_learns_the_last_answer_only():
    tokenizer = TOKENIZERS["chatml"]
    found = tokenised(talk(("a", "b"), ("c", "d")), tokenizer, last_only=True)
    assert learnt(found, tokenizer) == ["d<|im_end|>"] and "b<|im_end|>" in tokenizer.decode(found.prompt_ids)


def test_a_conversation_is_cut_to_the_turns_that_fit_and_dropped_if_none_does(caplog):
    caplog.set_level("INFO")
    tokenizer = TOKENIZERS["chatml"]
    record = talk(("a", "b"), ("c", "d"), ("e " * 100, "f"))
    lengths = [len(tokenised(talk(*pairs), tokenizer).prompt_ids) for pairs in ([("a", "b")], [("a", "b"), ("c", "d")])]
    found = tokenised(record, tokenizer, max_prompt_tokens=lengths[1])
    assert learnt(found, tokenizer) == ["b<|im_end|>", "d<|im_end|>"] and found.references == ("d",)
    assert f"1 of 1 conversations cut to the turns whose prompts have at most {lengths[1]} tokens" in caplog.text
    found = tokenised(record, tokenizer, max_prompt_tokens=lengths[1] - 1)
    assert learnt(found, tokenizer) == ["b<|im_end|>"]
    with pytest.raises(ValueError, match="not enough values"):
        tokenised(record, tokenizer, max_prompt_tokens=lengths[0] - 1)
    assert f"1 of 1 prompts over {lengths[0] - 1} tokens dropped" in caplog.text


def test_an_answer_that_does_not_fit_loses_its_end_and_is_counted(caplog):
    caplog.set_level("INFO")
    tokenizer = TOKENIZERS["chatml"]
    whole = tokenised(talk(("a", "b c d")), tokenizer)
    found = tokenised(talk(("a", "b c d")), tokenizer, max_tokens=len(whole) - 1)
    assert found.response_ids == whole.response_ids[:-1]
    assert "1 of 1 responses cut at" in caplog.text


def test_what_follows_the_last_answer_is_left_out_and_counted(caplog):
    caplog.set_level("INFO")
    tokenizer = TOKENIZERS["chatml"]
    record = talk(("a", "b"))
    on = Record("1", "", "", ("b",), turns=(*record.turns, Turn("user", "and?")))
    assert tokenised(on, tokenizer).response_ids == tokenised(record, tokenizer).response_ids
    assert "1 of 1 conversations go on after the assistant's last turn" in caplog.text


def test_a_token_that_is_lacking_cuts_the_last_answer_and_keeps_the_places_of_earlier_ones():
    found = Example(0, (1, 2, 3), (4, 9, 5), ("x",), earlier=((1, 3),))
    assert within_vocabulary([found], 9) == [Example(0, (1, 2, 3), (4,), ("x",), earlier=((1, 3),))]


# Templates that need care, and those that are wrong


def test_an_end_of_all_text_after_the_end_of_a_turn_is_no_part_of_an_earlier_answer():
    tokenizer = chat_tokenizer(PHI)
    assert learnt(tokenised(talk(("a", "b"), ("c", "d")), tokenizer), tokenizer) == ["b<|end|>", "d<|end|>"]


def test_a_template_that_thinks_in_its_last_answer_is_learnt_for_one_answer_and_refused_for_more():
    tokenizer = chat_tokenizer(THINKS)
    thought = "<think>\n\n</think>\n\nb<|im_end|>"
    assert learnt(tokenised(talk(("a", "b")), tokenizer), tokenizer) == [thought]
    with pytest.raises(RequestError, match=r"^a.jsonl:1: .*writes an earlier answer otherwise .* data.turns=last"):
        tokenised(talk(("a", "b"), ("c", "d")), tokenizer)
    found = tokenised(talk(("a", "x"), ("a", "b")), tokenizer, last_only=True)
    assert learnt(found, tokenizer) == [thought]


def test_a_template_that_ends_turns_with_white_space_ends_one_answer_with_eos():
    tokenizer = chat_tokenizer(NO_END)
    assert learnt(tokenised(talk(("a", "b")), tokenizer), tokenizer) == [f"b{EOS}"]
    assert ChatTemplate(tokenizer).end_ids == frozenset()
    with pytest.raises(RequestError, match="an earlier answer would have no end; data.turns=last"):
        tokenised(talk(("a", "b"), ("c", "d")), tokenizer)


ONE, TWO = [("a", "b")], [("a", "b"), ("c", "d")]
WRONG = {
    "no template": (None, ONE, None, "no chat template; .* data.chat_template=plain gives one"),
    "no system role": (
        "gemma",
        ONE,
        "Be kind.",
        "a.jsonl:1: .*cannot render .*there is no system message.*leave that out",
    ),
    "the system left out": (NO_SYSTEM, ONE, "Be kind.", "a.jsonl:1: .*leaves out or changes the message of the system"),
    "the system moved": (SYSTEM_LAST, TWO, "Be kind.", "a.jsonl:1: .*writes an earlier answer otherwise"),
    "no answer": (SILENT, ONE, None, "^data: the chat template leaves out what the assistant says"),
    "answers changed": (SHOUTS, ONE, None, "leaves out what the assistant says"),
    "no prompt for an answer": (
        NO_PROMPT + "{{ 'x' if add_generation_prompt }}",
        ONE,
        None,
        "does not write the answer",
    ),
    "an end of other tokens": (OTHER_END, ONE, None, "ends a turn .* with '<stop>', which is no token"),
    "no jinja": ("{% for m in %}", ONE, None, "^data: the chat template cannot render"),
    "a name that is not there": ("{{ nothing.here }}", ONE, None, "cannot render the conversation .*nothing"),
}


@pytest.mark.parametrize(("template", "pairs", "system", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_template_is_said_in_one_line(template, pairs, system, said):
    with pytest.raises(RequestError, match=said) as caught:
        tokenised(talk(*pairs, system=system), chat_tokenizer(template))
    assert "\n" not in str(caught.value) and "chat_template" in str(caught.value)


GREETED = Record("1", "", "", ("b",), turns=(Turn("assistant", "hello"), Turn("user", "a"), Turn("assistant", "b")))


@pytest.mark.parametrize("style", ["gemma", "mistral"])
def test_turns_out_of_order_are_said_with_the_place_of_the_record(style):
    said = r"^data: record 1: .*\(.*user begins.*may have to take turns, a user first; data.chat_template="
    with pytest.raises(RequestError, match=said):
        tokenised(GREETED, TOKENIZERS[style])


def test_a_greeting_of_the_assistant_is_read_and_not_learnt():
    tokenizer = TOKENIZERS["chatml"]
    found = tokenised(GREETED, tokenizer)
    assert "hello" in tokenizer.decode(found.prompt_ids) and learnt(found, tokenizer) == ["b<|im_end|>"]


# Files


def read(tmp_path, *objects, **form):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in objects))
    return records_of(read_rows(path), Form(**form))


SAID = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def test_messages_are_read_under_their_own_name_and_as_sharegpt_writes_them(tmp_path):
    shared = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 1}]
    turns = (Turn("user", "a"), Turn("assistant", "b"))
    (first,) = read(tmp_path, {"messages": SAID, "source": "x"}, format="messages")
    (second,) = read(tmp_path, {"conversations": shared}, format="messages", fields={"messages": "conversations"})
    assert first == second and first.turns == turns and first.outputs == ("b",)
    assert first.where.endswith("a.jsonl:1")


def test_a_prompt_and_its_completion_are_texts_or_turns(tmp_path):
    form = {"format": "prompt_completion"}
    (texts,) = read(tmp_path, {"question": "2 + 2 =", "completion": " 4"}, fields={"prompt": "question"}, **form)
    assert (texts.prompt, texts.outputs, texts.turns) == ("2 + 2 =", (" 4",), ())
    (chat,) = read(tmp_path, {"prompt": "a", "completion": "b"}, chat=True, **form)
    (lists,) = read(tmp_path, {"prompt": SAID[:1], "completion": SAID[1:]}, chat=True, **form)
    assert chat == lists and (chat.turns, chat.num_given) == ((Turn("user", "a"), Turn("assistant", "b")), 1)


def test_a_verbatim_prompt_is_read_as_it_is_and_its_completion_ends_with_eos(tmp_path):
    tokenizer = TOKENIZERS["plain"]
    records = read(tmp_path, {"prompt": "2 + 2 =", "completion": " 4"}, format="prompt_completion")
    (found,) = tokenise_records(records, tokenizer, max_prompt_tokens=50, max_tokens=90, truncate_prompt=False)
    assert tokenizer.decode(found.prompt_ids) == "2 + 2 =" and tokenizer.decode(found.response_ids) == f" 4{EOS}"


MESSAGES = {"format": "messages"}
COMPLETION = {"format": "prompt_completion"}
BAD = [
    ({"conversations": SAID}, MESSAGES, "field 'messages' is missing; found: conversations .*fields.messages=NAME"),
    ({"messages": []}, MESSAGES, "field 'messages' must be a non-empty list of messages, got an empty list"),
    ({"messages": "a"}, MESSAGES, "must be a non-empty list of messages, got str"),
    ({"messages": ["a"]}, MESSAGES, r"message 1: \{role, content\} is needed, got str"),
    ({"messages": [{"role": "user"}]}, MESSAGES, "message 1: 'content' is missing; found: role"),
    ({"messages": [{"content": "x"}]}, MESSAGES, "message 1: 'role' is missing"),
    (
        {"messages": [SAID[0], {"role": "bot", "content": "x"}]},
        MESSAGES,
        "message 2: role 'bot' unknown; valid: system",
    ),
    ({"messages": [{"role": "user", "content": 7}]}, MESSAGES, "'content' must be a text, got int"),
    ({"messages": [{"from": "human", "value": None}]}, MESSAGES, "'value' must be a text, got NoneType"),
    ({"messages": SAID[:1]}, MESSAGES, "no message of the assistant answers"),
    ({"messages": [{**SAID[1], "tool_calls": [{}]}]}, MESSAGES, "it calls tools"),
    ({"prompt": "a"}, COMPLETION, "field 'completion' is missing"),
    (
        {"prompt": "a", "completion": SAID[1:]},
        COMPLETION,
        "must be two texts or two lists of messages, got str and list",
    ),
    ({"prompt": 1, "completion": 2}, COMPLETION, "got int and int"),
    ({"prompt": " ", "completion": "x"}, COMPLETION, "the prompt is empty"),
    ({"prompt": SAID[:1], "completion": SAID[1:]}, COMPLETION, "is a list of messages; prompt=chat"),
    ({"prompt": SAID, "completion": SAID[1:]}, {**COMPLETION, "chat": True}, "must begin with the assistant's answer"),
    (
        {"prompt": SAID[:1], "completion": SAID[:1]},
        {**COMPLETION, "chat": True},
        "must begin with the assistant's answer",
    ),
]


@pytest.mark.parametrize(("item", "form", "said"), BAD)
def test_a_bad_record_is_said_with_its_file_and_line(tmp_path, item, form, said):
    good = {"messages": SAID, "prompt": "a", "completion": "b"}
    if form.get("chat"):
        good = {"prompt": SAID[:1], "completion": SAID[1:]}
    with pytest.raises(RequestError, match=f"a.jsonl:2: .*{said}"):
        read(tmp_path, good, item, **form)
