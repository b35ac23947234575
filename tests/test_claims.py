"""Claims: one owner at a time, and a successor as soon as the owner is known to be gone."""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time

import pytest

from amid import claims
from amid.claims import Claim, attempts, held, is_live, replace_text, try_claim
from amid.errors import RunError

SPAWN = multiprocessing.get_context("fork")


def race(folder, barrier, answers):
    barrier.wait()
    answers.put(try_claim(folder, stale_after_s=2.0) is not None)
    barrier.wait()  # nobody ends before all have tried: a winner that is gone may be succeeded


def hold_until_killed(folder, ready):
    with held(try_claim(folder)):
        ready.set()
        time.sleep(60)


def forge(folder, number=1, **owner):
    """A claim file of an owner that runs elsewhere."""
    (folder / "claims").mkdir(parents=True, exist_ok=True)
    path = folder / "claims" / f"{number:06d}.json"
    replace_text(path, json.dumps({"host": "elsewhere/boot", "pid": 1, "started": "1", "heartbeat": 0, **owner}))
    return path


@contextlib.contextmanager
def every(seconds, action):
    """Run the action again and again in a thread."""
    stop = threading.Event()

    def loop():
        count = 0
        while not stop.wait(seconds):
            count += 1
            action(count)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("num_processes", [2, 4])
def test_of_several_processes_exactly_one_wins_every_round(tmp_path, num_processes):
    for round_ in range(4):
        barrier, answers = SPAWN.Barrier(num_processes), SPAWN.Queue()
        processes = [
            SPAWN.Process(target=race, args=(tmp_path / str(round_), barrier, answers)) for _ in range(num_processes)
        ]
        for process in processes:
            process.start()
        won = [answers.get(timeout=20) for _ in processes]
        for process in processes:
            process.join()
        assert sum(won) == 1


def test_a_killed_owner_on_this_host_is_succeeded_at_once(tmp_path):
    ready = SPAWN.Event()
    owner = SPAWN.Process(target=hold_until_killed, args=(tmp_path, ready))
    owner.start()
    assert ready.wait(20)
    assert is_live(tmp_path)
    assert try_claim(tmp_path) is None
    os.kill(owner.pid, signal.SIGKILL)
    owner.join()
    start = time.monotonic()
    claim = try_claim(tmp_path)
    assert claim is not None
    assert claim.number == 2
    assert time.monotonic() - start < 1.0  # far below STALE_AFTER_S: no heartbeat is waited for


def test_a_zombie_is_gone(tmp_path):
    ready = SPAWN.Event()
    owner = SPAWN.Process(target=hold_until_killed, args=(tmp_path, ready))
    owner.start()
    assert ready.wait(20)
    os.kill(owner.pid, signal.SIGKILL)
    os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)  # dead, but not yet collected by its parent
    assert not is_live(tmp_path)
    owner.join()


def test_a_released_claim_is_free_at_once(tmp_path):
    with held(try_claim(tmp_path)):
        assert is_live(tmp_path)
    assert not is_live(tmp_path)
    assert try_claim(tmp_path).number == 2
    assert attempts(tmp_path) == 2


def test_a_claim_is_released_when_its_work_raises(tmp_path):
    with pytest.raises(ZeroDivisionError), held(try_claim(tmp_path)):
        raise ZeroDivisionError
    assert not is_live(tmp_path)


def test_a_silent_owner_elsewhere_is_gone_only_after_the_stated_time(tmp_path):
    forge(tmp_path)
    start = time.monotonic()
    claim = try_claim(tmp_path, stale_after_s=0.5)
    assert 0.5 <= time.monotonic() - start < 2.0
    assert claim.number == 2


def test_an_owner_elsewhere_whose_heartbeat_changes_is_live(tmp_path):
    path = forge(tmp_path)
    with every(0.05, lambda count: replace_text(path, json.dumps({"host": "elsewhere/boot", "heartbeat": count}))):
        assert is_live(tmp_path, stale_after_s=5.0)
        assert try_claim(tmp_path, stale_after_s=5.0) is None


def test_an_owner_elsewhere_that_has_released_is_gone_without_a_wait(tmp_path):
    forge(tmp_path, released=True)
    start = time.monotonic()
    assert not is_live(tmp_path)
    assert time.monotonic() - start < 1.0


def test_the_same_process_number_after_a_restart_is_not_the_owner(tmp_path):
    forge(tmp_path, host=claims._host(), pid=os.getpid(), started="0")
    assert not is_live(tmp_path)
    forge(tmp_path, host=claims._host(), pid=os.getpid(), started=claims._started(os.getpid()))
    assert is_live(tmp_path)


def test_a_claim_file_without_content_is_watched_before_it_is_succeeded(tmp_path):
    forge(tmp_path).write_text("")
    start = time.monotonic()
    assert try_claim(tmp_path, stale_after_s=0.3).number == 2
    assert time.monotonic() - start >= 0.3


def test_an_owner_seen_while_it_writes_its_claim_is_live_at_the_next_look(tmp_path):
    path = forge(tmp_path)
    path.write_text("")
    own = json.dumps({**claims._own_identity(), "heartbeat": 0})
    with every(0.1, lambda count: path.write_text(own)):  # this process, which lives, but has no heartbeat
        assert is_live(tmp_path, stale_after_s=3.0)


def test_the_heartbeat_of_a_held_claim_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.02)
    with held(try_claim(tmp_path)) as claim:
        deadline = time.monotonic() + 10
        while json.loads(claim.path.read_text())["heartbeat"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_check_raises_for_an_owner_that_was_succeeded_and_only_for_it(tmp_path):
    first = try_claim(tmp_path)
    first.check()
    forge(tmp_path, number=2)
    with pytest.raises(RunError, match="was taken over by another process"):
        first.check()
    Claim(tmp_path, 2, tmp_path / "claims" / "000002.json").check()


def test_more_than_nine_owners_are_counted_as_numbers(tmp_path):
    for number in range(1, 12):
        with held(try_claim(tmp_path)) as claim:
            assert claim.number == number


def test_replaced_text_leaves_no_temporary_and_is_never_seen_half_written(tmp_path):
    path = tmp_path / "status.json"
    texts = {"a" * 100_000, "b" * 100_000}
    replace_text(path, "a" * 100_000)
    with every(0.0, lambda count: replace_text(path, "ab"[count % 2] * 100_000)):
        for _ in range(100):
            assert path.read_text() in texts
    assert [item.name for item in tmp_path.iterdir()] == ["status.json"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="results folder .* cannot be written: Not a directory"):
        try_claim(tmp_path / "file" / "cell")


def test_a_read_only_file_system_is_one_line(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RunError) as caught:
        try_claim(tmp_path / "cell")
    assert str(caught.value).endswith("cannot be written: Read-only file system")
    assert "\n" not in str(caught.value)
