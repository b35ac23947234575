"""Protocols that are wrong in one thing each: what the simulation must find. Each replaces a function of the store."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import simulated_calls

from amid.store import claims, files, store, watch
from amid.store.store import Store

Replaced = list[tuple[Any, str, Any]]
SKEW_S = 90.0  # of the clocks of two hosts that are compared


@dataclass(frozen=True)
class Broken:
    """A wrong protocol: what is wrong, what to replace, and which invariant it breaks."""

    what: str
    replaced: Replaced
    invariant: str


def _by_clocks(folder: Path, *, stale_after_s: float | None = None) -> watch.Standing:
    """Whether an owner elsewhere is alive, by this host's clock and the time of its claim."""
    path, _, owner = watch._read_owner(folder)
    standing = watch._standing(owner, path)
    if path is None or standing != "unknown":
        return standing
    process = simulated_calls._own()
    number = process.host.world.hosts.index(process.host)
    wall = process.host.world.server.clock() + SKEW_S * number
    return "free" if wall - path.stat().st_mtime > watch.STALE_AFTER_S else "held"


def _written(path: Path, token: str) -> bool:
    """A claim that is written where no other is seen."""
    if path.exists():
        return False
    path.write_bytes(claims._padded(token=token, heartbeat=0))
    return True


def _removed(claim: claims.Claim) -> None:
    watch.own_claims.discard(claim.path.absolute())
    claim.path.unlink(missing_ok=True)


def _removed_after_the_check(self: Store, entry: Any, claim: claims.Claim) -> Path:
    target = self.model_folder(entry)
    claim.check()
    for leftover in (target, *target.parent.glob(f"{target.name}.partial*")):
        shutil.rmtree(leftover, ignore_errors=True)
    return target.with_name(f"{target.name}.partial-{claim.number}")


def _nothing(*_: object, **__: object) -> None:
    return None


PROTOCOLS = {
    "clocks are compared": Broken(
        "an owner is judged by comparing two clocks", [(watch, "look", _by_clocks)], "no living owner is succeeded"
    ),
    "claims are written": Broken(
        "a claim is written where none is seen, and not linked", [(claims, "_create", _written)], "one owner"
    ),
    "nothing is checked": Broken(
        "no look at the claims before a write", [(claims.Claim, "check", _nothing)], "no late write"
    ),
    "owners are succeeded early": Broken(
        "an owner is succeeded after less than a heartbeat",
        [(watch, "STALE_AFTER_S", 4.0)],
        "no living owner is succeeded",
    ),
    "a release removes the claim": Broken(
        "a released claim is removed, and its number used again", [(claims.Claim, "release", _removed)], "one owner"
    ),
    "names are remembered": Broken(
        "a look at the claims may be a minute old, as NFS remembers it",
        [(claims, "look_anew", _nothing), (files, "look_anew", _nothing)],
        "no late write",
    ),
    "temporaries are left": Broken(
        "a successor leaves what its predecessor was about to put in its place",
        [(store, "drop_temporaries", _nothing)],
        "no late write",
    ),
    "models are removed late": Broken(
        "what is to be removed is looked for after the check",
        [(Store, "partial_model", _removed_after_the_check)],
        "no late write",
    ),
}


@contextlib.contextmanager
def in_place(broken: Broken) -> Iterator[None]:
    """The wrong protocol in place of ours."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in broken.replaced]
    try:
        for owner, name, value in broken.replaced:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
