"""`amid table`: what it prints of a sweep and of the paper, and which requests it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from amid.cli import app as cli
from amid.evaluation.protocol import Protocol, SetProtocol
from amid.generation.decoding import Decoding
from amid.reports.paper_alone import table_of_paper
from amid.reports.render import render
from amid.store import Store

SETS = {"dolly": SetProtocol("d", "alpaca", 100, Decoding(max_new_tokens=12), (10,), "rouge_l", ("rouge_l",))}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A sweep of two divergences by two alphas at two seeds, of which nothing has run."""
    labels = [
        {"divergence.name": name, "amid.alpha": alpha, "seed": seed}
        for name in ("kl", "ab")
        for alpha in ("null", "-1")
        for seed in ("1", "2")
    ]
    manifest = {
        "name": "demo",
        "rows": ["divergence.name", "amid.alpha"],
        "metric": None,
        "protocols": {"p": Protocol(sets=SETS, validation=None).manifest()},
        "references": [],
        "cells": [
            {"id": f"{index:012x}", "overrides": [], "labels": each, "protocol": "p"}
            for index, each in enumerate(labels)
        ],
        "table": {"blocks": ["divergence.name"], "average": ["seed"]},
    }
    Store(tmp_path).write_sweep("demo", manifest)
    return tmp_path


def amid(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["amid", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


def test_a_table_of_nothing_yet_has_its_rows(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert amid(monkeypatch, "table", "demo", "--results", str(results), "--style", "json", "--ids") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["block"]["divergence.name"], row["labels"]["amid.alpha"]) for row in rows] == [
        ("kl", "none"),
        ("kl", "-1"),
        ("ab", "none"),
        ("ab", "-1"),
    ]
    assert rows[0]["labels"]["id"] == "000000 000000"


def test_a_pivot_is_asked_for_by_rows_and_columns(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--rows", "amid.alpha", "--columns", "divergence.name", "--column", "dolly")
    assert amid(monkeypatch, "table", "--results", str(results), *options) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["amid.alpha", "kl", "ab"]


def test_a_table_of_the_paper_needs_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert amid(monkeypatch, "table", "--paper", "table3", "--style", "latex") == 0
    assert capsys.readouterr().out == render(table_of_paper("table3"), "latex")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rows", "amid.alhpa"), "--rows: 'amid.alhpa' is no label of this sweep; did you mean 'amid.alpha'?"),
        (("--rows", "amid.alpha,,seed"), "--rows must be different keys with commas between, got 'amid.alpha,,seed'"),
        (("--columns", "seed"), "--columns: 'seed' is averaged over in this sweep"),
        (("--column", "dolly"), "give --columns KEY too"),
        (
            ("--columns", "divergence.name", "--column", "vicuna"),
            "column 'vicuna' unknown; valid: Avg., Self",
        ),
        (("--paper", "table9"), "paper table 'table9' unknown"),
        (("--paper", "table3", "--ids"), "--paper prints what the paper printed; leave out --ids"),
        (("demo", "--paper", "table3"), "leave out a sweep"),
        (("--style", "htm"), "style 'htm' unknown; did you mean 'html'?"),
        (("--metric", "rouge"), "metric 'rouge' unknown"),
    ],
)
def test_a_bad_request_is_one_line(
    words: tuple[str, ...],
    said: str,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert amid(monkeypatch, "table", *words, "--results", str(results)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1
