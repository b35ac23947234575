"""Damaged stores: no command ends with a traceback, hides what is sound, or changes what it only reads."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from harness import Outcome, prepare, run_here, tree, with_folders

from amid.store import watch

SMALL = (
    "logger=none",
    "data.num_records=96",
    "data.num_dev=4",
    "data.num_eval=3",
    "pair.tokenizer_vocab_size=400",
    "pair.teacher_arch={layers: 1, width: 16, heads: 2, positions: 512}",
    "pair.student_arch={layers: 1, width: 8, heads: 2, positions: 512}",
    "pair.teacher_sft={epochs: 1, max_steps: 1, global_batch_size: 8, validation: {max_new_tokens: 2}}",
    "pair.student_sft={epochs: 0}",
    "data.max_prompt_tokens=320",
    "data.max_tokens=480",
    "train.epochs=1",
    "train.max_steps=2",
    "train.global_batch_size=8",
    "train.validation={max_new_tokens: 2}",
    "evaluation.max_new_tokens=2",
    "evaluation.decode_seeds=[10]",
    "sweep.name=mine",
)
SWEEP = with_folders(("run.py", "-m", *SMALL, "amid.alpha=-1,0"))
PLAN = ("amid", "plan", *SWEEP[2:])
READING = {
    "status": ("amid", "status", "mine"),
    "table": ("amid", "table", "mine"),
    "plan": PLAN,
    "compare": ("amid", "compare", "FIRST", "SECOND"),
}
# The files of a store, by the paths of one cell (FIRST), of its teacher, or of all.
FILES = {
    "status": "FIRST/status.json",
    "scores": "FIRST/scores.jsonl",
    "cell": "FIRST/cell.yaml",
    "claim": "FIRST/claims/*.json",
    "journal": "FIRST/journal.jsonl",
    "provenance": "FIRST/provenance.jsonl",
    "examples": "FIRST/examples/*.json",
    "responses": "FIRST/generations/*.jsonl",
    "weights": "FIRST/model/model.safetensors",
    "seal": "FIRST/model/SEAL",
    "teacher-status": "stages/teacher-*/status.json",
    "teacher-scores": "stages/teacher-*/scores.jsonl",
    "teacher-model": "stages/teacher-*/model/model.safetensors",
    "tokenizer": "stages/tokenizer-*/model/tokenizer.json",
    "texts": "texts/*.jsonl",
    "manifest": "sweeps/mine.json",
    "requests": "requests/*.yaml",
}
Damage = Callable[[Path], object]


def cut_in_half(path: Path) -> None:
    """Leaves the first half, cut inside of a line: a file that ends with a line looks like one that never had more."""
    data = path.read_bytes()
    half = len(data) // 2
    while b"\n" in data[half - 1 : half + 2]:
        half -= 1
    path.write_bytes(data[:half])


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replaced_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere")


DAMAGES: dict[str, Damage] = {
    "empty": lambda path: path.write_bytes(b""),
    "torn": cut_in_half,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "no-text": lambda path: path.write_bytes(b"\xff\xfe\x00" * 9),
    "list": lambda path: path.write_text("[]\n"),
    "number": lambda path: path.write_text("3\n"),
    "other-keys": lambda path: path.write_text('{"colour": "red"}\n'),
    "twice": lambda path: path.write_bytes(path.read_bytes() * 2),
    "deep": lambda path: path.write_text("[" * 100_000),
    "gone": lambda path: path.unlink(),
    "folder": replaced_by_folder,
    "link": replaced_by_link,
}
# Every kind of file meets four of the damages, so that each damage meets several kinds.
CASES = [
    (file, list(DAMAGES)[(3 * number + step * 5) % len(DAMAGES)])
    for number, file in enumerate(FILES)
    for step in range(4)
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished sweep of two cells."""
    folder = tmp_path_factory.mktemp("store")
    prepare(folder)
    before = os.getcwd()
    os.chdir(folder)
    try:
        outcome = run_here(SWEEP)
    finally:
        os.chdir(before)
    assert outcome.code == 0, outcome
    return folder


@pytest.fixture
def damaged(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished store, in the current folder; what has no owner is known at once."""
    folder = tmp_path / "copy"
    shutil.copytree(store, folder)
    monkeypatch.chdir(folder)
    for name, seconds in (("HEARTBEAT_S", 0.1), ("STALE_AFTER_S", 0.5), ("POLL_S", 0.05)):
        monkeypatch.setattr(watch, name, seconds)
    return folder


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Hydra raises the level of loggers that are there when it starts."""
    yield
    logging.disable(logging.NOTSET)


def cells_of(folder: Path) -> list[str]:
    """The ids of the two cells in the order of the sweep."""
    found = run_here(PLAN).stdout.splitlines()[1:3]
    return [line.split()[0] for line in found]


def spoil(folder: Path, file: str, damage: str) -> list[Path]:
    """The files of that kind, all with the damage."""
    first = cells_of(folder)[0]
    paths = sorted((folder / "results").glob(FILES[file].replace("FIRST", first)))
    assert paths, file
    for path in paths:
        DAMAGES[damage](path)
    return paths


def carried_out(name: str, cells: Sequence[str]) -> Outcome:
    first, second = cells
    return run_here(tuple(word.replace("FIRST", first).replace("SECOND", second) for word in READING[name]))


def check_outcome(outcome: Outcome, undisturbed: Outcome, paths: list[Path], *, gaps: bool) -> None:
    """Fails unless a command said what it says of a sound store, or named a damaged file or its folder.

    gaps: what was in the files may be missing without a word, as if it had never been made.
    """
    said = outcome.stdout + outcome.stderr
    assert "Traceback" not in said
    assert "unexpected error" not in said
    assert outcome.code in (0, 1, 2)
    lines = outcome.stderr.splitlines()
    assert all(line.startswith("amid: ") for line in lines), outcome.stderr
    if outcome.code:
        assert len(lines) == 1, outcome.stderr
    if outcome != undisturbed and not (gaps and outcome.code == 0):
        names = {path.name for path in paths} | {path.parent.name for path in paths} | {"mine"}
        assert any(name in said for name in names), said


def own_part(row: str) -> list[str]:
    """A row of a table without what its other rows decide too: widths, marks of the best, the distance from the best."""
    relative = re.compile(r"\*_?|_|best|\[?[+-]\d+\.\d\d[],]?")
    return [each for each in row.split() if not relative.fullmatch(each)]


@pytest.mark.parametrize(("file", "damage"), CASES, ids=["-".join(case) for case in CASES])
def test_a_damaged_file_hides_nothing_else_and_is_named(file: str, damage: str, store: Path, damaged: Path) -> None:
    cells = cells_of(damaged)
    undisturbed = {name: carried_out(name, cells) for name in READING}
    assert all(outcome.code == 0 for outcome in undisturbed.values()), undisturbed
    paths = spoil(damaged, file, damage)
    before = tree(damaged / "results")
    for name in READING:
        outcome = carried_out(name, cells)
        check_outcome(outcome, undisturbed[name], paths, gaps=damage in ("gone", "empty", "link"))
        if name == "status" and file != "manifest":
            (sound,) = [line for line in undisturbed[name].stdout.splitlines() if line.startswith(cells[1])]
            assert sound in outcome.stdout.splitlines()
        if name == "table" and file not in ("manifest", "texts"):
            sound, found = (each.stdout.splitlines() for each in (undisturbed[name], outcome))
            assert own_part(sound[-2]) in [own_part(line) for line in found]
    assert tree(damaged / "results") == before


AGAIN = [("status", "torn"), ("scores", "zeros"), ("cell", "empty"), ("claim", "no-text"), ("examples", "gone")]
AGAIN += [
    ("responses", "torn"),
    ("weights", "zeros"),
    ("seal", "empty"),
    ("teacher-scores", "list"),
    ("manifest", "torn"),
]
AGAIN += [("texts", "gone"), ("teacher-status", "gone"), ("tokenizer", "torn"), ("requests", "empty")]


@pytest.mark.parametrize(("file", "damage"), AGAIN, ids=["-".join(case) for case in AGAIN])
def test_the_command_that_made_a_store_makes_its_damage_good(file: str, damage: str, damaged: Path) -> None:
    cells = cells_of(damaged)
    before = carried_out("table", cells)
    spoil(damaged, file, damage)
    outcome = run_here(SWEEP)
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert outcome.code == 0, outcome
    after = carried_out("table", cells)
    assert (after.stdout, after.code) == (before.stdout, 0)
    assert after.stderr == ""
