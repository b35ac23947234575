"""Provenance: where and with what each attempt at an entry ran; recorded, never hashed. No torch here."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from amid.digests.seals import DamagedError
from amid.store.files import append_line, drop_damaged_lines, read_object, sift_lines
from amid.store.layout import provenance_path

PACKAGES = ("torch", "lightning", "transformers", "hydra-core", "tokenizers", "sacrebleu", "rouge-score")
# What the numbers come from: a results folder, Hydra's logs or a note beside them make a checkout no other code.
SOURCES = ("src", "conf", "sweeps", "run.py", "pyproject.toml")


def record_attempt(folder: Path, *, attempt: int, purpose: str, check: Callable[[], None]) -> None:
    """Adds this process to the attempts at an entry. purpose: train or evaluate."""
    path = provenance_path(folder)
    check()
    # Of attempts that are over: a line that cannot be read tells nobody anything
    drop_damaged_lines(path, check=check)
    append_line(path, {"attempt": attempt, "purpose": purpose, **provenance()})


def read_provenance(folder: Path) -> list[dict[str, Any]]:
    """Every attempt's record, in order; what is damaged is left out.

    Of an entry from before attempts were kept apart, the one record in provenance.json comes first.
    """
    try:
        first = read_object(folder / "provenance.json", remedy="")
    except DamagedError:
        first = None
    return [*([] if first is None else [first]), *sift_lines(provenance_path(folder)).sound]


def provenance() -> dict[str, Any]:
    """Where a result comes from that is made now."""
    versions = {}
    for package in ("amid-lab", *PACKAGES):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git": git_state(Path(__file__).resolve().parents[3]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "num_cpus": os.cpu_count(),
        "packages": versions,
    }


@functools.cache  # what a process runs is what was there when it began
def git_state(root: Path) -> dict[str, Any] | None:
    """Commit of a checkout, and whether its sources differ from it; None for an installed package."""
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *SOURCES)
    return None if commit is None or changes is None else {"commit": commit, "dirty": bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
