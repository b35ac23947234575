"""Frozen requests: a checked configuration as it was planned, in a file named by its content. No torch here.

A job is given the name and carries out exactly that: a configuration edited meanwhile changes nothing.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from amid.cells.cell import Cell
from amid.cells.model_reference import local_folder
from amid.config import RunCfg, from_plain
from amid.config.overrides import override
from amid.digests.fingerprint import plain
from amid.digests.seals import DamagedError
from amid.errors import RequestError, RunError
from amid.store import Store
from amid.store.files import replace_text
from amid.store.identity import parsed

log = logging.getLogger(__name__)
REQUEST_VERSION = 1
DIGEST_DIGITS = 16
# The fast one where libyaml is there: a launcher freezes a whole sweep while somebody waits.
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
LOCATION = "paths.results"  # the one key that may stand beside a request: where it lies


@dataclass(frozen=True)
class Request:
    """A frozen request: its digest, the cell it was planned for, and the configuration."""

    digest: str
    cell_id: str
    run: RunCfg


def freeze(run: RunCfg, cell: Cell, store: Store) -> str:
    """The digest of the request, which lies in the store afterwards. Raises RunError if it cannot be written."""
    values = plain(asdict(_located(run)))
    form = {"cell": cell.id, "task": run.task, "version": REQUEST_VERSION, "run": values}
    text = yaml.dump(form, Dumper=_DUMPER, sort_keys=True, allow_unicode=True)
    digest = _digest(text)
    path = store.layout.request(digest)
    if path.is_file():
        with contextlib.suppress(OSError):  # of another user, say: then an earlier time stays
            os.utime(path)  # what was asked for last is the latest request
        return digest
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, text)
    except OSError as err:
        raise RunError(f"results folder {store.root} cannot be written: {err.strerror}") from err
    return digest


def thaw(digest: str, store: Store) -> Request:
    """The request of that digest. Raises RequestError if there is none, or its file is not what was written."""
    if not re.fullmatch(f"[0-9a-f]{{{DIGEST_DIGITS}}}", digest):
        raise RequestError(f"request must be {DIGEST_DIGITS} hex digits, got '{digest}'; valid: {_names(store)}")
    path = store.layout.request(digest)
    try:
        text = path.read_text()
    except (OSError, ValueError) as err:
        raise RequestError(f"request '{digest}' is not in {path.parent}; valid: {_names(store)}") from err
    if _digest(text) != digest:
        raise RequestError(
            f"{path} is not what was frozen (its content has changed); remove it and plan the cell again"
        )
    form = parsed(text)
    assert form is not None, "its digest says that it is whole"
    if form["version"] != REQUEST_VERSION:
        raise RequestError(f"{path} was frozen by another version of the product; plan the cell again")
    run = from_plain(RunCfg, form["run"])
    run.paths.results = str(store.root)  # the folder may have moved since
    return Request(digest, str(form["cell"]), run)


def check_frozen(path: Path) -> None:
    """Raises DamagedError for the file of a request that is not what was frozen."""
    try:
        text = path.read_text()
    except (OSError, ValueError):
        text = ""
    if _digest(text) != path.stem:
        raise DamagedError(path, "it is not what was frozen", "remove it and plan its cell again")


def latest_request(cell_id: str, store: Store) -> Request:
    """The request of a cell, named by how its id begins, that was written last; one that only prepares counts last.

    Raises RequestError if no request is of that cell, or of more than one.
    """
    return Requests(store).latest(cell_id)


class Requests:
    """The requests that are there now: their folder is read once, however many cells are looked up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, list[str]] = {}  # id of a cell -> its digests, the one that counts most first
        found: list[tuple[bool, float, str, str]] = []
        for path in store.layout.requests():
            head = _head(path)
            if "cell" in head:
                with contextlib.suppress(FileNotFoundError):  # deleted just now
                    written = path.stat().st_mtime
                    found.append((head.get("task") != "prepare", written, path.stem, head["cell"]))
        for _, _, digest, cell_id in sorted(found, reverse=True):
            self._known.setdefault(cell_id, []).append(digest)

    def digests_of(self, cell_id: str) -> list[str]:
        """The digests of a cell's requests, the latest first. Raises RequestError as `latest_request`."""
        names = [name for name in self._known if cell_id and name.startswith(cell_id)]
        if len(names) != 1:
            folder = self._store.layout.request("").parent
            what = f"names {len(names)} cells ({', '.join(sorted(names))})" if names else "has no request"
            raise RequestError(f"cell '{cell_id}' {what} in {folder}; one is written when the cell is first asked for")
        return self._known[names[0]]

    def latest(self, cell_id: str) -> Request:
        """As `latest_request`."""
        return thaw(self.digests_of(cell_id)[0], self._store)

    def of_sweep(self, cell_id: str, sweep: str) -> Request:
        """The request of a cell that was written last for that sweep; where none was, the latest of all.

        Raises RequestError as `latest_request`.
        """
        latest = self.latest(cell_id)
        if latest.run.sweep.name == sweep:
            return latest
        for digest in self.digests_of(cell_id)[1:]:
            request = thaw(digest, self._store)
            if request.run.task != "prepare" and request.run.sweep.name == sweep:
                return request
        return latest


def selected(run: RunCfg, overrides: Sequence[str]) -> Request | None:
    """The request that `request=` or `cell=` names; None if neither is given.

    overrides: everything that was given. Raises RequestError for anything beside it: the request is complete.
    """
    if run.request is None and run.cell is None:
        return None
    selector = "request" if run.request is not None else "cell"
    others = [text for text in overrides if text.partition("=")[0].lstrip("+") not in (selector, LOCATION)]
    if others:
        raise RequestError(
            f"{selector}= names a whole request; only {LOCATION} may stand beside it, got {', '.join(others)}"
        )
    store = Store(run.paths.results)
    if run.request is not None:
        return thaw(_as_given(selector, run.request, overrides), store)
    assert run.cell is not None
    request = latest_request(_as_given(selector, run.cell, overrides), store)
    log.info("cell %s: request %s", request.cell_id, request.digest)
    return request


def _as_given(selector: str, value: str, overrides: Sequence[str]) -> str:
    """The digits as they were given: Hydra reads some, such as 12e456789012 or 000123456789, as a number."""
    given = [text.partition("=")[2] for text in overrides if text.partition("=")[0].lstrip("+") == selector]
    return given[-1].strip("'\"") if given else value


def check_same_cell(request: Request, cell: Cell) -> None:
    """Raises RequestError unless the request still names the cell it was planned for."""
    if cell.id != request.cell_id:
        raise RequestError(
            f"request {request.digest} was planned as cell {request.cell_id} and names {cell.id} now: data, a model or "
            "the code changed since; plan it again"
        )


def request_overrides(digest: str, store: Store) -> tuple[str, ...]:
    """What a launcher passes to a job: the request, and where it lies."""
    # As a text: 943869e352222393 would be read as a number, and is infinite
    return override("request", digest), override(LOCATION, store.root.absolute())


def requested(overrides: Sequence[str]) -> tuple[str, Path]:
    """The digest of the request that a job was passed by `request_overrides`, and the results folder where it lies.

    Raises RequestError for a job that is no such request.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    given = {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(list(overrides))}
    if set(given) != {"request", LOCATION}:
        raise RequestError(f"a job that is no frozen request: {' '.join(overrides)}; hydra/sweeper must be amid")
    return str(given["request"]), Path(str(given[LOCATION]))


def _located(run: RunCfg) -> RunCfg:
    """The configuration with absolute paths, so that a job in another folder reads the same files."""
    changed = copy.deepcopy(run)
    paths: list[tuple[Any, str]] = [(changed.paths, "results"), (changed.paths, "cache")]
    paths += [(changed.data, "root"), (changed.evaluation, "root"), (changed.plain_text, "root")]
    for node, name in paths:
        value = getattr(node, name)
        if value is not None:
            setattr(node, name, str(Path(value).absolute()))
    for role in ("teacher", "student"):
        folder = local_folder(getattr(changed.pair, role))
        if folder is not None:
            setattr(changed.pair, role, str(folder.absolute()))
    changed.request = changed.cell = None
    return changed


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]


def _head(path: Path) -> dict[str, str]:
    """The keys of a request beside `run`; empty for a file that cannot be read, which is no request of any cell."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError):
        return {}
    parts = (line.partition(": ") for line in lines if not line.startswith(" "))
    return {key: value.strip("'") for key, separator, value in parts if separator}


def _names(store: Store) -> str:
    names = sorted(path.stem for path in store.layout.request("").parent.glob("*.yaml"))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "none yet"
