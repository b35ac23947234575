"""Which records train and which validate: drawn by a seed, disjoint, and the same whatever else is asked for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amid.config import DataCfg
from amid.data.splits import drawn, training_records
from amid.errors import RequestError

SEEDS = st.none() | st.integers(0, 2**31)
NUMBERS = st.none() | st.integers(0, 60)


def write(folder, **files):
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows(number):
    return [{"question": f"How much is {i}?", "answer": f"#### {i}"} for i in range(number)]


@pytest.fixture
def data(tmp_path):
    """Builds data of twenty questions in a chat, with a folder of the test's own."""
    write(tmp_path, train=rows(20), dev=rows(3))
    asked = {"prompt": "chat", "template": "Q: {instruction}"}
    fields = {"instruction": "question", "output": "answer"}
    common = {"source": "jsonl", "root": str(tmp_path), "train": "train.jsonl", "fields": fields, **asked}
    return lambda **changed: DataCfg(**{**common, **changed})


@given(num_records=st.integers(0, 50), number=NUMBERS, seed=SEEDS)
def test_what_is_drawn_are_so_many_different_positions_in_order(num_records, number, seed):
    places = drawn(num_records, number, seed=seed)
    assert len(places) == min(num_records, num_records if number is None else number)
    assert places == sorted(set(places))
    assert set(places) <= set(range(num_records))


@given(num_records=st.integers(0, 50), smaller=st.integers(0, 50), larger=st.integers(0, 50), seed=SEEDS)
def test_a_larger_number_holds_what_a_smaller_one_drew(num_records, smaller, larger, seed):
    smaller, larger = sorted((smaller, larger))
    assert set(drawn(num_records, smaller, seed=seed)) <= set(drawn(num_records, larger, seed=seed))


def test_without_a_seed_the_first_are_taken_and_with_one_others_that_never_move():
    assert drawn(10, 4, seed=None) == [0, 1, 2, 3]
    assert drawn(10, 4, seed=10) == [3, 6, 8, 9]  # pinned: a cell's id promises these records
    assert drawn(10, 4, seed=11) != drawn(10, 4, seed=10)


@given(num_dev=st.integers(1, 19), seed=SEEDS)
def test_without_a_dev_file_a_part_of_the_training_file_validates_and_does_not_train(tmp_path_factory, num_dev, seed):
    folder = tmp_path_factory.getbasetemp()
    write(folder, divided=[{"instruction": f"q {i}", "output": str(i)} for i in range(20)])
    both = DataCfg(source="jsonl", root=str(folder), train="divided.jsonl", num_dev=num_dev, split_seed=seed)
    train, dev = training_records(both)
    assert (len(train), len(dev)) == (20 - num_dev, num_dev)
    places = [int(record.outputs[0]) for record in (*train, *dev)]
    assert sorted(places) == list(range(20))
    assert places[: len(train)] == sorted(places[: len(train)])
    assert training_records(both) == (train, dev)
    both.num_train = 1
    assert training_records(both) == (train, dev), "a selection for the cell moves nothing"


def test_a_seed_draws_nothing_from_a_dev_file(data):
    drawn_from = data(dev="dev.jsonl", num_dev=2, split_seed=5)
    assert [record.outputs for record in training_records(drawn_from)[1]] == [("#### 0",), ("#### 1",)]


def test_a_validation_part_that_leaves_nothing_to_train_on_is_refused(data):
    with pytest.raises(RequestError, match=r"data.num_dev=20 leaves no training record: .* holds 20, and without"):
        training_records(data(num_dev=20))
    with pytest.raises(RequestError, match="without one, data.num_dev says how many"):
        data()


def test_fields_are_taken_under_their_names_in_the_file_and_one_that_is_missing_is_named(data):
    train, dev = training_records(data(dev="dev.jsonl"))
    assert (train[4].instruction, train[4].outputs) == ("How much is 4?", ("#### 4",))
    assert len(dev) == 3
    with pytest.raises(RequestError, match=r"train\.jsonl:1: field 'reply' is missing; found: answer, question"):
        training_records(data(dev="dev.jsonl", fields={"instruction": "question", "output": "reply"}))


def test_a_record_without_what_the_template_reads_is_named(data, tmp_path):
    write(tmp_path, dev=[{"question": " ", "input": "x", "answer": "y"}])
    with pytest.raises(RequestError, match=r"data: its template needs 'instruction'; record 1 of .*dev\.jsonl has non"):
        training_records(data(dev="dev.jsonl"))
