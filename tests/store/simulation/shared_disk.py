"""A shared disk as several hosts see it: one server, and what each host remembers of it, as an NFS client does.

At the server every operation is atomic, and of several that create one name one succeeds. A host looks names up in its
memory of a folder, which it renews when it is older than `cache_s`, or when the host itself has changed something in
that folder (the answer to a change carries the folder's new attributes). So it may miss a name that another host has
made or removed, and not see that a file was replaced. Opening a file asks the server: what was closed elsewhere before
is read (close-to-open), unless the host remembers that there is no such name. A host that remembers a name whose file
is gone is told so by the server (ESTALE) and looks again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

_numbers = count(1)


@dataclass(eq=False, slots=True)
class Node:
    """A file or folder at the server; `num_names` 0: it is gone."""

    is_folder: bool
    content: bytes = b""
    entries: dict[str, Node] = field(default_factory=dict)
    changed: float = 0.0  # by the server's clock
    num_names: int = 1
    number: int = field(default_factory=lambda: next(_numbers))


def error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


class Server:
    """The disk itself. `clock`: its own seconds, in which files have their times."""

    def __init__(self, root: str, clock: Callable[[], float]) -> None:
        self.root = Node(is_folder=True)
        self.prefix = root
        self.clock = clock

    def find(self, path: str) -> Node | None:
        """What is at a path now, as no host but the server itself knows it."""
        node: Node | None = self.root
        for name in self.parts(path):
            node = node.entries.get(name) if node is not None else None
        return node

    def parts(self, path: str) -> list[str]:
        return [name for name in path[len(self.prefix) :].split("/") if name]


@dataclass
class _Memory:
    entries: dict[str, Node]
    until: float


class Client:
    """The disk as one host sees it. `clock`: when what it remembers is too old. cache_s() -> seconds, 0: none."""

    def __init__(self, server: Server, clock: Callable[[], float], cache_s: Callable[[], float]) -> None:
        self.server = server
        self._clock = clock
        self._cache_s = cache_s
        self._folders: dict[int, _Memory] = {}
        self._times: dict[int, tuple[float, float]] = {}  # of files: the time remembered, and until when

    # Looking

    def names(self, path: str) -> list[str]:
        node = self._find(path)
        if not node.is_folder:
            raise error(errno.ENOTDIR, path)
        return sorted(self._entries(node))

    def stat(self, path: str) -> tuple[Node, float]:
        """What is there as far as the host knows, and when it changed."""
        node = self._find(path)
        known = self._times.get(node.number)
        if known is None or known[1] <= self._clock():
            if not node.num_names:
                node = self._find(path, fresh=True)
            known = self._remember_time(node)
        return node, known[0]

    def read(self, path: str) -> bytes:
        node = self._opened(path)
        if node.is_folder:
            raise error(errno.EISDIR, path)
        return node.content

    def _opened(self, path: str) -> Node:
        node = self._find(path)
        if not node.num_names:
            node = self._find(path, fresh=True)
        self._remember_time(node)
        return node

    # Changing

    def make_folder(self, path: str) -> None:
        self._create(path, Node(is_folder=True, changed=self.server.clock()))

    def create(self, path: str, *, exclusive: bool = False) -> Node:
        """The file of that name, empty now. Raises FileExistsError if it must be new and is not."""
        parent, name = self._parent(path)
        node = parent.entries.get(name)
        if node is not None and exclusive:
            self._refresh(parent)
            raise error(errno.EEXIST, path)
        if node is not None:
            if node.is_folder:
                raise error(errno.EISDIR, path)
            self.write(node, b"")
            return node
        return self._create(path, Node(is_folder=False))

    def _create(self, path: str, node: Node) -> Node:
        parent, name = self._parent(path)
        if name in parent.entries:
            self._refresh(parent)
            raise error(errno.EEXIST, path)
        parent.entries[name] = node
        node.changed = self.server.clock()
        self._changed(parent)
        return node

    def existing(self, path: str) -> Node:
        """The file to be written in place. Raises FileNotFoundError."""
        return self._opened(path)

    def write(self, node: Node, content: bytes, at: int | None = None) -> None:
        """The whole content, or some of it in place; a file that is gone takes it and is gone."""
        node.content = content if at is None else node.content[:at] + content + node.content[at + len(content) :]
        node.changed = self.server.clock()
        self._remember_time(node)

    def touch(self, path: str) -> None:
        node = self._find(path)
        if not node.num_names:
            node = self._find(path, fresh=True)
        node.changed = self.server.clock()
        self._remember_time(node)
        if node.is_folder:
            self._refresh(node)  # the answer carries its attributes

    def link(self, source: str, target: str) -> None:
        node = self._opened(source)
        parent, name = self._parent(target)
        if name in parent.entries:
            self._refresh(parent)
            raise error(errno.EEXIST, target)
        parent.entries[name] = node
        node.num_names += 1
        self._changed(parent)

    def remove(self, path: str, *, is_folder: bool = False) -> None:
        parent, name = self._parent(path)
        node = parent.entries.get(name)
        if node is None:
            self._refresh(parent)
            raise error(errno.ENOENT, path)
        if node.is_folder != is_folder:
            raise error(errno.ENOTDIR if is_folder else errno.EISDIR, path)
        if node.entries:
            raise error(errno.ENOTEMPTY, path)
        self._drop(parent, name)
        self._changed(parent)

    def rename(self, source: str, target: str) -> None:
        (before, old), (after, new) = self._parent(source), self._parent(target)
        node, there = before.entries.get(old), after.entries.get(new)
        if node is None:
            self._refresh(before)
            raise error(errno.ENOENT, source)
        if there is not None and there.is_folder and not node.is_folder:
            raise error(errno.EISDIR, target)
        if there is not None and not there.is_folder and node.is_folder:
            raise error(errno.ENOTDIR, target)
        if there is not None and there.entries:
            raise error(errno.ENOTEMPTY, target)
        if there is node:  # two names of one file: nothing is done
            return
        if there is not None:
            self._drop(after, new)
        del before.entries[old]
        after.entries[new] = node
        self._changed(before)
        self._changed(after)

    def _drop(self, parent: Node, name: str) -> None:
        parent.entries.pop(name).num_names -= 1

    # What the host remembers

    def _entries(self, folder: Node) -> dict[str, Node]:
        known = self._folders.get(folder.number)
        return known.entries if known is not None and known.until > self._clock() else self._refresh(folder)

    def _refresh(self, folder: Node) -> dict[str, Node]:
        seconds = self._cache_s()
        if not seconds:
            return folder.entries
        entries = dict(folder.entries)
        self._folders[folder.number] = _Memory(entries, self._clock() + seconds)
        return entries

    def _changed(self, folder: Node) -> None:
        folder.changed = self.server.clock()
        self._refresh(folder)

    def _remember_time(self, node: Node) -> tuple[float, float]:
        known = (node.changed, self._clock() + self._cache_s())
        self._times[node.number] = known
        return known

    def _find(self, path: str, *, fresh: bool = False) -> Node:
        node = self.server.root
        parts = self.server.parts(path)
        for place, name in enumerate(parts):
            if not node.is_folder:
                raise error(errno.ENOTDIR, path)
            found = (self._refresh(node) if fresh else self._entries(node)).get(name)
            if found is None:
                raise error(errno.ENOENT, path)
            if place < len(parts) - 1 and not found.num_names and not fresh:
                return self._find(path, fresh=True)
            node = found
        return node

    def _parent(self, path: str) -> tuple[Node, str]:
        """The folder at the server that a change goes to."""
        folder, _, name = path.rpartition("/")
        node = self._find(folder)
        if not node.num_names:
            node = self._find(folder, fresh=True)
        if not node.is_folder:
            raise error(errno.ENOTDIR, path)
        return node, name
