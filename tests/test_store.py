"""The store: states, scores and manifests survive any kill, and a reader never sees half of anything."""

import json
import os
import time
from dataclasses import replace

import pytest
import yaml

from amid.cell import Cell, Stage
from amid.claims import held, is_live, replace_text
from amid.errors import RequestError, RunError
from amid.store import Score, Store, drop_torn_line, read_json_lines

STAGE = Stage("teacher", "0123456789ab", {"kind": "teacher"})
CELL = Cell("aaaaaaaaaaaa", {"amid": {"alpha": -5}}, STAGE, STAGE, None)
SCORE = Score("aaaaaaaaaaaa", "dolly", "g1", "s1", 10, "rouge_l", 25.0, 500)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_the_states_of_a_cell_are_absent_running_stopped_failed_done(store):
    assert store.state(CELL) == "absent"
    with held(store.claim(CELL)):
        assert store.state(CELL) == "running"
    assert store.state(CELL) == "stopped"
    store.set_failed(CELL, "diverged:\n at step 3", "Traceback ...")
    assert store.state(CELL) == "failed"
    assert store.status(CELL)["error"] == "diverged: at step 3"
    assert store.error_path(CELL).read_text() == "Traceback ..."
    store.set_status(CELL, "done", seconds=2.5)
    assert store.state(CELL) == "done"
    assert store.status(CELL)["seconds"] == 2.5


def test_a_claim_leaves_what_names_the_cell_and_where_it_ran(store):
    with held(store.claim(CELL)):
        folder = store.folder(CELL)
        assert yaml.safe_load((folder / "cell.yaml").read_text()) == {"amid": {"alpha": -5}}
        provenance = json.loads((folder / "provenance.json").read_text())
        assert {"git", "python", "platform", "packages"} <= set(provenance)
        assert json.loads((folder / "status.json").read_text())["state"] == "running"


def test_a_running_cell_is_claimed_by_nobody_else(store):
    with held(store.claim(CELL)):
        assert store.claim(CELL) is None
        assert store.claim_done(CELL) is None


def test_a_failed_or_stopped_cell_is_claimed_again_and_counts_its_attempts(store):
    with held(store.claim(CELL)):
        pass
    with held(store.claim(CELL)):
        assert store.status(CELL)["attempt"] == 2
        store.set_failed(CELL, "diverged", "")
    assert store.claim(CELL) is not None


def test_a_done_cell_is_not_claimed_for_training_but_for_more_scores(store):
    with held(store.claim(CELL)):
        store.set_status(CELL, "done")
    assert store.claim(CELL) is None
    assert store.claim_done(CELL) is not None


def test_a_cell_that_another_process_finished_meanwhile_is_not_kept_claimed(store, monkeypatch):
    with held(store.claim(CELL)):
        store.set_status(CELL, "done")
    looks = iter([{"state": "running"}])
    look = Store.status_of_folder
    monkeypatch.setattr(Store, "status_of_folder", staticmethod(lambda folder: next(looks, None) or look(folder)))
    assert store.claim(CELL) is None
    assert not is_live(store.folder(CELL))
    assert store.claim_done(CELL) is not None


def test_cells_and_stages_have_folders_of_their_own(store):
    assert store.folder(CELL) == store.root / "aaaaaaaaaaaa"
    assert store.folder(STAGE) == store.root / "stages" / "teacher-0123456789ab"


def test_scores_come_back_as_they_were_written(store):
    store.folder(CELL).mkdir(parents=True)
    pooled = replace(SCORE, decode_seed=None, metric="self_bleu", value=0.1 + 0.2)
    store.write(CELL, [SCORE, pooled])
    assert sorted(store.read([CELL]), key=lambda score: score.metric) == [SCORE, pooled]
    assert store.read([STAGE]) == []


def test_a_score_of_the_same_texts_seed_and_metric_replaces_the_older_one_also_in_a_new_version(store):
    store.folder(CELL).mkdir(parents=True)
    store.write(CELL, [SCORE])
    store.write(CELL, [replace(SCORE, value=26.0), replace(SCORE, decode_seed=20)])
    other_texts = replace(SCORE, generation_id="g2", score_id="s2")
    store.write(CELL, [other_texts])
    store.write(CELL, [replace(SCORE, value=27.0, score_id="s1 version 2")])
    found = {(score.decode_seed, score.score_id): score.value for score in store.read([CELL])}
    assert found == {(10, "s1 version 2"): 27.0, (20, "s1"): 25.0, (10, "s2"): 25.0}


def test_writing_the_same_scores_in_another_order_gives_the_same_bytes(store):
    store.folder(CELL).mkdir(parents=True)
    other = replace(SCORE, decode_seed=20)
    path = store.folder(CELL) / "scores.jsonl"
    store.write(CELL, [SCORE, other])
    first = path.read_bytes()
    path.unlink()
    store.write(CELL, [other])
    store.write(CELL, [SCORE])
    assert path.read_bytes() == first


def test_a_torn_last_line_of_scores_is_left_out_and_repaired_by_the_next_write(store):
    store.folder(CELL).mkdir(parents=True)
    store.write(CELL, [SCORE])
    path = store.folder(CELL) / "scores.jsonl"
    complete = path.read_bytes()
    path.write_bytes(complete + complete[: len(complete) // 2])
    assert store.read([CELL]) == [SCORE]
    store.write(CELL, [replace(SCORE, decode_seed=20)])
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 2


def test_cutting_at_any_byte_leaves_exactly_the_complete_lines(tmp_path):
    path = tmp_path / "lines.jsonl"
    lines = [json.dumps({"i": i, "text": "x" * i}).encode() + b"\n" for i in range(4)]
    whole = b"".join(lines)
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        expected = whole[:length].count(b"\n")
        assert [line["i"] for line in read_json_lines(path)] == list(range(expected))
        drop_torn_line(path)
        assert path.read_bytes() == b"".join(lines[:expected])


def test_a_line_separator_inside_a_text_splits_no_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes('{"text": "a\u2028b\\nc\u0085"}\n'.encode())
    assert list(read_json_lines(path)) == [{"text": "a\u2028b\nc\u0085"}]


def test_reading_and_cutting_a_file_that_is_not_there_is_harmless(tmp_path):
    drop_torn_line(tmp_path / "none")
    assert list(read_json_lines(tmp_path / "none")) == []
    assert list(tmp_path.iterdir()) == []


def test_nothing_temporary_is_left_beside_status_and_scores(store):
    with held(store.claim(CELL)):
        store.write(CELL, [SCORE])
        store.set_status(CELL, "done")
    names = {path.name for path in store.folder(CELL).iterdir()}
    assert names == {"cell.yaml", "provenance.json", "status.json", "scores.jsonl", "claims"}
    assert {path.name for path in (store.folder(CELL) / "claims").iterdir()} == {"000001.json"}


def test_a_write_that_fails_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    replace_text(path, "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_text(path, "new")
    assert path.read_text() == "old"


def test_a_failure_that_cannot_be_recorded_does_not_hide_the_failure(store, caplog):
    store.set_failed(CELL, "diverged", "Traceback")  # its folder does not exist
    assert "could not be recorded" in caplog.text


def test_a_results_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "results")
    for action in (lambda: store.claim_done(CELL), lambda: store.write_sweep("s", {})):
        with pytest.raises(RunError) as caught:
            action()
        assert "cannot be written: Not a directory" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_latest_sweep_is_the_one_requested_last(store):
    store.write_sweep("one", {"name": "one"})
    store.write_sweep("two", {"name": "two"})
    past = time.time() - 100
    for name in ("one", "two"):
        os.utime(store.sweep_path(name), (past, past))
    store.write_sweep("one", {"name": "one"})  # unchanged, but requested again
    assert store.read_sweep(None) == {"name": "one"}
    assert store.read_sweep("two") == {"name": "two"}


def test_an_unknown_sweep_names_the_known_ones(store):
    with pytest.raises(RequestError, match="no sweep in .*start one with"):
        store.read_sweep(None)
    store.write_sweep("demo", {})
    with pytest.raises(RequestError, match="sweep 'dmo' is not in .*; valid: demo"):
        store.read_sweep("dmo")


def test_a_sweep_recorded_under_a_name_of_older_versions_is_still_read(store):
    (store.root / "sweeps").mkdir(parents=True)
    (store.root / "sweeps" / "my sweep.json").write_text('{"name": "my sweep"}')
    assert store.read_sweep(None) == store.read_sweep("my sweep") == {"name": "my sweep"}
