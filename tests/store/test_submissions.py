"""What is recorded of a submission, also of one that ended in the middle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amid.errors import RunError
from amid.store import Store
from amid.store.submissions import (
    CELLS,
    STAGES,
    Part,
    next_folder,
    record_job,
    submissions,
    submitting,
    write_submission,
)

PARTS = (
    Part(STAGES, ("f" * 16,), ("a" * 12,), (("teacher-1", "student_init-2", "protocol"),), 1),
    Part(CELLS, ("e" * 16, "d" * 16), ("a" * 12, "b" * 12), (), 2),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_what_is_recorded_is_read_again(store: Store) -> None:
    written = write_submission(next_folder(store, "demo"), "demo", "#!/bin/bash\n", PARTS)
    record_job(written, PARTS[0], "12")
    record_job(written, PARTS[1], "13", after=["12_1"])
    (found,) = submissions(store)
    assert (found.sweep, found.uid, found.parts) == ("demo", os.getuid(), PARTS)
    assert (found.jobs, found.after) == ({STAGES: "12", CELLS: "13"}, {STAGES: (), CELLS: ("12_1",)})
    assert Path(found.script) == store.root / "submissions" / "0001-demo" / "job.sh"
    assert found.folder.joinpath("cells.txt").read_text() == f"{'e' * 16}\n{'d' * 16}\n"
    assert found.job_name(PARTS[1]) == "demo.cells"


def test_each_submission_has_a_folder_of_its_own_in_their_order(store: Store) -> None:
    for _ in range(3):
        write_submission(next_folder(store, "demo"), "demo", "", PARTS)
    (store.layout.submissions / "0010-later").mkdir()
    assert next_folder(store, "demo").name == "0011-demo"
    assert [each.folder.name for each in submissions(store)] == ["0001-demo", "0002-demo", "0003-demo"]


def test_one_that_was_killed_before_it_was_recorded_submitted_nothing(store: Store) -> None:
    folder = next_folder(store, "demo")
    (folder / "logs").mkdir(parents=True)
    (folder / "job.sh").write_text("")
    assert submissions(store) == []
    assert next_folder(store, "demo").name == "0002-demo"


def test_a_torn_line_is_a_job_that_only_the_queue_knows(store: Store) -> None:
    written = write_submission(next_folder(store, "demo"), "demo", "", PARTS)
    record_job(written, PARTS[0], "12")
    with (written.folder / "jobs.jsonl").open("a") as stream:
        stream.write('{"part": "cells", "jo')
    assert submissions(store)[0].jobs == {STAGES: "12"}
    record_job(written, PARTS[1], "13")
    assert submissions(store)[0].jobs == {STAGES: "12", CELLS: "13"}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"sweep": "../x", "uid": 0, "script": "s", "parts": []}', "\x00"])
def test_a_damaged_one_is_said_and_left_out(text: str, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        written = write_submission(next_folder(store, "demo"), "demo", "", PARTS)
    (written.folder / "submission.json").write_text(text)
    assert [each.folder.name for each in submissions(store)] == ["0001-demo"]
    assert f"{written.folder}/submission.json" in caplog.text


def test_only_one_process_submits_at_a_time(store: Store) -> None:
    with submitting(store), pytest.raises(RunError, match="held by this very process"), submitting(store):
        pass
    with submitting(store):
        pass


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    store = Store(tmp_path / "results")
    with pytest.raises(RunError, match="cannot be written"):
        write_submission(next_folder(store, "demo"), "demo", "", PARTS)
    with pytest.raises(RunError, match="cannot be written"), submitting(store):
        pass
