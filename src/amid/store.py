"""The store: everything on disk about cells, stages and sweeps. It alone names paths inside the results folder.

    results/CELL_ID/           cell.yaml provenance.json status.json journal.jsonl scores.jsonl
                               checkpoints/ model/ generations/GENERATION_ID.jsonl examples/SCORE_ID.json
    results/stages/KIND-ID/    the same for a tokenizer, a teacher, an initial student, or a model from elsewhere
    results/texts/DIGEST.jsonl questions and references of an evaluation set, for reading generations side by side
    results/sweeps/NAME.json   the cells of a sweep and how to lay out their scores

One folder per cell and one writer per folder (claims); files are written beside their place and renamed into it.
No torch here.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import yaml

from amid.cell import Cell, Stage
from amid.claims import Claim, attempts, is_live, replace_text, try_claim
from amid.errors import REASON_LENGTH, RequestError, RunError, one_line
from amid.names import check_name, file_part, link_text

log = logging.getLogger(__name__)
State = Literal["absent", "running", "stopped", "failed", "done"]
Entry = Cell | Stage
PENDING_ROWS = "pending.json"  # rows on their way into several files
TEXTS_DIGITS = 16  # of a set's digest in its file name
PROVENANCE_PACKAGES = ("torch", "lightning", "transformers", "hydra-core", "tokenizers", "sacrebleu", "rouge-score")


@dataclass(frozen=True)
class Score:
    """One number: a metric of one checkpoint on one set with one decode seed.

    generation_id names the texts it was computed from, score_id these texts and the metric's version.
    decode_seed is None for a metric over the texts of all seeds. group_id names set and decoding: scores of two entries
    compare under the same one. main: the metric is the set's own.
    """

    entry_id: str
    eval_set: str
    generation_id: str
    score_id: str
    decode_seed: int | None
    metric: str
    value: float
    num_samples: int
    group_id: str = ""
    main: bool = False


@dataclass(frozen=True)
class Examples:
    """What a score is the mean of: one value per example, in the order of the set.

    texts: digest of the set's prompts and references.
    """

    score_id: str
    texts: str
    values: tuple[float, ...]


class Store:
    """The results folder."""

    def __init__(self, results: Path | str) -> None:
        self.root = Path(results)

    # Paths

    def folder(self, entry: Entry) -> Path:
        """The folder of a cell or stage."""
        return self.folder_of("cell" if isinstance(entry, Cell) else entry.kind, entry.id)

    def folder_of(self, kind: object, entry_id: object) -> Path:
        """The folder of a cell (kind `cell`) or stage. Raises RunError for what no entry is called.

        Kind and id may come from a file: a damaged or foreign one must not lead out of the store.
        """
        kind, name = file_part(kind, found_in=self.root), file_part(entry_id, found_in=self.root)
        return self.root / name if kind == "cell" else self.root / "stages" / f"{kind}-{name}"

    def model_folder(self, entry: Entry) -> Path:
        """The finished weights, as a Hugging Face model folder."""
        return self.folder(entry) / "model"

    def checkpoints_folder(self, entry: Entry) -> Path:
        """Checkpoints of a training that may be resumed."""
        return self.folder(entry) / "checkpoints"

    def generations_folder(self, entry: Entry) -> Path:
        """One JSONL file of generated texts per generation id."""
        return self.folder(entry) / "generations"

    def journal_path(self, entry: Entry) -> Path:
        """The metrics of every logged step, one JSON object per line."""
        return self.folder(entry) / "journal.jsonl"

    def lineage_path(self, entry: Entry) -> Path:
        """What names this training apart from others of the same cell, for trackers that remember names for ever."""
        return self.folder(entry) / "lineage"

    def error_path(self, entry: Entry) -> Path:
        """The traceback of the last failure."""
        return self.folder(entry) / "error.log"

    def examples_path(self, folder: Path, score_id: str) -> Path:
        """The values per example behind one score of the entry whose folder this is."""
        return folder / "examples" / f"{file_part(score_id, found_in=folder / 'scores.jsonl')}.json"

    def texts_path(self, digest: str) -> Path:
        """Questions and references of an evaluation set."""
        return self.root / "texts" / f"{file_part(digest, found_in=self.root / 'texts')[:TEXTS_DIGITS]}.jsonl"

    def sweep_path(self, name: str) -> Path:
        """The manifest of a sweep. Raises RequestError for what no sweep is called."""
        check_name("sweep", name)
        return self.root / "sweeps" / f"{name}.json"

    # Life of a cell or stage

    def claim(self, entry: Entry) -> Claim | None:
        """The right to work on an entry; None when it is done or held by a live process.

        Leaves cell.yaml, provenance.json and a status "running" in the folder.
        """
        folder = self.folder(entry)
        if self.status_of_folder(folder).get("state") == "done":
            return None
        claim = try_claim(folder)
        if claim is None:
            return None
        if self.status_of_folder(folder).get("state") == "done":  # finished between the two looks
            claim.release()
            return None
        replace_text(folder / "cell.yaml", yaml.safe_dump(dict(entry.values), sort_keys=True))
        replace_text(folder / "provenance.json", json.dumps(provenance(), indent=2))
        self.set_status(entry, "running")
        return claim

    def claim_done(self, entry: Entry) -> Claim | None:
        """A claim on a finished entry, to add scores; None when a live process holds it."""
        return try_claim(self.folder(entry))

    def set_status(self, entry: Entry, state: State, **details: Any) -> None:
        """Record the state, with details such as the error line or the seconds it took."""
        folder = self.folder(entry)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        status = {"state": state, "attempt": attempts(folder), "at": now, **details}
        replace_text(folder / "status.json", json.dumps(status))

    def set_failed(self, entry: Entry, reason: str, details: str) -> bool:
        """Whether a failure could be recorded: its one-line reason in the status, its traceback beside it.

        What is done stays done, with the reason why adding to it failed: training and evaluation have one folder.
        """
        known = self.status(entry)
        done = known.get("state") == "done"
        kept = {key: value for key, value in known.items() if key not in ("state", "attempt", "at")} if done else {}
        try:
            replace_text(self.error_path(entry), details)
            self.set_status(entry, "done" if done else "failed", **{**kept, "error": one_line(reason)[:REASON_LENGTH]})
        except OSError as err:
            log.warning("the failure could not be recorded in %s: %s", self.folder(entry), err.strerror)
            return False
        return True

    def set_evaluated(self, entry: Entry) -> None:
        """None; a finished entry forgets why an earlier evaluation failed."""
        known = self.status(entry)
        if known.get("state") == "done" and "error" in known:
            details = {key: value for key, value in known.items() if key not in ("state", "attempt", "at", "error")}
            self.set_status(entry, "done", **details)

    def state(self, entry: Entry) -> State:
        """absent, running (a live owner), stopped (its owner is gone), failed or done."""
        return self.state_of_folder(self.folder(entry))

    def state_of_folder(self, folder: Path) -> State:
        """The state of the entry whose folder this is."""
        state = self.status_of_folder(folder).get("state", "absent")
        if state == "running":
            return "running" if is_live(folder) else "stopped"
        assert state in ("absent", "failed", "done")
        return state  # type: ignore[no-any-return]

    def status(self, entry: Entry) -> Mapping[str, Any]:
        """The recorded status with its details; empty if there is none."""
        return self.status_of_folder(self.folder(entry))

    @staticmethod
    def status_of_folder(folder: Path) -> dict[str, Any]:
        """The recorded status of the entry whose folder this is; empty if there is none."""
        link = link_text(folder)
        if link is not None:
            return {"state": "failed", "error": link}
        try:
            status = json.loads((folder / "status.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        assert isinstance(status, dict)
        return status

    # Scores

    def write(self, entry: Entry, scores: Sequence[Score], examples: Sequence[Examples] = ()) -> None:
        """Add scores and what they are means of; a score of the same texts, set, seed and metric is replaced."""
        folder = self.folder(entry)
        for each in examples:  # first, so that a score on disk has its examples
            path = self.examples_path(folder, each.score_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps(asdict(each)))
        known = {_score_key(score): score for score in [*self.read([entry]), *scores]}
        lines = [json.dumps(asdict(known[key]), sort_keys=True) for key in sorted(known)]
        replace_text(folder / "scores.jsonl", "".join(f"{line}\n" for line in lines))

    def read_examples(self, folder: Path, score_id: str) -> Examples | None:
        """The values per example behind a score of the entry whose folder this is; None if it has none."""
        try:
            values = json.loads(self.examples_path(folder, score_id).read_text())
        except FileNotFoundError:
            return None
        return Examples(**{**values, "values": tuple(values["values"])})

    def write_texts(self, digest: str, questions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Keep the questions and references of an evaluation set, named by the digest of its prompts and references."""
        path = self.texts_path(digest)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [
                {"question": question, "references": list(texts)}
                for question, texts in zip(questions, references, strict=True)
            ]
            replace_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))

    def read_texts(self, digest: str) -> list[dict[str, Any]]:
        """question and references of each example of an evaluation set; empty if they were not kept."""
        return list(read_json_lines(self.texts_path(digest)))

    def find_entry(self, name: str) -> Path:
        """The folder of the one cell, stage or model whose id begins with `name`; KIND-ID is understood too.

        Raises RequestError if there is none or more than one.
        """
        candidates = [*self.root.glob("*"), *(self.root / "stages").glob("*")]
        folders = {path.name: path for path in candidates if (path / "status.json").is_file() and not path.is_symlink()}
        found = [key for key in sorted(folders) if name and (key.startswith(name) or _id_of(key).startswith(name))]
        if len(found) != 1:
            what = f"names {len(found)} entries ({', '.join(found)})" if found else "names no cell, stage or model"
            raise RequestError(f"'{name}' {what} in {self.root}; valid: {', '.join(sorted(folders)) or 'none yet'}")
        return folders[found[0]]

    def read(self, entries: Iterable[Entry]) -> list[Score]:
        """The scores of the given entries; nothing for an entry without scores."""
        return [score for entry in entries for score in self.read_folder(self.folder(entry))]

    def read_folder(self, folder: Path) -> list[Score]:
        """The scores in the folder of one entry."""
        if folder.is_symlink():
            return []
        return [Score(**line) for line in read_json_lines(folder / "scores.jsonl")]

    # Sweeps

    def write_sweep(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Record the cells of a sweep. Raises RunError if the results folder cannot be written."""
        path = self.sweep_path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(manifest, indent=1)
            if not path.exists() or path.read_text() != text:
                replace_text(path, text)
            else:
                os.utime(path)  # the latest sweep is the one requested last
        except OSError as err:
            raise RunError(f"results folder {self.root} cannot be written: {err.strerror}") from err

    def read_sweep(self, name: str | None) -> dict[str, Any]:
        """The manifest of a sweep, the most recent one for None. Raises RequestError if there is none."""
        paths = {path.stem: path for path in (self.root / "sweeps").glob("*.json")}
        if name is None:
            if not paths:
                raise RequestError(f"no sweep in {self.root}; start one with: python run.py -m amid.alpha=-1,0,1")
            name = max(paths, key=lambda stem: paths[stem].stat().st_mtime)
        elif name not in paths:  # only what is there is read, so that no name leads elsewhere
            check_name("sweep", name)
            valid = ", ".join(sorted(paths)) or "none yet"
            raise RequestError(f"sweep '{name}' is not in {self.root}; valid: {valid}")
        manifest = json.loads(paths[name].read_text())
        assert isinstance(manifest, dict)
        return manifest


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file; nothing if there is no file. A torn last line (killed writer) is left out."""
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    for line in text.split(b"\n")[:-1]:  # what follows the last line feed is empty or torn
        yield json.loads(line)


def drop_torn_line(path: Path) -> None:
    """None; cuts what a killed writer left after the last complete line of a JSONL file, before appending to it."""
    if path.exists():
        text = path.read_bytes()
        complete = text.rfind(b"\n") + 1
        if complete < len(text):
            with path.open("r+b") as stream:
                stream.truncate(complete)


def generations_path(folder: Path, generation_id: str) -> Path:
    """The file of one generation id in a folder of generations."""
    return folder / f"{file_part(generation_id, found_in=folder)}.jsonl"


def commit_rows(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """None; appends rows (with an "index" each) to the files of several generation ids: all of them, also if killed.

    What a kill left is completed by `complete_commit`, which the next writer calls first.
    """
    replace_text(folder / PENDING_ROWS, json.dumps(rows))
    complete_commit(folder)


def complete_commit(folder: Path) -> None:
    """None; carries out what is left of the last `commit_rows`, and cuts torn lines off."""
    for path in folder.glob("*.jsonl"):
        drop_torn_line(path)
    pending = folder / PENDING_ROWS
    try:
        rows = json.loads(pending.read_text())
    except FileNotFoundError:
        return
    for generation_id, items in rows.items():
        path = generations_path(folder, generation_id)
        done = {row["index"] for row in read_json_lines(path)}
        with path.open("a") as stream:
            stream.write("".join(f"{json.dumps(item)}\n" for item in items if item["index"] not in done))
    pending.unlink()


def provenance() -> dict[str, Any]:
    """Where a result came from: recorded, never hashed."""
    versions = {}
    for package in ("amid-lab", *PROVENANCE_PACKAGES):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git": _git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "num_cpus": os.cpu_count(),
        "packages": versions,
    }


def _git_state() -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout this package runs from; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain"], capture_output=True, text=True, check=True, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changes.strip())}


def _id_of(folder_name: str) -> str:
    return folder_name.rpartition("-")[2]


def _score_key(score: Score) -> tuple[str, str, int, str]:
    # Without the score id: a new version of a metric replaces the old number
    return (score.eval_set, score.metric, -1 if score.decode_seed is None else score.decode_seed, score.generation_id)
