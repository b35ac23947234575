"""Who a process is among those of its cell, by what torchrun and Slurm tell it."""

from __future__ import annotations

import pytest

from amid.errors import RequestError
from amid.ranks import ALONE, Ranks, joined, place

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
SLURM = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}


def test_torchrun_and_slurm_are_read_alike() -> None:
    assert place(TORCHRUN, slurm=True) == Ranks(rank=3, size=4, per_node=2)
    assert place(SLURM, slurm=True) == Ranks(rank=5, size=8, per_node=4)
    assert place({**SLURM, **TORCHRUN}, slurm=True) == Ranks(rank=3, size=4, per_node=2)


def test_a_lone_process_inside_a_job_of_several_tasks_is_alone_unless_it_asks() -> None:
    assert place(SLURM, slurm=False) == ALONE
    with joined(1, environment=SLURM) as ranks:
        assert ranks == ALONE


def test_only_rank_0_leads_and_a_lone_process_agrees_with_itself() -> None:
    assert ALONE.leads and not Ranks(1, 2).leads
    assert ALONE.broadcast("value") == "value"
    assert ALONE.gather("value") == ["value"]


@pytest.mark.parametrize(
    ("num_devices", "environment", "message"),
    [
        (2, {}, "trainer.devices=2 needs as many processes, got 1; start them with: torchrun --nproc-per-node 2"),
        (1, TORCHRUN, "trainer.devices=1 needs as many processes, got 4"),
        (4, SLURM, "trainer.devices=4 needs as many processes, got 8"),
        (4, TORCHRUN, "cannot find each other"),
    ],
)
def test_processes_that_do_not_fit_are_refused(num_devices: int, environment: dict[str, str], message: str) -> None:
    with pytest.raises(RequestError, match=message), joined(num_devices, environment=environment):
        pass
