"""Claims: who may write in a folder, on any shared file system, and how a killed owner is succeeded.

Owners of a folder are numbered; claim n is the file `claims/n.json`, created with O_EXCL, and the highest number owns
the folder. A successor creates number n + 1, which only one of several can; nothing is ever renamed or locked, and no
two clocks are compared. No torch here.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from amid.errors import RunError
from amid.names import refuse_links

HEARTBEAT_S = 5.0
# An owner on another host is gone when its heartbeat has not changed for this long on the observer's own clock.
STALE_AFTER_S = 60.0

Liveness = Literal["live", "gone", "unknown"]


@dataclass(frozen=True)
class Claim:
    """The right to write in `folder`, held by this process while its heartbeat thread runs."""

    folder: Path
    number: int
    path: Path

    def check(self) -> None:
        """Raises RunError if another process has taken the folder over (this one was thought dead)."""
        if _numbers(self.folder)[-1] != self.number:
            raise RunError(f"{self.folder} was taken over by another process; this one stops writing there")

    def release(self) -> None:
        """None; the next process may claim the folder at once."""
        with contextlib.suppress(OSError):  # a full disk must not hide why the work ended
            replace_text(self.path, json.dumps({**_own_identity(), "released": True}))


@contextlib.contextmanager
def held(claim: Claim) -> Iterator[Claim]:
    """The claim with a running heartbeat; released at the end, whatever happens."""
    stop = threading.Event()

    def beat() -> None:
        counter = 0
        while not stop.wait(HEARTBEAT_S):
            counter += 1
            with contextlib.suppress(OSError):  # a full disk must not end the run; the next beat may succeed
                replace_text(claim.path, json.dumps({**_own_identity(), "heartbeat": counter}))

    thread = threading.Thread(target=beat, name="amid-claim-heartbeat", daemon=True)
    thread.start()
    try:
        yield claim
    finally:
        stop.set()
        thread.join()
        claim.release()


def try_claim(folder: Path, *, stale_after_s: float = STALE_AFTER_S) -> Claim | None:
    """A claim on the folder; None if a live process holds it.

    Waits up to `stale_after_s` seconds for a heartbeat of an owner on another host.
    Raises RunError if the folder cannot be written, or is or holds a symbolic link.
    """
    refuse_links(folder)
    try:
        (folder / "claims").mkdir(parents=True, exist_ok=True)
        numbers = _numbers(folder)
        if numbers and is_live(folder, stale_after_s=stale_after_s):
            return None
        number = numbers[-1] + 1 if numbers else 1
        path = _claim_path(folder, number)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return None  # another process was faster
    except OSError as err:
        raise RunError(f"results folder {folder} cannot be written: {err.strerror}") from err
    with os.fdopen(descriptor, "w") as stream:
        stream.write(json.dumps({**_own_identity(), "heartbeat": 0}))
    return Claim(folder=folder, number=number, path=path)


def is_live(folder: Path, *, stale_after_s: float = STALE_AFTER_S) -> bool:
    """Whether a live process holds the folder. Watches the heartbeat of an owner on another host."""
    owner = _owner(folder)  # read once: a second look may already see another owner, or the rest of a half-written one
    first = _liveness(owner)
    if first != "unknown":
        return first == "live"
    deadline = time.monotonic() + stale_after_s
    while time.monotonic() < deadline:
        time.sleep(min(1.0, stale_after_s / 10))
        later = _owner(folder)
        if later != owner:
            return _liveness(later) != "gone"
    return False


def attempts(folder: Path) -> int:
    """How many processes have claimed the folder so far."""
    numbers = _numbers(folder)
    return numbers[-1] if numbers else 0


def replace_text(path: Path, text: str) -> None:
    """Write a small file so that a reader or a crash sees the old text or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with temporary.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _liveness(owner: Mapping[str, Any] | None) -> Liveness:
    if owner is None or owner.get("released"):
        return "gone"
    if owner.get("host") != _host():
        return "unknown"
    pid = owner.get("pid")
    return "live" if isinstance(pid, int) and _started(pid) == owner.get("started") else "gone"


def _owner(folder: Path) -> dict[str, Any] | None:
    numbers = _numbers(folder)
    if not numbers:
        return None
    try:
        owner = json.loads(_claim_path(folder, numbers[-1]).read_text())
    except ValueError:
        # Killed between creating and writing the claim, or not yet written: watch it as if on another host.
        return {"host": None}
    assert isinstance(owner, dict)
    return owner


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in (folder / "claims").glob("[0-9]*.json"))


def _claim_path(folder: Path, number: int) -> Path:
    return folder / "claims" / f"{number:06d}.json"


def _own_identity() -> dict[str, Any]:
    job = os.environ.get("SLURM_JOB_ID")
    return {"host": _host(), "pid": os.getpid(), "started": _started(os.getpid()), "job_id": job}


def _host() -> str:
    """Host name and boot, so that a process number of before a restart is not mistaken for a running one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()}/{boot}"


def _started(pid: int) -> str | None:
    """Something that differs between two processes that had the same number; None if no such process runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    else:
        state, *fields = stat.rpartition(")")[2].split()
        return None if state == "Z" else fields[18]  # starttime, in clock ticks since boot
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "running"
    return "running"
