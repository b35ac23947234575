"""The calls of the system that the store makes, carried out in the simulated world for paths on its disk.

This is the whole interface between the store and the disk: `CALLS` of `os`, `io.open` and `shutil.rmtree`, with a
clock, a pause, threads, signals and a process's own facts. Any other call on the simulated disk meets a path that is
not there. Outside of a simulated process, and for other paths, the real calls are made.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat as kinds
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from shared_disk import Client, Node, error
from simulated_hosts import ROOT, Killed, Task, World

from amid.stages import ensure
from amid.store import claims, files, owners, provenance, watch

FIRST_DESCRIPTOR = 10**6  # above any real one
CALLS = (
    *("listdir", "scandir", "stat", "lstat", "mkdir", "rmdir", "unlink", "rename", "replace", "link", "truncate"),
    *("utime", "open", "fdopen", "pwrite", "close", "fsync"),
)
_real = {name: getattr(os, name) for name in (*CALLS, "getpid")}
_real_open, _real_rmtree = io.open, shutil.rmtree
_world: World | None = None


def _path_of(path: Any) -> str | None:
    """The path on the simulated disk; None for any other."""
    if _world is None or _world.current is None or isinstance(path, int):
        return None
    text = os.fspath(path)
    return text if isinstance(text, str) and text.startswith(ROOT) else None


def _do(name: str, path: str, act: Callable[[Client], Any], *, changes: bool = False, other: str = "") -> Any:
    assert _world is not None
    return _world.operation(name, path, act, changes=changes, other=other)


# Looking


def _listdir(path: Any = ".") -> list[str]:
    found = _path_of(path)
    return _real["listdir"](path) if found is None else _do("list", found, lambda client: client.names(found))


class _Entry:
    def __init__(self, folder: str, name: str) -> None:
        self.name = name
        self.path = f"{folder}/{name}"

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return os.path.isdir(self.path)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return os.path.isfile(self.path)

    def is_symlink(self) -> bool:
        return False


def _scandir(path: Any = ".") -> Any:
    found = _path_of(path)
    if found is None:
        return _real["scandir"](path)
    names = _do("list", found, lambda client: client.names(found))
    return contextlib.nullcontext(iter([_Entry(found, name) for name in names]))


def _stat(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Any:
    found = _path_of(path)
    if found is None:
        return _real["stat"](path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    node, changed = _do("stat", found, lambda client: client.stat(found))
    return _facts(node, changed)


def _facts(node: Node, changed: float) -> os.stat_result:
    mode = kinds.S_IFDIR | 0o755 if node.is_folder else kinds.S_IFREG | 0o644
    size = len(node.content)
    return os.stat_result((mode, node.number, 1, node.num_names, 0, 0, size, int(changed), int(changed), int(changed)))


# Changing


def _changing(name: str, act: Callable[[Client, str], Any]) -> Callable[..., Any]:
    def call(path: Any, *arguments: Any, **named: Any) -> Any:
        found = _path_of(path)
        if found is None:
            return _real[name](path, *arguments, **named)
        return _do(name, found, lambda client: act(client, found), changes=True)

    return call


def _between(name: str, act: Callable[[Client, str, str], Any]) -> Callable[..., Any]:
    def call(source: Any, target: Any, **named: Any) -> Any:
        found = _path_of(source)
        if found is None:
            return _real[name](source, target, **named)
        to = os.fspath(target)
        word = "rename" if name == "replace" else name
        return _do(word, found, lambda client: act(client, found, to), changes=True, other=to)

    return call


def _truncate(path: Any, length: int) -> None:
    found = _path_of(path)
    if found is None:
        _real["truncate"](path, length)
        return

    def act(client: Client) -> None:
        node = client.existing(found)
        client.write(node, node.content[:length].ljust(length, b"\0"))

    _do("truncate", found, act, changes=True)


def _rmtree(path: Any, ignore_errors: bool = False, **named: Any) -> None:
    found = _path_of(path)
    if found is None:
        _real_rmtree(path, ignore_errors=ignore_errors, **named)
        return
    try:
        for name in os.listdir(found):
            inside = f"{found}/{name}"
            if os.path.isdir(inside):
                _rmtree(inside, ignore_errors=ignore_errors)
            else:
                os.unlink(inside)
        os.rmdir(found)
    except OSError:
        if not ignore_errors:
            raise


# Open files


def _describe(node: Node, path: str) -> int:
    assert _world is not None and _world.current is not None
    process = _world.current.process
    number = FIRST_DESCRIPTOR + next(process.tokens)
    process.files[number] = (node, path)
    return number


def _descriptor(number: int) -> tuple[Node, str] | None:
    if number < FIRST_DESCRIPTOR or _world is None or _world.current is None:
        return None
    return _world.current.process.files.get(number)


def _os_open(path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
    found = _path_of(path)
    if found is None:
        return _real["open"](path, flags, mode, **named)
    if flags & os.O_CREAT:
        exclusive = bool(flags & os.O_EXCL)
        try:
            node = _do("create", found, lambda client: client.create(found, exclusive=exclusive), changes=True)
        except IsADirectoryError:
            raise
        return _describe(node, found)
    return _describe(_do("open", found, lambda client: client.existing(found)), found)


def _pwrite(number: int, data: bytes, at: int) -> int:
    file = _descriptor(number)
    if file is None:
        return _real["pwrite"](number, data, at)
    node, path = file
    _do("rewrite", path, lambda client: client.write(node, data, at), changes=True)
    return len(data)


def _close(number: int) -> None:
    if number >= FIRST_DESCRIPTOR and _world is not None and _world.current is not None:
        _world.current.process.files.pop(number, None)
    else:
        _real["close"](number)


def _fsync(number: int) -> None:
    file = _descriptor(number)
    if file is None:
        _real["fsync"](number)
    else:
        _do("sync", file[1], lambda client: None)


class _File(io.BytesIO):
    """An open file: read as it was when it was opened, written when it is flushed or closed."""

    def __init__(self, node: Node, path: str, *, writes: bool, appends: bool) -> None:
        super().__init__(b"" if appends else node.content)
        self._node, self._path, self._writes = node, path, writes
        self._appends_at = len(node.content) if appends else None
        self._number = _describe(node, path)
        self._written = None if writes else self.getvalue()

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        if (
            self.closed
            or not self._writes
            or self.getvalue() == self._written
            or (self._written is None and not self.getvalue() and not self._node.content)
        ):
            return
        data, at = self.getvalue(), self._appends_at
        self._written = data
        assert _world is not None

        def act(client: Client) -> None:
            client.write(self._node, data, at)

        _do("append" if at is not None else "write", self._path, act, changes=True)

    def truncate(self, size: int | None = None) -> int:
        return super().truncate(size)

    def close(self) -> None:
        if not self.closed:
            try:
                self.flush()
            finally:
                super().close()
                _close(self._number)


def _open(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, *rest: Any, **named: Any) -> Any:
    described = _descriptor(file) if isinstance(file, int) else None
    found = _path_of(file) if described is None else described[1]
    if found is None:
        return _real_open(file, mode, buffering, encoding, *rest, **named)
    if described is not None:
        stream = _File(described[0], found, writes=True, appends=False)
    elif "w" in mode or "x" in mode:
        node = _do("create", found, lambda client: client.create(found, exclusive="x" in mode), changes=True)
        stream = _File(node, found, writes=True, appends=False)
    elif "a" in mode:
        stream = _File(_do("open", found, lambda client: _appendable(client, found)), found, writes=True, appends=True)
    elif "+" in mode:
        stream = _File(_do("open", found, lambda client: client.existing(found)), found, writes=True, appends=False)
    else:
        node = _do("read", found, lambda client: _readable(client, found))
        stream = _File(node, found, writes=False, appends=False)
    return stream if "b" in mode else io.TextIOWrapper(stream, encoding=encoding or "utf-8")


def _readable(client: Client, path: str) -> Node:
    node = client.existing(path)
    if node.is_folder:
        raise error(errno.EISDIR, path)
    return node


def _appendable(client: Client, path: str) -> Node:
    try:
        return client.existing(path)
    except FileNotFoundError:
        return client.create(path)


# Time, threads and signals, as claims.py and watch.py know them


class _Event:
    def __init__(self) -> None:
        self._set = False
        self._waiting: list[Task] = []

    def set(self) -> None:
        assert _world is not None
        self._set = True
        for task in self._waiting:
            _world.wake(task)

    def wait(self, timeout: float) -> bool:
        assert _world is not None and _world.current is not None
        if not self._set:
            self._waiting.append(_world.current)
            _world.pause(timeout)
        return self._set


class _Thread:
    def __init__(self, *, target: Callable[..., None], args: tuple[Any, ...], name: str, daemon: bool) -> None:
        self._target, self._args = target, args
        self._task: Task | None = None

    def start(self) -> None:
        assert _world is not None and _world.current is not None
        self._task = _world.spawn(_world.current.process, lambda: self._target(*self._args))

    def join(self) -> None:
        assert _world is not None and self._task is not None
        while not self._task.ended:
            _world.pause(0.001)


_MAIN = types.SimpleNamespace(ident=1)


def _send(ident: int, number: int) -> None:
    """A signal to the current process: its main thread leaves its pause, and handles it."""
    assert _world is not None and _world.current is not None
    process = _world.current.process
    process.signal = lambda: claims._interrupt(number, None)
    _world.wake(process.tasks[0])


def _exit(code: int) -> None:
    assert _world is not None and _world.current is not None
    process = _world.current.process
    process.code = code
    _world.kill(process, why="ended by its heartbeat")
    raise Killed


def _monotonic() -> float:
    if _world is None or _world.current is None:
        return time.monotonic()
    return _world.current.process.host.clock()


def pause(seconds: float) -> None:
    """time.sleep of a simulated process."""
    assert _world is not None
    end = _monotonic() + seconds
    while _monotonic() < end - 1e-9:  # a signal is no end of a sleep
        _world.pause(end - _monotonic())


def _own() -> Any:
    assert _world is not None and _world.current is not None
    return _world.current.process


def _started(pid: int) -> str | None:
    assert _world is not None
    here = _own().host
    found = [each.started for each in _world.processes if each.host is here and each.pid == pid and not each.dead]
    return found[0] if found else None


def memory_of_a_process(name: str) -> dict[tuple[Any, str], Any]:
    """What the modules of the store keep for one process."""
    return {
        (watch, "own_claims"): set(),
        (watch, "_sightings"): {},
        (claims, "_held"): [],
        (files, "_WRITER"): name,
    }


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """The simulated calls in place of the real ones, for processes of a world that `carried_out` runs."""
    clock = types.SimpleNamespace(monotonic=_monotonic, sleep=pause, perf_counter=_monotonic)
    threads = types.SimpleNamespace(
        Event=_Event, Thread=_Thread, main_thread=lambda: _MAIN, current_thread=lambda: _MAIN, get_ident=lambda: 1
    )
    signals = types.SimpleNamespace(signal=lambda *_: None, pthread_kill=_send, SIG_DFL=0, SIGURG=claims.WAKE)
    process = types.SimpleNamespace(unraisablehook=lambda *_: None, stderr=io.StringIO(), UnraisableHookArgs=None)
    replaced: list[tuple[Any, str, Any]] = [
        (os, "listdir", _listdir),
        (os, "scandir", _scandir),
        (os, "stat", _stat),
        (os, "lstat", lambda path, **named: _stat(path, follow_symlinks=False)),
        (os, "mkdir", _changing("mkdir", lambda client, path: client.make_folder(path))),
        (os, "rmdir", _changing("rmdir", lambda client, path: client.remove(path, is_folder=True))),
        (os, "unlink", _changing("unlink", lambda client, path: client.remove(path))),
        (os, "utime", _changing("utime", lambda client, path: client.touch(path))),
        (os, "rename", _between("rename", lambda client, source, target: client.rename(source, target))),
        (os, "replace", _between("replace", lambda client, source, target: client.rename(source, target))),
        (os, "link", _between("link", lambda client, source, target: client.link(source, target))),
        (os, "truncate", _truncate),
        (os, "open", _os_open),
        (os, "pwrite", _pwrite),
        (os, "close", _close),
        (os, "fsync", _fsync),
        (os, "fdopen", _open),
        (io, "open", _open),
        (shutil, "rmtree", _rmtree),
        (os, "getpid", lambda: _real["getpid"]() if _world is None or _world.current is None else _own().pid),
        *((module, "time", clock) for module in (watch, claims, ensure)),
        *((module, "threading", threads) for module in (claims, files)),
        (claims, "signal", signals),
        (claims, "sys", process),
        (claims, "secrets", types.SimpleNamespace(token_hex=lambda _: f"{_own().name}-{next(_own().tokens)}")),
        (owners, "host", lambda: f"{_own().host.name}/{_own().boot}"),
        (owners, "machine", lambda: _own().host.name),
        (owners, "process_numbering", lambda: "all"),
        (owners, "started", _started),
        (provenance, "provenance", dict),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    kept = [(module, name, getattr(module, name)) for module, name in memory_of_a_process("")]
    exit_before = os._exit
    try:
        for module, name, value in replaced:
            setattr(module, name, value)
        os._exit = _exit  # type: ignore[assignment]
        yield
    finally:
        os._exit = exit_before
        for module, name, value in [*before, *kept]:
            setattr(module, name, value)


def carried_out(world: World, until: float = float("inf")) -> None:
    """Runs the world, inside `installed`."""
    global _world
    before, _world = _world, world
    try:
        world.run(until)
    finally:
        _world = before
