"""What this machine has for processes of ours: cores, memory, GPUs; what others leave of the cores. No torch here."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path("/")
ANSWERS_S = 20.0  # nvidia-smi, at the latest
TICK_S = 1 / os.sysconf("SC_CLK_TCK")  # of /proc/stat
# Two looks at how busy cores are: the second one only where the first one finds them taken, and both must.
LOOKS_S = (0.2, 0.4)
TAKEN = 0.75  # of a core: less than that is what any machine does beside a run
THREAD_KEYS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS")


def num_cores(root: Path = ROOT) -> int:
    """The cores that this process may use: of its affinity, and no more than the quota of its control group."""
    allowed = len(_allowed_cores())
    quotas = [allowed, *(quota for folder in _cgroups(root) if (quota := _cpu_quota(folder)) is not None)]
    return max(1, int(min(quotas)))


def free_memory(root: Path = ROOT) -> int | None:
    """Bytes that processes can be given: what the system has, and no more than their control group leaves.

    None where the system does not say.
    """
    found = list[int]()
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    for folder in _cgroups(root):
        left = _memory_left(folder)
        if left is not None:
            found.append(left)
    return min(found) if found else None


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES may be set to for one process each: GPUs, or the parts (MIG) into which they are cut.

    Of those that the environment names, if it does, in its words; of all else.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        # As CUDA reads it: what follows something that is no device does not count
        return tuple(itertools.takewhile(_is_device, (each.strip() for each in given.split(","))))
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=ANSWERS_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return _listed_devices(done.stdout) if done.returncode == 0 else ()


def thread_settings(number: int, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process that is to compute with so many threads; fewer where fewer were asked for."""
    asked = environment.get("OMP_NUM_THREADS", "")
    number = min(number, int(asked)) if asked.isdecimal() and int(asked) > 0 else number
    return dict.fromkeys(THREAD_KEYS, str(number))


def cores_taken(threads: int, root: Path = ROOT) -> str | None:
    """What to say where so many threads find a core too few; None where they do not, or where the system does not say.

    Threads that wait for each other wait for the slowest: one core that is kept busy by another process is enough. What
    counts is the time that our cores spend while this process sleeps a moment; the system's load remembers a minute,
    and counts other cores too.
    """
    by_others = 0.0
    for seconds in LOOKS_S:
        before, began = _busy_s(root), time.monotonic()
        time.sleep(seconds)
        after, elapsed = _busy_s(root), time.monotonic() - began
        if before is None or after is None:
            return None
        by_others = max(0.0, after - before) / elapsed
        cores = len(_allowed_cores())
        left = cores - by_others
        if left > threads - TAKEN or threads > cores:
            return None
    fewer = max(1, int(left + 1 - TAKEN))
    taken = f"note: other processes keep {by_others:.1f} of {cores} cores busy; "
    if fewer < threads:
        return (
            f"{taken}{threads} threads that wait for each other may be many times slower than OMP_NUM_THREADS={fewer}"
        )
    return f"{taken}this run will be slower than it could be"


def _busy_s(root: Path) -> float | None:
    """Seconds that our cores have spent on anything since the machine started; None where the system does not say."""
    allowed, ticks = _allowed_cores(), 0
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/stat").read_text().splitlines():
            name, *spent = line.split()
            if re.fullmatch(r"cpu\d+", name) and int(name[3:]) in allowed:
                user, nice, system, _, _, irq, softirq, steal = map(int, spent[:8])
                ticks += user + nice + system + irq + softirq + steal
    return ticks * TICK_S if ticks else None


def _allowed_cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _is_device(name: str) -> bool:
    return re.fullmatch(r"\d+|(GPU|MIG)-\S+", name) is not None


def _listed_devices(text: str) -> tuple[str, ...]:
    """The devices in what `nvidia-smi -L` prints: a GPU's parts stand below it, and replace it."""
    found: list[list[str]] = []
    for line in text.splitlines():
        match = re.match(r"(\s*)(GPU|MIG) .*\(UUID: (\S+)\)", line)
        if match is None:
            continue
        if match[2] == "GPU":
            found.append([match[3]])
        elif found:
            found[-1].append(match[3])
    return tuple(itertools.chain.from_iterable(each[1:] or each for each in found))


def _cgroups(root: Path) -> Iterator[Path]:
    """The control groups of this process, the innermost first: every one above limits it too."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = (*line.split(":", 2), "", "")[:3]
        if controllers not in ("", "memory", "cpu", "cpu,cpuacct"):
            continue
        top = root / "sys/fs/cgroup" / controllers
        folder = top / name.lstrip("/")
        while folder != top:
            yield folder
            folder = folder.parent
        yield top


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None  # no such limit ("max"), or no such control group here


def _cpu_quota(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    quota_us, period_us = _number_in(folder / "cpu.cfs_quota_us"), _number_in(folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else None


def _memory_left(folder: Path) -> int | None:
    for limit_name, used_name in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        limit, used = _number_in(folder / limit_name), _number_in(folder / used_name)
        if limit is not None and used is not None:
            return max(0, limit - used + _inactive_file(folder))
    return None


def _inactive_file(folder: Path) -> int:
    """Bytes of files that are kept in memory as long as nobody else needs it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (folder / "memory.stat").read_text().splitlines():
            if line.startswith(("inactive_file ", "total_inactive_file ")):
                return int(line.split()[1])
    return 0
