"""The store: states, scores and manifests survive any kill, and damage is named and hides nothing else."""

import errno
import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.digests.fingerprint import FileDigests
from amid.digests.seals import DamagedError, seal, unseal
from amid.errors import RequestError, RunError, TakenOverError
from amid.store import PerExample, Score, Store, claims, files, generations, owners
from amid.store.claims import held
from amid.store.files import NoSpaceError
from amid.store.journal import JournalFile
from amid.store.layout import per_example_path, provenance_path, scores_path, status_path
from amid.store.provenance import git_state, read_provenance
from amid.store.scores import read_per_example, read_scores, sift_scores
from amid.store.status import is_unverified, read_status
from amid.store.watch import is_live

STAGE = Stage("teacher", "0123456789ab", {"kind": "teacher"})
CELL = Cell("aaaaaaaaaaaa", {"amid": {"alpha": -5}}, {"teacher": STAGE, "student_init": STAGE})
SCORE = Score("aaaaaaaaaaaa", "dolly", "g1", "s1", 10, "rouge_l", 25.0, 500)
MANIFEST = {"name": "one", "rows": [], "metric": None, "protocols": {}, "references": [], "cells": []}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def held_by_parent(store, entry):
    """A claim of the process that started this one, which lives."""
    claims = store.folder(entry) / "claims"
    claims.mkdir(parents=True, exist_ok=True)
    identity = {**owners.own_identity(), "pid": os.getppid(), "started": owners.started(os.getppid())}
    (claims / "000009.json").write_text(seal({**identity, "heartbeat": 0}))


def flip(path, *, byte, bit=0):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def publish(store, entry, weights=b"weights"):
    """A finished entry with a model of one file."""
    with held(store.claim(entry)) as claim:
        partial = store.partial_model(entry, claim)
        partial.mkdir()
        (partial / "model.safetensors").write_bytes(weights)
        store.publish_model(entry, partial, train_seconds=1.5)
        store.set_status(entry, "done")


# States


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


def test_every_changed_bit_of_a_status_makes_it_damaged_and_the_cell_can_be_claimed(store, caplog):
    with held(store.claim(CELL)):
        store.set_status(CELL, "done", seconds=2.5)
    path = status_path(store.folder(CELL))
    sound = path.read_bytes()
    for byte in range(len(sound)):
        flip(path, byte=byte, bit=byte % 8)
        assert store.state(CELL) == "damaged"
        assert str(path) in store.status(CELL)["error"]
        path.write_bytes(sound)
    flip(path, byte=20)
    with held(store.claim(CELL)):
        assert store.state(CELL) == "running"
    assert f"{path} is damaged" in caplog.text
    assert "repeat the command that made it" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", '{"state": "dine"}', '{"attempt": 1}', "\x00\x00"])
def test_a_status_that_is_none_of_ours_is_damaged_and_no_traceback(store, text):
    store.folder(CELL).mkdir(parents=True)
    status_path(store.folder(CELL)).write_text(text)
    assert store.state(CELL) == "damaged"


def test_a_store_from_before_seals_is_read_and_called_unverified(store):
    folder = store.folder(CELL)
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.safetensors").write_bytes(b"old")
    status_path(folder).write_text('{"state": "done", "attempt": 1}')
    scores_path(folder).write_text(json.dumps({**vars(SCORE)}) + "\n")
    assert store.state(CELL) == "done"
    assert store.is_finished(CELL)
    assert store.read([CELL]) == [SCORE]
    assert is_unverified(folder)
    publish(store, STAGE)
    assert not is_unverified(store.folder(STAGE))


# Claims


def test_a_claim_leaves_what_names_the_cell_and_where_it_ran(store):
    with held(store.claim(CELL)):
        folder = store.folder(CELL)
        assert yaml.safe_load((folder / "cell.yaml").read_text()) == {"amid": {"alpha": -5}}
        (record,) = read_provenance(folder)
        assert {"git", "python", "platform", "packages"} <= set(record)
        assert (record["attempt"], record["purpose"]) == (1, "train")
        assert read_status(folder)["state"] == "running"


def test_every_attempt_leaves_a_record_of_its_own_evaluations_too(store):
    folder = store.folder(CELL)
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text('{"python": "3.9.0"}')  # from before attempts were kept apart
    with held(store.claim(CELL)):
        pass
    with held(store.claim(CELL)):
        store.set_status(CELL, "done")
    with held(store.claim_done(CELL)):
        pass
    found = read_provenance(folder)
    assert found[0] == {"python": "3.9.0"}
    assert [(each["attempt"], each["purpose"]) for each in found[1:]] == [(1, "train"), (2, "train"), (3, "evaluate")]


def test_a_damaged_record_of_an_attempt_takes_no_other_with_it(store):
    for _ in range(2):
        with held(store.claim(CELL)):
            pass
    flip(provenance_path(store.folder(CELL)), byte=30)
    assert [each["attempt"] for each in read_provenance(store.folder(CELL))] == [2]
    with held(store.claim(CELL)):
        pass
    assert [each["attempt"] for each in read_provenance(store.folder(CELL))] == [2, 3]


def test_a_running_cell_is_claimed_by_nobody_else(store):
    held_by_parent(store, CELL)
    assert store.claim(CELL) is None
    assert store.claim_done(CELL) is None


def test_a_process_that_would_wait_for_itself_is_told_so(store):
    with held(store.claim(CELL)):
        for claim in (store.claim, store.claim_done):
            with pytest.raises(RunError, match="held by this very process"):
                claim(CELL)


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
    looks = iter(["running"])
    look = Store.state
    monkeypatch.setattr(Store, "state", lambda self, entry: next(looks, None) or look(self, entry))
    assert store.claim(CELL) is None
    assert not is_live(store.folder(CELL))
    assert store.claim_done(CELL) is not None


def test_a_claim_whose_first_writes_fail_is_free_again(store, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    store.folder(CELL).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amid.store.store.record_attempt", lambda *args, **kwargs: full(0))
        with pytest.raises(RunError, match="cannot be written: No space left"):
            store.claim(CELL)
        with pytest.raises(RunError, match="cannot be written: No space left"):
            store.claim_done(CELL)
    assert not is_live(store.folder(CELL))
    assert store.claim(CELL).number == 3


def test_a_process_whose_folder_was_taken_over_writes_nothing_there_any_more(store):
    with held(store.claim(CELL)):
        store.write(CELL, [SCORE])
        before = {path: path.read_bytes() for path in store.folder(CELL).rglob("*") if path.is_file()}
        held_by_parent(store, CELL)
        for write in (
            lambda: store.set_status(CELL, "done"),
            lambda: store.write(CELL, [replace(SCORE, value=1.0)], [PerExample("s1", "t", (1.0,))]),
            lambda: store.publish_model(CELL, store.folder(CELL) / "claims"),
        ):
            with pytest.raises(TakenOverError, match=f"process {os.getppid()} on .*this one stops"):
                write()
        store.set_failed(CELL, "no longer ours", "to fail")
    kept = {path: path.read_bytes() for path in before}
    assert {**before, **{p: d for p, d in kept.items() if p.parent.name == "claims"}} == kept
    assert not list(store.folder(CELL).glob(".*.tmp"))
    assert not store.error_path(CELL).exists()


def test_cells_and_stages_have_folders_of_their_own(store):
    assert store.folder(CELL) == store.root / "aaaaaaaaaaaa"
    assert store.folder(STAGE) == store.root / "stages" / "teacher-0123456789ab"


# Models


def test_a_model_that_changed_is_named_and_its_entry_rebuilt_by_the_next_claim(store, caplog):
    publish(store, STAGE)
    assert store.is_finished(STAGE)
    path = store.model_folder(STAGE) / "model.safetensors"
    path.write_bytes(b"weightz")
    assert store.state(STAGE) == "done"  # nobody has looked
    assert store.checked_state(STAGE, FileDigests(store.root / "cache")) == "damaged"
    assert not store.is_finished(STAGE)
    assert f"{path} is damaged (its digest does not match); repeat the command that made it" in caplog.text
    assert store.state(STAGE) == "damaged"
    assert store.claim(STAGE) is not None
    assert not store.adopt_model(STAGE)


def test_a_listing_reads_a_model_once_and_again_only_when_its_file_was_touched(store, monkeypatch):
    publish(store, STAGE)
    read, original = [], files.Path.open
    monkeypatch.setattr(
        files.Path, "open", lambda path, *args, **kwargs: read.append(path.name) or original(path, *args, **kwargs)
    )
    for _ in range(2):
        assert store.checked_state(STAGE, FileDigests(store.root / "cache")) == "done"
    assert read.count("model.safetensors") == 1
    assert store.is_finished(STAGE)  # before it is used, it is read again
    assert read.count("model.safetensors") == 2
    (store.model_folder(STAGE) / "model.safetensors").write_bytes(b"weightz")
    assert store.checked_state(STAGE, FileDigests(store.root / "cache")) == "damaged"


def test_a_finished_training_survives_a_damaged_status_and_what_it_recorded_a_new_attempt(store):
    publish(store, CELL)
    assert store.status(CELL)["train_seconds"] == 1.5
    flip(status_path(store.folder(CELL)), byte=15)
    with held(store.claim(CELL)):
        assert store.adopt_model(CELL)
        store.set_status(CELL, "done")
    assert store.is_finished(CELL)
    with held(store.claim_done(CELL)):
        store.set_failed(CELL, "evaluation", "")
    assert "model" in store.status(CELL)


def test_every_attempt_makes_its_model_in_a_folder_of_its_own(store):
    with held(store.claim(STAGE)) as first:
        abandoned = store.partial_model(STAGE, first)
        abandoned.mkdir()
        (abandoned / "config.json").write_text("half")
    with held(store.claim(STAGE)) as second:
        partial = store.partial_model(STAGE, second)
        assert partial != abandoned
        assert not abandoned.exists()
        with pytest.raises(TakenOverError):
            store.partial_model(STAGE, first)


def test_weights_built_again_that_differ_are_said(store, caplog):
    publish(store, STAGE)
    store.set_status(STAGE, "damaged", error="x")
    for weights in (b"weights", b"others!"):
        publish(store, STAGE, weights)
        store.set_status(STAGE, "damaged", error="x")
        assert ("other weights than before" in caplog.text) == (weights != b"weights")


# Scores


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
    path = scores_path(store.folder(CELL))
    store.write(CELL, [SCORE, other])
    first = path.read_bytes()
    path.unlink()
    store.write(CELL, [other])
    store.write(CELL, [SCORE])
    assert path.read_bytes() == first


def test_a_torn_last_line_of_scores_is_left_out_and_repaired_by_the_next_write(store):
    store.folder(CELL).mkdir(parents=True)
    store.write(CELL, [SCORE])
    path = scores_path(store.folder(CELL))
    complete = path.read_bytes()
    path.write_bytes(complete + complete[: len(complete) // 2])
    assert store.read([CELL]) == [SCORE]
    store.write(CELL, [replace(SCORE, decode_seed=20)])
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 2


def test_every_changed_bit_of_a_score_makes_it_missing_and_named_and_leaves_the_others(store, caplog):
    store.folder(CELL).mkdir(parents=True)
    other = replace(SCORE, decode_seed=20)
    store.write(CELL, [SCORE, other])
    path = scores_path(store.folder(CELL))
    sound = path.read_bytes()
    end = sound.index(b"\n")
    for byte in range(end):
        flip(path, byte=byte, bit=byte % 8)
        found, damage = sift_scores(store.folder(CELL))
        assert (found, len(damage)) == ([other], 1), byte
        path.write_bytes(sound)
    flip(path, byte=end // 2)
    assert store.read([CELL]) == [other]
    with pytest.raises(
        DamagedError, match=r"scores.jsonl is damaged \(line 1: .*\); repeat the command that scored it"
    ):
        read_scores(store.folder(CELL))
    assert "line 1" in caplog.text
    store.write(CELL, [SCORE])
    assert path.read_bytes() == sound


@pytest.mark.parametrize("end", [b"\x0b", b"\x4a"])
def test_a_changed_line_feed_is_found_after_the_last_line_too(store, end):
    store.folder(CELL).mkdir(parents=True)
    store.write(CELL, [SCORE])
    path = scores_path(store.folder(CELL))
    path.write_bytes(path.read_bytes()[:-1] + end)
    assert len(sift_scores(store.folder(CELL))[1]) == 1


def test_damaged_examples_are_named_and_their_file_may_be_removed_and_made_again(store):
    store.folder(CELL).mkdir(parents=True)
    store.write(CELL, [SCORE], [PerExample("s1", "t", (1.0, 2.0))])
    path = per_example_path(store.folder(CELL), "s1")
    assert read_per_example(store.folder(CELL), "s1") == PerExample("s1", "t", (1.0, 2.0))
    flip(path, byte=40)
    with pytest.raises(DamagedError, match="s1.json is damaged .*; remove it and repeat the command that scored it"):
        read_per_example(store.folder(CELL), "s1")
    path.unlink()
    assert read_per_example(store.folder(CELL), "s1") is None
    assert not store.has_per_example(CELL, "s1")


def test_damaged_texts_are_named_and_written_anew_by_the_next_evaluation(store):
    store.write_texts("d" * 64, ["ask"], [["gold"]])
    path = store.layout.texts("d" * 64)
    sound = path.read_bytes()
    flip(path, byte=15)
    with pytest.raises(DamagedError, match="line 1"):
        store.read_texts("d" * 64)
    store.write_texts("d" * 64, ["ask"], [["gold"]])
    assert path.read_bytes() == sound


# Files


def test_cutting_at_any_byte_leaves_exactly_the_complete_lines(tmp_path):
    path = tmp_path / "lines.jsonl"
    lines = [f"{seal({'i': i, 'text': 'x' * i})}\n".encode() for i in range(4)]
    whole = b"".join(lines)
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        expected = whole[:length].count(b"\n")
        assert [line["i"] for line in files.read_lines(path, remedy="")] == list(range(expected))
        assert files.drop_damaged_lines(path) == {}
        assert path.read_bytes() == b"".join(lines[:expected])


def test_damaged_lines_are_cut_out_and_the_others_stay_byte_for_byte(tmp_path):
    path = tmp_path / "lines.jsonl"
    lines = [f"{seal({'i': i})}\n".encode() for i in range(4)]
    lines[1] = lines[1].replace(b'"i": 1', b'"i": 7')
    path.write_bytes(b"".join(lines) + b'{"torn')
    assert files.drop_damaged_lines(path) == {2: "its digest does not match"}
    assert path.read_bytes() == lines[0] + lines[2] + lines[3]


def test_a_line_separator_inside_a_text_splits_no_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes('{"text": "a\u2028b\\nc\u0085"}\n'.encode())
    assert files.read_lines(path, remedy="") == [{"text": "a\u2028b\nc\u0085"}]


def test_reading_and_cutting_a_file_that_is_not_there_is_harmless(tmp_path):
    assert files.drop_damaged_lines(tmp_path / "none") == {}
    assert files.read_lines(tmp_path / "none", remedy="") == []
    assert files.read_object(tmp_path / "none", remedy="") is None
    assert list(tmp_path.iterdir()) == []


def test_nothing_temporary_is_left_beside_status_and_scores(store):
    with held(store.claim(CELL)):
        store.write(CELL, [SCORE])
        store.set_status(CELL, "done")
    names = {path.name for path in store.folder(CELL).iterdir()}
    assert names == {"cell.yaml", "provenance.jsonl", "status.json", "scores.jsonl", "claims"}
    assert {path.name for path in (store.folder(CELL) / "claims").iterdir()} == {"000001.json"}


def test_a_write_on_a_full_disk_leaves_the_old_text_and_says_how_much_is_needed(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    files.replace_text(path, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpaceError, match=f"no space left: 3 MB needed at {path}; free some"):
        files.replace_text(path, "n" * 2_500_000)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors says it
    ],
)
def test_every_librarys_word_for_a_full_disk_is_understood_and_other_errors_are_left(tmp_path, error):
    with pytest.raises(NoSpaceError, match="7 MB needed"), files.space_for(tmp_path / "x", 7_000_000):
        raise error
    with pytest.raises(RuntimeError, match="another matter"), files.space_for(tmp_path / "x", 7_000_000):
        raise RuntimeError("another matter")
    with pytest.raises(PermissionError), files.space_for(tmp_path / "x", 2**80):
        raise PermissionError(errno.EACCES, "no")


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    for name in ("last.ckpt", ".hidden", "x.tmp"):
        (tmp_path / name).write_text("")
    files.temporary_path(tmp_path / "last.ckpt").write_text("half")
    files.drop_temporaries(tmp_path, check=lambda: None)
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", ".hidden", "x.tmp"}


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


# Sweeps


def test_the_latest_sweep_is_the_one_requested_last(store):
    two = {**MANIFEST, "name": "two"}
    store.write_sweep("one", MANIFEST)
    store.write_sweep("two", two)
    past = time.time() - 100
    for name in ("one", "two"):
        os.utime(store.sweep_path(name), (past, past))
    store.write_sweep("one", MANIFEST)  # unchanged, but requested again
    assert store.read_sweep(None) == MANIFEST
    assert store.read_sweep("two") == two


def test_an_unknown_sweep_names_the_known_ones(store):
    with pytest.raises(RequestError, match="no sweep in .*start one with"):
        store.read_sweep(None)
    store.write_sweep("demo", MANIFEST)
    with pytest.raises(RequestError, match="sweep 'dmo' is not in .*; valid: demo"):
        store.read_sweep("dmo")


def test_a_damaged_manifest_is_named_with_the_sweeps_that_can_be_read_and_written_anew_by_its_sweep(store):
    store.write_sweep("one", MANIFEST)
    store.write_sweep("two", {**MANIFEST, "name": "two"})
    path = store.sweep_path("two")
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    remedy = "repeat the sweep: nothing is trained twice; others can be read by name: one"
    with pytest.raises(DamagedError, match=f"two.json is damaged .*; {remedy}"):
        store.read_sweep(None)
    assert store.read_sweep("one") == MANIFEST
    store.write_sweep("two", {**MANIFEST, "name": "two"})
    assert store.read_sweep("two")["name"] == "two"


# Provenance


@pytest.fixture
def checkout(tmp_path):
    """A checkout with one commit of a source, a setting and a note."""
    root = tmp_path / "checkout"
    for name in ("src/code.py", "conf/config.yaml", "docs/note.md", "run.py"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("as committed\n")
    for arguments in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qm", "all"),
    ):
        subprocess.run(["git", "-C", str(root), *arguments], check=True)
    git_state.cache_clear()
    return root


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        (None, False),
        ("my_results/aaaaaaaaaaaa/status.json", False),
        ("outputs/2026-01-01/.hydra/config.yaml", False),
        ("docs/note.md", False),
        ("src/code.py", True),
        ("src/new_divergence.py", True),
        ("conf/config.yaml", True),
    ],
)
def test_a_checkout_is_dirty_through_its_sources_and_not_through_what_runs_leave(checkout, changed, dirty):
    if changed is not None:
        (checkout / changed).parent.mkdir(parents=True, exist_ok=True)
        (checkout / changed).write_text("changed\n")
    found = git_state(checkout)
    assert found["dirty"] is dirty
    assert len(found["commit"]) == 40


def test_a_folder_that_is_no_checkout_has_no_commit(tmp_path):
    assert git_state(tmp_path) is None


def test_a_record_is_sealed_like_every_line_of_the_store(store):
    with held(store.claim(CELL)):
        pass
    (line,) = provenance_path(store.folder(CELL)).read_bytes().splitlines()
    assert unseal(line)[1]


def test_a_sweep_recorded_under_a_name_of_older_versions_is_still_read(store):
    (store.root / "sweeps").mkdir(parents=True)
    older = {**MANIFEST, "name": "my sweep"}
    (store.root / "sweeps" / "my sweep.json").write_text(json.dumps(older))
    assert store.read_sweep(None) == store.read_sweep("my sweep") == older


def test_a_writer_whose_file_was_removed_by_its_successor_says_that_it_was_succeeded(tmp_path):
    def succeeded():
        raise RunError("taken over")

    def write():
        with files.replacing(tmp_path / "last.ckpt", 1, check=succeeded) as path:
            path.write_text("x")
            files.drop_temporaries(tmp_path, check=lambda: None)

    with pytest.raises(RunError, match="taken over"):
        write()


def test_what_a_killed_writer_left_beside_generated_texts_is_removed_by_the_next(tmp_path):
    left = files.temporary_path(tmp_path / generations.PENDING_ROWS)
    left.write_text('{"half')
    generations.complete_commit(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_to_be_removed_is_looked_for_before_the_check_that_it_is_ours(tmp_path):
    left, later = tmp_path / ".a.tmp", tmp_path / ".b.tmp"
    left.write_text("")
    files.drop_temporaries(tmp_path, check=lambda: later.write_text("of a successor"))
    assert [path.name for path in tmp_path.iterdir()] == [".b.tmp"]


def test_an_owner_that_was_suspended_before_it_made_its_model_leaves_its_successors(store, monkeypatch):
    claim = store.claim(CELL)

    def suspended(self):
        monkeypatch.setattr(claims.Claim, "check", lambda self: None)
        store.model_folder(CELL).mkdir()  # meanwhile

    monkeypatch.setattr(claims.Claim, "check", suspended)
    store.partial_model(CELL, claim)
    assert store.model_folder(CELL).is_dir()


def test_a_suspended_owner_finds_what_it_was_writing_removed_by_its_successor(store):
    folder = store.folder(CELL)
    with held(store.claim(CELL)):
        store.set_status(CELL, "running")
    late = files.temporary_path(folder / "status.json")
    late.write_text('{"state": "failed"}')
    with held(store.claim(CELL)):
        with pytest.raises(FileNotFoundError):
            late.replace(folder / "status.json")
        assert store.state(CELL) == "running"


def test_a_disk_that_does_not_answer_costs_no_line_score_or_state_that_is_there(store, monkeypatch):
    publish(store, CELL)
    store.write(CELL, [SCORE])
    files.append_line(store.journal_path(CELL), {"step": 1, "metrics": {}})
    kept = [status_path(store.folder(CELL)), scores_path(store.folder(CELL)), store.journal_path(CELL)]
    before = [path.read_bytes() for path in kept]
    reading = Path.read_bytes

    def silent(path):
        if path in kept:
            raise OSError(errno.EIO, "Input/output error")
        return reading(path)

    monkeypatch.setattr(Path, "read_bytes", silent)
    for write in (
        lambda: store.set_status(CELL, "running"),
        lambda: store.write(CELL, [replace(SCORE, decode_seed=20)]),
        lambda: JournalFile(store.journal_path(CELL), check=lambda: None),
    ):
        with pytest.raises(OSError, match="Input/output error"):
            write()
    with pytest.raises(RunError, match="Input/output error"):
        store.claim(CELL)
    monkeypatch.undo()
    assert [path.read_bytes() for path in kept] == before
    assert store.state(CELL) == "done"
