"""Real processes that meet in one results folder: suspended, side by side, on a full disk, without their folder.

And what else befalls a machine: it is started again, its clock jumps, its disk may only be read, its folders have other
names than one thinks of.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small import ROOT, SMALL
from test_kill import finished_files

from amid.digests.seals import unseal
from amid.errors import EXIT_RUN_FAILED, EXIT_TAKEN_OVER

pytestmark = [pytest.mark.kill, pytest.mark.faults, pytest.mark.timeout(600)]
ELSEWHERE = str(Path(__file__).with_name("elsewhere.py"))
LONGER = (
    *(override for override in SMALL if not override.startswith("train.max_steps")),
    "train.max_steps=12",
    "trainer.checkpoint_every_steps=1",
)


def command(folder: Path, *overrides: str, host: str | None = None) -> list[str]:
    """A run of this machine, or as if on another host, whose owners are held for dead after three seconds."""
    program = [str(ROOT / "run.py")] if host is None else [ELSEWHERE, host, "0.3", "3"]
    given = {override.split("=")[0] for override in overrides}
    shared = [override for override in LONGER if override.split("=")[0] not in given]
    return [
        sys.executable,
        *program,
        *overrides,
        *shared,
        f"paths.results='{folder}/results'",  # quoted, as Hydra asks of names with blanks
        f"paths.cache='{folder}/cache'",
    ]


def start(folder: Path, *overrides: str, host: str | None = None, **named: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, *overrides, host=host),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, **named},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def state(folder: Path) -> str:
    (path,) = (folder / "results").glob("*/status.json")
    return str(unseal(path.read_bytes())[0]["state"])


def claims(folder: Path) -> dict[str, int]:
    """Cell id -> how many processes have claimed it."""
    return {path.parent.name: len(list(path.glob("*.json"))) for path in (folder / "results").glob("*/claims")}


def table_of(output: str) -> str:
    return output[output.index("amid.alpha ") : output.index("results: ")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished cells and their stages."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, output, errors = ended(start(folder, "-m", "amid.alpha=-5,1,3"))
    assert code == 0, errors
    (folder / "table").write_text(table_of(output))
    return folder


@pytest.fixture
def prepared(undisturbed: Path, tmp_path: Path) -> Path:
    """A folder in which the stages are built and no cell was ever begun."""
    shutil.copytree(undisturbed / "results" / "stages", tmp_path / "results" / "stages")
    return tmp_path


def assert_finished(folder: Path, undisturbed: Path) -> None:
    """All that the folder holds is as in the undisturbed one."""
    found, expected = finished_files(folder / "results"), finished_files(undisturbed / "results")
    assert len(found) > 8
    assert found == {name: expected[name] for name in found}


@pytest.mark.parametrize("woken", ["while its successor trains", "when its successor has ended"])
def test_an_owner_that_was_suspended_and_succeeded_stops_and_spoils_nothing(
    woken: str, prepared: Path, undisturbed: Path
) -> None:
    first = start(prepared, "amid.alpha=-5", "train.max_steps=12", host="host-a")
    until(lambda: list(prepared.glob("results/*/checkpoints/previous.ckpt")), first)
    first.send_signal(signal.SIGSTOP)
    second = start(prepared, "amid.alpha=-5", host="host-b")
    (cell,) = claims(prepared)
    until(lambda: (prepared / "results" / cell / "claims" / "000002.json").exists(), second)
    if woken == "while its successor trains":
        first.send_signal(signal.SIGCONT)
    code, output, errors = ended(second)
    assert (code, errors) == (0, ""), errors
    assert "watching whether its owner is alive" in output or "waiting for cell" in output
    assert "last sign of life: " in output
    first.send_signal(signal.SIGCONT)
    code, _, errors = ended(first)
    assert code == EXIT_TAKEN_OVER, errors
    assert len(errors.splitlines()) == 1
    assert "was taken over by another process (process " in errors and "this one stops" in errors
    assert state(prepared) == "done"
    assert_finished(prepared, undisturbed)


def test_of_two_processes_on_one_sweep_each_takes_what_is_free_and_both_end_as_the_sweep(
    prepared: Path, undisturbed: Path
) -> None:
    first = start(prepared, "-m", "amid.alpha=-5,1,3")
    until(lambda: claims(prepared), first)
    second = start(prepared, "-m", "amid.alpha=-5,1,3")
    results = [ended(process) for process in (first, second)]
    for code, output, errors in results:
        assert (code, errors) == (0, "")
        assert table_of(output) == (undisturbed / "table").read_text()
    assert sorted(claims(prepared).values()) == [1, 1, 1]
    assert_finished(prepared, undisturbed)


def test_the_cells_of_a_process_that_dies_are_taken_over_by_the_one_that_waits_for_them(
    prepared: Path, undisturbed: Path
) -> None:
    first = start(prepared, "-m", "amid.alpha=-5", "train.max_steps=12", "trainer.checkpoint_every_steps=1")
    until(lambda: list(prepared.glob("results/*/checkpoints/last.ckpt")), first)
    first.send_signal(signal.SIGSTOP)  # of this host, so it counts as alive as long as it is there
    second = start(prepared, "-m", "amid.alpha=-5,1")
    assert second.stdout is not None
    said = []
    for line in second.stdout:
        said.append(line)
        if "waiting for other processes to finish 1 of the cells" in line:
            break
    assert f"process {first.pid} on " in said[-1] and "last sign of life: " in said[-1]
    assert sorted(claims(prepared).values()) == [1, 1]
    first.kill()
    first.wait()
    code, output, errors = ended(second)
    assert (code, errors) == (0, "")
    assert "resumes after step" in output
    assert_finished(prepared, undisturbed)


def test_a_single_run_waits_for_the_process_that_has_its_cell(prepared: Path, undisturbed: Path) -> None:
    first = start(prepared, "amid.alpha=-5")
    until(lambda: claims(prepared), first)
    second = start(prepared, "amid.alpha=-5")
    (code, output, errors), (other, _, _) = ended(second), ended(first)
    assert (code, other, errors) == (0, 0, "")
    assert "waiting for cell" in output or "is finished" in output
    assert list(claims(prepared).values()) == [1]
    assert_finished(prepared, undisturbed)


def test_a_cell_that_fails_in_one_process_fails_both_with_one_line(tmp_path: Path) -> None:
    first = start(tmp_path, "-m", "train.lr=1e30,1e-3")
    until(lambda: claims(tmp_path), first)
    second = start(tmp_path, "-m", "train.lr=1e30,1e-3")
    for process in (first, second):
        code, _, errors = ended(process)
        assert code == EXIT_RUN_FAILED
        assert len(errors.splitlines()) == 1
        assert "1 of 2 cells not finished" in errors and "diverged" in errors


def test_a_results_folder_that_is_removed_while_a_sweep_runs_is_one_line(prepared: Path) -> None:
    process = start(prepared, "-m", "amid.alpha=-5,1,3", host="host-a")
    until(lambda: list(prepared.glob("results/*/checkpoints/last.ckpt")), process)
    while (prepared / "results").exists():
        shutil.rmtree(prepared / "results", ignore_errors=True)
    code, _, errors = ended(process)
    assert code == EXIT_RUN_FAILED
    assert len(errors.splitlines()) == 1, errors
    assert "removed" in errors or "not finished" in errors


def test_the_cell_of_a_host_that_was_started_again_is_gone_on_with_at_once(prepared: Path, undisturbed: Path) -> None:
    first = start(prepared, "amid.alpha=-5", host="host-a/first")
    until(lambda: list(prepared.glob("results/*/checkpoints/previous.ckpt")), first)
    first.kill()
    first.wait()
    code, output, errors = ended(start(prepared, "amid.alpha=-5", host="host-a/second"))
    assert (code, errors) == (0, ""), errors
    assert "watching" not in output and "waiting" not in output
    assert "resumes after step" in output
    assert_finished(prepared, undisturbed)


@pytest.mark.parametrize("seconds", [-86400, 86400])
def test_a_clock_that_jumps_changes_nothing(seconds: int, prepared: Path, undisturbed: Path) -> None:
    first = start(prepared, "amid.alpha=-5", host="host-a", AMID_CLOCK_JUMPS=str(seconds))
    until(lambda: claims(prepared), first)
    second = start(prepared, "amid.alpha=-5", host="host-b", AMID_CLOCK_JUMPS=str(-seconds))
    for process in (first, second):
        code, _, errors = ended(process)
        assert (code, errors) == (0, ""), errors
    assert list(claims(prepared).values()) == [1]
    assert_finished(prepared, undisturbed)


def test_folders_may_have_any_letters(undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mit Leerzeichen, Ümlauten & 日本"
    shutil.copytree(undisturbed / "results" / "stages", folder / "results" / "stages")
    code, output, errors = ended(start(folder, "-m", "amid.alpha=-5,1,3"))
    assert (code, errors) == (0, ""), errors
    assert table_of(output) == (undisturbed / "table").read_text()
    assert_finished(folder, undisturbed)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a folder once more, to be read only")
def test_a_store_that_may_only_be_read_is_read_and_one_line_where_it_is_to_be_written(
    undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed / "results", tmp_path / "results")
    with read_only(tmp_path / "results"):
        listed = subprocess.run(
            [sys.executable, "-m", "amid.cli", "table", "--results", f"{tmp_path}/results"],
            capture_output=True,
            text=True,
        )
        assert (listed.returncode, listed.stderr) == (0, "")
        assert listed.stdout.strip() in (undisturbed / "table").read_text()
        code, output, errors = ended(start(tmp_path, "amid.alpha=-5"))
        assert (code, errors) == (0, "") and "nothing to run" in output
        code, _, errors = ended(start(tmp_path, "-m", "amid.alpha=-5,0"))
        assert code == EXIT_RUN_FAILED
        assert len(errors.splitlines()) == 1 and "cannot be written: Read-only file system" in errors
    assert_finished(tmp_path, undisturbed)


def test_what_a_killed_worker_of_joblib_leaves_is_finished_by_the_same_command(
    prepared: Path, undisturbed: Path
) -> None:
    sweep = ("-m", "amid.alpha=-5,1,3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    process = start(prepared, *sweep)
    until(lambda: list(prepared.glob("results/*/checkpoints/last.ckpt")), process)
    (path, *_) = prepared.glob("results/*/claims/000001.json")
    worker = int(unseal(path.read_bytes())[0]["pid"])
    assert worker != process.pid
    os.kill(worker, signal.SIGKILL)
    code, _, errors = ended(process)
    assert code == EXIT_RUN_FAILED
    assert [line for line in errors.splitlines() if line.startswith("amid: ")] == errors.splitlines()[-1:], errors
    code, output, errors = ended(start(prepared, *sweep))
    assert code == 0, errors
    assert table_of(output) == (undisturbed / "table").read_text()
    assert_finished(prepared, undisturbed)


# What a process is told in its environment; fills the disk but for some bytes; frees it again.
Disk = tuple[dict[str, str], Callable[[int], None], Callable[[], None]]


@contextlib.contextmanager
def injected(folder: Path) -> Iterator[Disk]:
    flag = folder / "results" / "full"
    yield {"AMID_FULL_DISK": str(flag)}, lambda _: flag.touch(), flag.unlink


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    disk, stages = folder / "results", folder / "stages"
    shutil.move(disk / "stages", stages)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=True)
    shutil.move(stages, disk / "stages")
    ballast = disk / "ballast"

    def fill(left: int) -> None:
        with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while stream.write(bytes(4096)):
                pass
        os.truncate(ballast, max(0, ballast.stat().st_size - left))

    try:
        yield {}, fill, ballast.unlink
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def can_mount() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


FULL = [(injected, 0), *([(mounted, left) for left in (0, 16_384, 200_000)] if can_mount() else [])]


@pytest.mark.parametrize(("disk", "left"), FULL)
def test_a_full_disk_is_one_line_at_once_and_costs_nothing(
    disk: Callable[[Path], contextlib.AbstractContextManager[Disk]], left: int, prepared: Path, undisturbed: Path
) -> None:
    with disk(prepared) as (environment, fill, empty):
        process = start(prepared, "amid.alpha=-5", host="host-a", **environment)
        until(lambda: list(prepared.glob("results/*/checkpoints/last.ckpt")), process)
        fill(left)
        code, _, errors = ended(process)
        assert code == EXIT_RUN_FAILED, errors
        said = [line for line in errors.splitlines() if "no space left" in line]
        assert said[-1].startswith("amid: ") and " MB needed at " in said[-1], errors
        began = time.monotonic()
        code, output, errors = ended(start(prepared, "amid.alpha=-5", host="host-a", **environment))
        assert code == EXIT_RUN_FAILED, output
        assert "no space left" in errors.splitlines()[-1]
        assert "watching" not in output and "waiting" not in output  # its own claim, or an empty one
        assert time.monotonic() - began < 60
        empty()
        code, output, errors = ended(start(prepared, "amid.alpha=-5", host="host-a", **environment))
        assert (code, errors) == (0, ""), errors
        # With some space left, the disk may have been full only after the last step.
        assert "resumes after step" in output or "was trained by an earlier attempt" in output
        assert "watching" not in output and "waiting" not in output
        assert_finished(prepared, undisturbed)
