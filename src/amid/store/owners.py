"""Who a process is, so that others can tell whether it still runs. No torch here."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Life = Literal["running", "gone", "unknown", "self"]


def own_identity() -> dict[str, Any]:
    """This process: its host, number, start and job."""
    return {
        "host": host(),
        "machine": machine(),
        "processes": process_numbering(),
        "pid": os.getpid(),
        "started": started(os.getpid()),
        "job_id": os.environ.get("SLURM_JOB_ID"),
    }


def life_of(owner: Mapping[str, Any]) -> Life:
    """Whether the process with an identity runs; unknown where that cannot be seen from here."""
    own = own_identity()
    (name, _, boot), (own_name, _, own_boot) = (str(each.get("host")).partition("/") for each in (owner, own))
    if name != own_name or owner.get("machine", own["machine"]) != own["machine"]:
        return "unknown"
    if boot != own_boot:
        return "gone"  # of this host, before it was started again
    if owner.get("processes", own["processes"]) != own["processes"]:
        return "unknown"  # of this host, but its process numbers are not ours (a container's)
    pid = owner.get("pid")
    if pid == own["pid"] and owner.get("started") == own["started"]:
        return "self"
    return "running" if isinstance(pid, int) and started(pid) == owner.get("started") else "gone"


def described(owner: Mapping[str, Any]) -> str:
    """The process in words."""
    name = str(owner.get("host")).partition("/")[0]
    return f"process {owner['pid']} on {name}" + (f", job {owner['job_id']}" if owner.get("job_id") else "")


def host() -> str:
    """Host name and boot, so that a process number of before a restart is not mistaken for a running one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()}/{boot}"


def machine() -> str:
    """What tells two machines of one name apart, where the system has it."""
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""


def process_numbering() -> str:
    """What process numbers are relative to: containers on one host have their own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def started(pid: int) -> str | None:
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
