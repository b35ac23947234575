"""`amid best`: chosen by validation, training seeds averaged, and honest about what cannot be told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_sweep import SETS, Made, protocol_of
from small_stores import STUDENT, TEACHER, cell_of_alpha, finish, sweep_of

from amid.errors import RequestError
from amid.reports.best import best_lines
from amid.reports.tables import build_table
from amid.store import Score, Store
from amid.store.scores import write_scores

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
        f"best of demo by validation ROUGE-L: amid.alpha=1.0 ({cell_of_alpha(1.0).id[:6]})"
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
    assert same == f"cannot be told from it: amid.alpha=2.0 ({cell_of_alpha(2.0).id[:6]})"
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
    assert f"{cell_of_alpha(1.0, seed=1).id[:6]} {cell_of_alpha(1.0, seed=2).id[:6]}" in first
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


def marked_and_said(made: Made, *, by: str, column: str) -> tuple[set[str], set[str]]:
    """The bold rows of a column of the sweep's table, and the best row with those that cannot be told from it."""
    table = build_table(made.manifest, made.store)
    place = table.columns.index(column)
    bold = {row.labels[0] for row in table.rows if (value := row.values[place]) is not None and value.best}
    lines = best_lines(made.manifest, made.store, by=by)
    ruler = next(i for i, line in enumerate(lines) if line.startswith("---"))
    rows = [line.split() for line in lines[ruler + 1 :] if not line.startswith("(")]
    return bold, {row[0] for row in rows if row[-1] in ("best", "no")}


@pytest.mark.parametrize("number", range(3))
def test_what_cannot_be_told_from_the_best_is_what_the_table_marks(tmp_path: Path, number: int) -> None:
    made = Made(Store(tmp_path / "r"), protocol_of(SETS[:3]), ["amid.alpha"])
    means = np.random.default_rng(number).normal(20.0, 0.6, size=(8, 3))
    for alpha, row in enumerate(means):
        made.add({"amid.alpha": str(alpha)}, mean=dict(zip(SETS, row, strict=False)), validation=float(row.mean()))
    bold, said = marked_and_said(made, by="val", column="Avg.")
    assert said == bold
    assert 1 < len(bold) < 8
    for name in SETS[:3]:
        bold, said = marked_and_said(made, by=name, column=name)
        assert said == bold


def test_an_interval_of_its_own_pair_that_leaves_out_zero_is_not_enough_among_many(tmp_path: Path) -> None:
    """At 5 % for the pair alone the row would be told apart; the table has it bold, and so it is here."""
    made = Made(Store(tmp_path / "r"), protocol_of(SETS[:1]), ["amid.alpha"])
    for alpha in range(8):
        made.add({"amid.alpha": str(alpha)}, mean=20.0 - 0.4 * (alpha > 0), validation=30.0 - alpha)
    lines = best_lines(made.manifest, made.store)
    undecided = [line for line in lines if line.endswith("  no") and "[+" in line]
    assert undecided
    assert lines[-1] == "(told apart: at 5 % over all 28 pairs, by Holm; an interval is of its own pair)"
    bold, said = marked_and_said(made, by="val", column="Avg.")
    assert said == bold


def test_of_values_that_validation_chooses_among_the_chosen_one_is_the_candidate(tmp_path: Path) -> None:
    made = Made(Store(tmp_path / "r"), protocol_of(SETS[:2]), ["amid.alpha"], table={"blocks": ["strategy.name"]})
    groups: list[list[str]] = [[], []]
    for strategy, bonus in (("fixed", 0.0), ("mixed", 3.0)):
        for alpha, validation in (("-1", 20.0), ("-5", 24.0), ("-3", 25.0)):
            labels = {"strategy.name": strategy, "amid.alpha": alpha}
            id_ = made.add(labels, mean=20.0 + bonus, validation=validation + bonus)
            groups[alpha != "-1"].append(id_)
    select = {"by": "val", "over": ["amid.alpha"]}
    made.manifest["groups"] = [{"cells": groups[0]}, {"name": "alpha != ±1", "select": select, "cells": groups[1]}]
    first, told, _, header, _, *rows = best_lines(made.manifest, made.store)
    chosen = groups[1][3]
    assert first == f"best of made by validation ROUGE-L: strategy.name=mixed, alpha != ±1 (-3) ({chosen[:6]})"
    assert told == f"cannot be told from it: strategy.name=mixed, amid.alpha=-1 ({groups[0][1][:6]})"
    assert header.split()[:2] == ["strategy.name", "amid.alpha"]
    assert [row.split()[0] for row in rows[:4]] == ["mixed", "fixed", "mixed", "fixed"]
    assert not any("-5" in row for row in rows)


def test_weights_selected_by_loss_are_ranked_by_the_lowest(tmp_path: Path) -> None:
    made = Made(Store(tmp_path / "r"), protocol_of(SETS[:1]), ["amid.alpha"])
    for alpha, loss in (("1", 2.0), ("3", 1.0)):
        id_ = made.add(
            {"amid.alpha": alpha}, mean=20.0, validation=30.0 + loss, overrides=["train.validation.select=loss"]
        )
        generation = made.protocol.validation_id(id_)
        found = Score(id_, "validation", generation, f"{generation}l", None, "loss", loss, 3)
        write_scores(made.store.layout.folder_of("cell", id_), [found], check=lambda: None)
    assert best_lines(made.manifest, made.store)[0].startswith("best of made by validation loss: amid.alpha=3 (")


def test_sets_of_different_metrics_have_no_average_to_compare(tmp_path: Path) -> None:
    protocol = protocol_of(SETS[:2])
    other = replace(protocol.sets["dolly"], metric="exact_match", metrics=("exact_match",))
    mixed = replace(protocol, sets={**protocol.sets, "dolly": other})
    made = Made(Store(tmp_path / "r"), mixed, ["amid.alpha"])
    for alpha in "13":
        made.add({"amid.alpha": alpha}, mean={"self_inst": 20.0 + int(alpha)}, validation=20.0 + int(alpha))
    lines = best_lines(made.manifest, made.store)
    assert lines[-1] == "(sets of different metrics have no average to compare: --by SET compares on one)"
    assert lines[-2].endswith("unknown")
    assert best_lines(made.manifest, made.store, by="self_inst")[1] == "cannot be told from it: none"
