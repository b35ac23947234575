"""Who a process is among those of its cell, by what torchrun and Slurm tell it."""

from __future__ import annotations

import pytest
from torch import distributed

from amid.errors import RankLostError, RequestError, RunError, StoppedError
from amid.ranks import ALONE, LEADER_SPEAKS, LOST, Ranks, joined, place

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


def test_a_broken_connection_is_another_rank_that_is_gone_and_a_bug_is_a_bug() -> None:
    broken = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    for err in (broken, distributed.DistBackendError("NCCL error")):
        lost = Ranks(0, 2).failure_elsewhere(err)
        assert (type(lost), str(lost)) == (RankLostError, LOST)
    assert Ranks(0, 2).failure_elsewhere(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    board = distributed.HashStore()
    others = [Ranks(rank, 3, board=board) for rank in range(3)]
    board.set(LEADER_SPEAKS, "")
    assert not others[2].speaks(ValueError("what failed first"))
    assert not others[1].speaks(RunError(LOST))
    failed = others[0].failure_elsewhere(broken)
    assert (type(failed), str(failed)) == (RunError, "rank 2: ValueError: what failed first")
    asked = StoppedError("asked to stop (SIGTERM), by whoever started the ranks, because one of them ended")
    assert str(others[0].reason(asked)) == "rank 2: ValueError: what failed first"


def test_a_rank_that_was_asked_to_stop_has_not_failed_and_what_each_was_asked_is_its_own_reason() -> None:
    board = distributed.HashStore()
    leader, other = (Ranks(rank, 2, board=board) for rank in range(2))
    board.set(LEADER_SPEAKS, "")
    assert not other.speaks(StoppedError("asked to stop (SIGTERM)"))
    met = leader.failure_elsewhere(RuntimeError("gloo: connection closed"))
    assert (type(met), str(met)) == (StoppedError, "rank 1: asked to stop (SIGTERM)")
    own = StoppedError("asked to stop (SIGUSR1)")
    assert leader.reason(own) is own


class GoneBoard(distributed.HashStore):
    """What a rank sees of the board once the process that kept it is gone."""

    def check(self, *_: object) -> bool:
        raise RuntimeError("Broken pipe")

    compare_set = add = check


def test_a_rank_that_is_asked_to_stop_because_the_first_one_was_killed_knows_it_and_says_it() -> None:
    other = Ranks(1, 2, board=GoneBoard())
    lost = other.reason(StoppedError("asked to stop (SIGTERM)"))
    assert (type(lost), str(lost)) == (RankLostError, LOST)
    assert other.speaks(lost)
    assert not other.speaks(StoppedError("asked to stop (SIGTERM)"))


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
