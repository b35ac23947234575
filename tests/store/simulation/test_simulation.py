"""Histories of processes that meet in one results folder, and what must hold in all. `make test-simulation`.

AMID_SCHEDULES: how many histories (500). AMID_SEED: carries out that one only, and tells its end line by line.
"""

from __future__ import annotations

import os

import histories
import pytest
from broken_protocols import PROTOCOLS, in_place
from histories import History

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(3600)]
NUM_SCHEDULES = int(os.environ.get("AMID_SCHEDULES") or 500)
BLOCK = 50  # histories of one test, so that several processes share them
FOUND_WITHIN = 500  # histories, in which every wrong protocol must be found


def told(history: History) -> str:
    """A history that should not have been, for a person."""
    return "\n".join(
        [
            history.world.told(),
            f"faults: {dict(history.faults)}",
            *history.violations,
            f"repeat with AMID_SEED={history.seed} make test-simulation",
        ]
    )


@pytest.mark.parametrize("first", range(0, NUM_SCHEDULES, BLOCK))
def test_in_every_history_nothing_is_lost_and_every_sweep_ends(first: int) -> None:
    chosen = os.environ.get("AMID_SEED")
    if chosen is not None and first:
        pytest.skip("AMID_SEED names one history")
    faults, late_lines = 0, 0
    with histories.simulated():
        for seed in (int(chosen),) if chosen is not None else range(first, min(first + BLOCK, NUM_SCHEDULES)):
            history = histories.carried_out(seed)
            faults += sum(history.faults.values())
            late_lines += history.late_lines
            if chosen is not None:
                print(told(history))
            assert not history.violations, told(history)
    assert faults or chosen is not None


def test_a_seed_names_one_history() -> None:
    with histories.simulated():
        first, again, other = (histories.carried_out(seed) for seed in (6, 6, 7))
    assert first.world.told() == again.world.told()
    assert first.world.now == again.world.now
    assert first.world.told() != other.world.told()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_wrong_protocol_is_found(name: str) -> None:
    broken = PROTOCOLS[name]
    with histories.simulated(), in_place(broken):
        for seed in range(FOUND_WITHIN):
            found = {violation.partition(":")[0] for violation in histories.carried_out(seed).violations}
            if broken.invariant in found:
                print(f"{broken.what}: found by '{broken.invariant}' in history {seed}")
                return
    pytest.fail(f"{broken.what}: '{broken.invariant}' held in {FOUND_WITHIN} histories")
