"""A divergence whose calls a test can slow down or break, in the task of an array that it names."""

from __future__ import annotations

from pathlib import Path

# KL, as a file of a user.
FUNCTION = """
import os
import time
from pathlib import Path

TRIED = 24  # calls; the first ones are a trial of the function, before anything trains
calls = 0


def held_kl(log_left, log_right):
    global calls
    calls += 1
    folder, task = os.environ.get("AMID_TEST_HOLDS"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if folder and task and calls > TRIED:
        if (Path(folder) / f"slow-{task}").exists():
            time.sleep(float(os.environ["AMID_TEST_SLOW_S"]))
        if (Path(folder) / f"broken-{task}").exists():
            raise ValueError("this divergence is broken")
    return (log_left.exp() * (log_left - log_right)).sum(-1)
"""
CONFIG = "name: held\nfunction: held_kl:held_kl\norder: pr\n"


def put_into(folder: Path) -> None:
    """Writes the function, and `divergence=held` in a folder of configuration beside it."""
    (folder / "holds").mkdir(parents=True)
    declared(folder).parent.mkdir(parents=True)
    declared(folder).write_text(CONFIG)
    (folder / "held_kl.py").write_text(FUNCTION)


def declared(folder: Path) -> Path:
    """The file that says what `divergence=held` is."""
    return folder / "my_conf" / "divergence" / "held.yaml"


def hold(folder: Path, kind: str, task: str) -> Path:
    """A file which makes the training of the task (`12_3`, or `3`) `slow` or `broken` while it is there."""
    path = folder / "holds" / f"{kind}-{task.rpartition('_')[2]}"
    path.touch()
    return path


def environment(folder: Path, *, slow_s: float) -> dict[str, str]:
    """What a task of a job is given. slow_s: of one call that is slowed down."""
    return {"AMID_TEST_HOLDS": str(folder / "holds"), "AMID_TEST_SLOW_S": str(slow_s)}
