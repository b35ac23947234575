"""Claims: one owner at a time, and a successor as soon as the owner is known to be gone."""

import contextlib
import errno
import multiprocessing
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from amid.digests.seals import seal, unseal
from amid.errors import EXIT_TAKEN_OVER, RunError, TakenOverError
from amid.store import claims, files, owners, watch
from amid.store.claims import Claim, held, try_claim
from amid.store.files import NoSpaceError, replace_text
from amid.store.watch import Patience, attempts, is_live

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
    replace_text(path, seal({"host": "elsewhere/boot", "pid": 1, "started": "1", "heartbeat": 0, **owner}))
    os.utime(path, (0, 0))  # long ago: an owner whose claim has just changed is alive without being watched
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
    with every(0.05, lambda count: replace_text(path, seal({"host": "elsewhere/boot", "heartbeat": count}))):
        assert is_live(tmp_path, stale_after_s=5.0)
        assert try_claim(tmp_path, stale_after_s=5.0) is None


def test_an_owner_elsewhere_that_has_released_is_gone_without_a_wait(tmp_path):
    forge(tmp_path, released=True)
    start = time.monotonic()
    assert not is_live(tmp_path)
    assert time.monotonic() - start < 1.0


def test_the_same_process_number_after_a_restart_is_not_the_owner(tmp_path):
    other = os.getppid()
    forge(tmp_path, host=owners.host(), pid=other, started="0")
    assert not is_live(tmp_path)
    forge(tmp_path, host=owners.host(), pid=other, started=owners.started(other))
    assert is_live(tmp_path)


@pytest.mark.parametrize(
    "damage", [b'{"host": "else', b'{"host": "elsewhere/boot", "released": true, "digest": "0123456789abcdef"}']
)
def test_a_damaged_claim_is_watched_before_it_is_succeeded_and_that_is_said(tmp_path, damage, caplog):
    path = forge(tmp_path)
    path.write_bytes(damage)
    os.utime(path, (0, 0))
    start = time.monotonic()
    with caplog.at_level("INFO"):
        assert try_claim(tmp_path, stale_after_s=0.3).number == 2
    assert time.monotonic() - start >= 0.3
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: watching whether its owner is alive ({path} cannot be read, last sign of life: "
        + caplog.text.split("last sign of life: ")[1].strip()
    ]


def test_an_empty_claim_was_released_on_a_full_disk_and_is_free_at_once(tmp_path):
    forge(tmp_path).write_bytes(b"")
    start = time.monotonic()
    assert try_claim(tmp_path).number == 2
    assert time.monotonic() - start < 1.0


def test_the_heartbeat_of_a_held_claim_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "HEARTBEAT_S", 0.02)
    with held(try_claim(tmp_path)) as claim:
        deadline = time.monotonic() + 10
        while unseal(claim.path.read_bytes())[0]["heartbeat"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_check_raises_for_an_owner_that_was_succeeded_and_only_for_it(tmp_path):
    first = try_claim(tmp_path)
    first.check()
    forge(tmp_path, number=2, pid=77)
    with pytest.raises(TakenOverError, match="was taken over by another process .process 77 on elsewhere"):
        first.check()
    Claim(tmp_path, 2, tmp_path / "claims" / "000002.json").check()


def test_an_owner_whose_folder_was_removed_or_made_anew_is_told_so(tmp_path):
    folder = tmp_path / "cell"
    for again in (False, True):
        claim = try_claim(folder)
        shutil.rmtree(folder)
        if again:
            forge(folder)  # number 1 again, of another process
        with pytest.raises(RunError, match="was removed while this process worked in it"):
            claim.check()
        claim.release()


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(watch, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(watch, "POLL_S", 0.05)


def stubborn(folder, num_caught):
    """Work that catches what interrupts it, as a library might, but not for ever."""
    with held(try_claim(folder)):
        forge(folder, number=2)
        for _ in range(3):
            try:
                time.sleep(60)
            except Exception:
                num_caught.append(1)
        time.sleep(60)


@pytest.mark.timeout(20)
def test_an_owner_that_was_succeeded_is_interrupted_wherever_it_is_even_if_something_catches_that(tmp_path, fast):
    num_caught = []
    with pytest.raises(TakenOverError):
        stubborn(tmp_path, num_caught)
    assert len(num_caught) == 3
    signal.raise_signal(signal.SIGURG)  # nothing listens any more


class Finalised:
    """Its finaliser takes as long as an interrupt needs to come, and a mistake of its own if told so."""

    def __init__(self, mistake=None):
        self.mistake = mistake

    def __del__(self):
        if self.mistake is not None:
            raise self.mistake
        time.sleep(60)


def finalising(folder):
    with held(try_claim(folder)):
        Finalised(ValueError("of the finaliser itself"))
        forge(folder, number=2)
        Finalised()  # the interrupt ends the sleep and goes no further
        time.sleep(60)


@pytest.mark.timeout(20)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_meets_a_finaliser_is_repeated_and_says_nothing_there(tmp_path, fast, monkeypatch):
    said = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: said.append(str(unraisable.exc_value)))
    with pytest.raises(TakenOverError):
        finalising(tmp_path)
    assert said == ["of the finaliser itself"]


def stumbling(folder):
    with held(try_claim(folder)) as claim:
        forge(folder, number=2)
        with contextlib.suppress(TakenOverError):
            claim.check()
        raise FileNotFoundError("a checkpoint that the successor has removed")


def test_whatever_a_lost_owner_stumbles_over_is_told_as_the_loss(tmp_path):
    with pytest.raises(TakenOverError) as caught:
        stumbling(tmp_path)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_in_another_thread_a_lost_owner_is_stopped_by_the_check_before_its_next_write(tmp_path, fast):
    raised = []

    def work():
        try:
            with held(try_claim(tmp_path)) as claim:
                forge(tmp_path, number=2)
                time.sleep(0.3)  # some heartbeats
                claim.check()
        except TakenOverError as err:
            raised.append(err)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()  # the main thread is not disturbed
    assert len(raised) == 1


def deaf(folder):
    watch.HEARTBEAT_S = watch.POLL_S = claims.END_AFTER_S = 0.1
    with held(try_claim(folder)):
        forge(folder, number=2)
        while True:
            with contextlib.suppress(Exception):
                time.sleep(0.01)


@pytest.mark.timeout(20)
def test_a_lost_owner_that_does_not_listen_is_ended_with_its_own_exit_code(tmp_path, capfd):
    process = SPAWN.Process(target=deaf, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == EXIT_TAKEN_OVER
    assert capfd.readouterr().err.count("was taken over by another process") == 1


def test_a_claim_renews_and_releases_itself_in_place_where_no_file_can_be_made(tmp_path, fast, monkeypatch):
    claim = try_claim(tmp_path)
    before = claim.path.stat()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    reading = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", *rest, **named: (full if "w" in mode else reading)(path, mode)
    )
    monkeypatch.setattr(os, "truncate", full)
    with held(claim):
        deadline = time.monotonic() + 10
        while claim.path.stat().st_mtime_ns == before.st_mtime_ns:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert (claim.path.stat().st_ino, claim.path.stat().st_size) == (before.st_ino, before.st_size)
    assert not is_live(tmp_path)


def test_a_claim_that_cannot_be_rewritten_at_all_is_emptied(tmp_path, monkeypatch):
    claim = try_claim(tmp_path)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    claim.release()
    assert claim.path.read_bytes() == b""
    assert not is_live(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_claim_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, call):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(NoSpaceError, match=f"no space left: 1 MB needed at {tmp_path}"):
        try_claim(tmp_path)
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_process_does_not_wait_for_a_claim_that_it_left_itself(tmp_path):
    claim = try_claim(tmp_path)
    watch.own_claims.clear()  # as after a release that did not reach the disk
    assert not is_live(tmp_path)
    assert try_claim(tmp_path).number == claim.number + 1


def test_without_hard_links_a_claim_is_still_made_by_one_only(tmp_path, monkeypatch):
    def unsupported(*args, **kwargs):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    with held(try_claim(tmp_path)) as claim:
        assert claim.number == 1
        claim.check()
        with pytest.raises(RunError, match="this very process"):
            try_claim(tmp_path)
    assert try_claim(tmp_path).number == 2


def test_an_owner_of_this_host_before_it_was_started_again_is_gone_at_once(tmp_path):
    name = owners.host().partition("/")[0]
    start = time.monotonic()
    for number in range(1, 5):
        forge(tmp_path / str(number), host=f"{name}/another-boot", machine=owners.machine())
        assert try_claim(tmp_path / str(number)).number == 2
    assert time.monotonic() - start < 1.0


@pytest.mark.parametrize("other", [{"machine": "another"}, {"processes": "pid:[1]"}])
def test_a_process_number_of_another_machine_of_this_name_or_of_a_container_is_watched(tmp_path, other):
    forge(tmp_path, **{**owners.own_identity(), "pid": 1, "started": "0", **other})
    assert watch.look(tmp_path) == "unknown"


def test_an_owner_elsewhere_that_has_just_written_is_alive_without_being_watched(tmp_path):
    os.utime(forge(tmp_path))
    start = time.monotonic()
    assert try_claim(tmp_path) is None
    assert time.monotonic() - start < 1.0
    assert list((tmp_path / "claims").iterdir()) == [tmp_path / "claims" / "000001.json"]  # no probe is left


def test_a_claim_of_the_future_is_watched_as_the_clock_of_the_disk_was_set_back(tmp_path):
    path = forge(tmp_path)
    present = files.file_system_now(tmp_path)
    os.utime(path, (present + 3600, present + 3600))
    assert watch.look(tmp_path) == "unknown"


def test_every_look_at_the_claims_that_decides_asks_the_disk_anew(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(claims, "look_anew", asked.append)
    claim = try_claim(tmp_path)
    claim.check()
    assert asked == [tmp_path / "claims"] * 2
    monkeypatch.undo()
    os.utime(tmp_path / "claims", (0, 0))
    claim.check()
    assert (tmp_path / "claims").stat().st_mtime > 0


def test_several_silent_owners_are_watched_in_one_window(tmp_path):
    folders = [tmp_path / str(i) for i in range(8)]
    for folder in folders:
        forge(folder)
        watch.look(folder)
    start = time.monotonic()
    assert all(try_claim(folder, stale_after_s=0.5).number == 2 for folder in folders)
    assert time.monotonic() - start < 1.5


def test_an_owner_that_stops_changing_is_gone_after_the_stated_time(tmp_path):
    path = forge(tmp_path)
    assert watch.look(tmp_path, stale_after_s=0.3) == "unknown"
    replace_text(path, seal({"host": "elsewhere/boot", "pid": 1, "started": "1", "heartbeat": 1}))
    assert watch.look(tmp_path, stale_after_s=0.3) == "held"
    assert watch.look(tmp_path, stale_after_s=0.3) == "held"
    time.sleep(0.35)
    assert watch.look(tmp_path, stale_after_s=0.3) == "free"


def test_a_last_sign_of_life_is_told_by_the_clock_of_the_file_system_alone(tmp_path, monkeypatch):
    path = forge(tmp_path, pid=12, host="host-a/boot", job_id="77")
    present = files.file_system_now(tmp_path)
    os.utime(path, (present - 42, present - 42))
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a machine whose clock is far off
    assert watch.owner_of(tmp_path) == "process 12 on host-a, job 77, last sign of life: 42 s ago"
    assert watch.owner_of(tmp_path / "none") == "nobody"
    monkeypatch.setattr(Path, "touch", lambda self: (_ for _ in ()).throw(OSError(errno.EROFS, "read-only")))
    assert watch.owner_of(tmp_path) == "process 12 on host-a, job 77, last sign of life: unknown"


def test_waiting_says_for_what_at_once_and_then_every_minute(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + 25.0))
    patience = Patience()
    with caplog.at_level("INFO"):
        for _ in range(6):  # at 0, 25, ... 125 s
            patience.wait(f"something, at {now[0]:.0f} s")
    assert [record.message for record in caplog.records] == [
        "waiting for something, at 0 s",
        "waiting for something, at 75 s",
    ]


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
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RunError) as caught:
        try_claim(tmp_path / "cell")
    assert str(caught.value).endswith("cannot be written: Read-only file system")
    assert "\n" not in str(caught.value)
