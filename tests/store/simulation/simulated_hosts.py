"""Hosts and processes in simulated time: one goes on at a time, and hands over at every operation on the disk.

A process is a greenlet, and another one for each of its threads; code of the product runs in it unchanged, with the
calls of `simulated_calls` in place of the system's. What comes next, and how long each operation takes, is drawn from
one seeded generator, so that a seed names a whole history.
"""

from __future__ import annotations

import errno
import heapq
import os
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from greenlet import greenlet
from shared_disk import Client, Server

ROOT = "/amid-simulated-disk"
TRACE_LINES = 400  # of the end of a history, for a person to read
MOST_OPERATIONS = 200_000  # of one history: more is a loop without a pause
NEVER = float("inf")


class Killed(BaseException):
    """Ends the greenlets of a process that is dead: whatever they do on their way has no effect."""


class EndlessError(AssertionError):
    """A history that does not end."""


@dataclass(eq=False)
class Task:
    """One thread of a process, waiting for its turn."""

    process: Process
    run: Callable[[], None]
    turn: int = 0  # which of its entries in the queue counts
    ended: bool = False
    waiting: bool = False  # in a pause, out of which something may wake it
    woken: bool = False
    thread: greenlet = field(init=False)


@dataclass(eq=False)
class Host:
    """A machine: its boot, its view of the disk, and a clock that only goes forward, at its own rate."""

    world: World
    name: str
    rate: float
    offset: float
    client: Client = field(init=False)
    boot: int = 0

    def clock(self) -> float:
        return self.offset + self.rate * self.world.now


@dataclass(eq=False)
class Process:
    """A process on a host. memory: what the product keeps in modules, of this process alone."""

    host: Host
    name: str
    pid: int
    started: str
    boot: int
    memory: dict[tuple[Any, str], Any]
    tasks: list[Task] = field(default_factory=list)
    dead: bool = False
    code: int | None = None  # once it has ended by itself
    suspended_until: float = 0.0
    suspensions: list[tuple[float, float]] = field(default_factory=list)
    signal: Callable[[], None] | None = None  # to be handled by its main thread
    operations: int = 0
    kill_at: float = NEVER  # the number of an operation
    suspend_at: dict[int, float] = field(default_factory=dict)  # the number of an operation -> seconds
    suspend_after_look: dict[int, float] = field(default_factory=dict)  # at its claims, counted -> seconds
    num_looks: int = 0
    fails_at: dict[int, int] = field(default_factory=dict)  # the number of an operation -> errno
    full_disk: tuple[float, float] = (NEVER, NEVER)  # from, until
    loses_reply: int = 0  # of which of its links: it is made, but said to be there already, as after a retry
    at_death: Callable[[], None] | None = None
    files: dict[int, Any] = field(default_factory=dict)  # descriptor -> node
    tokens: count[int] = field(default_factory=count)


class World:
    """Hosts, processes, the disk they share, and time."""

    def __init__(self, seed: object, *, cache_s: float = 0.0, most_operations: int = MOST_OPERATIONS) -> None:
        self.random = random.Random(f"{seed}")
        self.now = 0.0
        self.server_offset = 1e6
        self.server = Server(ROOT, lambda: self.server_offset + self.now)
        self.cache_s = cache_s
        self.latency_s: Callable[[], float] = lambda: self.random.uniform(0.0002, 0.002)
        self.most_operations = most_operations
        self.hosts: list[Host] = []
        self.processes: list[Process] = []
        self.current: Task | None = None
        self.trace: deque[tuple[float, str, str, str, str]] = deque(maxlen=TRACE_LINES)
        self.operations = 0
        self.counts: dict[str, int] = {}
        self.lookers: list[Callable[[Task, str], None]] = []  # called after a folder was listed
        self.watchers: list[Callable[[Process, str, str, str], None]] = []  # called after a change at the server
        self._queue: list[tuple[float, float, int, Task | None, int, Callable[[], None] | None]] = []
        self._order = count()
        self._numbers = count(100)
        self._hub = greenlet.getcurrent()

    # Building

    def add_host(self, *, rate: float = 1.0, offset: float = 0.0) -> Host:
        host = Host(self, f"host-{len(self.hosts)}", rate, offset)
        host.client = Client(self.server, host.clock, self._remembers_s)
        self.hosts.append(host)
        return host

    def start(self, host: Host, name: str, run: Callable[[], int], memory: dict[tuple[Any, str], Any]) -> Process:
        """A new process that runs the function, which gives its exit code."""
        number = next(self._numbers)
        process = Process(host, name, number, f"{self.now:.3f}/{number}", host.boot, memory)

        def main() -> None:
            process.code = run()

        self.processes.append(process)
        self.spawn(process, main)
        return process

    def spawn(self, process: Process, run: Callable[[], None]) -> Task:
        """Another thread of a process."""
        task = Task(process, run)

        def body() -> None:
            try:
                run()
            except Killed:
                pass
            except BaseException:
                if not process.dead:  # on its way out a dead process may stumble over anything
                    raise
            finally:
                task.ended = True
                if task is process.tasks[0] and not process.dead:
                    self.end(process)

        task.thread = greenlet(body, self._hub)
        process.tasks.append(task)
        self._schedule(task, self.now)
        return task

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Something that happens to the world at a moment."""
        heapq.heappush(self._queue, (when, self.random.random(), next(self._order), None, 0, event))

    # What happens to processes

    def end(self, process: Process) -> None:
        """The process is no more; its threads leave, and whatever they do on their way has no effect."""
        process.dead, before = True, self.current
        for task in process.tasks:
            if task.thread is not greenlet.getcurrent() and not task.ended:
                if task.thread:
                    self._enter(task)
                    task.thread.parent = greenlet.getcurrent()
                    task.thread.throw(Killed)
                task.ended = True
        if before is not None:
            self._enter(before)
        self.current = before
        if process.at_death is not None:
            process.at_death()

    def kill(self, process: Process, *, why: str = "killed") -> None:
        if not process.dead:
            self.note(process, f"*** {why} ***")
            self.end(process)

    def suspend(self, process: Process, seconds: float) -> None:
        if not process.dead:
            self.note(process, f"*** suspended for {seconds:.0f} s ***")
            process.suspended_until = max(process.suspended_until, self.now + seconds)
            process.suspensions.append((self.now, self.now + seconds))

    def reboot(self, host: Host) -> None:
        """Everything on the host is gone, and so is what it remembers of the disk."""
        host.boot += 1
        for process in [each for each in self.processes if each.host is host]:
            self.kill(process, why="its host is started again")
        host.client = Client(self.server, host.clock, self._remembers_s)

    def _remembers_s(self) -> float:
        """How long a host remembers what it has just seen of a folder."""
        return self.random.uniform(0.5, 1.0) * self.cache_s if self.cache_s else 0.0

    def note(self, process: Process, what: str, path: str = "", said: str = "") -> None:
        self.trace.append((self.now, process.name, what, path.removeprefix(ROOT), said))

    def told(self) -> str:
        """The end of the history, a line an operation."""
        return "\n".join(
            f"{when:10.3f} {who:<12} {what:<10} {path} {said}".rstrip() for when, who, what, path, said in self.trace
        )

    # Time

    def run(self, until: float = NEVER) -> None:
        """Goes on until nothing is left to do, or to a moment. Raises EndlessError."""
        self._hub = greenlet.getcurrent()
        while self._queue:
            when, _, _, task, turn, event = self._queue[0]
            if when > until:
                self.now = until
                return
            heapq.heappop(self._queue)
            if event is not None:
                self.now = max(self.now, when)
                event()
                continue
            assert task is not None
            if task.turn != turn or task.ended or task.process.dead:
                continue
            if when < task.process.suspended_until:
                self._schedule(task, task.process.suspended_until)
                continue
            self.now = max(self.now, when)
            self._go_on(task)

    def _enter(self, task: Task) -> None:
        self.current = task
        for (module, name), value in task.process.memory.items():
            setattr(module, name, value)

    def _go_on(self, task: Task) -> None:
        self._enter(task)
        task.thread.parent = self._hub
        try:
            task.thread.switch()
        finally:
            self.current = None

    def _schedule(self, task: Task, when: float) -> None:
        task.turn += 1
        heapq.heappush(self._queue, (when, self.random.random(), next(self._order), task, task.turn, None))

    def pause(self, seconds: float) -> bool:
        """The current thread waits so long by its host's clock; whether something woke it before."""
        task = self.current
        assert task is not None
        if task.process.dead:
            raise Killed
        task.waiting, task.woken = True, False
        if seconds < NEVER:
            self._schedule(task, self.now + max(0.0, seconds) / task.process.host.rate)
        self._hand_over(task)
        task.waiting = False
        return task.woken

    def wake(self, task: Task) -> None:
        """Ends the pause of another thread."""
        if task.waiting and not task.ended:
            task.woken = True
            self._schedule(task, self.now)

    def _hand_over(self, task: Task) -> None:
        self._hub.switch()
        process = task.process
        if process.dead:
            raise Killed
        if process.signal is not None and task is process.tasks[0]:
            handler, process.signal = process.signal, None
            task.waiting = False
            handler()

    # Operations

    def operation(
        self, name: str, path: str, act: Callable[[Client], Any], *, other: str = "", changes: bool = False
    ) -> Any:
        """One operation of the current thread on the disk, after which others may have had their turn."""
        task = self.current
        assert task is not None
        process = task.process
        if process.dead:
            raise Killed
        self._schedule(task, self.now + self.latency_s())
        self._hand_over(task)
        process.operations += 1
        self.operations += 1
        self.counts[name] = self.counts.get(name, 0) + 1
        if self.operations > self.most_operations:
            raise EndlessError(f"{self.most_operations} operations and no end")
        if process.operations in process.suspend_at:
            self.suspend(process, process.suspend_at[process.operations])
            self._schedule(task, process.suspended_until)
            self._hand_over(task)
        if process.operations >= process.kill_at:
            self.kill(process)
            raise Killed
        failure = process.fails_at.pop(process.operations, None)
        if failure is None and changes and name not in ("unlink", "rename") and self._is_full(process, name):
            failure = errno.ENOSPC
        if failure is not None:
            self.note(process, name, path, os.strerror(failure))
            raise OSError(failure, os.strerror(failure), path)
        try:
            found = act(process.host.client)
        except OSError as err:
            self.note(process, name, path, err.strerror)
            raise
        self.note(process, name, path, f"-> {other.removeprefix(ROOT)}" if other else "")
        if changes:
            for watcher in self.watchers:
                watcher(process, name, path, other)
        elif name == "list":
            for looker in self.lookers:
                looker(task, path)
            if path.endswith("/claims"):
                self._suspend_after_look(task)
        if name == "link" and process.loses_reply:
            process.loses_reply -= 1
            if not process.loses_reply:
                self.note(process, "*** the reply is lost and the call repeated ***")
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), other)
        return found

    def _suspend_after_look(self, task: Task) -> None:
        """Between a look at who owns a folder and what follows from it."""
        process = task.process
        process.num_looks += 1
        seconds = process.suspend_after_look.get(process.num_looks)
        if seconds is not None:
            self.suspend(process, seconds)
            self._schedule(task, process.suspended_until)
            self._hand_over(task)

    def _is_full(self, process: Process, name: str) -> bool:
        start, end = process.full_disk
        return start <= self.now < end and name not in ("rewrite", "truncate", "utime")
