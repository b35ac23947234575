"""Claims: who may write in a folder, on any shared file system, and how a killed owner is succeeded.

Owners of a folder are numbered; claim n is the file `claims/n.json`, which appears whole, and the highest number owns
the folder. A successor creates number n + 1, which only one of several can; nothing is ever renamed or locked, and no
two clocks are compared. An owner renews its claim in place, in a block of its own, so that a full disk hinders neither
its heartbeat nor its release. One that was suspended and succeeded meanwhile finds the higher number before its next
write, and its heartbeat stops it. No torch here.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amid.config.names import refuse_links
from amid.digests.seals import seal
from amid.errors import EXIT_TAKEN_OVER, RunError, TakenOverError
from amid.store import watch
from amid.store.files import FULL, NoSpaceError, look_anew, temporary_path
from amid.store.owners import own_identity
from amid.store.watch import claim_path, highest_claim, is_live, owner_of, read_claim

log = logging.getLogger(__name__)
# A process that has lost its folder is told so again and again, and ended after this long if it does not listen.
END_AFTER_S = 60.0
CLAIM_BYTES = 1024  # written at once, so that what is written later needs no space
WAKE = signal.SIGURG  # ignored unless handled, and used by nobody else here


@dataclass(frozen=True)
class Claim:
    """The right to write in `folder`, held by this process while its heartbeat thread runs."""

    folder: Path
    number: int
    path: Path
    token: str | None = None  # in the file this process made
    _lost: list[RunError] = field(default_factory=list, compare=False, repr=False)

    def check(self) -> None:
        """Raises TakenOverError if another process owns the folder now (this one was thought dead).

        Raises RunError if the folder was removed.
        """
        if not self._lost:
            look_anew(self.folder / "claims")
            highest = highest_claim(self.folder)
            if highest == self.number and self._is_there():
                return
            if highest <= self.number:
                text = "was removed while this process worked in it; repeat the command to begin anew"
                self._lost.append(RunError(f"{self.folder} {text}"))
            else:
                self._lost.append(
                    TakenOverError(
                        f"{self.folder} was taken over by another process ({owner_of(self.folder)}) while this one was "
                        "suspended or cut off; this one stops and has written nothing there since"
                    )
                )
        raise self._lost[0]

    def _is_there(self) -> bool:
        owner = read_claim(self.path)
        if self.token is None or owner is None:
            return owner is not None
        return owner.get("token") == self.token or "pid" not in owner  # one that cannot be read is no other's either

    @property
    def lost(self) -> RunError | None:
        """Why this process may no longer write in the folder, as far as `check` has found."""
        return self._lost[0] if self._lost else None

    def release(self) -> None:
        """The next process may claim the folder at once."""
        watch.own_claims.discard(self.path.absolute())
        try:
            _renew(self.path, token=self.token, released=True)
        except FileNotFoundError:
            pass  # with its folder, which the work will have reported
        except OSError:
            # In place there is space; where a file system copies on writing there may be none, but an empty file
            # needs none, and says the same.
            with contextlib.suppress(OSError):
                os.truncate(self.path, 0)


_held: list[Claim] = []  # those whose heartbeat runs


@contextlib.contextmanager
def held(claim: Claim) -> Iterator[Claim]:
    """The claim with a running heartbeat; released at the end, whatever happens.

    If the folder is lost to another process, the work is interrupted in the main thread, and whatever it raises then
    becomes TakenOverError.
    """
    stop = threading.Event()
    in_main_thread = threading.current_thread() is threading.main_thread()
    thread = threading.Thread(
        target=_beat, args=(claim, stop, in_main_thread), name="amid-claim-heartbeat", daemon=True
    )
    handler = signal.signal(WAKE, _interrupt) if in_main_thread else None
    say_unraisable = sys.unraisablehook
    if in_main_thread:
        sys.unraisablehook = lambda unraisable: _unless_interrupt(say_unraisable, unraisable)
    _held.append(claim)
    thread.start()
    try:
        yield claim
        _held.remove(claim)  # from here on nothing interrupts
    except BaseException as err:
        if claim in _held:
            _held.remove(claim)
        if claim.lost is not None and err is not claim.lost:
            raise claim.lost from err
        raise
    finally:
        stop.set()
        thread.join()
        claim.release()
        if in_main_thread:
            signal.signal(WAKE, handler or signal.SIG_DFL)
            sys.unraisablehook = say_unraisable


def _beat(claim: Claim, stop: threading.Event, in_main_thread: bool) -> None:
    counter = 0
    while not stop.wait(watch.HEARTBEAT_S):
        counter += 1
        try:
            claim.check()
            _renew(claim.path, token=claim.token, heartbeat=counter)
        except RunError as err:
            if in_main_thread:
                _stop_main_thread(err, stop)
            return  # in another thread the check before the next write ends the work
        except OSError:
            continue  # a disk that does not answer must not end the run; the next beat may succeed


def _stop_main_thread(reason: RunError, stop: threading.Event) -> None:
    """Interrupts the main thread until it has left the work, and ends the process if it does not."""
    main = threading.main_thread().ident
    assert main is not None
    deadline = time.monotonic() + END_AFTER_S
    while time.monotonic() < deadline:
        signal.pthread_kill(main, WAKE)
        if stop.wait(watch.POLL_S):
            return
    print(f"amid: {reason}", file=sys.stderr, flush=True)
    os._exit(EXIT_TAKEN_OVER)  # the main thread is stuck where Python cannot interrupt it, and must not come back


def _interrupt(number: int, frame: object) -> None:
    for claim in _held:
        if claim.lost is not None:
            raise claim.lost


def _unless_interrupt(say: Callable[[sys.UnraisableHookArgs], object], unraisable: sys.UnraisableHookArgs) -> None:
    """Passes over an interrupt that met a finaliser, where Python drops what is raised; the next one follows."""
    if all(unraisable.exc_value is not claim.lost for claim in _held):
        say(unraisable)


def try_claim(folder: Path, *, stale_after_s: float | None = None) -> Claim | None:
    """A claim on the folder; None if a live process holds it.

    Waits up to `stale_after_s` seconds for a sign of life of an owner on another host, and says so.
    Raises RunError if the folder cannot be written, is or holds a symbolic link, or if this process holds it itself.
    """
    refuse_links(folder)
    claims = folder / "claims"
    try:
        claims.mkdir(parents=True, exist_ok=True)
        look_anew(claims)
        highest = highest_claim(folder)
        if highest and is_live(folder, stale_after_s=stale_after_s):
            if claim_path(folder, highest_claim(folder)).absolute() in watch.own_claims:
                raise RunError(f"{folder} is held by this very process, which would wait for itself")
            return None
        path, token = claim_path(folder, highest + 1), secrets.token_hex(4)
        if not _create(path, token):
            return None  # another process was faster
    except OSError as err:
        if err.errno in FULL:
            raise NoSpaceError(claims, CLAIM_BYTES) from err
        raise RunError(f"results folder {folder} cannot be written: {err.strerror}") from err
    watch.own_claims.add(path.absolute())
    return Claim(folder=folder, number=highest + 1, path=path, token=token)


def _create(path: Path, token: str) -> bool:
    """Whether this process made the claim; it appears with its content."""
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as stream:
            stream.write(_padded(token=token, heartbeat=0))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as err:
            if err.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
            # A file system without links: there the claim is empty for a moment, in which another may take it over.
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                return False
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(_padded(token=token, heartbeat=0))
            return highest_claim(path.parent.parent) == int(path.stem)
        return True
    finally:
        with contextlib.suppress(OSError):  # on a full or vanished disk the claim's own error is the one to hear
            temporary.unlink(missing_ok=True)


def _renew(path: Path, **state: Any) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, _padded(**state), 0)
    finally:
        os.close(descriptor)


def _padded(**state: Any) -> bytes:
    text = seal({**own_identity(), **state}).encode()
    assert len(text) < CLAIM_BYTES
    return text.ljust(CLAIM_BYTES - 1) + b"\n"
