"""Stop strings: found exactly when the text contains one, asked of as few texts as possible."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amid.generation.decoding import Completion, Decoding
from amid.generation.engine import generate
from amid.generation.stopping import StopStrings, cut_at_stop

PIECES = ["a", "b", "\n", "\n\n", " x", "a\n", "\nuser", "us", "er", "ü"]


def decode(ids):
    return "".join(PIECES[id_] for id_ in ids)


def first_stop(ids, texts):
    """The length of the shortest beginning that contains a stop string, by asking about every one."""
    return next((n for n in range(1, len(ids) + 1) if any(text in decode(ids[:n]) for text in texts)), None)


def asked_one_by_one(stop, ids):
    return next((n for n in range(1, len(ids) + 1) if stop.found(ids[:n])), None)


@settings(max_examples=300)
@given(
    ids=st.lists(st.integers(0, len(PIECES) - 1), max_size=30),
    texts=st.lists(st.sampled_from(["\n\n", "\nuser", "ab", "x", "a ", "ü", "\n"]), min_size=1, max_size=3),
)
def test_a_stop_is_found_at_the_token_that_completes_it(ids, texts):
    assert asked_one_by_one(StopStrings(texts, decode=decode), ids) == first_stop(ids, texts)


def test_a_character_in_pieces_is_found_when_its_last_byte_comes():
    byte_of = "aü\n\n€".encode()

    def of_bytes(ids):
        return bytes(byte_of[id_] for id_ in ids).decode(errors="replace")

    ids = list(range(len(byte_of)))
    assert asked_one_by_one(StopStrings(["ü"], decode=of_bytes), ids) == 3
    assert asked_one_by_one(StopStrings(["€"], decode=of_bytes), ids) == 8
    assert asked_one_by_one(StopStrings(["\n\n"], decode=of_bytes), ids) == 5


def test_only_tokens_that_could_complete_a_stop_are_read_in_full():
    texts = []

    def recorded(ids):
        texts.append(list(ids))
        return decode(ids)

    stop = StopStrings(["\n\n"], decode=recorded)
    ids = [0, 1, 0, 2, 0, 1, 0, 0, 1, 2, 0]
    assert asked_one_by_one(stop, ids) is None
    assert sorted(text for text in texts if len(text) > 1) == sorted([ids[:4], ids[:10]])


def test_the_text_is_cut_before_the_first_of_the_stops():
    stops = ["\n\n", "\nuser"]
    assert cut_at_stop("one\nuser two\n\nthree", stops) == "one"
    assert cut_at_stop("one\n\ntwo\nuser", stops) == "one"
    assert cut_at_stop("none", stops) == "none"
    assert cut_at_stop("a\n\nb", []) == "a\n\nb"


def test_nothing_to_stop_at_never_stops():
    assert not StopStrings([], decode=decode).found([0, 1, 2])


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_stopped_row_leaves_and_the_others_go_on_as_before(tiny_model, tokenizer, batch_size):
    prompts = [tokenizer(f"Say the number {i}.")["input_ids"] for i in range(6)]
    options = {
        "keys": [("s", i) for i in range(6)],
        "eos_id": tokenizer.eos_token_id,
        "batch_size": batch_size,
        "decode": lambda ids: tokenizer.decode(list(ids), skip_special_tokens=True),
    }
    free = generate(tiny_model, prompts, decoding=Decoding(max_new_tokens=24), **options)
    text = tokenizer.decode(list(free[2].token_ids))
    stops = (text[4:6],)
    stopped = generate(tiny_model, prompts, decoding=Decoding(max_new_tokens=24, stop=stops), **options)
    for before, after in zip(free, stopped, strict=True):
        ids = list(before.token_ids)
        ends = [n for n in range(1, len(ids) + 1) if stops[0] in tokenizer.decode(ids[:n], skip_special_tokens=True)]
        if ends and not (before.ended and ends[0] == len(ids)):
            assert after == Completion(tuple(ids[: ends[0]]), ended=False, stopped=True)
        else:
            assert after == before


def test_another_end_token_ends_a_response_too(tiny_model, tokenizer):
    prompt = tokenizer("Say the number 3.")["input_ids"]
    options = {
        "keys": [("s", 0)],
        "decoding": Decoding(max_new_tokens=24),
        "eos_id": tokenizer.eos_token_id,
        "batch_size": 1,
    }
    (free,) = generate(tiny_model, [prompt], **options)
    (ended,) = generate(tiny_model, [prompt], other_eos_ids=[free.token_ids[3]], **options)
    first = free.token_ids.index(free.token_ids[3]) + 1
    assert ended == Completion(free.token_ids[:first], ended=True)
