"""Names and paths: no name, no file of the store and no link leads out of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.config import EvaluationCfg, EvaluationSetCfg, PathsCfg, SweepCfg
from amid.config.names import MAX_LENGTH, check_name, expanded, file_part, is_name
from amid.errors import RequestError, RunError
from amid.store import Store
from amid.store.claims import try_claim
from amid.store.generations import complete_commit, rows_path
from amid.store.layout import per_example_path

STAGE = Stage("teacher", "0123456789ab", {"kind": "teacher"})
CELL = Cell("aaaaaaaaaaaa", {"amid": {"alpha": -5}}, {"teacher": STAGE, "student_init": STAGE})
OUTSIDE = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "..",
    ".",
    "",
    ".hidden",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    " a",
    "a b",
    "a.",
    "ä",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_is_no_file_name_is_no_name_anywhere(name, tmp_path):
    assert not is_name(name)
    for refused in (
        lambda: check_name("sweep", name),
        lambda: SweepCfg(name=name),
        lambda: Store(tmp_path).read_sweep(name),
        lambda: Store(tmp_path).write_sweep(name, {}),
        lambda: EvaluationCfg(sets={name: EvaluationSetCfg(files=["a.jsonl"])}),
    ):
        with pytest.raises(RequestError, match="is no name; valid: letters, digits"):
            refused()
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=120))
def test_a_name_is_one_part_of_a_path_below_its_folder(name):
    if is_name(name):
        assert (Path("/store") / f"{name}.json").resolve().parent == Path("/store")
        assert len(name) <= MAX_LENGTH
        check_name("sweep", name)


@pytest.mark.parametrize("name", ["demo", "sweep-0123456789ab", "table3.v2", "a", "_x", "A-b_c.9", "x" * MAX_LENGTH])
def test_ordinary_names_are_names(name):
    check_name("sweep", name)


def test_a_long_name_is_refused_without_repeating_all_of_it():
    with pytest.raises(RequestError) as caught:
        check_name("sweep", "x" * 5000)
    assert "(5000 characters)" in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["../x", "a/b", "", ".", "..", None, 7, ["a"]])
def test_an_id_in_a_file_of_the_store_that_leads_elsewhere_is_damage(text, tmp_path):
    with pytest.raises(RunError, match="is damaged: .* is no id"):
        file_part(text, found_in=tmp_path)
    store = Store(tmp_path)
    for refused in (
        lambda: store.layout.folder_of("cell", text),
        lambda: store.layout.folder_of(text, "0123456789ab"),
        lambda: per_example_path(tmp_path, text),
        lambda: store.layout.texts(text),
        lambda: rows_path(tmp_path, text),
    ):
        with pytest.raises(RunError, match="is damaged"):
            refused()


def test_pending_rows_of_a_foreign_id_are_written_nowhere(tmp_path):
    folder = tmp_path / "cell" / "generations"
    folder.mkdir(parents=True)
    (folder / "pending.json").write_text(json.dumps({"../../outside": [{"index": 0}]}))
    with pytest.raises(RunError, match="is damaged"):
        complete_commit(folder)
    assert not (tmp_path / "outside.jsonl").exists()


@pytest.mark.parametrize(
    "inside", [".", "journal.jsonl", "generations", "generations/a.jsonl", "claims", "error.log", "model"]
)
def test_a_link_in_a_cell_is_not_written_through(inside, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.jsonl").write_text("precious\n")
    store = Store(tmp_path / "results")
    link = store.folder(CELL) / inside
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere / "a.jsonl" if link.suffix else elsewhere)
    before = {path: path.read_bytes() for path in elsewhere.rglob("*")}
    with pytest.raises(RunError, match="is a symbolic link to .*elsewhere.*not followed"):
        store.claim(CELL)
    with pytest.raises(RunError, match="link the whole results folder"):
        store.claim_done(CELL)
    assert {path: path.read_bytes() for path in elsewhere.rglob("*")} == before


def test_a_dangling_link_is_refused_too(tmp_path):
    (tmp_path / "cell").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError, match="is a symbolic link"):
        try_claim(tmp_path / "cell")
    assert not (tmp_path / "nowhere").exists()


def test_a_linked_cell_is_shown_as_failed_with_the_reason_and_its_scores_are_not_read(tmp_path):
    real, linked = Store(tmp_path / "real"), Store(tmp_path / "linked")
    with_scores = real.folder(CELL)
    with_scores.mkdir(parents=True)
    real.set_status(CELL, "done")
    (with_scores / "scores.jsonl").write_text("{}\n")
    linked.root.mkdir()
    linked.folder(CELL).symlink_to(with_scores)
    assert linked.state(CELL) == "failed"
    assert "symbolic link" in linked.status(CELL)["error"]
    assert linked.read([CELL]) == []
    with pytest.raises(RequestError, match="names no cell"):
        linked.find_entry("aaa")


def test_the_whole_results_folder_and_its_rooms_may_be_links(tmp_path):
    for name in ("disk", "stages"):
        (tmp_path / name).mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "stages").symlink_to(tmp_path / "stages")
    store = Store(tmp_path / "results")
    assert store.claim(CELL) is not None
    assert store.claim(STAGE) is not None


def test_files_of_a_tracker_may_be_links(tmp_path):
    store = Store(tmp_path)
    (store.folder(CELL) / "wandb").mkdir(parents=True)
    (store.folder(CELL) / "wandb" / "latest-run").symlink_to(tmp_path)
    assert store.claim(CELL) is not None


def test_a_tilde_is_the_home_and_quotes_and_blanks_are_part_of_a_name(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert expanded("paths.results", "~/results") == "/home/somebody/results"
    assert PathsCfg(results="~/r", cache="~").results == "/home/somebody/r"
    assert PathsCfg(results="~/r", cache="~").cache == "/home/somebody"
    for plain in ("results", "it's", "a b", "a~b", "./~", 'say "x"', "/~"):
        assert expanded("paths.results", plain) == plain


@pytest.mark.parametrize(
    ("path", "said"), [("~nobody_at_all/x", "home of nobody"), ("", "must name a folder"), (" ", "must name")]
)
def test_the_home_of_nobody_and_no_name_at_all_are_refused(path, said):
    with pytest.raises(RequestError, match=f"paths.results.*{said}"):
        PathsCfg(results=path, cache="cache")
