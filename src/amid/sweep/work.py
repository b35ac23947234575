"""A worker: carries out what is free of a recorded sweep, cell after cell, beside any number of others. No torch here.

What is free, held or finished is read in the store, before every cell; workers know nothing of each other. One that
dies leaves its cell to the next, and one that finds nothing free waits as long as others might leave something.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amid.cells.cell import Cell, cell_of
from amid.cells.stage import Stage
from amid.errors import RequestError, RunError, StoppedError, TakenOverError, reason_of
from amid.evaluation.protocol import Protocol, protocol_from_manifest
from amid.store import Store
from amid.store.frozen import Request, Requests
from amid.store.owners import life_of
from amid.store.watch import Patience, claim_path, highest_claim, read_claim
from amid.sweep.plan import is_evaluated

log = logging.getLogger(__name__)
# A machine on which everything fails must not use up a whole sweep.
FAILURES_IN_A_ROW = 5
# A cell that ends every process that tries it, without a word, must not end all workers.
DEATHS_IN_A_ROW = 5
SAID = 3  # of many cells that others run
LOOKED_AT = 8  # cells at most: by one that waits, and to find one whose stages nobody builds just now


@dataclass(frozen=True)
class Limits:
    """When a worker begins no further cell: after so many, and after so many seconds. None = never."""

    max_cells: int | None = None
    max_seconds: float | None = None


@dataclass
class Account:
    """What a worker came to. done, failed: cells that it carried out, the latter with why. left: those not finished.

    ended_it: nothing was left of the sweep after this worker's last cell.
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    ended_it: bool = False

    def __str__(self) -> str:
        number = len(self.done) + len(self.failed)
        said = f"worked on {number} cell{'' if number == 1 else 's'}: {len(self.done)} done, {len(self.failed)} failed"
        kinds = [f"{list(self.left.values()).count(what)} {what}" for what in dict.fromkeys(self.left.values())]
        return f"{said}; {len(self.left)} of the sweep left" + (f" ({', '.join(kinds)})" if kinds else "")


class Worker:
    """One worker of a sweep, in this process.

    carry_out: carries out one request, leaving a cell that another process has to that process; raises RequestError or
    RunError for what failed. Raises RequestError where a cell that is not done has no request.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        store: Store,
        carry_out: Callable[[Request], None],
        *,
        limits: Limits,
        requests: Requests,
    ) -> None:
        self._name, self._store, self._carry_out = str(manifest["name"]), store, carry_out
        self._limits, self._requests, self._started = limits, requests, time.monotonic()
        self._protocols = {key: protocol_from_manifest(value) for key, value in manifest["protocols"].items()}
        self._cells: dict[str, tuple[Cell, Protocol]] = {
            str(each["id"]): (_entry(each), self._protocols[each["protocol"]]) for each in manifest["cells"]
        }
        self._unready = [
            (Stage(str(each["kind"]), str(each["id"]), {}), self._protocols[each["protocol"]])
            for each in manifest["references"]
        ]
        self._open = list(self._cells)  # not known to be finished, nor given up
        self._given_up: dict[str, str] = {}
        # An earlier round's failures are tried once more, those of this round by nobody
        self._failed_before = dict[str, int]()
        for id_, (cell, _) in self._cells.items():
            state = store.state(cell)
            if state != "done":
                requests.digests_of(id_)
            if state == "failed":
                self._failed_before[id_] = store.attempts(cell)
        self._place = 0  # where the next look begins
        self._fruitless: set[str] = set()  # carried out without an error and without a result
        self.account = Account()

    def work(self) -> Account:
        """Works until nothing is left to do here, or a limit is reached.

        Raises whatever ends the process while a cell runs (Ctrl-C, StoppedError); the account is right then too.
        """
        patience, in_a_row, waited, ended = Patience(), 0, False, False
        try:
            while not self._is_over():
                if (found := self._next(waiting=waited)) is not None:
                    patience, waited = Patience(), False
                    in_a_row = 0 if self._carried_out(found) else in_a_row + 1
                    if in_a_row >= FAILURES_IN_A_ROW:
                        log.warning("%d cells in a row failed here: this worker ends", in_a_row)
                        break
                elif others := self._open:
                    more = f" and {len(others) - SAID} more" if len(others) > SAID else ""
                    patience.wait(f"other workers to finish {len(others)} cells: {', '.join(others[:SAID])}{more}")
                    waited = True
                else:
                    ended = not waited and bool(self.account.done)
                    break
        finally:
            self.account.left = self._left()
            self.account.ended_it = ended and not self.account.left
        return self.account

    def _is_over(self) -> bool:
        if not self._store.root.is_dir():
            raise RunError(f"results folder {self._store.root} was removed while this worker worked")
        number, limits = len(self.account.done) + len(self.account.failed), self._limits
        if limits.max_cells is not None and number >= limits.max_cells:
            return True
        return limits.max_seconds is not None and time.monotonic() - self._started >= limits.max_seconds

    def _next(self, *, waiting: bool) -> Request | None:
        """A request that is free; if there is none, others run all that is open, or all of it that was looked at.

        waiting: only some cells are looked at, as many that wait would keep a disk busy.
        """
        rest = [*self._open[self._place :], *self._open[: self._place]]
        if waiting:
            rest = random.sample(rest, min(len(rest), LOOKED_AT))
        later, jumped = list[Request](), False
        while rest and len(later) < LOOKED_AT:
            id_ = rest.pop(0)
            if self._store.is_owned(self._cells[id_][0]):
                if not jumped and rest:  # away from where others are: they look where this one looks
                    cut = random.randrange(len(rest))
                    rest, jumped = [*rest[cut:], *rest[:cut]], True
            elif not self._has_ended(id_) and (request := self._request(id_)) is not None:
                self._place = self._open.index(id_)
                if not self._awaits(request):
                    return request
                later.append(request)
        return later[0] if later else None

    def _has_ended(self, id_: str) -> bool:
        """Whether nobody has the cell and nothing is left to do for it here; then it is looked at no more."""
        store, (cell, protocol) = self._store, self._cells[id_]
        state = store.state(cell)
        if state == "done" and is_evaluated(store, cell, protocol):
            self._drop(id_)
            return True
        why = None
        if state == "failed" and store.attempts(cell) != self._failed_before.get(id_):
            why = "failed"  # in this round, here or elsewhere
        elif state == "stopped" and _deaths(store.folder(cell)) >= DEATHS_IN_A_ROW:
            why = "stopped"
            log.warning(
                "cell %s is left alone: the last %d processes that tried it ended without a word; "
                "once more, by itself: python run.py cell=%s paths.results=%s",
                *(id_, DEATHS_IN_A_ROW, id_, store.root),
            )
        if why is not None:
            self._drop(id_, why)
        return why is not None

    def _drop(self, id_: str, why: str | None = None) -> None:
        """Looks no more at a cell: it is finished, or given up for a reason."""
        at = self._open.index(id_)
        self._open.remove(id_)
        self._place = (self._place - (at < self._place)) % max(1, len(self._open))
        if why is not None:
            self._given_up[id_] = why

    def _request(self, id_: str) -> Request | None:
        try:
            return self._requests.of_sweep(id_, self._name)
        except RequestError as err:  # its file was changed or removed
            self._fail(id_, str(err))
            return None

    def _awaits(self, request: Request) -> bool:
        """Whether another process builds or evaluates a stage of the cell just now."""
        store = self._store
        self._unready = [
            (stage, protocol)
            for stage, protocol in self._unready
            if store.state(stage) != "done" or not is_evaluated(store, stage, protocol)
        ]
        if not self._unready:
            return False
        try:
            stages = cell_of(request.run).stages.values()
        except (RequestError, RunError):
            return False  # it will fail for that reason, and say so
        return any(store.is_owned(stage) for stage in stages)

    def _carried_out(self, request: Request) -> bool:
        """False if the cell failed."""
        id_ = request.cell_id
        cell, protocol = self._cells[id_]
        try:
            self._carry_out(request)
        except StoppedError:
            raise
        except TakenOverError as err:
            log.warning("%s", err)
            return True
        except (RequestError, RunError) as err:
            self._fail(id_, reason_of(err))
            return False
        store = self._store
        if store.state(cell) == "done" and is_evaluated(store, cell, protocol):
            if _is_own_work(store.folder(cell)):
                self.account.done.append(id_)
            self._drop(id_)
        elif not store.is_owned(cell) and store.state(cell) != "failed":
            if id_ in self._fruitless:
                self._fail(id_, "it ended twice without an error and without every score of the sweep")
                return False
            self._fruitless.add(id_)
        return True

    def _fail(self, id_: str, reason: str) -> None:
        log.warning("cell %s failed: %s", id_, reason)
        self.account.failed[id_] = reason
        self._drop(id_, "failed")

    def _left(self) -> dict[str, str]:
        """The cells that are not finished, each with its state."""
        left = {}
        for id_ in self._cells:
            if id_ not in self._open and id_ not in self._given_up:
                continue
            cell, protocol = self._cells[id_]
            state = self._store.state(cell)
            if state != "done" or not is_evaluated(self._store, cell, protocol):
                left[id_] = self._given_up.get(id_, "to evaluate" if state == "done" else state)
        return left


def _entry(recorded: Mapping[str, Any]) -> Cell:
    """A recorded cell as the store is asked for it: by its id."""
    return Cell(id=str(recorded["id"]), values={}, stages={})


def _is_own_work(folder: Path) -> bool:
    """Whether this process was the last to claim the folder."""
    owner = read_claim(claim_path(folder, highest_claim(folder)))
    return bool(owner) and life_of(owner or {}) == "self"


def _deaths(folder: Path) -> int:
    """How many of the last processes in a row that claimed the folder have not released it."""
    number = highest_claim(folder)
    for past in range(number, 0, -1):
        owner = read_claim(claim_path(folder, past))
        if owner is None or owner == {} or owner.get("released") or number - past >= DEATHS_IN_A_ROW:
            return number - past
    return number
