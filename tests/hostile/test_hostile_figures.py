"""Bad requests of figures: one line each, and no file is made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from harness import Case, Hostile, cases
from small_stores import small_store

# fmt: off
REQUESTS = cases([
    ("unknown", "amid figure fig3", 2, ("figure 'fig3' unknown; did you mean 'figure3'?", "heat_map")),
    ("empty", "amid figure ''", 2, "figure '' unknown"),
    ("path", "amid figure ../figure1", 2, "figure '../figure1' unknown"),
    ("format", "amid figure figure1 --format jpg", 2, "--format 'jpg' unknown"),
    ("format-empty", "amid figure figure1 --format ''", 2, ("--format '' unknown", "valid: pdf, png, svg")),
    ("format-one-of-two", "amid figure figure1 --format png,eps", 2, "--format 'eps' unknown"),
    ("out-a-file", "amid figure figure1 --out data/train.jsonl", 2, "--out must name a folder, and data/train.jsonl is a file"),
    ("out-in-a-file", "amid figure figure1 --out data/train.jsonl/x", 1, "data/train.jsonl/x cannot be read or written"),
    ("out-empty", "amid figure figure1 --out ''", 2, "--out must name a folder"),
    ("out-of-nobody", "amid figure figure1 --out '~nobody-at-all/x'", 2, "is the home of nobody"),
    ("sweep-unknown", "amid figure figure4 nope", 2, ("sweep 'nope' is not in results", "valid: demo")),
    ("sweep-path", "amid figure figure4 ../demo", 2, "is no name"),
    ("sweep-default", "amid figure heat_map", 2, "sweep 'table3' is not in results"),
    ("sweep-of-formulas", "amid figure figure1 demo", 2, "figure1 is of no sweep; leave out 'demo'"),
    ("sweep-of-the-fit", "amid figure figure2c demo", 2, "figure2c is of no sweep"),
    ("sweep-over-another", "amid figure figure5 demo", 2, "is over amid.lam, and sweep 'demo' is over amid.alpha, seed"),
    ("temperatures", "amid figure temperature demo", 2, "repeat its command with evaluation.also_tuned=[0.3,0.6,1]"),
    ("steps-of-another", "amid figure figure1 --steps 5", 2, "--steps is of the toy fit of figure2c"),
    ("steps-none", "amid figure figure2c --steps 0", 2, "--steps must be at least 1, got 0"),
    ("steps-text", "amid figure figure2c --steps many", 2, "--steps"),
    ("results-nowhere", "amid figure figure4 --results nowhere", 2, "sweep 'figure4' is not in nowhere"),
    ("option", "amid figure --all", 2, "--all"),
])
# fmt: on


@pytest.fixture
def folder(folder: Path) -> Path:
    """The case's folder, with a finished sweep in it."""
    small_store(folder / "results")
    return folder


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.id)
def test_a_bad_request_for_a_figure_is_one_line(case: Case, hostile: Hostile) -> None:
    hostile(case)


def test_a_missing_matplotlib_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch, hostile: Hostile) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = ("figures need matplotlib; install it with: pip install 'amid-lab[figures]'",)
    hostile(Case("no-matplotlib", ("amid", "figure", "figure4", "demo"), 2, said))
