"""The processes that train one cell together, one per device: who this one is, and how they agree.

They are started from outside (`torchrun`, `srun`), each with the same command. Rank 0 leads: it alone claims, writes,
scores and speaks; the others join in whenever it trains or has prompts to be answered.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from amid.errors import SPEAKS, RankLostError, RequestError, RunError, StoppedError, reason_of

# Followers wait while rank 0 works alone; a process that has died ends the others through the one that started them.
TIMEOUT = timedelta(days=7)
# Keys of the board.
FIRST_REASON, LEADER_SPEAKS, FOLLOWER_SPOKE = "amid/first_reason", "amid/leader_speaks", "amid/follower_spoke"
LEADER_HAS_S = 20.0  # to say why all of them end; a busy machine takes seconds to notice
POLL_S = 0.1
LOST = "another of the processes that run this together has ended without a word; the same command goes on"
_STOPPED = "stopped "  # begins a first reason that is no failure


@dataclass(frozen=True)
class Ranks:
    """This process among those of its cell, `per_node` of which share a machine."""

    rank: int = 0
    size: int = 1
    per_node: int = 1
    board: Store | None = field(compare=False, repr=False, default=None)  # where the ranks leave word for each other

    @property
    def leads(self) -> bool:
        """True on the rank that claims, writes and speaks."""
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        with self._answered():
            distributed.broadcast_object_list(box, src=0)
        return box[0]

    def failure_elsewhere(self, err: BaseException) -> RunError | None:
        """Why another rank ended first, as far as that is known, where this one met an error; None if none has.

        StoppedError if it was asked to stop, RankLostError where only the connection says that it ended: by its
        breaking, or by being gone where this rank was asked to stop, as by whoever started both.
        """
        if self.board is not None and _is_there(self.board, FIRST_REASON):
            reason = self.board.get(FIRST_REASON).decode()
            stopped = reason.startswith(_STOPPED)
            return StoppedError(reason.removeprefix(_STOPPED)) if stopped else RunError(reason)
        if isinstance(err, StoppedError):
            return RankLostError(LOST) if self.board is not None and _is_gone(self.board) else None
        broken = isinstance(err, distributed.DistError) or (isinstance(err, RuntimeError) and "gloo" in str(err))
        return RankLostError(LOST) if broken else None

    def reason(self, err: BaseException) -> BaseException:
        """What this rank ends with, where an error ends it.

        Who started the processes asks all to stop when one of them ends: then that is the reason, not the asking.
        """
        if not isinstance(err, StoppedError):
            return err
        elsewhere = self.failure_elsewhere(err)
        return err if elsewhere is None or type(elsewhere) is StoppedError else elsewhere

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Raises RunError, with the reason, where another rank does not answer any more."""
        try:
            yield
        except RuntimeError as err:
            raise (self.failure_elsewhere(err) or RankLostError(LOST)) from err

    def speaks(self, err: BaseException) -> bool:
        """Whether this rank, which ends with an error, says so: one of them does, rank 0 if it ends too."""
        assert self.board is not None
        # Before the connection breaks, so that the others find it when that makes them fail; the first reason stays.
        kind = _STOPPED if isinstance(err, StoppedError) else ""
        with contextlib.suppress(RuntimeError):  # the process that kept the board is gone
            self.board.compare_set(FIRST_REASON, "", f"{kind}rank {self.rank}: {reason_of(err)}")
        if self.leads:
            self.board.set(LEADER_SPEAKS, "")
            return not _is_there(self.board, FOLLOWER_SPOKE)
        for _ in range(round(LEADER_HAS_S / POLL_S)):
            if _is_there(self.board, LEADER_SPEAKS):
                return False
            if _is_gone(self.board):
                break
            time.sleep(POLL_S)
        try:
            return bool(self.board.add(FOLLOWER_SPOKE, 1) == 1)
        except RuntimeError:
            return not isinstance(err, StoppedError) or isinstance(err, RankLostError)

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks in rank order, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._answered():
            distributed.all_gather_object(values, value)
        return values


ALONE = Ranks()


@contextmanager
def joined(
    num_devices: int,
    *,
    environment: Mapping[str, str] = os.environ,
    ending: Callable[[], None] = lambda: None,
) -> Iterator[Ranks]:
    """This process's place among `num_devices`, connected to the others until the end.

    ending: called when an error ends it, before the ranks agree on which of them says so.
    Raises RequestError unless that many processes were started.
    """
    ranks = place(environment, slurm=num_devices > 1)
    size = ranks.size
    if size != num_devices:
        raise RequestError(
            f"trainer.devices={num_devices} needs as many processes, got {size}; start them with: "
            f"torchrun --nproc-per-node {max(num_devices, 2)} run.py trainer.devices={max(num_devices, 2)} ..."
        )
    if size == 1:
        yield ranks
        return
    if "MASTER_ADDR" not in environment:
        raise RequestError("trainer.devices: the processes cannot find each other (MASTER_ADDR and MASTER_PORT)")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    board, _, _ = next(rendezvous("env://", ranks.rank, size, timeout=TIMEOUT))
    distributed.init_process_group(
        backend, store=PrefixStore("group", board), rank=ranks.rank, world_size=size, timeout=TIMEOUT
    )
    ranks = replace(ranks, board=board)
    logger = logging.getLogger("amid")
    level = logger.level
    if not ranks.leads:
        logger.setLevel(logging.WARNING)
    try:
        yield ranks
    except (Exception, SystemExit) as err:
        ending()
        if hasattr(err, SPEAKS):  # raised by all ranks at one point
            raise
        reason = ranks.reason(err)
        setattr(reason, SPEAKS, ranks.speaks(reason))
        if reason is err:
            raise
        raise reason from err
    finally:
        logger.setLevel(level)
        if distributed.is_initialized():
            distributed.destroy_process_group()


def place(environment: Mapping[str, str], *, slurm: bool) -> Ranks:
    """What `torchrun` says, or Slurm if asked."""

    def number(name: str, default: int = 1) -> int:
        text = environment.get(name, str(default))
        if not text.isdecimal():
            raise RequestError(f"the environment variable {name} must be a number, got '{text}'")
        return int(text)

    if "WORLD_SIZE" in environment and "RANK" in environment:
        size = number("WORLD_SIZE")
        return Ranks(number("RANK"), size, number("LOCAL_WORLD_SIZE", size))
    if slurm and "SLURM_PROCID" in environment and "SLURM_NTASKS" in environment:
        size = number("SLURM_NTASKS")
        return Ranks(number("SLURM_PROCID"), size, size // number("SLURM_NNODES"))
    return ALONE


def _is_there(board: Store, key: str) -> bool:
    try:
        return bool(board.check([key]))
    except RuntimeError:  # the process that kept the board is gone
        return False


def _is_gone(board: Store) -> bool:
    try:
        board.check([FIRST_REASON])
    except RuntimeError:
        return True
    return False
