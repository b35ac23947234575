"""Workers on this machine: processes that are given one request after the other. One that dies takes no other with it.

Each is a program of its own (`amid.cli.serving`), not a fork, and in a session of its own: Ctrl-C reaches it through
its launcher, once. When the launcher dies its workers find their stdin at an end, save what they have and stop.
No torch here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from amid.errors import one_line
from amid.store import Store
from amid.store.frozen import Request, requested, thaw
from amid.sweep.division import Division, divide
from amid.sweep.machine import thread_settings

log = logging.getLogger(__name__)
SERVES = "amid.cli.serving"  # by name: it belongs to the command line, which is above
TRIES = 2  # of a cell whose worker dies at it
FALSE_STARTS = 2  # workers in a row that die before they are ready, after which none is started any more


def launch(jobs: Sequence[Sequence[str]], *, num_workers: int | None) -> list[str | None]:
    """Carries out jobs, each the overrides of a frozen request: why each failed, None if it did not.

    num_workers: as of `divide`. Raises KeyboardInterrupt when this process is interrupted, as soon as every worker has
    saved what it had; at once when it is interrupted again. Raises RequestError for jobs that are no requests.
    """
    asked = []
    for overrides in jobs:
        digest, results = requested(overrides)
        asked.append(thaw(digest, Store(results)))
    division = divide([request.run for request in asked], num_workers=num_workers)
    logs = Store(asked[0].run.paths.results).layout.logs(str(asked[0].run.sweep.name))
    logs.mkdir(parents=True, exist_ok=True)
    log.info("%s; logs: %s", division, logs)
    return Pool(asked, division, logs).run()


class DiedError(RuntimeError):
    """A worker died while it had a request: how, and where its full output is."""


def carry_out(request: Request, log_path: Path, *, num_threads: int, say: Callable[[str], object]) -> str | None:
    """Carries out one request in a worker of its own: why it failed, None if it did not.

    say: is given every line of its log. Raises DiedError, and KeyboardInterrupt as `launch`.
    """
    worker = Worker(1, log_path, thread_settings(num_threads))
    job, answer = Job(0, request), dict[str, Any]()
    try:
        while not worker.is_gone:
            try:
                for each in worker.read():
                    if "said" in each:
                        say(str(each["said"]))
                    elif "ended" in each:
                        answer = dict(each)
                        worker.dismiss()
                    elif not worker.interrupted:
                        worker.give(job)
            except KeyboardInterrupt:
                if worker.interrupted:
                    raise
                worker.interrupt()
    finally:
        if not worker.is_gone:
            worker.kill()
    how = worker.ended()
    if answer:
        return str(answer["reason"]) if answer["reason"] is not None else None
    if worker.interrupted:
        raise KeyboardInterrupt
    raise DiedError(f"its worker {how} ({log_path})")


@dataclass(frozen=True)
class Job:
    """A request, its place among the answers, and how often a worker has died at it."""

    place: int
    request: Request
    deaths: int = 0

    @property
    def name(self) -> str:
        """The job as a line calls it."""
        what = "what is shared, for cell" if self.request.run.task == "prepare" else "cell"
        return f"{what} {self.request.cell_id}"


class Pool:
    """Some jobs and the workers that carry them out."""

    def __init__(self, requests: Sequence[Request], division: Division, logs: Path) -> None:
        self._waiting = deque(Job(place, request) for place, request in enumerate(requests))
        self._answers: dict[int, str | None] = {}
        self._division, self._logs = division, logs
        self._working: dict[int, Worker] = {}  # by number, from 1
        self._events = selectors.DefaultSelector()
        self._false_starts = 0

    def run(self) -> list[str | None]:
        """The answers, in the order of the jobs. Raises as `launch`."""
        num_jobs = len(self._waiting)
        try:
            try:
                for number in range(1, self._division.num_workers + 1):
                    self._start(number)
                self._attend()
            except KeyboardInterrupt:
                log.info("stopping: every worker finishes its step and saves it; Ctrl-C again ends them at once")
                self._waiting.clear()
                for worker in self._working.values():
                    worker.interrupt()
                self._attend()
                raise
        finally:
            for worker in self._working.values():
                worker.kill()
            self._events.close()
        return [self._answers[place] for place in range(num_jobs)]

    def _start(self, number: int) -> None:
        gpus = self._division.gpus
        settings = thread_settings(self._division.num_threads)
        if gpus:
            settings["CUDA_VISIBLE_DEVICES"] = gpus[number - 1]
        worker = Worker(number, self._logs / f"worker-{number}.log", settings)
        self._working[number] = worker
        self._events.register(worker.answers, selectors.EVENT_READ, worker)

    def _attend(self) -> None:
        """Until no worker is left."""
        while self._working:
            for key, _ in self._events.select():
                worker: Worker = key.data
                for answer in worker.read():
                    self._heed(worker, answer)
                if worker.is_gone:
                    self._events.unregister(worker.answers)
                    del self._working[worker.number]
                    self._succeed(worker)

    def _heed(self, worker: Worker, answer: Mapping[str, Any]) -> None:
        if "said" in answer:
            for line in str(answer["said"]).splitlines():
                log.info("[%d] %s", worker.number, line)
            return
        if "ended" in answer:
            assert worker.job is not None
            self._answers[worker.job.place] = answer["reason"]
            if answer["reason"] is not None:
                log.info("[%d] %s failed: %s", worker.number, worker.job.name, answer["reason"])
            worker.job = None
        self._false_starts = 0
        if self._waiting:
            worker.give(self._waiting.popleft())
        else:
            worker.dismiss()

    def _succeed(self, worker: Worker) -> None:
        """What follows on a worker's end: its job is tried by another one, once."""
        how, job = worker.ended(), worker.job
        if worker.interrupted:
            return
        if job is not None:
            again = job.deaths + 1 < TRIES
            then = "it is tried once more" if again else "it is left"
            log.warning("[%d] %s while it had %s: %s (%s)", worker.number, how, job.name, then, worker.log_path)
            if again:
                self._waiting.append(Job(job.place, job.request, job.deaths + 1))
            else:
                self._answers[job.place] = f"its worker {how}, {TRIES} times ({worker.log_path})"
        elif not worker.was_ready:
            self._false_starts += 1
            log.warning("[%d] %s before it was ready (%s)", worker.number, how, worker.log_path)
        if self._false_starts >= FALSE_STARTS:
            while self._waiting:
                lost = self._waiting.popleft()
                self._answers[lost.place] = f"no worker started: the last one {how} ({worker.log_path})"
        if self._waiting and not worker.dismissed:
            self._start(worker.number)


class Worker:
    """One process, and what it has just now. answers: where it says what happens."""

    def __init__(self, number: int, log_path: Path, settings: Mapping[str, str]) -> None:
        self.number, self.log_path = number, log_path
        self.job: Job | None = None
        self.was_ready = self.interrupted = self.dismissed = self.is_gone = False
        self._rest = b""
        reading, writing = os.pipe()
        self.answers = reading
        with log_path.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", SERVES, str(writing)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=[writing],
                start_new_session=True,
                env={**os.environ, **settings},
            )
        os.close(writing)
        assert self._process.stdin is not None
        self._stdin: IO[bytes] = self._process.stdin

    def read(self) -> list[Mapping[str, Any]]:
        """What it has said since, in whole lines; it is gone when there is no more to come."""
        data = os.read(self.answers, 2**16)
        self.is_gone = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        answers = [json.loads(line) for line in lines]
        self.was_ready |= bool(answers)
        return answers

    def give(self, job: Job) -> None:
        """Gives it a job; one that died this moment will be found gone, with the job."""
        self.job = job
        line = json.dumps({"request": job.request.digest, "results": job.request.run.paths.results})
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(f"{line}\n".encode())
            self._stdin.flush()

    def dismiss(self) -> None:
        """There is no job for it."""
        self.dismissed = True
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def interrupt(self) -> None:
        """Asks it to stop, as Ctrl-C asks a single run."""
        self.interrupted = True
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """Ends it at once."""
        self._signal(signal.SIGKILL)
        self.ended()

    def ended(self) -> str:
        """How it ended, in words; waits for it to do so."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        code = self._process.wait()
        with contextlib.suppress(OSError):
            os.close(self.answers)
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        hint = ", as the system ends what needs more memory than there is" if -code == signal.SIGKILL else ""
        return one_line(f"was ended by {name}{hint}")

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
