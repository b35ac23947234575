"""SIGKILL of a whole sweep, again and again: its tables are the undisturbed sweep's. `make test-sweep-kills`.

AMID_KILLS, AMID_CELLS: how many kills, of a sweep of how many cells (10, 8). AMID_KILL_SEED: where they fall (1).
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from forking import ROOT, Child, Forks
from small import SMALL
from test_kill import finished_files, progress

pytestmark = [pytest.mark.sweep_kills, pytest.mark.timeout(6 * 3600)]
NUM_KILLS, NUM_CELLS = int(os.environ.get("AMID_KILLS") or 10), int(os.environ.get("AMID_CELLS") or 8)
SEED = os.environ.get("AMID_KILL_SEED") or "1"
# Two alphas or more, of two divergences and two strategies.
AXES = ("divergence=kl,rkl", "strategy=fixed,mixed")
EARLY_SHARE, EARLY_S = 0.2, 3.0  # of the kills: by the clock, in the first seconds, when plans and checks are made
STYLES = ("json", "markdown")


def request(num_cells: int, folder: Path) -> list[str]:
    alphas, left = divmod(num_cells, 4)
    assert alphas > 0 and not left, f"AMID_CELLS must be a multiple of 4, got {num_cells}"
    return [
        str(ROOT / "run.py"),
        "-m",
        "sweep.name=kills",
        f"amid.alpha={','.join(str(3 - 2 * place) for place in range(alphas))}",
        *AXES,
        *(override for override in SMALL if not override.startswith("data.max_tokens")),
        "data.max_tokens=336",  # at most 16 generated tokens
        "strategy.capacity=20",
        "trainer.checkpoint_every_steps=2",
        "trainer.generation_batch_size=2",  # several writes within each evaluation
        f"paths.results={folder}/results",
        f"paths.cache={folder}/cache",
    ]


def tables(forks: Forks, folder: Path) -> dict[str, str]:
    """The sweep's table in each style, as `amid table` prints it."""
    found = {}
    for style in STYLES:
        asked = ("-m", "amid.cli", "table", "kills", "--style", style, "--results", f"{folder}/results")
        code, found[style] = forks.start(*asked, folder=folder, output=folder / "table").wait()
        assert code == 0, found[style]
    return found


def killed_or_ended(child: Child, results: Path, rng: random.Random, *, amount: int) -> bool:
    """Whether the sweep was killed: after an amount of work, or now and then after a moment."""
    before, started = progress(results), time.monotonic()
    seconds = rng.uniform(0.0, EARLY_S) if rng.random() < EARLY_SHARE else None
    while child.is_running:
        done = progress(results) - before
        if done >= amount or (seconds is not None and time.monotonic() - started >= seconds):
            os.killpg(child.pid, signal.SIGKILL)
            return True
        time.sleep(0.03)
    return False


def amounts(rng: random.Random, results: Path, *, total: int) -> Iterator[int]:
    """How much work each attempt does before it dies, such that about as much is left for every later one."""
    for kills_left in range(NUM_KILLS, 0, -1):
        share = max(1, total - progress(results)) / (kills_left + 1)
        yield rng.randint(1, max(1, round(1.5 * share)))


def test_a_sweep_killed_at_random_again_and_again_has_the_tables_of_the_undisturbed_one(tmp_path: Path) -> None:
    rng = random.Random(f"{SEED}/{NUM_KILLS}/{NUM_CELLS}")
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    num_kills = 0
    with Forks() as forks:
        output = tmp_path / "output"
        code, said = forks.start(*request(NUM_CELLS, undisturbed), folder=undisturbed, output=output).wait()
        assert code == 0, said
        expected = tables(forks, undisturbed)
        total = progress(undisturbed / "results")
        for amount in amounts(rng, killed / "results", total=total):
            child = forks.start(*request(NUM_CELLS, killed), folder=killed, output=output)
            num_kills += killed_or_ended(child, killed / "results", rng, amount=amount)
            code, said = child.wait()
            assert code in (0, -signal.SIGKILL), said
        code, said = forks.start(*request(NUM_CELLS, killed), folder=killed, output=output).wait()
        assert code == 0, said
        found = tables(forks, killed)
    repeat = f"repeat with AMID_KILL_SEED={SEED}"
    assert num_kills == NUM_KILLS, repeat
    assert found == expected, repeat
    assert expected["json"].count('"state": "done"') == NUM_CELLS + 2, (
        "the teacher and the initial student have rows too"
    )
    assert finished_files(killed / "results") == finished_files(undisturbed / "results"), repeat
    print(f"RESULT sweep-kills cells={NUM_CELLS} kills={num_kills} seed={SEED}")
