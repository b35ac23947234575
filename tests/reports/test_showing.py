"""What `amid show` says of one entry: every section, and the command that makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_stores import STUDENT, TOKENIZER, cell_of_alpha, finish, small_store

from amid.cli import app as cli
from amid.reports.curves import BARS, series, sparkline
from amid.store import Store
from amid.store.files import append_line
from amid.store.layout import journal_path
from amid.store.sizes import in_words


def shown(store: Store, name: str, capsys: pytest.CaptureFixture[str], *, num: int = 5) -> str:
    cli.show(entry=name, num=num, results=store.root)
    return capsys.readouterr().out


def test_a_cell_is_shown_with_all_that_is_known_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, cells = small_store(tmp_path / "results")
    text = shown(store, cells[1].id[:5], capsys)
    lines = text.splitlines()
    assert lines[0] == f"cell {cells[1].id}  done  {store.folder(cells[1])}"
    assert lines[1] == "in demo"
    assert [line for line in lines if line and not line.startswith(" ")][2:] == [
        "configuration",
        "training",
        "scores",
        "responses",
        "cost",
        "files",
    ]
    (curve,) = [line for line in lines if "train/loss" in line]
    assert "4 (step 1) to 1.333 (step 3), best 1.333 (step 3)" in curve
    (row,) = [line for line in lines if line.startswith("  dolly  ")]
    assert row.split()[:6] == ["dolly", "rouge_l", "12.50", "0.00", "2", "6"]
    low, high = (float(part.strip("[],")) for part in row.split()[6:])
    assert low < 12.5 < high
    assert text.count("response:") == 5
    assert f"answer 0 of {cells[1].id}" in text and "question 0" in text and "right" in text
    assert "model/" in text and "in all" in text
    assert "no command is kept for it" in text  # no request was frozen here


def test_no_responses_are_shown_where_none_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, cells = small_store(tmp_path / "results")
    assert "response:" not in shown(store, cells[0].id, capsys, num=0)


def test_a_stage_names_a_cell_that_is_made_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, cells = small_store(tmp_path / "results")
    first = min(cell.id for cell in cells)
    for stage in (STUDENT, TOKENIZER):  # the tokenizer by way of the student
        text = shown(store, stage.id, capsys)
        assert f"python run.py cell={first} paths.results=" in text


def test_a_failed_and_a_pruned_cell_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, cells = small_store(tmp_path / "results")
    (store.model_folder(cells[0]) / "model.safetensors").unlink()
    (store.model_folder(cells[0]) / "SEAL").unlink()
    store.model_folder(cells[0]).rmdir()
    assert "its model is gone" in shown(store, cells[0].id, capsys)
    other = cell_of_alpha(3.0)
    claim = store.claim(other)
    assert claim is not None
    store.set_failed(other, "diverged at step 3", "Traceback")
    claim.release()
    text = shown(store, other.id, capsys)
    assert "failed" in text.splitlines()[0] and "diverged at step 3" in text and "in no sweep" in text


def test_a_damaged_generation_is_named_and_hides_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, cells = small_store(tmp_path / "results")
    for path in store.generations_folder(cells[0]).glob("*.jsonl"):
        data = bytearray(path.read_bytes())
        data[20] ^= 1
        path.write_bytes(data)
    text = shown(store, cells[0].id, capsys)
    assert "is damaged (line 1" in text and "95 % interval" in text and "in all" in text


def test_a_sparkline_has_the_highest_bar_where_the_value_is_highest() -> None:
    assert sparkline([0.0, 1.0, 0.5]) == BARS[0] + BARS[-1] + BARS[4]
    assert sparkline([2.0, 2.0]) == BARS[0] * 2
    long = sparkline([float(value) for value in range(1000)])
    assert len(long) == 40 and list(long) == sorted(long)


def test_a_curve_leaves_out_what_is_not_finite_and_keeps_the_order_of_steps(tmp_path: Path) -> None:
    for step, value in ((2, 5.0), (1, 7.0), (3, float("nan"))):
        append_line(journal_path(tmp_path), {"step": step, "metrics": {"val/loss": value}})
    assert series(tmp_path, "val/loss") == [(1, 7.0), (2, 5.0)]


@pytest.mark.parametrize(("size", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (3_450_000_000, "3.5 GB")])
def test_a_size_has_its_unit(size: int, words: str) -> None:
    assert in_words(size) == words


def test_a_stage_without_scores_has_no_such_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "results")
    finish(store, TOKENIZER)
    text = shown(store, TOKENIZER.id, capsys)
    assert "\nscores\n" not in text and "\nfiles\n" in text
    assert "(no cell here is made from it)" in text
