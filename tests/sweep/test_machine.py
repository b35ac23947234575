"""What is found of a machine: cores, memory, GPUs, and cores that others keep busy; and how workers divide it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from amid.config import RunCfg
from amid.errors import RequestError
from amid.memory.phases import GIB, Phase
from amid.sweep import division, machine
from amid.sweep.division import PROCESS, divide
from amid.sweep.machine import TICK_S, cores_taken, free_memory, num_cores, thread_settings, visible_gpus

LISTED = """GPU 0: NVIDIA H200 (UUID: GPU-aaaa)
GPU 1: NVIDIA H200 (UUID: GPU-bbbb)
  MIG 3g.71gb     Device  0: (UUID: MIG-cccc)
  MIG 3g.71gb     Device  1: (UUID: MIG-dddd)
"""


def written(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def _no_threads_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_allowed_cores", lambda: set(range(8)))


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({}, 8, None),
        ({"proc__meminfo": "MemTotal: 9 kB\nMemAvailable:    1024 kB\n"}, 8, 2**20),
        (
            {
                "proc__meminfo": "MemAvailable: 4096 kB\n",
                "proc__self__cgroup": "0::/job/step\n",
                "sys__fs__cgroup__job__cpu_dot_max": "350000 100000\n",
                "sys__fs__cgroup__job__step__cpu_dot_max": "max 100000\n",
                "sys__fs__cgroup__job__step__memory_dot_max": "max\n",
                "sys__fs__cgroup__job__memory_dot_max": "1000000\n",
                "sys__fs__cgroup__job__memory_dot_current": "700000\n",
                "sys__fs__cgroup__job__memory_dot_stat": "anon 1\ninactive_file 100000\n",
            },
            3,
            400000,
        ),
        (
            {
                "proc__self__cgroup": "4:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n",
                "sys__fs__cgroup__memory__memory_dot_limit_in_bytes": "5000\n",
                "sys__fs__cgroup__memory__memory_dot_usage_in_bytes": "9000\n",
                "sys__fs__cgroup__cpu,cpuacct__cpu_dot_cfs_quota_us": "50000\n",
                "sys__fs__cgroup__cpu,cpuacct__cpu_dot_cfs_period_us": "100000\n",
            },
            1,
            0,
        ),
    ],
    ids=["nothing known", "the system", "version 2", "version 1"],
)
def test_the_limits_of_a_control_group_count(
    tmp_path: Path, files: dict[str, str], cores: int, memory: int | None
) -> None:
    root = written(tmp_path, **files)
    assert num_cores(root) == cores
    assert free_memory(root) == memory


@pytest.mark.parametrize(
    ("given", "found"),
    [("", ()), ("-1", ()), ("0,2", ("0", "2")), ("1,-1,0", ("1",)), (" MIG-x , GPU-y", ("MIG-x", "GPU-y"))],
)
def test_gpus_that_the_environment_names_are_all_there_are(given: str, found: tuple[str, ...]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": given}) == found


def test_a_gpu_that_is_cut_into_parts_is_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus({}) == ()
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] || exit 1\necho '{LISTED}'\n")
    command.chmod(0o755)
    assert visible_gpus({}) == ("GPU-aaaa", "MIG-cccc", "MIG-dddd")
    command.write_text("#!/bin/sh\necho no driver\nexit 9\n")
    assert visible_gpus({}) == ()


def test_a_process_computes_with_no_more_threads_than_were_asked_for() -> None:
    assert thread_settings(3, {})["OMP_NUM_THREADS"] == "3"
    assert set(thread_settings(3, {"OMP_NUM_THREADS": "2"}).values()) == {"2"}
    assert set(thread_settings(3, {"OMP_NUM_THREADS": "8"}).values()) == {"3"}
    assert set(thread_settings(3, {"OMP_NUM_THREADS": "4,2"}).values()) == {"3"}


def busy_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *cores_busy: float) -> Path:
    """A machine on which others keep so many cores busy while this process sleeps, at each look."""
    clock, ticks, busy = itertools.count(), [100.0] * 8, iter(cores_busy)

    def look() -> None:
        lines = [f"cpu{core} {int(spent)} 0 0 5 5 0 0 0 0 0" for core, spent in enumerate(ticks)]
        written(tmp_path, proc__stat="\n".join(["cpu  1 2 3 4 5 6 7 8", *lines, "cpu8 9999 0 0 0 0 0 0 0", "intr 1"]))

    def sleep(_: float) -> None:
        share = next(busy)
        for core in range(8):
            ticks[core] += max(0.0, min(1.0, share - core)) / TICK_S
        look()

    look()
    monkeypatch.setattr(machine.time, "sleep", sleep)
    monkeypatch.setattr(machine.time, "monotonic", lambda: float(next(clock)))
    return tmp_path


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("looks", "threads", "said"),
    [
        ((0.1,), 8, None),
        ((4.0,), 4, None),
        ((5.0, 0.2), 4, None),  # for a moment only
        ((5.0, 5.0), 4, "note: other processes keep 5.0 of 8 cores busy; 4 threads that wait for each other may be"),
        ((5.0, 5.0), 4, "than OMP_NUM_THREADS=3"),
        ((8.0, 8.0), 1, "note: other processes keep 8.0 of 8 cores busy; this run will be slower than it could be"),
        ((0.1,), 16, None),  # more threads than cores are somebody's decision
    ],
)
def test_a_run_that_finds_cores_taken_says_so_and_never_on_a_quiet_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, looks: tuple[float, ...], threads: int, said: str | None
) -> None:
    root = busy_by(monkeypatch, tmp_path, *looks)
    found = cores_taken(threads, root)
    assert found is None if said is None else (found is not None and said in found)


def test_where_the_system_does_not_say_how_busy_cores_are_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "LOOKS_S", (0.0,))
    assert cores_taken(1, tmp_path) is None
    assert cores_taken(1, written(tmp_path, proc__stat="cpu0 0 0 0 0 0 0 0 0\n")) is None


@pytest.mark.parametrize(
    ("cores", "gib", "gpus", "asked", "workers", "threads", "why"),
    [
        (8, 64.0, (), None, 5, 1, "5 to carry out"),
        (3, 64.0, (), None, 3, 1, "3 cores"),
        (8, 64.0, (), 2, 2, 4, "num_workers=2"),
        (8, 5.5, (), None, 2, 4, "5.5 GiB free, up to 2.6 for each"),
        (8, 0.1, (), None, 1, 8, "0.1 GiB free, up to 2.6 for each"),
        (16, 64.0, ("0", "3"), None, 2, 8, "2 GPUs"),
        (16, 64.0, ("0", "3"), 1, 1, 16, "num_workers=1"),
        (8, None, (), None, 5, 1, "5 to carry out"),
    ],
)
def test_there_are_as_many_workers_as_cores_memory_and_gpus_allow(
    run: RunCfg,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    gib: float | None,
    gpus: tuple[str, ...],
    asked: int | None,
    workers: int,
    threads: int,
    why: str,
) -> None:
    monkeypatch.setattr(division, "num_cores", lambda: cores)
    monkeypatch.setattr(division, "free_memory", lambda: None if gib is None else int(gib * GIB))
    monkeypatch.setattr(division, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(division, "largest", lambda run, **_: Phase("training", {"weights": 2 * GIB}))
    found = divide([run] * 5, num_workers=asked)
    assert (found.num_workers, found.num_threads, found.why) == (workers, threads, why)
    assert found.gpus == gpus[:workers]


def test_a_run_on_the_cpu_needs_no_gpu_and_an_unknown_model_no_memory(
    run: RunCfg, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(run: RunCfg, **_: Any) -> Phase:
        raise RequestError("no config.json")

    monkeypatch.setattr(division, "num_cores", lambda: 4)
    monkeypatch.setattr(division, "free_memory", lambda: 3 * PROCESS[False])
    monkeypatch.setattr(division, "visible_gpus", lambda: ("0",))
    monkeypatch.setattr(division, "largest", unknown)
    run.trainer.accelerator = "cpu"
    found = divide([run] * 9, num_workers=None)
    assert str(found) == "3 workers with 1 thread each (1.8 GiB free, up to 0.6 for each)"
    run.trainer.accelerator = "auto"
    assert str(divide([run] * 9, num_workers=None)) == (
        "1 worker with 4 threads and a GPU (1.8 GiB free, up to 3.0 for each; 1 GPU)"
    )
