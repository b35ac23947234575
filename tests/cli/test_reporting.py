"""The verb that writes a report: where, over what, and what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_stores import cell_of_alpha, small_store, sweep_of

from amid.cli import app as cli
from amid.reports.page.report import MARK


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["amid", "report", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished sweep, in which the command is given."""
    store, _ = small_store(tmp_path / "results")
    store.write_sweep("later", sweep_of("later", [cell_of_alpha(7.0)]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_report_is_written_beside_and_may_be_written_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "demo") == 0
    said = capsys.readouterr().out
    assert re.fullmatch(r"report-demo.html: [\d.]+ KB \(scores [^,]+, texts [^,]+, cells [^,]+, page [^,]+\)\n", said)
    first = (here / "report-demo.html").read_bytes()
    assert first.startswith(MARK.encode())
    assert run(monkeypatch, "demo", "--texts", "0") == 0
    assert len((here / "report-demo.html").read_bytes()) < len(first)


def test_a_report_may_be_asked_for_before_anything_is_finished(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "later", "--out", "early.html") == 0
    assert "Nothing can be said yet" in (here / "early.html").read_text()


def test_texts_are_as_many_as_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "demo", "--texts", "2", "--out", "two.html") == 0
    html = (here / "two.html").read_text()
    assert "question 1" in html
    assert "question 2" not in html
