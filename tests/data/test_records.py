"""Reading JSONL records: what is accepted, and that a refusal names file and line."""

import json

import pytest

from amid.config import DataCfg
from amid.data.prompt import render_prompt
from amid.data.records import Form, Record, records_of
from amid.data.rows import read_rows
from amid.data.splits import training_records
from amid.errors import RequestError

GOOD = '{"instruction": "Add.", "input": "1 2", "output": "3"}'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.jsonl"


def test_fields_are_taken_verbatim_and_the_id_defaults_to_the_line(path):
    path.write_text(f'{GOOD}\n\n{{"id": "x7", "instruction": "  Go. ", "output": "ok"}}\n')
    assert records_of(read_rows(path)) == [Record("1", "Add.", "1 2", ("3",)), Record("x7", "  Go. ", "", ("ok",))]


def test_a_file_without_a_last_line_feed_loses_no_record(path):
    path.write_text(f"{GOOD}\n{GOOD}")
    assert len(records_of(read_rows(path))) == 2


def test_several_outputs_are_references_and_the_first_is_the_target(path):
    path.write_text('{"instruction": "Go.", "output": ["one", "two"]}\n')
    assert records_of(read_rows(path))[0].outputs == ("one", "two")


def test_an_absent_input_and_null_are_no_input(path):
    path.write_text('{"instruction": "Go.", "input": null, "output": "x"}\n')
    assert records_of(read_rows(path))[0].input == ""


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0c", "\r"])
def test_a_line_separator_inside_a_text_splits_no_record(path, separator):
    text = f"a{separator}b"
    record = {"instruction": text, "output": text}
    path.write_bytes(json.dumps(record, ensure_ascii=separator < " ").encode() + b"\n")
    assert records_of(read_rows(path)) == [Record("1", text, "", (text,))]


def test_windows_line_ends_are_no_part_of_a_record(path):
    path.write_bytes(f"{GOOD}\r\n{GOOD}\r\n".encode())
    assert [record.outputs for record in records_of(read_rows(path))] == [("3",), ("3",)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"instruction": "Go.", "output": "o"', "not a JSON object"),
        ("not json", "not a JSON object"),
        (b'{"instruction": "\xff", "output": "o"}', "not a JSON object"),
        ("[1, 2]", "a JSON object is needed, got list"),
        ('{"instruction": "Go."}', "field 'output' is missing; found: instruction"),
        ('{"output": "x"}', "field 'instruction' is missing; found: output"),
        ("{}", "found: none"),
        ('{"instruction": 5, "output": "x"}', "field 'instruction' must be a text, got int"),
        ('{"instruction": "Go.", "input": ["a"], "output": "x"}', "field 'input' must be a text, got list"),
        ('{"instruction": "Go.", "input": 0, "output": "x"}', "field 'input' must be a text, got int"),
        ('{"instruction": "Go.", "input": [], "output": "x"}', "field 'input' must be a text, got list"),
        ('{"instruction": "Go.", "output": 3}', "field 'output' must be a text or a non-empty list"),
        ('{"instruction": "Go.", "output": null}', "field 'output' must be a text or a non-empty list"),
        ('{"instruction": "Go.", "output": []}', "field 'output' must be a text or a non-empty list"),
        ('{"instruction": "Go.", "output": ["a", 1]}', "field 'output' must be a text or a non-empty list"),
        ('{"instruction": " ", "input": "\\n", "output": "x"}', "the prompt is empty"),
    ],
)
def test_a_line_that_is_no_record_is_refused_with_file_and_line(path, line, words):
    path.write_bytes(f"{GOOD}\n\n".encode() + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(RequestError) as caught:
        records_of(read_rows(path))
    assert str(caught.value).startswith(f"{path}:3: ")
    assert words in str(caught.value)


def test_a_missing_an_empty_and_an_unreadable_file_are_refused_with_their_path(path, tmp_path):
    with pytest.raises(RequestError, match=r"no data file .*train\.jsonl"):
        records_of(read_rows(path))
    path.write_text("\n\n")
    with pytest.raises(RequestError, match=r"train\.jsonl holds no record"):
        records_of(read_rows(path))
    with pytest.raises(RequestError, match="cannot be read: Is a directory"):
        records_of(read_rows(tmp_path))


@pytest.fixture
def data(tmp_path):
    for name in ("train", "dev", "test"):
        lines = [json.dumps({"instruction": f"{name} {i}", "output": str(i)}) for i in range(5)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    return DataCfg(source="jsonl", root=str(tmp_path), train="train.jsonl", dev="dev.jsonl")


def test_records_come_in_file_order_and_a_cells_selection_hides_none_from_the_stages(data):
    data.num_train, data.num_dev = 3, 2
    train, dev = training_records(data)
    assert [record.instruction for record in train] == [f"train {i}" for i in range(5)]
    assert [record.instruction for record in dev] == ["dev 0", "dev 1"]


# Both strings were written out by hand from the reference's processing script.
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n"
    "\n"
    "### Instruction:\n"
    "Name a colour. \n"
    "\n"
    "### Response:\n"
)
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n"
    "\n"
    "### Instruction:\n"
    "Add the numbers.\n"
    "\n"
    "### Input:\n"
    " 1\n"
    "2\n"
    "\n"
    "### Response:\n"
)


def test_the_template_without_input_is_exact_to_the_byte():
    assert render_prompt(Record("1", "Name a colour. ", "", ("red",))) == WITHOUT_INPUT


def test_the_template_with_input_is_exact_to_the_byte():
    assert render_prompt(Record("1", "Add the numbers.", " 1\n2", ("3",))) == WITH_INPUT


@pytest.mark.parametrize(("form", "megabytes"), [("instruction", 50), ("messages", 11), ("prompt_completion", 11)])
def test_a_line_of_50_mb_is_one_line_before_it_fills_the_memory(form, megabytes, path):
    text = "word " * (megabytes * 200_000)
    item = {
        "instruction": {"instruction": "Go.", "output": text},
        "messages": {"messages": [{"role": "user", "content": "Go."}, {"role": "assistant", "content": text}]},
        "prompt_completion": {"prompt": text, "completion": "x"},
    }[form]
    path.write_text(json.dumps(item))
    said = rf"train.jsonl:1: a record of {megabytes} million characters, where 10 million are the most"
    with pytest.raises(RequestError, match=said):
        records_of(read_rows(path), Form(form))
