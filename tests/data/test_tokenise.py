"""Tokenised records: prompt, response, EOS, and what happens to long ones."""

import pytest

from amid.data.encoding import encode
from amid.data.prompt import render_prompt
from amid.data.records import Record
from amid.data.tokenise import Example, check_enough, eos_id, tokenise_records, within_vocabulary
from amid.errors import RequestError
from amid.pairs import EOS

RECORD = Record("1", "Say the number 7.", "", ("yes no maybe", "no"))


@pytest.fixture
def tokenise(tokenizer):
    def tokenise(records, **options):
        limits = {"max_prompt_tokens": 400, "max_tokens": 500, "truncate_prompt": False}
        return tokenise_records(records, tokenizer, **{**limits, **options})

    return tokenise


def test_prompt_and_response_read_back_and_the_response_ends_with_eos(tokenise, tokenizer):
    (example,) = tokenise([RECORD])
    assert tokenizer.decode(example.prompt_ids) == render_prompt(RECORD)
    assert tokenizer.decode(example.response_ids) == f"yes no maybe{EOS}"
    assert example.response_ids[-1] == tokenizer.eos_token_id
    assert example.references == ("yes no maybe", "no")
    assert len(example) == len(example.prompt_ids) + len(example.response_ids)


def test_no_special_token_is_added_at_the_front(tokenise, tokenizer):
    (example,) = tokenise([RECORD])
    assert eos_id(tokenizer) not in (*example.prompt_ids, *example.response_ids[:-1])


def test_an_empty_response_is_its_eos(tokenise, tokenizer):
    (example,) = tokenise([Record("1", "Go.", "", ("",))])
    assert example.response_ids == (tokenizer.eos_token_id,)


def test_a_long_prompt_is_dropped_counted_and_does_not_shift_the_index_of_the_others(tokenise, caplog):
    caplog.set_level("INFO")
    long = Record("2", "Say " * 100, "", ("x",))
    examples = tokenise([RECORD, long, RECORD], max_prompt_tokens=120)
    assert [example.index for example in examples] == [0, 2]
    assert "1 of 3 prompts over 120 tokens dropped" in caplog.text


def test_a_long_prompt_is_cut_at_its_end_if_asked_for_and_keeps_its_response(tokenise, tokenizer, caplog):
    caplog.set_level("INFO")
    long = Record("2", "Say " * 100, "", ("maybe",))
    (example,) = tokenise([long], max_prompt_tokens=50, truncate_prompt=True)
    assert list(example.prompt_ids) == encode(tokenizer, [render_prompt(long)])[0][:50]
    assert tokenizer.decode(example.response_ids) == f"maybe{EOS}"
    assert "1 of 1 prompts over 50 tokens cut" in caplog.text


def test_a_prompt_of_exactly_the_limit_stays_whole(tokenise, tokenizer):
    length = len(encode(tokenizer, [render_prompt(RECORD)])[0])
    assert len(tokenise([RECORD], max_prompt_tokens=length)[0].prompt_ids) == length
    assert tokenise([RECORD], max_prompt_tokens=length - 1) == []


def test_a_long_response_is_cut_counted_and_loses_its_eos(tokenise, tokenizer, caplog):
    caplog.set_level("INFO")
    (whole,) = tokenise([RECORD])
    assert caplog.text == ""
    (example,) = tokenise([RECORD], max_tokens=len(whole) - 1)
    assert example.response_ids == whole.response_ids[:-1]
    assert tokenizer.eos_token_id not in example.response_ids
    assert "1 of 1 responses cut at" in caplog.text


def test_a_response_that_just_fits_keeps_its_eos(tokenise):
    (whole,) = tokenise([RECORD])
    assert tokenise([RECORD], max_tokens=len(whole)) == [whole]


def test_a_merge_across_the_boundary_keeps_the_prompt_as_at_test_time(caplog):
    from amid.pairs import train_tokenizer

    # This tokenizer has a token for two line feeds, so a response that begins with two merges with the prompt's last.
    merging = train_tokenizer(["\n\n\n\n"] * 50, vocab_size=260)
    caplog.set_level("INFO")
    record = Record("1", "Go.", "", ("\n\nstart",))
    prompt_ids = encode(merging, [render_prompt(record)])[0]
    assert encode(merging, [render_prompt(record) + "\n\nstart"])[0][: len(prompt_ids)] != prompt_ids
    (example,) = tokenise_records([record], merging, max_prompt_tokens=400, max_tokens=500, truncate_prompt=False)
    assert list(example.prompt_ids) == prompt_ids
    assert merging.decode(example.response_ids) == f"\n\nstart{EOS}"
    assert "1 of 1 responses tokenised apart" in caplog.text


def test_nothing_to_encode_is_nothing(tokenizer, tokenise):
    assert encode(tokenizer, []) == []
    assert tokenise([]) == []


def example(index, prompt, response):
    return Example(index, tuple(prompt), tuple(response), ("x",))


def test_a_prompt_with_a_token_that_is_lacking_drops_its_example_and_a_response_is_cut_before_one(caplog):
    caplog.set_level("INFO")
    whole, cut = example(0, [1, 2], [3, 0]), example(1, [1], [2, 3, 9, 4, 0])
    examples = [whole, cut, example(2, [1, 9], [2, 0]), example(5, [1], [9, 2, 0])]
    assert within_vocabulary(examples, 9) == [whole, example(1, [1], [2, 3])]
    assert "2 of 4 examples dropped for a token that a model of the pair lacks" in caplog.text
    assert "1 of 4 responses cut before a token that a model of the pair lacks" in caplog.text


def test_where_no_token_is_lacking_every_example_stays_and_nothing_is_said(caplog):
    caplog.set_level("INFO")
    examples = [example(0, [1, 2], [3, 0]), example(1, [1], [9, 0])]
    assert within_vocabulary(examples, 10) == examples
    assert caplog.text == ""


LIMITS = {"max_prompt_tokens": 120, "max_tokens": 200, "truncate_prompt": False, "needed_by": "train.x=2"}
LONG = Record("2", "Say " * 100, "", ("x",))


def test_too_few_usable_records_are_counted_by_reason(tokenizer):
    shortest = len(encode(tokenizer, [render_prompt(RECORD)])[0])
    with pytest.raises(RequestError) as caught:
        check_enough([RECORD, LONG, LONG], tokenizer, vocab_size=len(tokenizer), num_needed=2, **LIMITS)
    assert str(caught.value) == (
        "train.x=2 needs 2 records, 1 of 3 can be used; 2 prompts have more than data.max_prompt_tokens=120 tokens "
        f"(the shortest prompt has {shortest}): raise it, or cut them with data.truncate_prompt=true"
    )
    smallest = max(encode(tokenizer, [render_prompt(RECORD)])[0])
    with pytest.raises(RequestError, match="0 of 1 can be used; 1 have a token that a model of the pair lacks"):
        check_enough([RECORD], tokenizer, vocab_size=smallest, num_needed=1, **LIMITS)


def test_just_enough_usable_records_pass_and_no_more_are_read_than_needed(tokenizer):
    check_enough([RECORD, LONG, RECORD], tokenizer, vocab_size=len(tokenizer), num_needed=2, **LIMITS)
    unreadable = [None] * 300
    records = [RECORD] * 256 + unreadable
    check_enough(records, tokenizer, vocab_size=len(tokenizer), num_needed=200, **LIMITS)
    check_enough([LONG], tokenizer, vocab_size=len(tokenizer), num_needed=1, **{**LIMITS, "truncate_prompt": True})
