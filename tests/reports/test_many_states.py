"""`amid status` of a large sweep of which a part runs on other hosts: at a glance, whoever holds what."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm.fake import FakeSlurm
from small_stores import STUDENT, TEACHER, TOKENIZER, cell_of_alpha, finish, sweep_of

from amid.store import Store
from amid.store.submissions import CELLS, Part, next_folder, record_job, write_submission

NUM_CELLS, NUM_ELSEWHERE, NUM_SUBMITTED = 200, 40, 60


def test_two_hundred_cells_of_which_forty_run_elsewhere_are_seen_within_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, cells = Store(tmp_path / "results"), [cell_of_alpha(float(number)) for number in range(NUM_CELLS)]
    for stage in (TOKENIZER, TEACHER, STUDENT):
        finish(store, stage)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", lambda descriptor: None)  # two hundred cells are made in seconds
        for cell in cells[NUM_SUBMITTED:]:
            finish(store, cell)
        patched.setattr("amid.store.owners.host", lambda: "elsewhere/boot")
        for number, cell in enumerate(cells[:NUM_ELSEWHERE]):
            claim = store.claim(cell)
            assert claim is not None
            if number % 2:  # its heart has not been heard for an hour
                os.utime(claim.path, (time.time() - 3600, time.time() - 3600))
    store.write_sweep("large", sweep_of("large", cells))
    submitted = Part(
        CELLS, ("e" * 16,) * NUM_SUBMITTED, tuple(cell.id for cell in cells[:NUM_SUBMITTED]), (), NUM_SUBMITTED
    )
    submission = write_submission(next_folder(store, "large"), "large", "", [submitted])
    record_job(submission, submitted, "12")
    fake = FakeSlurm(tmp_path / "slurm", monkeypatch)
    tasks = [(number + 1, "RUNNING" if number < NUM_ELSEWHERE else "PENDING") for number in range(NUM_SUBMITTED)]
    queue = [f"12_{task}|{state}|0|None|large.cells|{submission.script} cells|\n" for task, state in tasks]
    (fake.folder / "queue").write_text("".join(queue))

    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "amid.cli", "status", "large", "--results", str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with capsys.disabled():
        print(f"\namid status, {NUM_CELLS} cells, {NUM_ELSEWHERE} elsewhere: {seconds:.2f} s, {spent:.2f} s of a core")
    lines = done.stdout.splitlines()
    assert sum(" running " in line and "on elsewhere" in line for line in lines) == NUM_ELSEWHERE
    assert sum(" queued " in line for line in lines) == NUM_SUBMITTED - NUM_ELSEWHERE
    assert sum(" done " in line for line in lines) == NUM_CELLS - NUM_SUBMITTED + 2
    assert spent < 2.0, "a machine with other work to do takes longer, but not this command's own time"
    assert len(fake.calls("squeue")) == 1
