"""The simulated disk: what one host sees of what another has done, and when."""

from __future__ import annotations

import pytest
from shared_disk import Client, Server

ROOT = "/disk"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hosts(clock: Clock) -> tuple[Client, Client]:
    """Two hosts that remember a folder for 30 s."""
    server = Server(ROOT, clock)
    return Client(server, clock, lambda: 30.0), Client(server, clock, lambda: 30.0)


def written(host: Client, path: str, content: bytes) -> None:
    host.write(host.create(path), content)


def test_a_host_that_has_looked_sees_a_new_name_when_its_memory_is_too_old(
    hosts: tuple[Client, Client], clock: Clock
) -> None:
    one, other = hosts
    assert one.names(ROOT) == []
    written(other, f"{ROOT}/a", b"a")
    assert one.names(ROOT) == []
    with pytest.raises(FileNotFoundError):
        one.read(f"{ROOT}/a")
    clock.now = 31.0
    assert one.names(ROOT) == ["a"]
    assert one.read(f"{ROOT}/a") == b"a"


@pytest.mark.parametrize("change", ["touch", "make_folder"])
def test_a_change_of_its_own_shows_a_host_what_others_have_done(hosts: tuple[Client, Client], change: str) -> None:
    one, other = hosts
    one.names(ROOT)
    written(other, f"{ROOT}/a", b"a")
    if change == "touch":
        one.touch(ROOT)
    else:
        one.make_folder(f"{ROOT}/b")
    assert "a" in one.names(ROOT)


def test_a_name_can_be_made_once_whatever_a_host_remembers(hosts: tuple[Client, Client]) -> None:
    one, other = hosts
    one.names(ROOT)
    written(other, f"{ROOT}/a", b"a")
    written(one, f"{ROOT}/b", b"b")
    for make in (
        lambda: one.link(f"{ROOT}/b", f"{ROOT}/a"),
        lambda: one.make_folder(f"{ROOT}/a"),
        lambda: one.create(f"{ROOT}/a", exclusive=True),
    ):
        with pytest.raises(FileExistsError):
            make()


def test_what_is_opened_is_what_was_written_last_also_of_a_file_that_was_replaced(
    hosts: tuple[Client, Client],
) -> None:
    one, other = hosts
    written(other, f"{ROOT}/a", b"1")
    assert one.read(f"{ROOT}/a") == b"1"
    other.write(other.existing(f"{ROOT}/a"), b"2")
    assert one.read(f"{ROOT}/a") == b"2"
    written(other, f"{ROOT}/b", b"3")
    other.rename(f"{ROOT}/b", f"{ROOT}/a")
    assert one.read(f"{ROOT}/a") == b"3"


def test_times_are_remembered_until_a_file_is_opened(hosts: tuple[Client, Client], clock: Clock) -> None:
    one, other = hosts
    written(other, f"{ROOT}/a", b"1")
    assert one.stat(f"{ROOT}/a")[1] == 0.0
    clock.now = 5.0
    other.write(other.existing(f"{ROOT}/a"), b"2")
    assert one.stat(f"{ROOT}/a")[1] == 0.0
    one.read(f"{ROOT}/a")
    assert one.stat(f"{ROOT}/a")[1] == 5.0


def test_a_folder_that_is_not_empty_is_neither_replaced_nor_removed(hosts: tuple[Client, Client]) -> None:
    one, _ = hosts
    for name in ("a", "b"):
        one.make_folder(f"{ROOT}/{name}")
        written(one, f"{ROOT}/{name}/x", b"")
    with pytest.raises(OSError, match="not empty"):
        one.rename(f"{ROOT}/a", f"{ROOT}/b")
    with pytest.raises(OSError, match="not empty"):
        one.remove(f"{ROOT}/a", is_folder=True)


def test_a_write_into_a_file_that_was_removed_reaches_nobody(hosts: tuple[Client, Client]) -> None:
    one, other = hosts
    written(one, f"{ROOT}/a", b"1")
    node = one.existing(f"{ROOT}/a")
    other.remove(f"{ROOT}/a")
    one.write(node, b"late")
    assert other.names(ROOT) == []
