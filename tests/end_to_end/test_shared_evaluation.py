"""Writing by several processes: evaluation and corpora are what one device writes, whoever fails meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small import ROOT, SMALL

from amid.digests.seals import unseal

pytestmark = pytest.mark.timeout(600)
FAILING = Path(__file__).with_name("failing_rank.py")
OVERRIDES = (
    *(o for o in SMALL if not o.startswith(("data.num_eval", "evaluation.decode_seeds"))),
    "data.num_eval=7",
    "evaluation.decode_seeds=[10,20,30]",
    "trainer.accelerator=cpu",
    "trainer.generation_batch_size=1",  # 21 prompts of a model are six rounds of one device, three of two
)


def carried_out(
    folder: Path, *overrides: str, devices: int = 1, program: tuple[str, ...] = (str(ROOT / "run.py"),)
) -> subprocess.CompletedProcess[str]:
    """The request in a results folder, by one process or by several that torchrun starts."""
    started = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"] if devices > 1 else []
    folders = (f"paths.results={folder}/results", f"paths.cache={folder}/cache", f"trainer.devices={devices}")
    return subprocess.run(
        [sys.executable, *started, *program, *OVERRIDES, *overrides, *folders],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def evaluated_files(results: Path) -> dict[str, bytes]:
    """Generated texts, scores and values per example of the cell and its stages, by place."""
    names = ("generations", "examples", "scores.jsonl")
    files = [path for path in sorted(results.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in files
        if path.name in names or path.parent.name in names
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell trained and evaluated by one process."""
    folder = tmp_path_factory.mktemp("whole")
    done = carried_out(folder)
    assert done.returncode == 0, done.stderr
    assert len(evaluated_files(folder / "results")) > 3 * 3
    return folder


@pytest.fixture
def unevaluated(whole: Path, tmp_path: Path) -> Path:
    """The same, trained only: cell, teacher and initial student have lost their texts and scores."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    for name in evaluated_files(tmp_path / "results"):
        (tmp_path / "results" / name).unlink()
    return tmp_path


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("amid: ")]


@pytest.mark.long
def test_two_ranks_write_and_score_to_the_byte_what_one_device_does(unevaluated: Path, whole: Path) -> None:
    done = carried_out(unevaluated, devices=2)
    assert done.returncode == 0, done.stderr
    assert "step 3/6" not in done.stdout, "it is trained"
    assert evaluated_files(unevaluated / "results") == evaluated_files(whole / "results")


@pytest.mark.long
def test_two_ranks_choose_the_temperature_that_one_device_does(whole: Path, tmp_path: Path) -> None:
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        shutil.copytree(whole, folder)
        done = carried_out(folder, "evaluation.also_tuned=[0,0.5,1]", devices=devices)
        assert done.returncode == 0, done.stderr
    found = evaluated_files(tmp_path / "2" / "results")
    assert len(found) > len(evaluated_files(whole / "results"))
    assert found == evaluated_files(tmp_path / "1" / "results")


@pytest.mark.long
@pytest.mark.parametrize(("rank", "resumed_by"), [(1, 1), (0, 4)])
def test_a_rank_that_is_killed_in_its_part_costs_nothing_that_was_written(
    rank: int, resumed_by: int, unevaluated: Path, whole: Path
) -> None:
    program = (str(FAILING), str(rank), "killed", "5")  # one job validates a model, three answer its prompts
    killed = carried_out(unevaluated, devices=2, program=program)
    assert killed.returncode != 0
    assert len(said(killed)) <= 1, killed.stderr  # torchrun may have ended the other one before
    assert "Traceback" not in "".join(line for line in killed.stderr.splitlines() if "amid" in line)
    left, expected = evaluated_files(unevaluated / "results"), evaluated_files(whole / "results")
    assert 0 < len(left) < len(expected)
    done = carried_out(unevaluated, devices=resumed_by)
    assert done.returncode == 0, done.stderr
    assert evaluated_files(unevaluated / "results") == expected


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_fails_in_its_part_ends_all_with_one_line(rank: int, unevaluated: Path, whole: Path) -> None:
    done = carried_out(unevaluated, "task=evaluate", devices=2, program=(str(FAILING), str(rank), "raises", "2"))
    assert done.returncode == 1, done.stderr
    (line,) = said(done)
    assert "KeyError: 'a bug of one rank'" in line
    (cell,) = (path for path in (unevaluated / "results").glob("*/status.json"))
    status = unseal(cell.read_bytes())[0]
    assert status["state"] == "done", "its weights are sound"
    assert ("rank 1: KeyError" if rank else "KeyError") in status["error"]
    again = carried_out(unevaluated, "task=evaluate", devices=2)
    assert again.returncode == 0, again.stderr
    expected = {
        name: content
        for name, content in evaluated_files(whole / "results").items()
        if name.startswith(f"{cell.parent.name}/")
    }
    assert len(expected) > 3
    assert evaluated_files(unevaluated / "results") == expected, "the cell alone is evaluated"


# A corpus of 96 responses: six writes of four batches by one device, three of two
CORPUS = ("method=seqkd", "task=prepare", "data.max_tokens=340", "trainer.generation_batch_size=4")


def corpus_of(folder: Path) -> Path:
    (found,) = (folder / "results" / "stages").glob("corpus-*")
    return found


@pytest.fixture(scope="module")
def with_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages of a cell with a written corpus, made by one process."""
    folder = tmp_path_factory.mktemp("with_corpus")
    done = carried_out(folder, *CORPUS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def without_corpus(with_corpus: Path, tmp_path: Path) -> Path:
    """The same without the corpus: its writer is there."""
    shutil.copytree(with_corpus, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(corpus_of(tmp_path))
    return tmp_path


def texts_of(folder: Path) -> bytes:
    return (corpus_of(folder) / "model" / "responses.jsonl").read_bytes()


@pytest.mark.long
def test_two_ranks_write_a_corpus_to_the_byte_as_one_device_does(without_corpus: Path, with_corpus: Path) -> None:
    done = carried_out(without_corpus, *CORPUS, devices=2)
    assert done.returncode == 0, done.stderr
    assert "written corpus: 32 of 96 responses by the teacher" in done.stdout, "two chunks of 16 at a time"
    assert texts_of(without_corpus) == texts_of(with_corpus)


@pytest.mark.long
@pytest.mark.parametrize(("rank", "resumed_by"), [(1, 1), (0, 2)])
def test_a_corpus_is_gone_on_with_after_a_rank_was_killed(
    rank: int, resumed_by: int, without_corpus: Path, with_corpus: Path
) -> None:
    killed = carried_out(without_corpus, *CORPUS, devices=2, program=(str(FAILING), str(rank), "killed", "2"))
    assert killed.returncode != 0
    assert "written corpus: 32 of 96 responses" in killed.stdout
    assert not (corpus_of(without_corpus) / "model").exists()
    done = carried_out(without_corpus, *CORPUS, devices=resumed_by)
    assert done.returncode == 0, done.stderr
    assert "written corpus: 32 of" not in done.stdout, "what was written is not written again"
    assert texts_of(without_corpus) == texts_of(with_corpus)
