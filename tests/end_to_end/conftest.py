"""The command line as a user calls it, and small configurations for runs inside the test's process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small import ROOT, SMALL, RunPy

from amid.config import RunCfg
from amid.sweep.compose import run_of_overrides


@pytest.fixture(scope="module")
def dolly() -> Path:
    """The folder of Dolly, which the suite of the real model cannot do without."""
    root = os.environ.get("AMID_DOLLY")
    assert root, "make test-real needs DOLLY=FOLDER with train.jsonl, dev.jsonl and test.jsonl"
    return Path(root)


@pytest.fixture
def small_run(tmp_path: Path) -> Callable[..., RunCfg]:
    """Composes a small run whose results lie in the test's own folder."""
    folders = (f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache")
    return lambda *overrides: run_of_overrides([*SMALL, *folders, *overrides])


@pytest.fixture
def run_py(tmp_path: Path) -> RunPy:
    """Runs `python run.py` in another folder than the checkout, as a user might."""

    def run(*arguments: str, small: bool = True, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        shared = [f"paths.results={tmp_path}/results"]
        if not any(argument.startswith(("request=", "cell=")) for argument in arguments):  # those are complete
            shared += [f"paths.cache={tmp_path}/cache", *(SMALL if small else ())]
        # An argument may replace one of the small request: each key is given once.
        given = {argument.split("=")[0] for argument in arguments}
        shared = [override for override in shared if override.split("=")[0] not in given]
        return subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *arguments, *shared],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            env={**os.environ, "WANDB_MODE": "offline"},
        )

    return run
