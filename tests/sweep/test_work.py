"""A worker: which cells of a recorded sweep it carries out, what it leaves alone, and when it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_stores import SEEDS, STUDENT, TEACHER, TOKENIZER, cell_of_alpha, finish, score, stage_of, sweep_of

from amid.cells.cell import Cell
from amid.errors import RequestError, RunError, StoppedError, TakenOverError
from amid.store import Store, watch
from amid.store.claims import held
from amid.store.frozen import Requests
from amid.store.owners import own_identity
from amid.store.watch import claim_path
from amid.sweep import work
from amid.sweep.work import DEATHS_IN_A_ROW, FAILURES_IN_A_ROW, Account, Limits, Worker

CELLS = [cell_of_alpha(float(alpha)) for alpha in range(8)]
IDS = [cell.id for cell in CELLS]
OF_ID = {cell.id: cell for cell in CELLS}
SCORES: dict[str, Any] = {"values": [1.0, 2.0], "validation": 3.0}


class Asked:
    """The requests of the cells, none of which is read from a file."""

    def digests_of(self, cell_id: str) -> list[str]:
        return [cell_id]

    def of_sweep(self, cell_id: str, sweep: str) -> Any:
        assert sweep == "demo"
        return SimpleNamespace(cell_id=cell_id, run=cell_id)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(watch, "POLL_S", 0.0)
    # These entries have no score but those of their texts.
    monkeypatch.setattr(work, "is_evaluated", lambda store, entry, protocol: bool(store.read([entry])))
    store = Store(tmp_path / "results")
    for stage in (TOKENIZER, TEACHER, STUDENT):
        finish(store, stage, **({} if stage is TOKENIZER else SCORES))
    return store


def worker_of(
    store: Store, carry_out: Callable[[Cell], object], *, cells: list[Cell] = CELLS[:4], **limits: Any
) -> Worker:
    def carried_out(request: Any) -> None:
        carry_out(OF_ID[request.cell_id])

    requests: Any = Asked()
    return Worker(sweep_of("demo", cells), store, carried_out, limits=Limits(**limits), requests=requests)


def done(store: Store) -> Callable[[Cell], object]:
    return lambda cell: finish(store, cell, **SCORES)


def failing(store: Store, *names: str) -> Callable[[Cell], object]:
    def carry_out(cell: Cell) -> None:
        if cell.id not in names:
            finish(store, cell, **SCORES)
            return
        claim = store.claim(cell)
        assert claim is not None
        with held(claim):
            store.set_failed(cell, "it diverged", "...")
        raise RunError("it diverged")

    return carry_out


def test_what_is_not_finished_is_carried_out_in_order(store: Store) -> None:
    finish(store, CELLS[1], **SCORES)
    tried: list[str] = []
    account = worker_of(store, lambda cell: (tried.append(cell.id), done(store)(cell))).work()
    assert tried == [IDS[0], IDS[2], IDS[3]]
    assert account == Account(done=tried, ended_it=True)
    assert str(account) == "worked on 3 cells: 3 done, 0 failed; 0 of the sweep left"
    assert worker_of(store, done(store)).work() == Account(), "what another round finds is nothing"


def test_a_cell_that_is_done_and_lacks_scores_is_carried_out(store: Store) -> None:
    finish(store, CELLS[0])

    def evaluate(cell: Cell) -> None:
        claim = store.claim_done(cell)
        assert claim is not None
        with held(claim):
            score(store, cell, SCORES["values"], seeds=SEEDS, validation=SCORES["validation"])

    account = worker_of(store, evaluate, cells=CELLS[:1]).work()
    assert account.done == IDS[:1] and account.left == {}


def test_a_cell_that_fails_is_told_and_the_next_one_is_begun(store: Store) -> None:
    account = worker_of(store, failing(store, IDS[1])).work()
    assert account.done == [IDS[0], IDS[2], IDS[3]]
    assert account.failed == {IDS[1]: "it diverged"} and account.left == {IDS[1]: "failed"}
    assert not account.ended_it
    assert str(account) == "worked on 4 cells: 3 done, 1 failed; 1 of the sweep left (1 failed)"


def test_an_earlier_rounds_failure_is_tried_once_more_and_this_rounds_by_nobody(store: Store) -> None:
    with pytest.raises(RunError):
        failing(store, IDS[0])(CELLS[0])
    tried: list[str] = []

    def carry_out(cell: Cell) -> None:
        tried.append(cell.id)
        if cell.id == IDS[0]:
            with pytest.raises(RunError):  # elsewhere, meanwhile
                failing(store, IDS[2])(CELLS[2])
        failing(store, IDS[0])(cell)

    account = worker_of(store, carry_out).work()
    assert tried == [IDS[0], IDS[1], IDS[3]]
    assert account.left == {IDS[0]: "failed", IDS[2]: "failed"} and list(account.failed) == [IDS[0]]


def test_what_another_runs_is_waited_for_and_taken_over_if_it_ends_without_a_result(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    others = Store(store.root)
    claims = [others.claim(cell) for cell in CELLS[:2]]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            claims[0].release()  # type: ignore[union-attr]
        if len(slept) == 8:
            others.set_failed(CELLS[1], "it diverged", "...")
            claims[1].release()  # type: ignore[union-attr]

    monkeypatch.setattr(watch.time, "sleep", sleep)
    caplog.set_level("INFO")
    account = worker_of(store, done(store)).work()
    assert sorted(account.done) == sorted([IDS[0], IDS[2], IDS[3]]) and account.done[-1] == IDS[0]
    assert account.left == {IDS[1]: "failed"} and not account.ended_it
    assert f"waiting for other workers to finish 2 cells: {IDS[0]}, {IDS[1]}" in caplog.text


def test_a_worker_begins_no_more_than_it_may(store: Store) -> None:
    account = worker_of(store, done(store), max_cells=3).work()
    assert account.done == IDS[:3] and account.left == {IDS[3]: "absent"}
    assert worker_of(store, done(store), max_seconds=0.0).work() == Account(left={IDS[3]: "absent"})


@pytest.mark.parametrize("end", [StoppedError("asked to stop"), KeyboardInterrupt()], ids=["TERM", "Ctrl-C"])
def test_what_ends_the_process_ends_the_worker_and_its_account_is_right(store: Store, end: BaseException) -> None:
    def carry_out(cell: Cell) -> None:
        if cell.id == IDS[1]:
            raise end
        finish(store, cell, **SCORES)

    worker = worker_of(store, carry_out)
    with pytest.raises(type(end)):
        worker.work()
    assert worker.account == Account(done=IDS[:1], left=dict.fromkeys(IDS[1:4], "absent"))


def test_a_cell_that_was_taken_over_is_its_new_owners(store: Store) -> None:
    def carry_out(cell: Cell) -> None:
        finish(store, cell, **SCORES)
        if cell.id == IDS[1]:
            folder = store.folder(cell)
            number = watch.highest_claim(folder)
            claim_path(folder, number + 1).write_text(json.dumps({**own_identity(), "pid": 1, "released": True}))
            raise TakenOverError("another has it")

    account = worker_of(store, carry_out).work()
    assert account.done == [IDS[0], IDS[2], IDS[3]] and account.failed == {} and account.left == {}


def test_a_machine_on_which_everything_fails_does_not_use_up_the_sweep(store: Store) -> None:
    account = worker_of(store, failing(store, *IDS), cells=CELLS).work()
    assert list(account.failed) == IDS[:FAILURES_IN_A_ROW]
    assert len(account.left) == len(CELLS)


def test_a_cell_that_ends_every_process_is_left_alone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for cell, number in ((CELLS[0], DEATHS_IN_A_ROW), (CELLS[1], DEATHS_IN_A_ROW - 1)):
        claim = store.claim(cell)
        assert claim is not None
        claim.release()
        dead = json.dumps({**own_identity(), "pid": 2**22 + 1, "started": "1"})
        for past in range(number):
            claim_path(store.folder(cell), claim.number + 1 + past).write_text(dead)
    account = worker_of(store, done(store)).work()
    assert account.done == IDS[1:4] and account.left == {IDS[0]: "stopped"}
    assert f"python run.py cell={IDS[0]} paths.results={store.root}" in caplog.text


def test_a_cell_that_ends_without_a_result_and_without_a_reason_fails_at_the_second_time(store: Store) -> None:
    tried: list[str] = []
    account = worker_of(store, lambda cell: tried.append(cell.id), cells=CELLS[:1]).work()
    assert tried == IDS[:1] * 2
    assert account.failed == {IDS[0]: "it ended twice without an error and without every score of the sweep"}


def test_a_cell_whose_stage_is_being_built_comes_after_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = stage_of("teacher", size=2)
    stages = {cell.id: {"teacher": built if cell is CELLS[0] else TEACHER} for cell in CELLS}
    monkeypatch.setattr(work, "cell_of", lambda run: Cell(run, {}, stages[run]))
    claim = Store(store.root).claim(built)
    assert claim is not None
    tried: list[str] = []
    manifest = sweep_of("demo", CELLS[:3])
    manifest["references"].append({"kind": "teacher", "id": built.id, "pair": "tiny", "protocol": "p"})
    requests: Any = Asked()
    Worker(
        manifest,
        store,
        lambda request: (tried.append(request.cell_id), finish(store, OF_ID[request.cell_id], **SCORES)),  # type: ignore[arg-type,return-value]
        limits=Limits(),
        requests=requests,
    ).work()
    assert tried == [IDS[1], IDS[2], IDS[0]]


def test_every_cell_to_be_carried_out_needs_its_request(store: Store) -> None:
    finish(store, CELLS[0], **SCORES)

    def begun(cells: list[Cell]) -> Worker:
        return Worker(sweep_of("demo", cells), store, lambda _: None, limits=Limits(), requests=Requests(store))

    assert begun(CELLS[:1]).work() == Account()
    with pytest.raises(RequestError, match=f"cell '{IDS[1]}' has no request in "):
        begun(CELLS[:2])


def test_a_removed_results_folder_ends_the_worker(store: Store) -> None:
    with pytest.raises(RunError, match="was removed while this worker worked"):
        worker_of(store, lambda cell: shutil.rmtree(store.root)).work()
