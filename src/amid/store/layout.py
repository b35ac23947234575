"""Where everything lies in the results folder; this module alone names paths in it. No torch here.

results/CELL_ID/           cell.yaml status.json provenance.jsonl journal.jsonl scores.jsonl error.log claims/
                           checkpoints/ model/ generations/GENERATION_ID.jsonl examples/SCORE_ID.json
results/stages/KIND-ID/    the same for a tokenizer, a teacher, an initial student, or a model from elsewhere
results/texts/DIGEST.jsonl questions and references of an evaluation set, for reading generations side by side
results/requests/DIGEST.yaml  what was planned, whole, for a job to carry out
results/sweeps/NAME.json   the cells of a sweep and how to lay out their scores
results/submissions/NUMBER-SWEEP/  what was submitted to Slurm: job.sh, lists of requests, which job has what, logs/
results/logs/SWEEP/        what local workers and Ray's said, a file for each
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.config.names import check_name, file_part

Entry = Cell | Stage
INCOMING = ".incoming"  # beside where it will lie: what is not whole yet, and no entry
TEXTS_DIGITS = 16  # of a set's digest in its file name


@dataclass(frozen=True)
class Layout:
    """The paths below a results folder."""

    root: Path

    def folder(self, entry: Entry) -> Path:
        """The folder of a cell or stage."""
        return self.folder_of("cell" if isinstance(entry, Cell) else entry.kind, entry.id)

    def folder_of(self, kind: object, entry_id: object) -> Path:
        """The folder of a cell (kind `cell`) or stage. Raises RunError for what no entry is called.

        Kind and id may come from a file: a damaged or foreign one must not lead out of the store.
        """
        kind, name = file_part(kind, found_in=self.root), file_part(entry_id, found_in=self.root)
        return self.root / name if kind == "cell" else self.root / "stages" / f"{kind}-{name}"

    def texts(self, digest: str) -> Path:
        """Questions and references of an evaluation set."""
        return self.root / "texts" / f"{file_part(digest, found_in=self.root / 'texts')[:TEXTS_DIGITS]}.jsonl"

    def request(self, digest: str) -> Path:
        """A frozen request."""
        return self.root / "requests" / f"{digest}.yaml"

    def sweeps(self) -> list[Path]:
        """The manifests of all sweeps, the one requested last at the end."""
        return sorted((self.root / "sweeps").glob("*.json"), key=lambda path: path.stat().st_mtime)

    def sweep(self, name: str) -> Path:
        """The manifest of a sweep. Raises RequestError for what no sweep is called."""
        check_name("sweep", name)
        return self.root / "sweeps" / f"{name}.json"

    def entries(self) -> dict[str, Path]:
        """Name -> folder of every cell, stage and model there is."""
        folders = [*self.root.glob("*"), *(self.root / "stages").glob("*")]
        return {path.name: path for path in folders if status_path(path).is_file() and not path.is_symlink()}

    @property
    def submissions(self) -> Path:
        """The folder of all submissions to a cluster."""
        return self.root / "submissions"

    def rooms(self) -> list[Path]:
        """The folders that hold entries or files of the whole store."""
        return [self.root, *(self.root / name for name in ("stages", "sweeps", "requests", "texts"))]

    def logs(self, sweep: str) -> Path:
        """What the workers of a sweep said. Raises RequestError for what no sweep is called."""
        check_name("sweep", sweep)
        return self.root / "logs" / sweep

    def requests(self) -> list[Path]:
        """The frozen requests."""
        return sorted((self.root / "requests").glob("*.yaml"))

    def all_texts(self) -> list[Path]:
        """The questions and references of every evaluation set."""
        return sorted((self.root / "texts").glob("*.jsonl"))

    def cells(self) -> dict[str, Path]:
        """Id -> folder of every cell there is."""
        return {path.name: path for path in self.entries().values() if path.parent == self.root}


def status_path(folder: Path) -> Path:
    """The state of the entry whose folder this is."""
    return folder / "status.json"


def model_path(folder: Path) -> Path:
    """The finished weights, as a Hugging Face model folder."""
    return folder / "model"


def checkpoints_path(folder: Path) -> Path:
    """Checkpoints of a training that may be resumed."""
    return folder / "checkpoints"


def generations_path(folder: Path) -> Path:
    """One JSONL file of generated texts per generation id."""
    return folder / "generations"


def journal_path(folder: Path) -> Path:
    """The metrics of every logged step, one JSON object per line."""
    return folder / "journal.jsonl"


def provenance_path(folder: Path) -> Path:
    """Where each attempt ran and with what, one JSON object per line."""
    return folder / "provenance.jsonl"


def scores_path(folder: Path) -> Path:
    """The scores, one JSON object per line."""
    return folder / "scores.jsonl"


def per_example_path(folder: Path, score_id: str) -> Path:
    """The values per example behind one score."""
    return folder / "examples" / f"{file_part(score_id, found_in=scores_path(folder))}.json"


def lineage_path(folder: Path) -> Path:
    """What names this training apart from others of the same cell, for trackers that remember names for ever."""
    return folder / "lineage"


def identity_path(folder: Path) -> Path:
    """The values that name an entry."""
    return folder / "cell.yaml"


def error_path(folder: Path) -> Path:
    """The traceback of the last failure."""
    return folder / "error.log"
