"""The numbers that a tracker shows: those of the table, their spread, and what is left out."""

import statistics
from dataclasses import replace

import pytest

from amid.reports.layout import Member
from amid.reports.run_summary import score_rows, summary_values
from amid.store import Score, Store
from tests.small_stores import PROTOCOL, SETS, VALIDATION, cell_of_alpha, finish

CELL = cell_of_alpha(-1.0)
BY_SEED = {10: {"dolly": 20.0, "vicuna": 10.0}, 20: {"dolly": 24.0, "vicuna": 12.0}}


def written(store, protocol, values):
    """A finished cell with one score for each set and seed; `values`: seed -> set -> value."""
    finish(store, CELL)
    scores = []
    for seed, by_set in values.items():
        for name, value in by_set.items():
            texts = protocol.generation_id(CELL.id, name, seed)
            scores.append(Score(CELL.id, name, texts, f"{texts}s", seed, "rouge_l", value, 4))
    store.write(CELL, scores)
    return Member(CELL.id, store.folder(CELL), protocol)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def protocol():
    return replace(PROTOCOL, sets={**SETS, "vicuna": SETS["dolly"]})


def test_the_spread_of_the_average_is_that_of_the_seeds_averages(store, protocol):
    found = summary_values(written(store, protocol, BY_SEED), store, metric=None)
    assert found["set/dolly"] == 22.0
    assert found["avg"] == 16.5
    assert found["avg_std"] == statistics.pstdev([15.0, 18.0])  # of the two means, not of four numbers
    assert found["cost/seconds"] == 3.0
    assert "val_rouge_l" not in found, "nothing was validated"


def test_without_a_score_there_is_no_average_and_no_spread(store, protocol):
    lacking = {10: BY_SEED[10], 20: {"dolly": 24.0}}
    found = summary_values(written(store, protocol, lacking), store, metric=None)
    assert found["avg"] == 16.0  # as in the table, which says (1/2)
    assert "avg_std" not in found


def test_sets_with_other_numbers_of_seeds_have_no_common_spread(store, protocol):
    greedy = replace(protocol.sets["vicuna"], decode_seeds=(10,))
    protocol = replace(protocol, sets={**protocol.sets, "vicuna": greedy})
    found = summary_values(written(store, protocol, {10: BY_SEED[10], 20: {"dolly": 24.0}}), store, metric=None)
    assert found["avg"] == 16.0
    assert "avg_std" not in found


def test_sets_of_different_metrics_have_no_average(store, protocol):
    other = replace(protocol.sets["vicuna"], metric="exact_match", metrics=("exact_match",))
    protocol = replace(protocol, sets={**protocol.sets, "vicuna": other})
    found = summary_values(written(store, protocol, {10: {"dolly": 20.0}, 20: {"dolly": 24.0}}), store, metric=None)
    assert found["set/dolly"] == 22.0
    assert not {"avg", "avg_std"} & set(found)


def test_rows_are_scores_of_the_protocol_only(store):
    folder = finish(store, CELL, values=[1.0, 2.0], validation=3.0)
    rows = score_rows(Member(CELL.id, folder, PROTOCOL))
    assert [row["decode_seed"] for row in rows if row["set"] == "dolly"] == [10, 20]
    sets = {"dolly": replace(SETS["dolly"], digest="e" * 16)}
    other = replace(PROTOCOL, sets=sets, validation={**VALIDATION, "seed": 1})
    assert score_rows(Member(CELL.id, folder, other)) == []
