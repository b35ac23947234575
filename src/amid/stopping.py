"""Being asked to stop: by SIGTERM or SIGUSR1 (a scheduler, a time limit that comes near) or by Ctrl-C. No torch here.

One handler for all three. Whatever runs is interrupted at once, as Python's own Ctrl-C does, and goes on later from
what is on disk. Only a training is let to a point that it can be gone on from: there a signal is merely noted
(`noted`), and the training asks for it itself (`asked`). A second Ctrl-C always interrupts at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from amid.errors import StoppedError

HEEDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
HINT = b"amid: stopping at the end of this step; Ctrl-C again stops at once\n"


class Asked(BaseException):
    """Raised by a training, on all of its ranks at one point, from which it can be gone on.

    No Exception, so that nothing between the training and its caller takes it for a failure.
    """


_received: list[int] = []  # in the order in which they came
_depth = 0  # how many `heeded` are open
_noting = _ending = False


@contextmanager
def heeded() -> Iterator[None]:
    """Heeds the three signals inside; in another thread than the main one, where Python delivers none, does nothing.

    A signal that was ignored when the process began, as Ctrl-C in the background of a script, stays ignored. Raises
    KeyboardInterrupt after Ctrl-C, StoppedError after another of them.
    """
    global _depth, _ending
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in HEEDED}
    if _depth == 0:
        for number in HEEDED:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, _heed)
    _depth += 1
    try:
        yield
    except KeyboardInterrupt as err:
        if _received and _received[0] != signal.SIGINT:
            raise ended("what is finished is kept") from err
        raise
    finally:
        _depth -= 1
        if _depth == 0:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)
            _received.clear()  # who trains later in this process was not asked
            _ending = False


@contextmanager
def noted() -> Iterator[None]:
    """Inside, a signal only makes `asked` true. Raises KeyboardInterrupt at the end if nobody has acted on it."""
    global _noting
    check_interrupt()
    _noting = True
    try:
        yield
    finally:
        _noting = False
    check_interrupt()


def end_undisturbed() -> None:
    """From here on only Ctrl-C interrupts what is ending: a scheduler asks again and again, and each rank by itself."""
    global _ending
    _ending = True


def heed_again() -> None:
    """Takes the signals back from a library that has put handlers of its own in place."""
    if _depth and threading.current_thread() is threading.main_thread():
        for number in HEEDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _heed)


def asked() -> bool:
    """Whether this process was asked to stop."""
    return bool(_received)


def check() -> None:
    """Raises Asked in a training that was asked to stop; outside of one the signal has interrupted by itself."""
    if _noting and _received:
        raise Asked


def check_interrupt() -> None:
    """Raises KeyboardInterrupt in a process that was asked to stop."""
    if _received:
        raise KeyboardInterrupt


def leads(environment: Mapping[str, str]) -> bool:
    """Whether this process is the first of those that were started together, by torchrun or by Slurm."""
    return environment.get("RANK", environment.get("SLURM_PROCID", "0")) == "0"


def ended(saved: str) -> StoppedError | KeyboardInterrupt:
    """What a training raises that has stopped where it can be gone on from. saved: what is, in words."""
    if _received and _received[0] == signal.SIGINT:
        return KeyboardInterrupt(f"{saved}; the same command continues")
    by = signal.Signals(_received[0]).name if _received else "another of the processes was"
    return StoppedError(f"asked to stop ({by}): {saved}; the same command goes on")


def _heed(number: int, frame: FrameType | None) -> None:
    again = bool(_received)
    _received.append(number)
    if number == signal.SIGINT and again:
        raise KeyboardInterrupt
    if again or (_ending and number != signal.SIGINT):
        return  # what it asks for is being done
    if not _noting:
        raise KeyboardInterrupt
    if number == signal.SIGINT and leads(os.environ):
        os.write(2, HINT)  # no logging in a handler: it may have interrupted a line
