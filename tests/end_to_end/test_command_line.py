"""The command line as users meet it: what a mistake costs, what a sweep leaves behind, what a second run does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small import ROOT, RunPy

RECORD = '{"instruction": "Say hi.", "input": "", "output": "Hi there."}\n'


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("amid.alpha=nan",), ("amid.alpha", "nan", "real number")),
        (("amid.lam=1.5",), ("amid.lam", "[0, 1]", "1.5")),
        (("-m", "amid.lam=0.5,1.0"), ("amid.lam=1", "identically 0", "[0, 1]")),
        (("divergence=kll",), ("divergence 'kll' unknown", "did you mean 'kl'", "valid: ")),
        (("divergence.order=pp",), ("divergence.order 'pp' unknown", "pr, qr, rp, rq")),
        (("amid.alhpa=1",), ("unknown key 'amid.alhpa'",)),
        (("nothing=1",), ("unknown key 'nothing'",)),
        (("amid.alpha=abc",), ("amid.alpha=abc", "Float")),
        (("amid.alpha=-1,0",), ("amid.alpha=-1,0", "add -m to sweep")),
        (("-m", "amid.alpha=interval(-1,1)"), ("amid.alpha=interval(-1,1)", "valid: amid.alpha=V1,V2")),
        (("data=jsonl",), ("data.root",)),
        (("data=jsonl", "data.root=no_such_folder"), ("no_such_folder/train.jsonl",)),
        (("pair=hf",), ("pair.teacher has no value",)),
        (("pair=hf", "pair.teacher=./no_such_model", "pair.student=./x"), ("./no_such_model does not exist",)),
        (("task=distil",), ("task 'distil' unknown; did you mean 'distill'?",)),
        (("train.epochs=0",), ("train.epochs must be at least 1, got 0",)),
    ],
)
def test_a_bad_request_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], said: tuple[str, ...], run_py: RunPy, tmp_path: Path
) -> None:
    done = run_py(*arguments, small=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    for part in said:
        assert part in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"instruction": "Say hi.", "outp', "not a JSON object"),
        ('{"instruction": "Say hi."}', "field 'output' is missing"),
        ('{"instruction": " ", "input": "", "output": "x"}', "the prompt is empty"),
        ('{"instruction": "Say hi.", "output": 7}', "field 'output' must be a text"),
    ],
)
def test_a_bad_record_stops_a_sweep_before_its_first_cell(line: str, said: str, run_py: RunPy, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(RECORD * 40 + line + "\n")
    for name in ("dev", "test"):
        (tmp_path / f"{name}.jsonl").write_text(RECORD * 4)
    done = run_py("-m", "data=jsonl", f"data.root={tmp_path}", "amid.alpha=-1,0", small=False)
    assert done.returncode == 2
    (only,) = done.stderr.splitlines()
    assert only.startswith(f"amid: {tmp_path}/train.jsonl:41: ")
    assert said in only
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == []


def test_results_that_cannot_be_written_are_one_line_and_exit_code_1(run_py: RunPy, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where the folder should be")
    for mode in ((), ("-m",)):
        done = run_py(*mode, "amid.alpha=1")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert f"{tmp_path}/results" in done.stderr


def test_a_sweep_runs_once_and_its_table_is_the_same_byte_for_byte(run_py: RunPy, tmp_path: Path) -> None:
    first = run_py("-m", "amid.alpha=-5,null,-5.0", "logger=csv")
    assert first.returncode == 0, first.stderr
    assert "step 3/6" in first.stdout
    assert "2 cells, 0 finished, 1 named twice, 2 to run" in first.stdout
    table = first.stdout[first.stdout.index("amid.alpha ") :]
    for row in ("teacher", "initial student", "-5", "none (r = q)"):
        assert any(line.startswith(row) for line in table.splitlines())
    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()}
    second = run_py("-m", "amid.alpha=-5,null,-5.0", "logger=csv")
    assert second.returncode == 0, second.stderr
    assert "2 cells, 2 finished, 1 named twice, nothing to run" in second.stdout
    assert second.stdout[second.stdout.index("amid.alpha ") :] == table
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()} == before

    third = run_py("amid.alpha=-5")
    assert third.returncode == 0
    assert "is finished: nothing to run" in third.stdout

    again = run_py("amid.alpha=-5", "evaluation.decode_seeds=[10,20,30]")
    assert again.returncode == 0, again.stderr
    assert "step 3/6" not in again.stdout  # evaluated with one seed more, not trained again

    # The latest is the single run: the sweep is read by the name that it said
    name = first.stdout.rpartition("again: amid table ")[2].strip()
    read = subprocess.run(
        [sys.executable, "-m", "amid.cli", "table", name, "--results", f"{tmp_path}/results", "--style", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(read.stdout)["rows"]
    assert [row["labels"]["amid.alpha"] for row in rows] == ["teacher", "initial student", "-5", "none (r = q)"]
    assert all(row["state"] == "done" for row in rows)


def test_a_failing_cell_neither_stops_nor_loses_the_others(run_py: RunPy, tmp_path: Path) -> None:
    done = run_py("-m", "train.lr=1e30,1e-3")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "1 of 2 cells not finished" in done.stderr
    assert "diverged" in done.stderr
    states = {json.loads(path.read_text())["state"] for path in (tmp_path / "results").glob("*/status.json")}
    assert states == {"done", "failed"}
    status = subprocess.run(
        [sys.executable, "-m", "amid.cli", "status", "--results", f"{tmp_path}/results"], capture_output=True, text=True
    )
    assert "failed" in status.stdout
    assert "diverged" in status.stdout


def test_help_lists_every_group() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "run.py"), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    groups = [path.name for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name != "hydra"]
    for group in groups:
        assert f"\n{group}: " in done.stdout


@pytest.mark.parametrize(("arguments", "code"), [(["status", "no-such-sweep"], 2), (["tabel"], 2), (["--help"], 0)])
def test_the_command_amid_answers_with_one_line_and_its_exit_code(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    done = subprocess.run([sys.executable, "-m", "amid.cli", *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == (1 if code else 0)
