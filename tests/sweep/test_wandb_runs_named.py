"""What W&B groups and filters by, and the line that uploads a sweep."""

import json
import shlex
import subprocess

import pytest

from amid.store import Store
from amid.sweep.compose import run_of_overrides
from amid.sweep.wandb_runs import config_of, sync_command
from tests.small_stores import STUDENT, TEACHER, cell_of_alpha, finish

CELLS = [cell_of_alpha(alpha) for alpha in (-1.0, 1.0)]


def config(tmp_path, *overrides):
    run = run_of_overrides([*overrides, f"paths.results={tmp_path}", f"paths.cache={tmp_path}"])
    return config_of(run, sweep="demo")


@pytest.mark.parametrize(
    ("overrides", "alpha", "lam"),
    [
        (["amid.alpha=-3"], -3.0, 0.1),
        (["amid.alpha=inf"], "inf", 0.1),
        (["amid.alpha=null"], "none", "none"),
        (["amid.alpha_schedule.name=linear", "+amid.alpha_schedule.params={start: -1, end: 1}"], "linear", 0.1),
    ],
)
def test_alpha_is_a_number_or_what_a_person_calls_it(overrides, alpha, lam, tmp_path):
    found = config(tmp_path, *overrides)
    assert (found["alpha"], found["lam"]) == (alpha, lam)
    json.dumps(found, allow_nan=False)


def test_what_has_no_effect_is_no_value_to_filter_by(tmp_path):
    without = config(tmp_path, "method=sft")
    assert without["method"] == "sft"
    assert not {"alpha", "lam", "divergence", "order"} & set(without)
    of_terms = config(tmp_path, "objective.terms=[{kind: divergence, name: kl, order: pr, alpha: null, weight: 1}]")
    assert of_terms["terms"] == "1 divergence"
    assert "alpha" not in of_terms


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "it's a store")
    for entry in (TEACHER, STUDENT, *CELLS):
        finish(store, entry)
    return store


@pytest.fixture
def manifest():
    references = [{"kind": each.kind, "id": each.id} for each in (TEACHER, STUDENT)]
    return {"name": "demo", "cells": [{"id": cell.id} for cell in CELLS], "references": references}


def recording(room, run_id, *, uploaded=False):
    folder = room / f"offline-run-20260101_000000-{run_id}"
    folder.mkdir(parents=True)
    (folder / f"run-{run_id}.wandb{'.synced' * uploaded}").touch()
    return folder


def in_bash(command):
    said = subprocess.run(
        ["bash", "-c", command.replace("wandb sync", "printf '%s\\n'", 1)], capture_output=True, text=True, check=True
    )
    return said.stdout.splitlines()


def test_a_sweep_without_recordings_has_no_line(store, manifest):
    assert sync_command(manifest, store) is None
    recording(store.folder(CELLS[0]) / "wandb", f"{CELLS[0].id}-aaaaaa", uploaded=True)
    assert sync_command(manifest, store) is None


def test_the_line_is_for_what_is_not_uploaded_and_for_no_other_sweep(store, manifest):
    waiting = [recording(store.folder(cell) / "wandb", f"{cell.id}-aaaaaa") for cell in CELLS]
    recording(store.folder(TEACHER) / "wandb", f"{TEACHER.id}-ffffff")  # in the group of another sweep
    command, number = sync_command(manifest, store)
    assert number == 2
    assert in_bash(command) == [str(folder) for folder in waiting]
    assert len(shlex.split(command)) == 3, "one word for all cells"


def test_recordings_elsewhere_are_found_by_the_ids_of_the_sweep(store, manifest, monkeypatch, tmp_path):
    room = tmp_path / "else where" / "wandb"
    monkeypatch.setenv("WANDB_DIR", str(room.parent))
    waiting = [recording(room, f"{cell.id}-aaaaaa") for cell in CELLS]
    recording(room, "000000000000-aaaaaa")
    command, number = sync_command(manifest, store)
    assert number == 2
    assert sorted(in_bash(command)) == sorted(map(str, waiting))
