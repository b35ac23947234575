"""Histories: hosts, processes and faults drawn from a seed, carried out, and what must hold in every one of them."""

from __future__ import annotations

import errno
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import simulated_calls
from simulated_hosts import EndlessError, Host, Process, Task, World
from simulated_work import RESULTS, STEPS, Sweeping, Work, is_evaluated, scores_of, weights_of

from amid.cells.cell import Cell
from amid.digests.seals import unseal
from amid.errors import RunError
from amid.store import watch
from amid.store.files import TEMPORARY
from amid.sweep import carry_out

RATES = (0.98, 1.02)  # of the hosts' clocks: further apart than any quartz
POLL_S = 3.0  # simulated processes that wait look more seldom than real ones, or histories are mostly looks
SILENT_S = watch.STALE_AFTER_S / RATES[1]  # at least, before an owner on another host is succeeded
ENDS_WITHIN_S = 1800.0  # after the last fault
EVERY = 5  # of so many histories one is of an owner that wakes when it has just been succeeded
RARE = ("full disk", "input error", "lost reply")
_CLAIM = re.compile(rf"{RESULTS}/(.+)/claims/(\d+)\.json$")
_ENTRY = re.compile(rf"{RESULTS}/((?:stages/)?[^/]+)/(.+)$")


@dataclass
class History:
    """What happened, and what should not have."""

    seed: str
    world: World
    work: Work
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    late_lines: int = 0  # appended in the moment between the look and the write
    _owners: dict[str, dict[int, Process]] = field(default_factory=dict)
    _ready: dict[str, dict[int, float]] = field(default_factory=dict)
    _linked: dict[tuple[str, int], float] = field(default_factory=dict)
    _renewed: dict[tuple[str, int], float] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    _published: dict[str, float] = field(default_factory=dict)
    _looked: dict[tuple[str, str], float] = field(default_factory=dict)

    def broken(self, invariant: str, text: str) -> None:
        self.violations.append(f"{invariant}: {text} (at {self.world.now:.3f} s)")

    # What processes tell

    def told(self, what: str, folder: Path, number: int) -> None:
        assert self.world.current is not None
        process, entry = self.world.current.process, self._entry(folder)
        self.world.note(process, f"*** {what}", str(folder), f"as owner {number} ***")
        if what == "claimed":
            self._claimed(process, entry, number)
        elif what == "ready":
            self._ready.setdefault(entry, {})[number] = self.world.now
        elif what == "trains" and number == max(self._owners[entry]):
            # One that was succeeded may begin, in a folder of its own, until it is told
            if self.states.get(entry) == "done":
                self.broken("done once stays done", f"{process.name} trains {entry} again")
            elif entry in self._published:
                self.broken("trained once", f"{process.name} trains {entry}, whose model is published")

    def _entry(self, folder: Path) -> str:
        return str(folder).removeprefix(f"{RESULTS}/")

    def _claimed(self, process: Process, entry: str, number: int) -> None:
        owners = self._owners.setdefault(entry, {})
        if number in owners:
            self.broken("one owner", f"{process.name} and {owners[number].name} are both owner {number} of {entry}")
        before = max((each for each in owners if each < number), default=None)
        owners[number] = process
        if before is None or owners[before] is process or owners[before].dead or self._is_released(entry, before):
            return
        quiet = self.world.now - self._renewed.get((entry, before), 0.0)
        if quiet < SILENT_S:
            text = f"{process.name} succeeds {owners[before].name} in {entry}, which wrote {quiet:.1f} s ago"
            self.broken("no living owner is succeeded", text)

    def _is_released(self, entry: str, number: int) -> bool:
        node = self.world.server.find(f"{RESULTS}/{entry}/claims/{number:06d}.json")
        if node is None or not node.content.strip():
            return True
        return bool(unseal(node.content)[0].get("released"))

    # What changes at the server

    def watch(self, process: Process, operation: str, path: str, other: str) -> None:
        target = other or path
        claim = _CLAIM.match(target)
        if claim is not None:
            key = (claim[1], int(claim[2]))
            self._renewed[key] = self.world.now
            if operation in ("link", "create"):
                self._linked.setdefault(key, self.world.now)
            return
        found = _ENTRY.match(target)
        if found is None or found[2].startswith("claims"):
            return
        entry, inside = found[1], found[2]
        if operation == "rename":
            self._renamed(process, entry, inside, target)
        self._check_fence(process, operation, entry, inside, path)

    def _renamed(self, process: Process, entry: str, inside: str, target: str) -> None:
        if inside == "model":
            self._published.setdefault(entry, self.world.now)
        if inside != "status.json":
            return
        node = self.world.server.find(target)
        assert node is not None
        state = str(unseal(node.content)[0]["state"])
        if self.states.get(entry) == "done" and state != "done":
            self.broken("done once stays done", f"{process.name} makes {entry} {state}")
        self.states[entry] = state

    def _check_fence(self, process: Process, operation: str, entry: str, inside: str, source: str) -> None:
        owners = self._owners.get(entry, {})
        number = max((each for each, owner in owners.items() if owner is process), default=0)
        later = {n: when for n, when in self._ready.get(entry, {}).items() if n > number and when < self.world.now}
        if not number or not later:
            return
        name = inside.rpartition("/")[2]
        temporary = name.startswith(".") and name.endswith(TEMPORARY)
        if operation in ("utime", "mkdir") or inside.startswith(f"model.partial-{number}"):
            return
        if temporary and operation != "rename":
            return
        what = f"owner {number} of {entry}, {process.name}, makes a late {operation} of {inside}"
        if operation in ("append", "create") and name.endswith(".jsonl"):
            if self._linked[entry, min(later)] < self._looked.get((process.name, entry), 0.0):
                self.broken("no late write", f"{what} without having looked")
            self.late_lines += 1
            return
        self.broken("no late write", what)

    def look(self, task: Task, path: str) -> None:
        # Of its main thread: what the heartbeat has seen the work is only told
        if path.endswith("/claims") and task is task.process.tasks[0]:
            self._looked[task.process.name, path.removeprefix(f"{RESULTS}/").removesuffix("/claims")] = self.world.now

    # At the end

    def check_end(self) -> None:
        """Everything is done, evaluated, and what it should be; read as the server has it."""
        for cell in self.work.cells:
            folder = f"{RESULTS}/{cell.id}"
            if self.states.get(cell.id) != "done":
                self.broken("every sweep ends", f"cell {cell.id} is {self.states.get(cell.id)}")
            model = self.world.server.find(f"{folder}/model/model.safetensors")
            if model is None or model.content != weights_of(cell):
                self.broken("no result is lost", f"cell {cell.id} has no model, or another one")
            lines = self.world.server.find(f"{folder}/scores.jsonl")
            values = [] if lines is None else [unseal(line)[0]["value"] for line in lines.content.splitlines()]
            if sorted(values) != sorted(score.value for score in scores_of(cell)):
                self.broken("no result is lost", f"cell {cell.id} has scores {values}")
            journal = self.world.server.find(f"{folder}/journal.jsonl")
            self._check_journal(cell, b"" if journal is None else journal.content)

    def _check_journal(self, cell: Cell, content: bytes) -> None:
        steps = set()
        for line in content.splitlines():
            try:
                steps.add(unseal(line)[0]["step"])
            except ValueError:
                continue
        if steps != set(range(1, 1 + STEPS)) and not self.late_lines:
            self.broken("no result is lost", f"the journal of {cell.id} has the steps {sorted(steps)}")


@contextmanager
def simulated() -> Iterator[None]:
    """Inside, histories can be carried out."""
    replaced: list[tuple[Any, str, Any]] = [
        (watch, "POLL_S", POLL_S),
        (carry_out, "_frozen", lambda planned, store, sweep, *, task: planned.cell),
        (carry_out, "is_evaluated", is_evaluated),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        for module, name, value in replaced:
            setattr(module, name, value)
        with simulated_calls.installed():
            yield
    finally:
        logging.disable(level)
        for module, name, value in before:
            setattr(module, name, value)


def carried_out(seed: int) -> History:
    """The history of a seed, to its end: every fault, then the same command again. Call it inside `simulated`."""
    world = World(seed)
    random = world.random
    work = Work(num_cells=random.randint(1, 3), step_s=random.choice((0.5, 3.0, 20.0)))
    history = History(f"{seed}", world, work)
    world.watchers.append(history.watch)
    world.lookers.append(history.look)
    (draw_woken if seed % EVERY == EVERY - 1 else draw_faults)(history)
    try:
        simulated_calls.carried_out(world)
        last_fault = world.now
        work.breaks.clear()
        _start(history, world.add_host(), "the last")
        simulated_calls.carried_out(world)
        if "failed" in history.states.values():  # in a process that died then: the last one waited, and said so
            _start(history, world.hosts[-1], "the very last")
            simulated_calls.carried_out(world)
        if world.now - last_fault > ENDS_WITHIN_S:
            history.broken("every sweep ends", f"the last run took {world.now - last_fault:.0f} s")
        history.check_end()
    except EndlessError as err:
        history.broken("every sweep ends", str(err))
    return history


def _start(history: History, host: Host, name: str) -> Process:
    def run() -> int:
        try:
            return Sweeping(history.world, history.work, history.told).run()
        except RunError:
            return 1
        except OSError as err:  # as the command line does: one line, and what is on disk is kept
            if err.errno not in (errno.EIO, errno.ENOSPC):
                raise
            return 1

    return history.world.start(host, name, run, simulated_calls.memory_of_a_process(name.replace(" ", "-")))


def draw_faults(history: History) -> None:
    """Hosts with clocks of their own, processes of one sweep, and what happens to them."""
    world, random = history.world, history.world.random
    hosts = [
        world.add_host(rate=random.uniform(*RATES), offset=random.uniform(0, 1e6)) for _ in range(random.randint(1, 3))
    ]
    world.cache_s = random.choice((0.0, 3.0, 30.0, 60.0)) if len(hosts) > 1 else 0.0
    usual, slow = random.choice((0.002, 0.05)), random.choice((0.0, 0.0, 0.01))
    world.latency_s = lambda: random.uniform(0.1, 4.0) if random.random() < slow else random.uniform(0.0002, usual)
    if random.random() < 0.2:
        history.work.breaks["000000000001"] = 1
        history.faults["failing cell"] += 1
    requeues = [2]
    for number in range(random.randint(2, 4)):
        _submit(history, hosts, f"worker-{number}", random.choice((0.0, random.uniform(0, 60))), requeues)
    for _ in range(random.choice((0, 0, 1))):
        host = random.choice(hosts)
        world.at(random.uniform(1, 200), lambda host=host: world.reboot(host))
        history.faults["reboot"] += 1
    if random.random() < 0.2:
        jump = random.choice((-3600.0, 3600.0))
        world.at(random.uniform(1, 200), lambda: setattr(world, "server_offset", world.server_offset + jump))
        history.faults["clock jump"] += 1


def _absence(random: Random) -> float:
    """Seconds of a suspension: any, or such that an owner wakes when it has just been succeeded."""
    return random.choice((random.uniform(5, 250), random.uniform(1.0, 1.6) * watch.STALE_AFTER_S))


def draw_woken(history: History) -> None:
    """An owner that wakes when it has just been succeeded, on a host that another process has kept informed."""
    world, random = history.world, history.world.random
    hosts = [world.add_host(rate=random.uniform(*RATES), offset=random.uniform(0, 1e6)) for _ in range(2)]
    world.cache_s = random.choice((30.0, 60.0))
    between = random.random() < 0.7  # a look and what follows from it
    history.work.num_cells, history.work.step_s = 1, 0.5 if between else 20.0
    owner = _start(history, hosts[0], "owner")
    for number, host in enumerate(hosts):
        world.at(3.0 + number, lambda host=host: _start(history, host, f"waits-{host.name}"))
    absence = random.uniform(1.0, 1.7) * watch.STALE_AFTER_S
    if between:
        owner.suspend_after_look[random.randint(5, 32)] = absence
    else:
        world.at(random.uniform(5, 60), lambda: world.suspend(owner, absence))
    history.faults["woken"] += 1


def _submit(history: History, hosts: list[Host], name: str, when: float, requeues: list[int]) -> None:
    world, random = history.world, history.world.random
    host = random.choice(hosts)
    faults: list[Callable[[Process], None]] = []
    kind = random.choice(("none", "kill", "kill", "suspend", "suspend between", "suspend while working", *RARE))
    if kind != "none":
        history.faults[kind] += 1
    if kind == "kill":
        place = random.randint(1, 400)
        faults.append(lambda process: setattr(process, "kill_at", place))
    if kind == "suspend":
        places = {random.randint(1, 400): _absence(random) for _ in range(random.randint(1, 3))}
        faults.append(lambda process: process.suspend_at.update(places))
    if kind == "suspend between":
        looks = {random.randint(1, 40): _absence(random) for _ in range(random.randint(1, 3))}
        faults.append(lambda process: process.suspend_after_look.update(looks))
    if kind == "suspend while working":
        after, absence = random.uniform(1, 60), _absence(random)
        faults.append(lambda process: world.at(world.now + after, lambda: world.suspend(process, absence)))
    if kind == "full disk":
        start = world.now + when + random.uniform(0, 60)
        faults.append(lambda process: setattr(process, "full_disk", (start, start + random.uniform(1, 60))))
    if kind == "input error":
        failures = {random.randint(1, 400): errno.EIO for _ in range(2)}
        faults.append(lambda process: process.fails_at.update(failures))
    if kind == "lost reply":
        faults.append(lambda process: setattr(process, "loses_reply", random.randint(1, 3)))

    def begin() -> None:
        process = _start(history, host, name)
        for fault in faults:
            fault(process)
        process.at_death = lambda: requeue(process)

    def requeue(process: Process) -> None:
        if process.code is None and requeues[0] > 0 and random.random() < 0.7:
            requeues[0] -= 1
            history.faults["requeue"] += 1
            _submit(history, hosts, f"{name}+", world.now + random.uniform(1, 30), requeues)

    world.at(when, begin)
