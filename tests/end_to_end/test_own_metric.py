"""docs/evaluation.md, as written: a user's own metric by one function and its name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small import ROOT, RunPy

DOCS = (ROOT / "docs" / "evaluation.md").read_text()


@pytest.mark.long
def test_the_documented_metric_is_scored_shown_and_never_imported_by_a_table(
    run_py: RunPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = re.search(r"```python\n(# my_metrics.py\n.*?)```", DOCS, re.S)
    assert found is not None
    module = tmp_path / "my_metrics.py"
    module.write_text(found[1])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT / 'src'}")
    request = ("-m", "amid.alpha=-1", "train.max_steps=2", "evaluation.metrics=[self_bleu,my_metrics:brevity]")
    assert "evaluation.metrics=[self_bleu,my_metrics:brevity]" in DOCS
    done = run_py(*request)
    assert done.returncode == 0, done.stderr
    again = run_py(*request)
    assert "nothing to run" in again.stdout, "its scores are known by its name"
    module.write_text("raise SystemExit('imported')")
    command = [sys.executable, "-m", "amid.cli", "table", "--results", f"{tmp_path}/results", "--style", "json"]
    shown = subprocess.run(
        [*command, "--metric", "my_metrics:brevity"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    table = json.loads(shown.stdout)
    assert "my_metrics:brevity" in table["note"]
    (cell,) = [row for row in table["rows"] if "-1" in row["labels"].values()]
    values = [value["mean"] for name, value in cell["values"].items() if value and name not in ("Val.", "Self-BLEU")]
    assert values and all(0.0 <= value <= 100.0 for value in values)
