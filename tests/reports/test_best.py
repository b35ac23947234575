"""`amid best`: chosen by validation, training seeds averaged, and honest about what cannot be told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_stores import STUDENT, TEACHER, cell_of_alpha, finish, sweep_of

from amid.errors import RequestError
from amid.reports.best import best_lines
from amid.store import Store

BASE = [3.0, 8.0, 1.0, 9.0, 4.0, 7.0, 2.0, 6.0]


def store_with(root: Path, cells: dict[tuple[float, int], tuple[list[float], float]]) -> Store:
    """A sweep of (alpha, seed) -> the values of its prompts, its validation score."""
    store = Store(root)
    made = []
    for (alpha, seed), (values, validation) in cells.items():
        made.append(cell_of_alpha(alpha, seed=seed))
        finish(store, made[-1], values=values, validation=validation)
    store.write_sweep("demo", sweep_of("demo", made))
    return store


def lines_of(store: Store, *, by: str = "val") -> list[str]:
    return best_lines(store.read_sweep("demo"), store, by=by)


def test_the_best_is_chosen_by_validation_and_not_by_the_test_sets(tmp_path: Path) -> None:
    store = store_with(tmp_path / "r", {(1.0, 1): (BASE, 30.0), (5.0, 1): ([value + 20 for value in BASE], 10.0)})
    assert lines_of(store)[0].startswith(
        f"best of demo by validation ROUGE-L: amid.alpha=1.0 ({cell_of_alpha(1.0).id})"
    )
    by_set = lines_of(store, by="dolly")
    assert by_set[0].startswith("best of demo by dolly rouge_l: amid.alpha=5.0")
    assert by_set[-1].startswith("(chosen on the set that it is reported on")


def test_a_cell_that_is_worse_on_every_prompt_is_told_apart_and_one_that_wavers_is_not(tmp_path: Path) -> None:
    wavering = [value + (5 if index % 2 else -5) for index, value in enumerate(BASE)]
    store = store_with(
        tmp_path / "r",
        {(1.0, 1): (BASE, 30.0), (2.0, 1): (wavering, 29.0), (3.0, 1): ([value - 1 for value in BASE], 28.0)},
    )
    _, same, *table = lines_of(store)
    assert same == f"cannot be told from it: amid.alpha=2.0 ({cell_of_alpha(2.0).id})"
    told = {line.split()[0]: line.split()[-1] for line in table if line[:1].isdigit()}
    assert told == {"1.0": "best", "2.0": "no", "3.0": "yes"}
    (row,) = [line for line in table if line.startswith("3.0")]
    assert "+1.00" in row


def test_training_seeds_are_one_candidate_and_a_missing_one_makes_it_incomplete(tmp_path: Path) -> None:
    store = store_with(
        tmp_path / "r",
        {
            (1.0, 1): (BASE, 10.0),
            (1.0, 2): ([value + 4 for value in BASE], 50.0),  # mean 30
            (2.0, 1): (BASE, 29.0),
            (2.0, 2): (BASE, 29.0),
        },
    )
    first, _, _, _, _, row, *_ = lines_of(store)
    assert f"{cell_of_alpha(1.0, seed=1).id}, {cell_of_alpha(1.0, seed=2).id}" in first
    assert row.split()[:3] == ["1.0", "30.00", "7.00"]
    manifest = sweep_of(
        "demo", [*(cell_of_alpha(2.0, seed=s) for s in (1, 2)), *(cell_of_alpha(1.0, seed=s) for s in (1, 3))]
    )
    store.write_sweep("demo", manifest)
    assert "amid.alpha=2.0" in lines_of(store)[0]
    assert lines_of(store)[-1] == "(1 of 2 have no score yet)"


def test_what_a_manifest_says_it_averages_counts(tmp_path: Path) -> None:
    store = store_with(tmp_path / "r", {(1.0, 1): (BASE, 10.0), (1.0, 2): (BASE, 50.0)})
    manifest = store.read_sweep("demo")
    store.write_sweep("demo", {**manifest, "table": {"average": []}})
    assert "seed=2" in lines_of(store)[0]


def test_another_set_and_an_empty_sweep_are_refused(tmp_path: Path) -> None:
    store = store_with(tmp_path / "r", {(1.0, 1): (BASE, 10.0)})
    with pytest.raises(RequestError, match="--by 'dolli' unknown; did you mean 'dolly'"):
        lines_of(store, by="dolli")
    store.write_sweep("demo", sweep_of("demo", [cell_of_alpha(9.0)]))
    with pytest.raises(RequestError, match="no cell of demo has a score on val yet"):
        lines_of(store)


def test_without_values_per_prompt_nothing_is_claimed(tmp_path: Path) -> None:
    store = store_with(tmp_path / "r", {(1.0, 1): (BASE, 30.0), (2.0, 1): ([v - 9 for v in BASE], 20.0)})
    for path in (store.folder(cell_of_alpha(2.0)) / "examples").glob("*.json"):
        path.unlink()
    assert "amid.alpha=2.0" in lines_of(store)[1]
    assert lines_of(store)[-1].endswith("unknown")


def test_references_are_no_candidates(tmp_path: Path) -> None:
    store = store_with(tmp_path / "r", {(1.0, 1): (BASE, 30.0)})
    for stage in (TEACHER, STUDENT):
        finish(store, stage, values=[99.0] * 8, validation=99.0)
    assert "amid.alpha=1.0" in lines_of(store)[0] and "99" not in "".join(lines_of(store))
