"""The same contract as real processes: what a shell, a pipe, a launcher and an installed command make of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import ROOT, Case, Hostile, cases, prepare, run_there, tree

# fmt: off
COMMANDS = cases([
    ("value", "run.py amid.alpha=nan", 2, ("amid.alpha", "nan", "real number")),
    ("key", "run.py amid.alhpa=1", 2, "unknown key 'amid.alhpa'"),
    ("choice", "run.py divergence=kll", 2, ("divergence 'kll' unknown", "did you mean 'kl'")),
    ("syntax", "run.py \"data.root=it's\"", 2, "cannot read"),
    ("usage", "run.py --nonsense", 2, "unrecognized arguments: --nonsense"),
    ("cfg-and-multirun", "run.py -m --cfg job", 2, "exclude each other"),
    ("sweep-name", "run.py -m sweep.name=../x", 2, "sweep.name '../x' is no name"),
    ("sweep-value", "run.py -m amid.lam=0.5,1.0", 2, "identically 0"),
    ("data", "run.py data=jsonl data.root=no_such_folder", 2, "no_such_folder/train.jsonl"),
    ("record", "run.py -m data=jsonl data.root=bad amid.alpha=1,2", 2, "bad/train.jsonl:1: not a JSON object"),
    ("divergence", "run.py divergence=kl 'divergence.function=\"broken:f\"'", 2, ("SyntaxError", "broken.py:1")),
    ("results", "run.py paths.results=data/train.jsonl", 1, "results folder data/train.jsonl cannot be written"),
    ("task", "run.py task=evaluate", 2, "is not trained yet"),
    ("verb", "amid tabel", 2, "No such command 'tabel'"),
    ("verb-option", "amid table --nope", 2, "--nope"),
    ("verb-range", "amid compare a b --top -1", 2, "--top must be at least 0, got -1"),
    ("verb-name", "amid status ../x", 2, "is no name"),
    ("verb-file", "amid score bad/train.jsonl", 2, "bad/train.jsonl:1: not a JSON object"),
    ("verb-output", "amid certify --output nowhere/x.md", 2, "no folder nowhere"),
    ("workers-none", "run.py -m hydra/launcher=workers hydra.launcher.num_workers=0", 2, "hydra.launcher.num_workers must be at least 1, got 0"),
    ("workers-text", "run.py -m hydra/launcher=workers hydra.launcher.num_workers=many", 2, "hydra.launcher.num_workers must be an integer, got 'many'"),
    ("workers-part", "run.py -m hydra/launcher=workers hydra.launcher.num_workers=1.5", 2, "hydra.launcher.num_workers must be an integer, got 1.5"),
    ("workers-option", "run.py -m hydra/launcher=workers hydra.launcher.n_jobs=2", 2, "n_jobs"),
    ("workers-devices", "run.py -m hydra/launcher=workers trainer.devices=2", 2, "trainer.devices=2 needs that many processes per cell"),
    ("ray-cpus", "run.py -m hydra/launcher=ray hydra.launcher.num_cpus=-1", 2, "hydra.launcher.num_cpus must be at least 0, got -1"),
    ("ray-gpus", "run.py -m hydra/launcher=ray hydra.launcher.num_gpus=1.5", 2, "hydra.launcher.num_gpus must be a whole number above 1, got 1.5"),
    ("ray-gpus-text", "run.py -m hydra/launcher=ray hydra.launcher.num_gpus=[1]", 2, "hydra.launcher.num_gpus must be a number, got [1]"),
    ("ray-retries", "run.py -m hydra/launcher=ray hydra.launcher.max_retries=0.5", 2, "hydra.launcher.max_retries must be an integer, got 0.5"),
    ("ray-address", "run.py -m hydra/launcher=ray hydra.launcher.address=6379", 2, "hydra.launcher.address must be a text such as"),
    ("ray-environment", "run.py -m hydra/launcher=ray hydra.launcher.runtime_env=pip", 2, "hydra.launcher.runtime_env must be a mapping, got 'pip'"),
    ("ray-devices", "run.py -m hydra/launcher=ray trainer.devices=2", 2, "trainer.devices=2 needs that many processes per cell"),
    ("verb-plan", "amid plan amid.alpha=x", 2, "amid.alpha=x"),
])
# fmt: on


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with bad records and a broken module of a divergence too."""
    prepare(tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "train.jsonl").write_text("Say hi.\n")
    for name in ("dev", "test"):
        (tmp_path / "bad" / f"{name}.jsonl").write_text((tmp_path / "data" / "dev.jsonl").read_text())
    (tmp_path / "broken.py").write_text("def f(left, right)\n    return 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT / 'src'}")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return tmp_path


@pytest.mark.parametrize("case", COMMANDS, ids=lambda case: case.id)
def test_a_bad_command_is_one_line_and_changes_nothing(case: Case, hostile: Hostile) -> None:
    hostile(case, run_there)


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """A line of bash; $RUN and $AMID are the two programs."""
    programs = {"RUN": f"{sys.executable} {ROOT / 'run.py'}", "AMID": f"{sys.executable} -m amid.cli"}
    environment = {**os.environ, **programs, "WANDB_MODE": "offline"}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.parametrize("command", ["$RUN --help", "$AMID --help", "$RUN --cfg job", "$AMID plan amid.alpha=1,2"])
@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_reader_that_stops_reading_is_no_error(command: str, reader: str, folder: Path) -> None:
    before = tree(folder / "data")
    done = shell(f"{command} | {reader} > /dev/null; exit ${{PIPESTATUS[0]}}")
    assert done.returncode in (0, 141), done.stderr  # 0: it had written all before the reader left
    assert done.stderr == ""
    assert tree(folder / "data") == before


@pytest.mark.parametrize("command", ["$RUN --help", "$AMID --help", "$AMID plan amid.alpha=1,2"])
def test_output_that_cannot_be_written_is_one_line(command: str, folder: Path) -> None:
    done = shell(f"{command} > /dev/full")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("amid: ")
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "2>/dev/full", "<&-"])
def test_a_closed_stream_changes_neither_the_code_nor_adds_a_traceback(redirection: str, folder: Path) -> None:
    for command, code in (("$AMID tabel", 2), ("$RUN amid.alpha=nan", 2), ("$AMID --help", 0)):
        done = shell(f"{command} {redirection}")
        assert done.returncode == code, (command, done)
        assert "Traceback" not in done.stdout + done.stderr


def test_an_encoding_without_the_characters_of_a_table_prints_escapes(folder: Path) -> None:
    (folder / "data" / "answers.jsonl").write_text('{"response": "ä", "reference": "ä", "ä±": 1}\n' * 2)
    done = shell("PYTHONIOENCODING=ascii $AMID score data/answers.jsonl --set 'ä'")
    assert done.returncode == 2
    assert done.stderr.startswith(r"amid: evaluation set '\xe4' unknown")
    assert len(done.stderr.splitlines()) == 1


def test_ranks_that_refuse_a_request_say_it_once(folder: Path) -> None:
    line = f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node=2 {ROOT / 'run.py'} "
    for request, said in (
        ("trainer.devices=2 amid.alpha=nan", "amid.alpha"),
        ("trainer.devices=2 train.global_batch_size=7", "must be a multiple of trainer.devices"),
    ):
        done = shell(f"{line} {request} paths.results=results paths.cache=cache")
        assert done.returncode != 0
        lines = [line for line in done.stderr.splitlines() if line.startswith("amid: ")]
        assert len(lines) == 1, done.stderr
        assert said in lines[0]
        assert f'{ROOT / "run.py"}", line' not in done.stderr, "a traceback of ours; torchrun has one of its own"


def test_ctrl_c_in_amid_is_one_line(folder: Path) -> None:
    code = (
        "import sys, amid.cli.app, amid.sweep.carry_out\n"
        "def slow(*_):\n"
        "    print('started', flush=True)\n"
        "    import time; time.sleep(60)\n"
        "amid.sweep.carry_out.plan_lines = slow\n"
        "sys.argv = ['amid', 'plan', 'amid.alpha=1']\n"
        "amid.cli.app.main()\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def heed_interrupts() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with subprocess.Popen([sys.executable, "-c", code], preexec_fn=heed_interrupts, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "started\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in errors.splitlines() if line] == ["amid: interrupted; the same command continues"]


def test_amid_without_a_verb_prints_its_help(folder: Path) -> None:
    done = run_there(("amid",))
    assert done.code == 0
    assert "plan" in done.stdout
    assert done.stderr == ""
