"""Sweeps on a real Ray of this machine, parts of which are killed: `make test-ray`.

The Ray of each test has a port, a folder and a session of its own; others that run here are left alone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small import ROOT, SMALL

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
ALPHAS = "-1,0,1"
REQUEST = (
    "-m",
    f"amid.alpha={ALPHAS}",
    *(each for each in SMALL if not each.startswith(("train.max_steps", "train.epochs", "train.validation"))),
    "train.epochs=20",
    "train.max_steps=80",
    "train.validation={every_steps: 40, max_new_tokens: 6}",
    "trainer.checkpoint_every_steps=10",
    "trainer.log_every_steps=1",
    "sweep.name=here",
)


def settings(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    # No token of the user's; and soon certain that a head is gone
    of_ray = {"RAY_AUTH_MODE": "disabled", "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
    return {**kept, "OMP_NUM_THREADS": "1", **of_ray, **more}


class Sweep:
    """The sweep in a folder of its own."""

    def __init__(self, folder: Path, *overrides: str, **environment: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.results = folder / "results"
        folders = (f"paths.results={self.results}", f"paths.cache={folder.parent}/cache")
        self._command = [sys.executable, str(ROOT / "run.py"), *REQUEST, *folders, *overrides]
        self._environment = settings(**environment)

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(self._command, stdout=output, stderr=output, cwd=self.folder, env=self._environment)

    def said(self) -> str:
        return (self.folder / "output").read_text()

    def finish(self) -> None:
        assert self.start().wait(timeout=240) == 0, self.said()

    def table(self) -> str:
        command = [sys.executable, "-m", "amid.cli", "table", "here", "--style", "json", "--results", str(self.results)]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=settings()).stdout

    def states(self) -> list[str]:
        found = []
        for path in sorted(self.results.glob("*/status.json")):
            found.append(json.loads(path.read_text())["state"])
        return found

    def training(self, steps: int) -> int | None:
        """The process that trains a cell, after so many steps."""
        for path in sorted(self.results.glob("*/journal.jsonl")):
            status = json.loads((path.parent / "status.json").read_text())
            if status["state"] != "running" or len(path.read_text().splitlines()) < steps:
                continue
            claim = max((path.parent / "claims").glob("[0-9]*.json"))
            pid = int(json.loads(claim.read_text())["pid"])
            if parent_of(pid) is not None:
                return pid
        return None


def parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def below(pid: int) -> Iterator[int]:
    """The process and all that it has started, as far as they have not outlived who started them."""
    yield pid
    for path in Path("/proc").glob("[0-9]*"):
        if parent_of(int(path.name)) == pid:
            yield from below(int(path.name))


def named(name: str, pid: int) -> int:
    """The one process of that name among those that another has started."""
    (found,) = (each for each in below(pid) if name in Path(f"/proc/{each}/comm").read_text())
    return found


def until(sweep: Sweep, process: subprocess.Popen[bytes], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not what():
        assert process.poll() is None, sweep.said()
        assert time.monotonic() < deadline, sweep.said()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The table of the sweep as it is carried out one cell after the other, in one process."""
    sweep = Sweep(tmp_path_factory.mktemp("ray") / "alone")
    sweep.finish()
    return sweep.table()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """A running cluster of one node."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = str(Path(sys.executable).parent / "ray")
    options = ["--num-cpus=2", f"--object-store-memory={80 * 2**20}", "--include-dashboard=false"]
    options += [f"--port={port}", "--node-ip-address=127.0.0.1", f"--temp-dir=/tmp/amid-ray-{port}"]
    with (folder / "head").open("wb") as output:
        head = subprocess.Popen(
            [program, "start", "--head", "--block", "--disable-usage-stats", *options],
            stdout=output,
            stderr=output,
            env=settings(),
            start_new_session=True,
        )
    deadline = time.monotonic() + 120
    while "Ray runtime started" not in (folder / "head").read_text():
        assert head.poll() is None and time.monotonic() < deadline, (folder / "head").read_text()
        time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    processes = list(below(head.pid))
    head.terminate()
    try:
        head.wait(timeout=20)
    finally:
        for pid in processes:
            if parent_of(pid) is not None:
                os.kill(pid, signal.SIGKILL)


def test_a_killed_worker_and_a_killed_driver_lose_nothing_and_the_same_command_ends_the_sweep(
    folder: Path, address: str, expected: str
) -> None:
    sweep = Sweep(folder / "attached", "hydra/launcher=ray", RAY_ADDRESS=address)
    driver = sweep.start()
    until(sweep, driver, lambda: sweep.training(20))
    trainer = sweep.training(20)
    assert trainer is not None
    worker = parent_of(trainer)
    assert worker is not None and "ray" in Path(f"/proc/{worker}/cmdline").read_text()
    os.kill(worker, signal.SIGKILL)
    until(sweep, driver, lambda: sweep.states().count("done") >= 1 and sweep.training(1))
    driver.kill()
    driver.wait()
    assert f"Ray at {address}: 2 CPUs" in sweep.said()
    assert sweep.table() != expected
    sweep.finish()
    assert sweep.table() == expected
    assert "Traceback" not in sweep.said()


def test_the_death_of_a_cluster_that_was_started_for_it_loses_nothing(folder: Path, expected: str) -> None:
    sweep = Sweep(folder / "alone", "hydra/launcher=ray", RAY_TMPDIR=f"/tmp/amid-ray-{os.getpid()}")
    driver = sweep.start()
    until(sweep, driver, lambda: sweep.training(20))
    os.kill(named("gcs_server", driver.pid), signal.SIGKILL)
    assert driver.wait(timeout=120) == 1, "Ray itself ends the driver of a cluster that has lost its head"
    assert "Traceback" not in sweep.said()
    sweep.finish()
    assert sweep.table() == expected
