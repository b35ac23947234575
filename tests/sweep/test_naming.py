"""The command that names a cell, found from its configuration alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from amid.cells.cell import cell_of
from amid.sweep.compose import run_of_overrides
from amid.sweep.naming import overrides_of

TERMS = "[{kind: labels, weight: 0.5}, {kind: divergence, weight: 0.5, name: kl, order: pr, alpha: null}]"


@pytest.mark.parametrize(
    "asked",
    [
        (),
        ("amid.alpha=inf", "amid.lam=0.5", "seed=3"),
        ("divergence=rkl", "strategy=adaptive_off_policy"),
        ("method=gkd",),
        ("method=distillm_skl",),
        (f"objective.terms={TERMS}",),
        ("pair.student_lora={rank: 4, targets: [c_attn]}", "train.max_steps=7", "data.num_train=40"),
        ("corpus=teacher", "objective.lm_coef=1"),
        ("data=jsonl", "data.root={tmp}/it's data", "data.num_dev=2", "+data.fields.output=answer"),
    ],
    ids=" ".join,
)
def test_the_overrides_found_name_the_cell(asked: tuple[str, ...], tmp_path: Path) -> None:
    root = tmp_path / "it's data"
    root.mkdir()
    for name in ("train", "dev", "test"):
        (root / f"{name}.jsonl").write_text('{"instruction": "Say hi.", "input": "", "answer": "Hi."}\n' * 20)
    given = [each.format(tmp=tmp_path) if "{tmp}" in each else each for each in asked]
    given = [f'{key}="{value}"' if "'" in value else f"{key}={value}" for key, _, value in map(_parted, given)]
    run = run_of_overrides([*given, f"paths.cache={tmp_path}/cache"])
    wanted = cell_of(run).id
    found = overrides_of(run, wanted)
    assert found is not None
    assert cell_of(run_of_overrides(found)).id == wanted


def test_none_are_claimed_for_another_cell(tmp_path: Path) -> None:
    run = run_of_overrides([f"paths.cache={tmp_path}/cache"])
    assert overrides_of(run, "0" * 12) is None


def _parted(text: str) -> tuple[str, str, str]:
    return text.partition("=")
