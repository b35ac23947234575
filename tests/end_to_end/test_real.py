"""A real pretrained teacher on real text, with a budget of minutes: make test-real DOLLY=FOLDER."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]


def test_smollm2_distils_into_a_third_of_its_layers_on_dolly(dolly: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "run.py"),
            "-m",
            "amid.alpha=-5,-1",
            "pair=smollm2",
            "data=dolly",
            f"data.root={dolly}",
            "data.num_train=200",
            "data.max_prompt_tokens=64",
            "data.max_tokens=96",
            "pair.student_sft={max_steps: 12, global_batch_size: 4, validation: {num_examples: 8}}",
            "train.max_steps=6",
            "train.global_batch_size=4",
            "train.validation={rounds: 1, num_examples: 4, max_new_tokens: 8}",
            "evaluation.num_prompts=4",
            "evaluation.decode_seeds=[10,20]",
            "evaluation.max_new_tokens=16",
            "logger=none",
            f"paths.results={tmp_path}/results",
            f"paths.cache={tmp_path}/cache",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    read = subprocess.run(
        [sys.executable, "-m", "amid.cli", "table", "--results", f"{tmp_path}/results", "--style", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    teacher, initial, *cells = json.loads(read.stdout)["rows"]
    assert teacher["values"]["dolly"]["mean"] > initial["values"]["dolly"]["mean"]
    assert len(cells) == 2
    assert all(row["state"] == "done" and row["values"]["dolly"]["seeds"] == 2 for row in cells)
