"""The store: everything on disk about cells, stages and sweeps, with one writer per folder.

What is read is checked (`seals`): a damaged file is named and either rebuilt by whoever makes it, or refused. What is
written in a claimed folder is preceded by a look whether it is still ours. No torch here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from amid.digests.fingerprint import FileDigests
from amid.digests.seals import DamagedError, check_folder, file_digest, seal, seal_folder
from amid.errors import REASON_LENGTH, RequestError, RunError, TakenOverError, one_line
from amid.store import layout, manifests, scores
from amid.store.claims import Claim, try_claim
from amid.store.damage import damage_of, is_pruned
from amid.store.files import drop_temporaries, replace_text
from amid.store.layout import Entry, Layout
from amid.store.provenance import record_attempt
from amid.store.scores import PerExample, Score
from amid.store.status import REBUILT, State, read_status, state_of, write_status
from amid.store.watch import attempts, look, owner_of

log = logging.getLogger(__name__)


class Store:
    """The results folder."""

    def __init__(self, results: Path | str) -> None:
        self.root = Path(results)
        self.layout = Layout(self.root)
        self._claims: dict[Path, Claim] = {}

    # Paths

    def folder(self, entry: Entry) -> Path:
        """The folder of a cell or stage."""
        return self.layout.folder(entry)

    def model_folder(self, entry: Entry) -> Path:
        """The finished weights, as a Hugging Face model folder."""
        return layout.model_path(self.folder(entry))

    def checkpoints_folder(self, entry: Entry) -> Path:
        """Checkpoints of a training that may be resumed."""
        return layout.checkpoints_path(self.folder(entry))

    def generations_folder(self, entry: Entry) -> Path:
        """One JSONL file of generated texts per generation id."""
        return layout.generations_path(self.folder(entry))

    def journal_path(self, entry: Entry) -> Path:
        """The metrics of every logged step, one JSON object per line."""
        return layout.journal_path(self.folder(entry))

    def lineage_path(self, entry: Entry) -> Path:
        """What names this training apart from others of the same cell."""
        return layout.lineage_path(self.folder(entry))

    def error_path(self, entry: Entry) -> Path:
        """The traceback of the last failure."""
        return layout.error_path(self.folder(entry))

    def sweep_path(self, name: str) -> Path:
        """The manifest of a sweep."""
        return self.layout.sweep(name)

    # Claims

    def claim(self, entry: Entry) -> Claim | None:
        """The right to work on an entry; None when it is done or held by a live process.

        Leaves cell.yaml, a record of this attempt and a status "running" in the folder.
        """
        if self.state(entry) == "done":
            return None
        claim = self._claim(entry)
        if claim is None:
            return None
        folder = self.folder(entry)
        with _released_on_error(claim):
            before = read_status(folder, to_write=True)
        if before.get("state") == "done":  # finished between the two looks
            claim.release()
            return None
        if before.get("state") == "damaged" and "attempt" not in before:  # else it was recorded as damaged, and said
            log.warning("%s", before.get("error"))
        with _released_on_error(claim):
            text = yaml.safe_dump(dict(entry.values), sort_keys=True)
            replace_text(folder / "cell.yaml", text, check=claim.check)
            record_attempt(folder, attempt=claim.number, purpose="train", check=claim.check)
            self.set_status(entry, "running")
        return claim

    def claim_done(self, entry: Entry) -> Claim | None:
        """A claim on a finished entry, to add scores; None when a live process holds it."""
        claim = self._claim(entry)
        if claim is not None:
            with _released_on_error(claim):
                record_attempt(self.folder(entry), attempt=claim.number, purpose="evaluate", check=claim.check)
        return claim

    def _claim(self, entry: Entry) -> Claim | None:
        """A claim on the entry, in whose folder no earlier owner can put anything in its place any more."""
        claim = try_claim(self.folder(entry))
        if claim is not None:
            self._claims[self.folder(entry)] = claim
            with _released_on_error(claim):
                drop_temporaries(self.folder(entry), check=claim.check)
        return claim

    def guard(self, entry: Entry) -> Callable[[], None]:
        """A function that raises TakenOverError when another process owns the entry that this one claimed."""
        claim = self._claims.get(self.folder(entry))
        return _allow if claim is None else claim.check

    def notice(self, entries: Iterable[Entry]) -> None:
        """Begins to watch the owners of all entries, so that those that are gone are known after one wait."""
        for entry in entries:
            look(self.folder(entry))

    def is_owned(self, entry: Entry) -> bool:
        """Whether a process holds the entry, as far as this one has watched it."""
        return look(self.folder(entry)) != "free"

    def owner(self, entry: Entry) -> str:
        """Who holds the entry, in words, with the last sign of life."""
        return owner_of(self.folder(entry))

    def attempts(self, entry: Entry) -> int:
        """How many processes have claimed the entry so far."""
        return attempts(self.folder(entry))

    # State

    def set_status(self, entry: Entry, state: State, **details: Any) -> None:
        """Record the state, with details such as the error line or the seconds it took."""
        write_status(self.folder(entry), state, check=self.guard(entry), **details)

    def set_failed(self, entry: Entry, reason: str, details: str) -> bool:
        """Whether a failure could be recorded: its one-line reason in the status, its traceback beside it.

        What is done stays done, with the reason why adding to it failed: training and evaluation have one folder.
        """
        known = self.status(entry)
        state: State = "done" if known.get("state") == "done" else "failed"
        kept = _details(known) if state == "done" else {}
        try:
            self.set_status(entry, state, **{**kept, "error": one_line(reason)[:REASON_LENGTH]})
            replace_text(self.error_path(entry), details, check=self.guard(entry))
        except TakenOverError:
            return False  # it is no longer ours to fail
        except (OSError, RunError) as err:
            why = err.strerror if isinstance(err, OSError) else str(err)
            log.warning("the failure could not be recorded in %s: %s", self.folder(entry), why)
            return False
        return True

    def set_evaluated(self, entry: Entry) -> None:
        """A finished entry forgets why an earlier evaluation failed."""
        known = self.status(entry)
        if known.get("state") == "done" and "error" in known:
            self.set_status(entry, "done", **{key: value for key, value in _details(known).items() if key != "error"})

    def state(self, entry: Entry) -> State:
        """absent, running (it has an owner), stopped (its owner is gone), failed, done, or damaged."""
        return state_of(self.folder(entry))

    def status(self, entry: Entry) -> Mapping[str, Any]:
        """The recorded status with its details; empty if there is none."""
        return read_status(self.folder(entry))

    def is_damaged(self, entry: Entry) -> bool:
        """Whether a listing cannot read all there is of the entry."""
        return bool(damage_of(self.folder(entry)))

    # Models

    def partial_model(self, entry: Entry, claim: Claim) -> Path:
        """Where the owner of a claim makes the entry's model; there is neither a model nor another's part of one now.

        The folder is this attempt's own, so that one that was thought dead never writes into its successor's.
        """
        target = self.model_folder(entry)
        # Looked for before the check: one that was suspended after it must not remove what its successor made meanwhile
        leftovers = list(target.parent.glob(f"{target.name}.partial*")) + ([target] if target.exists() else [])
        claim.check()
        for leftover in leftovers:
            shutil.rmtree(leftover, ignore_errors=True)
        return target.with_name(f"{target.name}.partial-{claim.number}")

    def publish_model(self, entry: Entry, partial: Path, **details: Any) -> None:
        """Puts a complete model folder in its place, sealed, and keeps its seal in the status."""
        seal_of_model, target = seal_folder(partial), self.model_folder(entry)
        before = self.status(entry).get("model")
        if before not in (None, seal_of_model):
            log.warning("%s: other weights than before, on another machine or with another number of threads", target)
        self.guard(entry)()
        partial.rename(target)
        self.set_status(entry, "running", model=seal_of_model, **details)

    def check_model(self, entry: Entry, *, digests: FileDigests | None = None) -> str | None:
        """The seal of an entry's model; raises DamagedError if the model has changed since it was published.

        None for a model from before seals, which cannot be checked, and where there is none. digests: a memory of
        digests for listings; without it every byte is read.
        """
        folder = self.model_folder(entry)
        expected = self.status(entry).get("model")
        if not folder.is_dir():
            if expected is None:
                return None
            raise DamagedError(folder, "it is missing", REBUILT)
        digest = file_digest if digests is None else digests.quick
        return check_folder(folder, expected=expected, remedy=REBUILT, digest=digest)

    def checked_state(self, entry: Entry, digests: FileDigests) -> State:
        """The state, "damaged" also for a finished entry whose model has changed since; for listings."""
        state = self.state(entry)
        if state == "done" and not self.is_pruned(entry):
            try:
                self.check_model(entry, digests=digests)
            except DamagedError:
                return "damaged"
        return state

    def is_pruned(self, entry: Entry) -> bool:
        """Whether the whole model of a done entry was removed, to save space; its scores stay what they are."""
        return is_pruned(self.folder(entry))

    def is_finished(self, entry: Entry) -> bool:
        """Whether the entry is done and its model what was published.

        A damaged one is reported, and recorded as damaged, so that the next claim rebuilds it.
        """
        if self.state(entry) != "done":
            return False
        try:
            self.check_model(entry)
        except DamagedError as err:
            log.warning("%s", err)
            claim = self._claim(entry)
            if claim is not None:
                with _released_on_error(claim):
                    self.set_status(entry, "damaged", error=str(err))
                claim.release()
            return False
        return True

    def adopt_model(self, entry: Entry) -> bool:
        """Whether an unfinished entry has a complete model of an earlier attempt, checked byte by byte and recorded."""
        try:
            seal_of_model = self.check_model(entry)
        except DamagedError:
            return False  # whoever asks makes it anew
        if seal_of_model is not None:
            self.set_status(entry, "running", model=seal_of_model)
        return seal_of_model is not None

    # Scores

    def write(self, entry: Entry, new: Sequence[Score], per_example: Sequence[PerExample] = ()) -> None:
        """Add scores and what they are means of; a score of the same texts, set, seed and metric is replaced."""
        folder, check = self.folder(entry), self.guard(entry)
        scores.write_per_example(folder, per_example, check=check)  # first, so that a score on disk has its values
        scores.write_scores(folder, new, check=check)

    def read(self, entries: Iterable[Entry]) -> list[Score]:
        """The sound scores of the given entries; what is damaged is reported, and missing for whoever counts."""
        found = []
        for entry in entries:
            sound, damage = scores.sift_scores(self.folder(entry))
            for each in damage:
                log.warning("%s", each)
            found += sound
        return found

    def has_per_example(self, entry: Entry, score_id: str) -> bool:
        """Whether the values per example behind a score are there."""
        return layout.per_example_path(self.folder(entry), score_id).is_file()

    def write_texts(self, digest: str, questions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Keep the questions and references of an evaluation set, named by the digest of its prompts and references."""
        scores.write_texts(self.layout.texts(digest), questions, references)

    def read_texts(self, digest: str) -> list[dict[str, Any]]:
        """question and references of each example of a set; empty if they were not kept. Raises DamagedError."""
        return scores.read_texts(self.layout.texts(digest))

    def find_entry(self, name: str) -> Path:
        """The folder of the one cell, stage or model whose id begins with `name`; KIND-ID is understood too.

        Raises RequestError if there is none or more than one.
        """
        folders = self.layout.entries()
        ids = {key: key.rpartition("-")[2] for key in folders}
        found = [key for key in sorted(folders) if name and (key.startswith(name) or ids[key].startswith(name))]
        if len(found) != 1:
            valid = manifests.listed(sorted(folders)) or "none yet"
            what = (
                f"names {len(found)} entries ({manifests.listed(found)})" if found else "names no cell, stage or model"
            )
            raise RequestError(f"'{one_line(name)}' {what} in {self.root}; valid: {valid}")
        return folders[found[0]]

    # Sweeps

    def write_sweep(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Record the cells of a sweep. Raises RunError if the results folder cannot be written."""
        path = self.sweep_path(name)
        text = seal(manifest, indent=1)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != text.encode():
                replace_text(path, text)
            else:
                os.utime(path)  # the latest sweep is the one requested last
        except OSError as err:
            raise RunError(f"results folder {self.root} cannot be written: {err.strerror}") from err

    def read_sweep(self, name: str | None) -> dict[str, Any]:
        """The manifest of a sweep or single run, the most recent one for None; named as in `manifests.sweep_path`.

        Raises RequestError for none, or DamagedError.
        """
        path = manifests.sweep_path(self.layout, name)
        return manifests.read_manifest(path, others=[each.stem for each in self.layout.sweeps() if each != path])


def _details(status: Mapping[str, Any]) -> dict[str, Any]:
    """What a status says besides the state itself."""
    return {key: value for key, value in status.items() if key not in ("state", "attempt", "at")}


def _allow() -> None:
    """What this process writes without a claim is checked by nobody."""


@contextlib.contextmanager
def _released_on_error(claim: Claim) -> Iterator[None]:
    """A context after whose errors the claim is free again: nobody would wait for it but this process."""
    try:
        yield
    except BaseException as err:
        claim.release()
        if isinstance(err, OSError):
            raise RunError(f"results folder {claim.folder} cannot be written: {err.strerror}") from err
        raise
