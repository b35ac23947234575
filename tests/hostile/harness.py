"""What every hostile case must end as: one line that begins `amid: `, its exit code, and nothing changed on disk.

A case is one line of a table: (id, command, exit code, texts that must be in the line). The command is what a person
types, quotes included; `run.py` gets folders of the case's own for results and cache, and the case runs in a folder of
its own, which `prepare` has filled.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from hydra.core.global_hydra import GlobalHydra

from amid.cli import app as cli
from amid.cli.exit_codes import exit_code

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("paths.results=results", "paths.cache=cache")
# Folders that a refused request may leave: empty results, and what is remembered of file digests.
MAY_APPEAR = ("results", "cache")
Hostile = Callable[..., None]  # the fixture that carries a case out and checks it
RECORD = '{"instruction": "Say hi.", "input": "", "output": "Hi there."}\n'


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Case:
    """One hostile request and what must be said to it.

    allowed: paths below the case's folder that may change, for a command that has begun to work.
    """

    id: str
    argv: tuple[str, ...]
    code: int
    said: tuple[str, ...]
    allowed: tuple[str, ...] = ()


def cases(rows: Sequence[tuple[str, str, int, str | tuple[str, ...]]]) -> list[Case]:
    """The cases of a table; `run.py` gets folders of its own unless the row names others."""
    found = [Case(id_, with_folders(shlex.split(command)), code, texts(said)) for id_, command, code, said in rows]
    assert len({case.id for case in found}) == len(found), "an id stands twice"
    return found


def texts(said: str | tuple[str, ...]) -> tuple[str, ...]:
    return (said,) if isinstance(said, str) else said


def with_folders(argv: Sequence[str]) -> tuple[str, ...]:
    """The command with results and cache in the case's folder, where it is one that takes overrides."""
    takes_them = argv[0] == "run.py" or list(argv[:2]) in (["amid", "plan"], ["amid", "data"])
    given = {word.partition("=")[0] for word in argv}
    folders = [each for each in FOLDERS if takes_them and each.partition("=")[0] not in given]
    # Hydra takes its options before or after all overrides, and an option that lacks its value must stay the last.
    return (argv[0], *folders, *argv[1:]) if argv[-1].startswith("--") else (*argv, *folders)


def run_here(argv: Sequence[str]) -> Outcome:
    """The command carried out in this process, as its entry point would."""
    program, *arguments = argv
    command: Callable[[], object] = cli._run if program == "amid" else run_py().command
    outputs = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    with (
        contextlib.redirect_stdout(outputs[0]),
        contextlib.redirect_stderr(outputs[1]),
        arguments_of(program, arguments),
        logging_restored(),
    ):
        GlobalHydra.instance().clear()
        try:
            code = exit_code(command)
        finally:
            GlobalHydra.instance().clear()
    stdout, stderr = (stream.buffer.getvalue().decode(errors="replace") for stream in outputs)  # type: ignore[attr-defined]
    return Outcome(code, stdout, stderr)


def run_there(argv: Sequence[str], *, environment: dict[str, str] | None = None, timeout: float = 120) -> Outcome:
    """The command as a process of its own, in the current folder."""
    program, *arguments = argv
    words = [str(ROOT / "run.py")] if program == "run.py" else ["-m", "amid.cli"]
    done = subprocess.run(
        [sys.executable, *words, *arguments],
        capture_output=True,
        timeout=timeout,
        env={**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", **(environment or {})},
    )
    return Outcome(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def check(case: Case, outcome: Outcome, *, before: dict[str, str], after: dict[str, str]) -> None:
    """Fails the test unless the command ended as the case says."""
    lines = outcome.stderr.splitlines()
    assert "Traceback" not in outcome.stderr + outcome.stdout, outcome
    assert lines, outcome
    assert [line for line in lines if line.startswith("amid: ")] == lines[-1:], outcome.stderr
    assert lines[:-1] == [], "a line that is not ours"
    assert outcome.code == case.code, outcome
    for text in case.said:
        assert text in lines[-1], lines[-1]
    if case.code == 2:
        said = [line for line in outcome.stdout.splitlines() if not (is_plan(case) and line.startswith("  invalid  "))]
        assert said == [], "something was said before the request was found bad"
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert {path for path in changed if not is_allowed(path, case)} == set()


def is_plan(case: Case) -> bool:
    """A plan names every cell that cannot be carried out, before the one line that ends it."""
    return list(case.argv[:2]) == ["amid", "plan"]


def is_allowed(path: str, case: Case) -> bool:
    return path in MAY_APPEAR or path.startswith("cache/") or any(path.startswith(start) for start in case.allowed)


def tree(folder: Path) -> dict[str, str]:
    """Relative path -> what is there: `folder`, a link's target, or the digest of a file's bytes and its times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "folder"
        elif path.is_file():
            found[name] = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
    return found


def prepare(folder: Path) -> None:
    """Makes a folder `data` with enough good records for a run, and a folder that is no model."""
    (folder / "data").mkdir()
    (folder / "data" / "torn.parquet").write_bytes(b"PAR1")
    (folder / "data" / "torn.csv").write_text("instruction,output\nSay hi.\n")
    (folder / "empty.jinja").mkdir()
    for name, number in (("train", 40), ("dev", 4), ("test", 4)):
        (folder / "data" / f"{name}.jsonl").write_text(RECORD * number)


def run_py() -> ModuleType:
    """run.py as a module, loaded once."""
    name = "hostile_run_py"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "run.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@contextlib.contextmanager
def arguments_of(program: str, arguments: Sequence[str]) -> Iterator[None]:
    before = sys.argv
    sys.argv = [program, *arguments]
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def logging_restored() -> Iterator[None]:
    """Hydra closes all handlers there are, and gives the root logger its own, which write to the case's output."""
    if "absl.logging" in sys.modules:
        # It closes the stream it has found when it was imported, unless that is one of Python's own.
        sys.modules["absl.logging"].get_absl_handler().python_handler.stream = sys.__stderr__
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
