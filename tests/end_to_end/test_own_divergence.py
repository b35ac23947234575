"""docs/divergences.md, as written: a user's own divergence by one function and one YAML file."""

from __future__ import annotations

import json
import os
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
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT / 'src'}")
    return tmp_path


@pytest.mark.long
def test_the_documented_divergence_trains_and_its_version_is_part_of_the_id(documented: Path, run_py: RunPy) -> None:
    assert "--config-dir my_conf divergence=renyi amid.alpha=-1" in DOCS
    first_losses = []
    for change in ("divergence.version=1", "divergence.version=2", "divergence.params.renyi_order=0.9"):
        before = set((documented / "results").glob("*/journal.jsonl"))
        request = ("divergence=renyi", "amid.alpha=-1", change, "train.max_steps=2")
        done = run_py("--config-dir", "my_conf", *request)
        assert done.returncode == 0, done.stderr
        (journal,) = set((documented / "results").glob("*/journal.jsonl")) - before  # each names a cell of its own
        first_losses.append(json.loads(journal.read_text().splitlines()[0])["metrics"]["train/loss"])
    assert first_losses[0] == first_losses[1], "a version names a cell and changes no value"
    assert first_losses[2] > 1.2 * first_losses[0], "Renyi divergences do not decrease with their order"


def test_the_documented_function_is_the_renyi_divergence(documented: Path) -> None:
    import importlib.util

    import numpy as np
    import torch

    spec = importlib.util.spec_from_file_location("my_divergences", documented / "my_divergences.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.6, 0.3])
    found = module.renyi(torch.tensor(p).log(), torch.tensor(q).log(), renyi_order=0.5)
    assert float(found) == pytest.approx(-2.0 * np.log(np.sqrt(p * q).sum()), rel=1e-12)  # order 1/2: Bhattacharyya


@pytest.mark.long
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
