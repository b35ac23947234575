"""What Slurm's commands answer, as far as it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm.fake import FakeSlurm

from amid.errors import RequestError, RunError
from amid.slurm import commands


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


@pytest.mark.parametrize(
    ("answer", "job"),
    [("12", "12"), ("12;cluster", "12"), ("welcome to our cluster\n13\n", "13"), ("Submitted batch job 14", "14")],
)
def test_the_id_of_a_job_is_found_in_every_form_of_the_answer(answer: str, job: str, fake: FakeSlurm) -> None:
    (fake.bin / "sbatch").write_text(f"#!/bin/bash\necho '{answer}'\n")
    assert commands.submit("job.sh", "cells", []) == job


def test_an_answer_without_a_job_is_one_line(fake: FakeSlurm) -> None:
    (fake.bin / "sbatch").write_text("#!/bin/bash\necho queued for 3 days\n")
    with pytest.raises(RunError, match="sbatch named no job: 'queued for 3 days'"):
        commands.submit("job.sh", "cells", [])


def test_what_slurm_refuses_is_said_in_its_words(fake: FakeSlurm) -> None:
    fake.refuse("sbatch: error: Batch job submission failed: Invalid account or account/partition combination\n")
    with pytest.raises(RunError) as caught:
        commands.submit("job.sh", "cells", [])
    assert str(caught.value) == (
        "sbatch failed: Batch job submission failed: Invalid account or account/partition combination"
    )


def test_without_slurm_it_is_a_bad_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="sbatch is not on the PATH"):
        commands.submit("job.sh", "cells", [])
    assert not commands.is_here("squeue")


def test_a_job_that_submits_does_not_pass_on_that_it_is_one(fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    monkeypatch.setenv("SBATCH_EXPORT", "ALL")
    monkeypatch.setenv("SBATCH_ACCOUNT", "lab")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    commands.submit("job.sh", "cells", ["--job-name=demo.cells", "--array=1-2"])
    seen = fake.lines("environment")
    assert "SBATCH_ACCOUNT=lab" in seen and "SLURM_CONF=/etc/slurm.conf" in seen
    assert not [line for line in seen if line.startswith(("SLURM_MEM_PER_CPU", "SBATCH_EXPORT"))]


def test_the_queue_is_read_also_where_a_path_has_separators_in_it(fake: FakeSlurm) -> None:
    (fake.folder / "queue").write_text(
        "12_1|PENDING|0|Dependency|demo.cells|/a|b/job.sh cells|\n"
        "11_2|RUNNING|3|None|demo.cells|/a ü b/job.sh cells|\n"
        "9|RUNNING|0|None|somebody|a command\nof two lines|\n"
    )
    first, second, other = commands.queue([0, 1000])
    assert fake.calls("squeue")[0].count("--user=0,1000") == 1, "the queue is asked once"
    assert (first.name, first.command, first.waits_for_a_job) == ("12_1", "/a|b/job.sh cells", True)
    assert (second.restarts, second.is_pending, second.command) == (3, False, "/a ü b/job.sh cells")
    assert other.name == "9"


def test_the_largest_array_is_asked_for(fake: FakeSlurm) -> None:
    (fake.folder / "max_array_size").write_text("51")
    assert commands.max_array_size() == 51


def test_many_jobs_are_cancelled_in_calls_of_some_length(fake: FakeSlurm) -> None:
    (fake.bin / "scancel").write_text(f'#!/bin/bash\nprintf "%s\\n" "scancel $*" >> "{fake.folder}/calls"\n')
    commands.cancel([f"12_{number}" for number in range(1200)], only_pending=True)
    calls = fake.calls("scancel")
    assert len(calls) == 3 and all("--state=PENDING" in call for call in calls)
    assert sum(call.count("12_") for call in calls) == 1200
