"""Submitting sweeps to a Slurm that only has a queue: which arrays, what not again, what a killed launcher leaves."""

from __future__ import annotations

import copy
import logging
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from slurm.fake import FakeSlurm
from small_stores import finish

from amid.errors import RequestError, RunError
from amid.reports.states import states_of
from amid.slurm import commands
from amid.slurm.options import SlurmOptions
from amid.store import Store
from amid.store.frozen import thaw
from amid.store.submissions import CELLS, STAGES, submissions
from amid.sweep import submit as submitting
from amid.sweep.cancelling import cancel_sweep
from amid.sweep.compose import sweep_of_overrides
from amid.sweep.plan import PlannedCell, Sweep

Says = Callable[..., str]
Planned = Callable[..., Sweep]
SMALL = ("logger=none", "data.num_records=40", "data.num_dev=4", "data.num_eval=4")


@pytest.fixture(scope="module")
def _planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sweep]:
    root = tmp_path_factory.mktemp("planned")
    common = [*SMALL, f"paths.results={root}/results", f"paths.cache={root}/cache", "pair.student_sft.max_steps=1"]
    student = "pair.student_arch={layers: 1, width: 16, heads: 2, positions: 512}"
    return {
        "three": sweep_of_overrides([*common, "amid.alpha=-1,0,1", "sweep.name=three"]),
        "seeds": sweep_of_overrides([*common, "amid.alpha=-1,0", "evaluation.decode_seeds=[7,8]", "sweep.name=seeds"]),
        "two": sweep_of_overrides([*common, "amid.alpha=0,3", "sweep.name=two"]),
        "students": sweep_of_overrides([*common, student, "sweep.name=students"]),
    }


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def sweep(_planned: dict[str, Sweep], tmp_path: Path) -> Planned:
    """A planned sweep with results of the test's own, whose cells are in the state that they have there now."""

    def made(name: str = "three", *, results: Path = tmp_path / "results") -> Sweep:
        store, cells = Store(results), []
        for planned in _planned[name].cells:
            run = copy.deepcopy(planned.run)
            run.paths.results = str(results)
            state = store.state(planned.cell)
            cells.append(replace(planned, run=run, state=state, evaluated=state == "done"))
        return replace(_planned[name], cells=tuple(cells))

    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def submit(fake: FakeSlurm, caplog: pytest.LogCaptureFixture) -> Says:
    """What a submission says."""

    def said(sweep: Sweep, **options: object) -> str:
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="amid"):
            submitting.submit(sweep, SlurmOptions(**options))  # type: ignore[arg-type]
        return "\n".join(record.getMessage() for record in caplog.records)

    return said


def build_stages(sweep: Sweep, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages are there, and count as evaluated."""
    for planned in sweep.cells:
        for stage in planned.cell.stages.values():
            if store.state(stage) != "done":
                finish(store, stage)
    monkeypatch.setattr("amid.sweep.carry_out.is_ready", lambda stage, planned, store: store.state(stage) == "done")


def test_stages_come_first_and_cells_wait_for_them(submit: Says, fake: FakeSlurm, sweep: Planned, store: Store) -> None:
    said = submit(sweep(), array_parallelism=2)
    stages, cells = (shlex.split(call) for call in fake.calls("sbatch"))
    folder = store.layout.submissions / "0001-three"
    assert stages[2:] == ["--job-name=three.stages", "--array=1-1%2", str(folder / "job.sh"), "stages"]
    assert cells[2:] == [
        "--job-name=three.cells",
        "--array=1-3%2",
        "--dependency=afterok:11_1",
        "--kill-on-invalid-dep=yes",
        str(folder / "job.sh"),
        "cells",
    ]
    (recorded,) = submissions(store)
    assert recorded.jobs == {STAGES: "11", CELLS: "12"}
    requests = (folder / "cells.txt").read_text().split()
    frozen = [thaw(digest, store) for digest in requests]
    assert [each.cell_id for each in frozen] == [planned.cell.id for planned in sweep().cells]
    assert {each.run.sweep.name for each in frozen} == {"three"}
    assert thaw((folder / "stages.txt").read_text().strip(), store).run.task == "prepare"
    assert "submitted cells    job 12: 3 tasks, 2 at a time, after 11_1" in said
    assert "amid status three" in said and "amid cancel three" in said


def test_what_is_queued_is_not_submitted_again_and_what_is_lost_is(
    submit: Says, fake: FakeSlurm, sweep: Planned, store: Store
) -> None:
    submit(sweep())
    assert "not again: 3 cells queued or running (job 12)\nnothing to submit" in submit(sweep())
    fake.end("12_2")  # scancel of a task that waits leaves nothing behind
    lost = sweep().cells[1].cell.id
    said = submit(sweep())
    assert "submitted cells    job 13: 1 task, after 11_1" in said, "it waits for the stages that are being built"
    assert (store.layout.submissions / "0002-three" / "cells.txt").read_text().count("\n") == 1
    assert [each.parts[0].cells for each in submissions(store)][1] == (lost,)
    assert len(fake.queue) == 1 + 2 + 1


def test_a_finished_cell_is_never_submitted(
    submit: Says,
    fake: FakeSlurm,
    sweep: Planned,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_stages(sweep(), store, monkeypatch)
    finish(store, sweep().cells[0].cell)
    submit(sweep())
    (cells,) = fake.calls("sbatch")
    assert "--array=1-2 " in cells and "--dependency" not in cells


def test_a_launcher_killed_between_sbatch_and_its_record_submits_nothing_twice(
    submit: Says,
    fake: FakeSlurm,
    sweep: Planned,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:

        def killed(*arguments: object, **more: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(submitting, "record_job", killed)
        with pytest.raises(KeyboardInterrupt):
            submit(sweep())
    assert fake.queue == ["11_1"] and submissions(store)[0].jobs == {}
    said = submit(sweep())
    assert "submitted stages" not in said and "submitted cells    job 12: 3 tasks, after 11_1" in said
    assert submissions(store)[0].jobs == {STAGES: "11"}, "its job was found by its script"


def test_a_number_that_another_cluster_gave_too_is_no_job_of_ours(
    submit: Says, fake: FakeSlurm, sweep: Planned
) -> None:
    submit(sweep())
    queue = (fake.folder / "queue").read_text()
    (fake.folder / "queue").write_text(queue.replace("0001-three", "another-store"))
    assert "submitted stages" in submit(sweep())


def test_two_sweeps_do_not_build_a_stage_twice(submit: Says, fake: FakeSlurm, sweep: Planned) -> None:
    submit(sweep("three"))
    said = submit(sweep("two"))
    assert "submitted stages" not in said
    assert "not again: 1 cell queued or running (job 12)" in said
    assert "submitted cells    job 13: 1 task, after 11_1" in said


def test_a_cell_that_a_job_has_is_evaluated_in_another_way_behind_that_job(
    submit: Says, fake: FakeSlurm, sweep: Planned, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_stages(sweep(), store, monkeypatch)
    submit(sweep("three"))
    said = submit(sweep("seeds"))
    assert "not again" not in said and "submitted cells    job 12: 2 tasks, after 11" in said
    assert "--array=1-2 --dependency=afterany:11 " in fake.calls("sbatch")[-1]
    assert "not again: 2 cells queued or running (job 12)" in submit(sweep("seeds")), "the second of their jobs"
    assert "not again: 3 cells queued or running (job 11)" in submit(sweep("three")), "nor for the first way again"
    one = sweep().cells[0].cell.id
    assert "queued" in lines_of(sweep("seeds"), store)[one], "what comes first is shown"
    assert cancel_sweep(store.read_sweep("three"), store) == ["cancelled: 3 tasks queued (job 11)"]
    assert fake.queue == ["12_1", "12_2"]
    line = lines_of(sweep("seeds"), store)[one]
    assert " waiting " in line and line.endswith("job 12_1, for job 11, which evaluates in another way")
    said = submit(sweep("three"))
    assert "submitted cells    job 13: 2 tasks, after 12" in said and "submitted cells-2  job 14: 1 task\n" in said


def test_behind_workers_and_after_the_stages_that_are_evaluated_in_another_way(
    submit: Says, fake: FakeSlurm, sweep: Planned
) -> None:
    submit(sweep("three"), workers=2)
    submit(sweep("seeds"))
    stages, cells = fake.calls("sbatch")[2:]
    assert "--dependency=afterany:11_1 " in stages, "the same stages"
    assert "--dependency=afterok:13_1,afterany:12 --kill-on-invalid-dep=yes " in cells
    submit(sweep("two"), workers=1)
    assert "--dependency=afterany:" in fake.calls("sbatch")[-1]


def test_other_stages_on_the_same_teacher_wait_until_it_is_built(submit: Says, fake: FakeSlurm, sweep: Planned) -> None:
    submit(sweep("three"))
    submit(sweep("students"))
    stages, cells = fake.calls("sbatch")[2:]
    assert "--job-name=students.stages --array=1-1 --dependency=afterany:11_1 " in stages
    assert "--dependency=afterok:13_1 --kill-on-invalid-dep=yes" in cells


def test_many_cells_are_arrays_below_the_clusters_limit(
    submit: Says, fake: FakeSlurm, sweep: Planned, store: Store
) -> None:
    (fake.folder / "max_array_size").write_text("3")
    submit(sweep(), array_parallelism=4)
    assert [call.split()[3] for call in fake.calls("sbatch")] == ["--array=1-1%4", "--array=1-2%2", "--array=1-1%2"]
    assert sorted(path.name for path in (store.layout.submissions / "0001-three").glob("*.txt")) == [
        "cells-2.txt",
        "cells.txt",
        "stages.txt",
    ]
    assert "nothing to submit" in submit(sweep())


def test_workers_are_one_array_that_finds_its_cells_itself(
    submit: Says, fake: FakeSlurm, sweep: Planned, store: Store
) -> None:
    submit(sweep(), workers=2)
    workers = fake.calls("sbatch")[1]
    assert "--array=1-2 --dependency=afterany:11_1 " in workers and workers.endswith("job.sh workers")
    assert len(store.layout.requests()) == 1 + 3, "what they may take is frozen"
    assert "not again: 3 cells queued or running (job 12)" in submit(sweep(), workers=2)
    fake.end("12_1")
    assert "nothing to submit" in submit(sweep(), workers=2), "the other worker takes what is left"
    fake.end("12_2")
    assert "submitted workers" in submit(sweep(), workers=2)


def test_a_dry_run_prints_the_script_and_leaves_no_trace(
    submit: Says, fake: FakeSlurm, sweep: Planned, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    said = submit(sweep(), dry_run=True)
    assert said.startswith("#!/bin/bash\n# Sweep three") and "--dependency=afterok:stages_1" in said
    assert sorted(tmp_path.rglob("*")) == before and fake.calls("sbatch") == []


def test_a_dry_run_needs_no_slurm(
    submit: Says, sweep: Planned, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "#!/bin/bash" in submit(sweep(), dry_run=True)
    with pytest.raises(RequestError, match="sbatch is not on the PATH"):
        submit(sweep())
    assert not (tmp_path / "results").exists()


def test_what_sbatch_refuses_ends_it_and_the_same_command_goes_on(
    submit: Says, fake: FakeSlurm, sweep: Planned
) -> None:
    fake.refuse("sbatch: error: QOSMaxSubmitJobPerUserLimit\n")
    with pytest.raises(RunError, match="^sbatch failed: QOSMaxSubmitJobPerUserLimit$"):
        submit(sweep())
    fake.refuse("")
    assert "submitted cells" in submit(sweep())


def test_tasks_of_one_array_are_alike(submit: Says, sweep: Planned) -> None:
    mixed = sweep()
    mixed.cells[1].run.trainer.devices = 2
    with pytest.raises(RequestError, match="trainer.devices=1 and 2 in one sweep"):
        submit(mixed)


def test_workers_are_for_cells_of_one_device(submit: Says, sweep: Planned) -> None:
    large = sweep()
    for planned in large.cells:
        planned.run.trainer.devices = 2
    with pytest.raises(RequestError, match="workers=3 carry out cells of one device each, got trainer.devices=2"):
        submit(large, workers=3)


def lines_of(sweep: Sweep, store: Store) -> dict[str, str]:
    """What status says: id -> the rest of its line."""
    states = states_of(store.read_sweep(sweep.name), store)
    return {planned.cell.id: line for planned in sweep.cells for line in states.lines if planned.cell.id in line}


def test_status_says_of_every_cell_what_the_queue_says(
    submit: Says,
    fake: FakeSlurm,
    sweep: Planned,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submit(sweep())
    one, two, three = (planned.cell.id for planned in sweep().cells)
    assert (
        "waiting" in lines_of(sweep(), store)[one]
        and "job 12_1, for the stages of job 11_1" in lines_of(sweep(), store)[one]
    )
    build_stages(sweep(), store, monkeypatch)
    fake.end("11_1", "12_3")
    fake.change("12_1", state="PENDING", restarts=2, reason="BeginTime")
    fake.change("12_2", state="RUNNING", restarts=1)
    (store.layout.submissions / "0001-three" / "logs" / "12_2.log").write_text("")
    before = len(fake.calls("squeue"))
    found = lines_of(sweep(), store)
    assert len(fake.calls("squeue")) == before + 1, "one question for all cells"
    assert "queued" in found[one] and "job 12_1 (BeginTime)  requeued 2 times" in found[one]
    assert "running" in found[two] and "job 12_2  requeued 1 time  log: " in found[two]
    assert "lost" in found[three] and "job 12_3 has ended without a result" in found[three]
    fake.end("12")
    assert states_of(store.read_sweep("three"), store).ended, "nobody will begin what is lost"
    finish(store, sweep().cells[0].cell)
    assert "done" in lines_of(sweep(), store)[one] and "job" not in lines_of(sweep(), store)[one]


def test_status_says_that_a_stage_failed_for_which_cells_waited(
    submit: Says, fake: FakeSlurm, sweep: Planned, store: Store
) -> None:
    submit(sweep())
    stages = sweep().cells[0].cell.stages
    teacher = stages["teacher"]
    finish(store, stages["tokenizer"])
    claim = store.claim(teacher)
    assert claim is not None
    store.set_failed(teacher, "it diverged", "")
    claim.release()
    fake.end("11", "12")
    line = lines_of(sweep(), store)[sweep().cells[0].cell.id]
    assert "lost" in line
    assert f"not begun, because teacher {teacher.id} failed: it diverged" in line


def test_status_without_slurm_says_nothing_of_a_queue(
    submit: Says,
    sweep: Planned,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    fake: FakeSlurm,
) -> None:
    submit(sweep())
    fake.refuse("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    assert (
        "what is queued is not known: squeue failed: slurm_load_jobs error"
        in states_of(store.read_sweep(None), store).lines[-1]
    )
    monkeypatch.setenv("PATH", str(fake.folder))
    assert all("absent" in line and "job" not in line for line in lines_of(sweep(), store).values())


def test_cancel_takes_what_waits_first_and_nothing_of_other_sweeps(
    submit: Says, fake: FakeSlurm, sweep: Planned, store: Store
) -> None:
    submit(sweep("three"))
    submit(sweep("two"))
    fake.change("11_1", state="RUNNING")
    lines = cancel_sweep(store.read_sweep("three"), store)
    assert lines == ["cancelled: 3 tasks queued (job 12)", "kept: job 11_1, for which cells of sweep two wait"]
    assert fake.queue == ["11_1", "13_1"]
    assert fake.calls("scancel")[0] == "scancel --quiet --state=PENDING 12_1 12_2 12_3"
    assert all("lost" in line and "was cancelled" in line for line in lines_of(sweep("three"), store).values())
    assert cancel_sweep(store.read_sweep("two"), store) == ["cancelled: 1 task queued (job 13)"]
    assert cancel_sweep(store.read_sweep("three"), store) == ["cancelled: 1 task running (job 11)"]
    assert cancel_sweep(store.read_sweep("three"), store) == [
        "nothing to cancel: no job of sweep three is queued or running"
    ]


def test_waiting_ends_with_the_table_and_what_is_not_finished(
    submit: Says,
    fake: FakeSlurm,
    sweep: Planned,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[str] = []

    def wait(self: object, what: str) -> None:
        looks.append(what)
        fake.refuse("slurm_load_jobs error: connect failure" if 5 <= len(looks) < 10 else "")
        if len(looks) == 10:
            fake.end("11", "12")

    monkeypatch.setattr("amid.store.watch.Patience.wait", wait)
    with pytest.raises(RunError) as caught:
        submit(sweep(), wait=True)
    assert looks[0] == "4 jobs of sweep three" and len(looks) == 10
    assert looks[5] == "squeue failed: slurm_load_jobs error: connect failure", "the jobs go on meanwhile"
    assert "3 of 3 cells not finished" in str(caught.value) and "not begun, because job 11_1 has not built" in str(
        caught.value
    )


def test_a_cell_that_a_process_here_runs_is_left_to_it(
    submit: Says,
    fake: FakeSlurm,
    sweep: Planned,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned: PlannedCell = sweep().cells[0]
    monkeypatch.setattr("amid.sweep.arrays.look", lambda folder: "held" if folder.name == planned.cell.id else "free")
    said = submit(sweep())
    assert f"left alone: cell {planned.cell.id}, which another process runs" in said
    assert commands.queue([0]) and sum(name.startswith("12_") for name in fake.queue) == 2
