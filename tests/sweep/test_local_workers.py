"""The workers of a launcher: what becomes of jobs when they fail, die, are interrupted, or do not even start."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from amid.errors import RequestError, RunError
from amid.store import Store
from amid.store.frozen import Request, request_overrides, requested
from amid.sweep import workers
from amid.sweep.division import Division
from amid.sweep.workers import DiedError, Pool, carry_out
from hydra_plugins.amid_sweeper import _reason
from hydra_plugins.amid_workers_launcher import returned

# Stands for amid.cli.serving: what a job is called says what happens to it.
SERVING = """
import json, os, signal, sys, time
from pathlib import Path
answers, here = open(int(sys.argv[1]), "w"), Path(__file__).parent
def tell(**values):
    print(json.dumps(values), file=answers, flush=True)
def interrupted(*_):
    (here / f"saved-{os.getpid()}").touch()
    sys.exit(130)
signal.signal(signal.SIGINT, interrupted)
if os.environ.get("START") == "no":
    sys.exit("no torch here")
print("full output of", os.environ["OMP_NUM_THREADS"], os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
tell(ready=True)
for line in sys.stdin:
    name = json.loads(line)["request"]
    tell(said=f"{name} begins")
    once = here / f"{name}-died"
    if name.startswith("die") and not (name.startswith("die-once") and once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("exit"):
        sys.exit(3)
    if name.startswith("slow"):
        (here / f"begun-{name}").touch()
        while True:
            time.sleep(60)
    tell(ended=name, reason="it diverged" if name.startswith("fail") else None)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    (tmp_path / "stand_in_serving.py").write_text(SERVING)
    monkeypatch.setattr(workers, "SERVES", "stand_in_serving")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    caplog.set_level(logging.INFO)
    return tmp_path


def pool_of(here: Path, *names: str, num_workers: int = 2, gpus: tuple[str, ...] = ()) -> Pool:
    run: Any = SimpleNamespace(task="distill", paths=SimpleNamespace(results=str(here)))
    requests = [Request(name, f"cell-of-{name}", run) for name in names]
    return Pool(requests, Division(num_workers, 1, gpus, "as asked"), here)


def test_answers_come_in_the_order_of_the_jobs_and_lines_say_whose_they_are(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert pool_of(here, "a", "fail", "c", "d", "e").run() == [None, "it diverged", None, None, None]
    assert {line[:4] for line in caplog.messages} <= {"[1] ", "[2] "}
    assert any(line.endswith("cell cell-of-fail failed: it diverged") for line in caplog.messages)
    assert "full output of 1 None" in (here / "worker-2.log").read_text()


def test_every_worker_has_a_gpu_of_its_own(here: Path) -> None:
    pool_of(here, "a", "b", gpus=("GPU-x", "MIG-y")).run()
    assert "full output of 1 GPU-x" in (here / "worker-1.log").read_text()
    assert "full output of 1 MIG-y" in (here / "worker-2.log").read_text()


def test_a_worker_that_is_killed_takes_no_other_with_it_and_its_cell_is_tried_once_more(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert pool_of(here, "die-once", "b", "c", "d").run() == [None] * 4
    (line,) = (line for line in caplog.messages if "SIGKILL" in line)
    assert "was ended by SIGKILL, as the system ends what needs more memory than there is" in line
    assert "while it had cell cell-of-die-once: it is tried once more" in line


def test_a_cell_that_ends_two_workers_is_left_and_the_others_are_carried_out(here: Path) -> None:
    answers = pool_of(here, "die", "b", "exit", "d", num_workers=1).run()
    assert answers[1] is None and answers[3] is None
    assert answers[0] is not None and answers[0].startswith("its worker was ended by SIGKILL")
    assert answers[2] == f"its worker ended with exit code 3, 2 times ({here}/worker-1.log)"


def test_workers_that_do_not_start_are_said_with_their_log(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("START", "no")
    answers = pool_of(here, "a", "b", "c").run()
    assert len(answers) == 3
    for answer in answers:
        assert answer is not None and answer.startswith("no worker started: the last one ended with exit code 1 (")
    assert "no torch here" in (here / "worker-1.log").read_text()


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_is_passed_on_once_and_the_second_one_ends_at_once(
    here: Path, caplog: pytest.LogCaptureFixture, times: int
) -> None:
    def interrupt() -> None:
        while len(list(here.glob("begun-*"))) < 2:
            time.sleep(0.01)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    if times == 2:  # it does not listen
        (here / "stand_in_serving.py").write_text(SERVING.replace('(here / f"saved', 'time.sleep(60); (here / f"saved'))
    sender = threading.Thread(target=interrupt)
    sender.start()
    pool = pool_of(here, "slow", "slower", "never")
    with pytest.raises(KeyboardInterrupt):
        pool.run()
    sender.join()
    assert len(list(here.glob("saved-*"))) == (2 if times == 1 else 0)
    assert "never begins" not in caplog.text
    assert "stopping: every worker finishes its step and saves it" in caplog.text


def test_one_request_in_a_worker_of_its_own(here: Path) -> None:
    run: Any = SimpleNamespace(task="distill", paths=SimpleNamespace(results=str(here)))
    said: list[str] = []

    def carried_out(name: str) -> str | None:
        return carry_out(Request(name, "x", run), here / f"{name}.log", num_threads=3, say=said.append)

    assert carried_out("a") is None
    assert carried_out("fail") == "it diverged"
    with pytest.raises(DiedError, match=r"its worker was ended by SIGKILL.* \(.*die\.log\)"):
        carried_out("die")
    assert said == ["a begins", "fail begins", "die begins"]
    assert "full output of 1" in (here / "a.log").read_text(), "as few threads as were asked for"
    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        carried_out("slow")
    assert len(list(here.glob("saved-*"))) == 1


def test_a_job_is_the_frozen_request_that_it_was_passed(tmp_path: Path) -> None:
    store = Store(tmp_path / "my results, of 2026")
    digest = "943869e352222393"  # which would be infinite, as a number
    assert requested(request_overrides(digest, store)) == (digest, store.root)
    with pytest.raises(RequestError, match="a job that is no frozen request: seed=1; hydra/sweeper must be amid"):
        requested(["seed=1"])


def test_hydra_is_told_why_a_job_failed() -> None:
    assert _reason(returned(None)) is None
    assert _reason(returned("it diverged")) == "it diverged"
    with pytest.raises(RunError, match="it diverged"):
        _ = returned("it diverged").return_value


SERVED = """
import json, sys, time
from pathlib import Path
from types import SimpleNamespace
from amid.cli import serving, working
from amid.errors import RunError
import amid.store.frozen as frozen
frozen.thaw = lambda digest, store: SimpleNamespace(digest=digest, root=store.root)
def carry_out(request):
    print("carrying out", request.digest, request.root, flush=True)
    if request.digest == "slow":
        time.sleep(60)
    if request.digest == "fail":
        raise RunError("it diverged")
working.carry_out_request = carry_out
serving.main()
"""


@pytest.mark.parametrize("last", ["ok", "slow"])
def test_a_worker_answers_and_stops_when_its_launcher_is_gone(tmp_path: Path, last: str) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVED, str(writing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[writing],
        text=True,
    )
    os.close(writing)
    assert process.stdin is not None and process.stdout is not None
    answers = os.fdopen(reading)
    assert json.loads(answers.readline()) == {"ready": True}
    for name in ("ok", "fail", last):
        process.stdin.write(json.dumps({"request": name, "results": str(tmp_path)}) + "\n")
        process.stdin.flush()
        if name != "slow":
            reason = "it diverged" if name == "fail" else None
            assert json.loads(answers.readline()) == {"ended": name, "reason": reason}
        assert process.stdout.readline() == f"carrying out {name} {tmp_path}\n"
    began = time.monotonic()
    process.stdin.close()
    code = process.wait(timeout=20)
    assert time.monotonic() - began < 10
    assert code == 0 if last == "ok" else code in (75, -signal.SIGTERM)
    assert answers.read() == ""
