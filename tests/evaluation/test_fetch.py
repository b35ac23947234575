"""Downloads: a folder stands for a data set of the hub, so that the real library is what is tested."""

import json

import pytest

from amid.config import EvaluationSetCfg, HubCfg
from amid.data.evaluation_sets import CHECKSUM_SUFFIX, evaluation_set
from amid.data.records import Form, evaluation_records
from amid.data.rows import read_rows
from amid.errors import RequestError, RunError
from amid.evaluation.fetch import fetch

ROWS = [{"question": f"What is {i}?", "answer": f"{i}", "topic": None} for i in range(4)]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder with one data file, as a data set repository has."""
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    folder = tmp_path / "hub"
    folder.mkdir()

    def write(rows):
        (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    write(ROWS)
    return write


def declared(tmp_path, **values):
    hub = HubCfg(
        dataset=str(tmp_path / "hub"),
        data_files="test.jsonl",
        fields={"instruction": "question", "output": "answer"},
    )
    return EvaluationSetCfg(**{"files": ["it/test.jsonl"], "hub": hub, **values})


def test_a_fetched_set_has_our_fields_and_is_used_as_it_is(hub, tmp_path):
    line = fetch("it", declared(tmp_path), tmp_path / "root")
    assert "fetched" in line and "sha256 as recorded" in line
    records = evaluation_records(read_rows(tmp_path / "root" / "it" / "test.jsonl"), Form(), filter_by={}, place="it")
    assert [(record.instruction, record.outputs) for record in records] == [
        (f"What is {i}?", (f"{i}",)) for i in range(4)
    ]
    recorded = tmp_path / "root" / "it" / f"test.jsonl{CHECKSUM_SUFFIX}"
    assert recorded.read_text().strip() == evaluation_set(records, declared(tmp_path)).digest


def test_what_is_there_is_checked_and_never_written_again(hub, tmp_path):
    fetch("it", declared(tmp_path), tmp_path / "root")
    path = tmp_path / "root" / "it" / "test.jsonl"
    before = path.stat().st_mtime_ns
    hub(ROWS[:2])
    assert "is there; sha256 as recorded" in fetch("it", declared(tmp_path), tmp_path / "root")
    assert path.stat().st_mtime_ns == before
    path.write_text(path.read_text().replace("What", "Which"))
    assert "not as recorded" in fetch("it", declared(tmp_path), tmp_path / "root")


def test_a_declared_checksum_is_compared_before_anything_is_kept(hub, tmp_path):
    fetch("it", declared(tmp_path), tmp_path / "a")
    good = (tmp_path / "a" / "it" / f"test.jsonl{CHECKSUM_SUFFIX}").read_text().strip()
    assert "sha256 as declared" in fetch("it", declared(tmp_path, sha256=good), tmp_path / "b")
    assert not (tmp_path / "b" / "it" / f"test.jsonl{CHECKSUM_SUFFIX}").exists()
    bad = declared(tmp_path, sha256="0" * 64)
    with pytest.raises(RunError, match="holds another text than declared .*--accept takes it"):
        fetch("it", bad, tmp_path / "c")
    assert list((tmp_path / "c" / "it").iterdir()) == []
    assert "not as declared" in fetch("it", bad, tmp_path / "c", accept=True)
    assert (tmp_path / "c" / "it" / "test.jsonl").is_file()


def test_rows_of_one_question_become_one_record_with_several_references(hub, tmp_path):
    hub([{"dialogue": d, "summary": s} for d, s in (("x", "1"), ("x", "2"), ("y", "3"), ("x", "4"))])
    merging = HubCfg(
        dataset=str(tmp_path / "hub"),
        data_files="test.jsonl",
        fields={"input": "dialogue", "output": "summary"},
        merge_references=True,
    )
    fetch("it", declared(tmp_path, hub=merging), tmp_path / "root")
    records = evaluation_records(read_rows(tmp_path / "root" / "it" / "test.jsonl"), Form(), filter_by={}, place="it")
    assert [(record.input, record.outputs) for record in records] == [("x", ("1", "2")), ("y", ("3",)), ("x", ("4",))]


def test_without_a_hub_one_line_says_what_to_do(tmp_path):
    missing = declared(tmp_path, hub=HubCfg(dataset="nobody/nothing-of-this-name"))
    with pytest.raises(RunError) as caught:  # no network in the tests
        fetch("it", missing, tmp_path / "root")
    text = str(caught.value)
    assert "nobody/nothing-of-this-name could not be downloaded" in text
    assert f"amid fetch it --root {tmp_path}/root" in text
    assert "put it/test.jsonl there" in text
    assert "\n" not in text
    with pytest.raises(RequestError, match="is on no hub; put it/test.jsonl below"):
        fetch("it", declared(tmp_path, hub=None), tmp_path / "root")


@pytest.mark.parametrize("file", ["../outside.jsonl", "{tmp}/outside.jsonl", "a/../../outside.jsonl"])
def test_a_declaration_writes_nothing_outside_of_the_root(hub, tmp_path, file):
    with pytest.raises(RequestError, match="does not lie below"):
        fetch("it", declared(tmp_path, files=[file.format(tmp=tmp_path)]), tmp_path / "root")
    assert not list(tmp_path.rglob("outside.jsonl"))
