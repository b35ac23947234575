"""Parquet, CSV and data sets by name: the same records as JSONL, named by what they hold, refused with their place."""

import json

import pyarrow
import pytest
from pyarrow import parquet

from amid.cells.data import data_identity
from amid.config import DataCfg, EvaluationCfg, EvaluationSetCfg
from amid.data import hub
from amid.data.evaluation_sets import evaluation_sets
from amid.data.rows import read_rows
from amid.data.splits import training_records
from amid.digests.fingerprint import FileDigests
from amid.errors import RequestError

ROWS = [
    {"instruction": f"Say {i}.", "input": 'a, "b"\nc' if i % 2 else "", "output": f"yes\u2028 {i}"} for i in range(6)
]
TALK = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def write(folder, name, rows):
    path = folder / name
    if name.endswith(".parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        quoted = [['"' + str(text).replace('"', '""') + '"' for text in row.values()] for row in rows]
        path.write_text("\n".join(",".join(texts) for texts in [list(rows[0]), *quoted]) + "\n")
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The library's folders are the test's own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    hub._read.cache_clear()
    hub._digest.cache_clear()
    yield
    hub._read.cache_clear()
    hub._digest.cache_clear()


def files(folder, train, dev=None, **named):
    return DataCfg(source="files", root=str(folder), train=train, dev=dev, num_dev=2, **named)


def test_a_file_of_any_kind_holds_the_same_records(tmp_path):
    read = []
    for suffix in ("jsonl", "parquet", "csv"):
        write(tmp_path, f"train.{suffix}", ROWS)
        read.append(training_records(files(tmp_path, f"train.{suffix}")))
    assert read[0] == read[1] == read[2]
    train, dev = read[0]
    assert len(train) == 4 and len(dev) == 2 and dev[1].outputs == ("yes\u2028 1",)
    assert dev[1].input == 'a, "b"\nc'


def test_messages_are_read_from_parquet(tmp_path):
    write(tmp_path, "a.parquet", [{"messages": TALK}] * 4)
    train, _ = training_records(files(tmp_path, "a.parquet", format="messages"))
    assert [tuple(turn) for turn in train[0].turns] == [("user", "a"), ("assistant", "b")]


def test_a_set_is_read_from_the_first_of_its_files_that_is_there(tmp_path):
    write(tmp_path, "train.csv", ROWS)
    declared = {"test": EvaluationSetCfg(files=["test.parquet", "train.csv"])}
    (found,) = evaluation_sets(files(tmp_path, "train.csv"), EvaluationCfg(sets=declared)).values()
    assert found.references[0] == ("yes\u2028 0",) and len(found) == 6


BAD = {
    "a number": (
        "a.parquet",
        [{"instruction": 7, "output": "x"}],
        "a.parquet: row 1: field 'instruction' must be a text, got int",
    ),
    "a number later": (
        "a.parquet",
        [{"instruction": "x", "output": "y", "input": None}, {"instruction": "x", "output": "y", "input": 2.5}],
        "a.parquet: row 2: field 'input' must be a text, got float",
    ),
    "bytes": (
        "a.parquet",
        [{"instruction": b"x", "output": "y"}],
        "row 1: field 'instruction' must be a text, got bytes",
    ),
    "a column": (
        "a.csv",
        [{"question": "x", "output": "y"}],
        "a.csv: row 1: field 'instruction' is missing; found: output, question",
    ),
}


@pytest.mark.parametrize(("name", "rows", "said"), BAD.values(), ids=BAD)
def test_a_row_that_is_no_record_is_said_with_file_and_row(tmp_path, name, rows, said):
    write(tmp_path, name, rows)
    with pytest.raises(RequestError, match=said):
        training_records(files(tmp_path, name))


TORN = {
    "no file.parquet": ("a.parquet", None, "no data file .*a.parquet"),
    "no file.csv": ("a.csv", None, "no data file .*a.csv"),
    "no parquet": ("a.parquet", b"PAR1 and no more", "a.parquet is no whole parquet file"),
    "an empty parquet": ("a.parquet", b"", "a.parquet is no whole parquet file"),
    "an empty csv": ("a.csv", b"", "a.csv holds no record"),
    "names only": ("a.csv", b"instruction,output\n", "a.csv holds no record"),
    "a field too many": (
        "a.csv",
        b"instruction,output\nx,y\nx,y,z\n",
        "a.csv: row 2: 3 fields, its first line names 2",
    ),
    "a name twice": ("a.csv", b"output,output\nx,y\n", "names a column twice"),
    "an open quote": ("a.csv", b'instruction,output\nx,"y\n', "a.csv: row 1: no CSV"),
    "other bytes": ("a.csv", b"instruction,output\nx,\xff\n", "a.csv is no UTF-8 text"),
    "a list in csv": (
        "a.csv",
        b"messages\n[]\n",
        "row 1: field 'messages' must be a non-empty list of messages, got str",
    ),
}


@pytest.mark.parametrize(("name", "content", "said"), TORN.values(), ids=TORN)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=said) as caught:
        training_records(files(tmp_path, name, format="messages" if "messages" in said else "instruction"))
    assert "\n" not in str(caught.value)


def test_an_empty_parquet_table_is_said(tmp_path):
    parquet.write_table(pyarrow.table({"instruction": pyarrow.array([], pyarrow.string())}), tmp_path / "a.parquet")
    with pytest.raises(RequestError, match=r"a.parquet holds no record"):
        list(read_rows(tmp_path / "a.parquet"))


def by_name(folder, train="train", **named):
    return DataCfg(source="hub", hub=str(folder), train=train, num_dev=2, **named)


def identity(data, tmp_path):
    return data_identity(data, FileDigests(tmp_path / "digests"))


def test_a_data_set_by_name_and_split_is_named_by_the_rows_that_are_read(tmp_path, cache):
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
        rows = [{**row, "source": name} for row in ROWS]
        if name == "other":
            rows[0]["output"] = "no"
        write(tmp_path / name, "train.jsonl", rows)
        write(tmp_path / name, "test.jsonl", rows[:3])
    data = by_name(tmp_path / "one")
    train, dev = training_records(data)
    assert {record.instruction for record in [*train, *dev]} == {row["instruction"] for row in ROWS}
    assert train[0].where.endswith("one, train: row 3")
    same, other = (identity(by_name(tmp_path / name), tmp_path) for name in ("two", "other"))
    assert identity(data, tmp_path) == same, "neither its name nor a column that nobody reads counts"
    assert other != same
    assert str(tmp_path) not in json.dumps(same)
    half = by_name(tmp_path / "one", train="train[:50%]", dev="train[50%:]")
    assert [len(part) for part in training_records(half)] == [3, 2]
    declared = {"test": EvaluationSetCfg(source="hub", split="test")}
    (found,) = evaluation_sets(data, EvaluationCfg(sets=declared)).values()
    assert len(found) == 3
    with pytest.raises(RequestError, match="evaluation set 'test' is a split of data.hub; it needs data=hub"):
        evaluation_sets(files(tmp_path, "x.csv"), EvaluationCfg(sets=declared))


def test_a_data_set_that_cannot_be_had_is_one_line(tmp_path, cache):
    with pytest.raises(RequestError, match=r"^data.hub=nobody/nothing: split 'train' .*without a network") as caught:
        training_records(by_name("nobody/nothing"))
    assert "\n" not in str(caught.value)
    write(tmp_path, "train.jsonl", ROWS)
    with pytest.raises(RequestError, match=r"split 'tain' could not be read \(.*tain"):
        training_records(by_name(tmp_path, train="tain"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"source": "hub", "train": "train", "num_dev": 2}, "data.hub is needed for data.source=hub"),
        ({"source": "hub", "hub": "a/b", "num_dev": 2}, "data.train is needed for data.source=hub .a data set and its"),
        ({"source": "files", "root": "x", "num_dev": 2}, "data.train is needed for data.source=files"),
        (
            {"source": "files", "root": "x", "train": "a.csv", "num_dev": 2, "hub": "a/b"},
            "data.hub is for data.source=hub",
        ),
    ],
)
def test_a_source_needs_its_own_names(values, said):
    with pytest.raises(RequestError, match=said):
        DataCfg(**values)
