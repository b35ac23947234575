"""docs/divergences.md, as written: a user's own divergence by one function and one YAML file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from small import ROOT, RunPy

DOCS = (ROOT / "docs" / "divergences.md").read_text()


def block(first_line: str) -> str:
    """The code block of the page that starts with the given comment."""
    found = re.search(rf"```\w+\n({re.escape(first_line)}\n.*?)```", DOCS, re.S)
    assert found, first_line
    return found[1]


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_divergences.py").write_text(block("# my_divergences.py"))
    folder = tmp_path / "my_conf" / "divergence"
    folder.mkdir(parents=True)
    (folder / "renyi.yaml").write_text(block("# my_conf/divergence/renyi.yaml"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_the_documented_divergence_trains_and_its_version_is_part_of_the_id(documented: Path, run_py: RunPy) -> None:
    assert "--config-dir my_conf divergence=renyi amid.alpha=-1" in DOCS
    for version in (1, 2):
        request = ("divergence=renyi", "amid.alpha=-1", f"divergence.version={version}", "train.max_steps=2")
        done = run_py("--config-dir", "my_conf", *request)
        assert done.returncode == 0, done.stderr
    journals = list((documented / "results").glob("*/journal.jsonl"))
    assert len(journals) == 2
    for journal in journals:
        first = json.loads(journal.read_text().splitlines()[0])["metrics"]
        assert 0.0 < first["train/loss"] < 1.0


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("divergence.params={order_of_renyi: 0.5}", "order_of_renyi"),
        ("divergence.function=my_divergences:reny", "did you mean 'renyi'"),
        ("divergence.function=nowhere:renyi", "nowhere"),
    ],
)
def test_a_wrong_function_or_parameter_is_one_line(override: str, said: str, documented: Path, run_py: RunPy) -> None:
    done = run_py("--config-dir", "my_conf", "divergence=renyi", "amid.alpha=-1", override)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
