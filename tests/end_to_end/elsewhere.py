"""Run `run.py` as if on another host, with short heartbeats: python elsewhere.py HOST HEARTBEAT_S STALE_S OVERRIDES.

HOST may name a boot too (host-a/second). While a file named by AMID_FULL_DISK exists, every write into its folder fails
as on a full disk. With AMID_CLOCK_JUMPS the clock of the machine goes back and forth by so many seconds all the time.
"""

from __future__ import annotations

import errno
import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def pretend(host: str, *, heartbeat_s: float, stale_s: float) -> None:
    from amid.store import owners, watch

    owners.host = lambda: host if "/" in host else f"{host}/boot"
    watch.HEARTBEAT_S, watch.STALE_AFTER_S = heartbeat_s, stale_s


def fill(flag: Path) -> None:
    """Every way in which a file of the results folder comes to hold bytes fails while the flag is there."""
    import torch

    def refusing(function: Callable[..., Any], target: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            path = str(target(*arguments, **named))
            if flag.exists() and path.startswith(str(flag.parent)):
                raise OSError(errno.ENOSPC, "No space left on device", path)
            return function(*arguments, **named)

        return call

    def written(path: Path, mode: str = "r", *_: Any, **__: Any) -> str:
        return str(path) if set(mode) & set("wa+") else ""

    setattr(Path, "open", refusing(Path.open, written))  # noqa: B010  # mypy forbids the assignment
    torch.save = refusing(torch.save, lambda _, path, *__, **___: path)


def jump(seconds: float) -> None:
    """The time of day is another one every quarter of a second."""
    right = time.time
    time.time = lambda: right() + seconds * (int(4 * time.monotonic()) % 2)


if __name__ == "__main__":
    if "AMID_CLOCK_JUMPS" in os.environ:
        jump(float(os.environ["AMID_CLOCK_JUMPS"]))
    pretend(sys.argv[1], heartbeat_s=float(sys.argv[2]), stale_s=float(sys.argv[3]))
    if "AMID_FULL_DISK" in os.environ:
        fill(Path(os.environ["AMID_FULL_DISK"]))
    sys.argv = [str(ROOT / "run.py"), *sys.argv[4:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
