"""`amid.results`: the scores of a sweep as a DataFrame, against what was put into the store."""

import pytest
from test_tables import CELLS, MANIFEST, STUDENT, TEACHER, put

import amid
from amid.errors import RequestError
from amid.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    put(store, TEACHER, validation=40.0, dolly=(10.0, 12.0))
    put(store, CELLS["a"], validation=30.0, dolly=(20.0, 22.0), self_inst=(1.0, 3.0), pooled=(0.5,))
    put(store, CELLS["b"], dolly=(24.0,))
    store.write_sweep("demo", {**MANIFEST, "cells": MANIFEST["cells"][:2]})
    return store


def test_every_score_is_a_row_with_the_labels_of_its_cell(store):
    frame = amid.results("demo", results=store.root)
    assert len(frame) == 3 + 6 + 1
    assert next(iter(frame.columns)) == "amid.alpha"
    dolly = frame[(frame.metric == "rouge_l") & (frame.eval_set == "dolly") & (frame.kind == "cell")]
    means = dolly.groupby("amid.alpha").value.mean()
    assert means.to_dict() == {-5.0: 21.0, -1.0: 24.0}, "labels that are numbers are numbers"
    (pooled,) = frame[frame.metric == "self_bleu"].to_dict("records")
    assert (pooled["unit"], pooled["value"]) == ("share", 0.5)
    assert pooled["decode_seed"] != pooled["decode_seed"], "over all seeds"


def test_teachers_are_there_without_labels_and_models_without_scores_are_not(store):
    frame = amid.results(results=store.root)
    assert set(frame[frame.kind == "teacher"].id) == {TEACHER.id}
    assert frame[frame.kind == "teacher"]["amid.alpha"].isna().all()
    assert STUDENT.id not in set(frame.id)


def test_labels_that_are_no_numbers_stay_texts(store):
    store.write_sweep("all", MANIFEST)  # alpha null among them
    put(store, CELLS["e"], dolly=(1.0,))
    frame = amid.results("all", results=store.root)
    assert set(frame[frame.kind == "cell"]["amid.alpha"]) == {"-5", "-1", "null"}


def test_every_label_is_a_column_and_training_seeds_are_not_averaged(store):
    cells = [{**cell, "labels": {**cell["labels"], "seed": str(i)}} for i, cell in enumerate(MANIFEST["cells"][:2])]
    table = {"blocks": ["divergence.name"], "average": ["seed"]}
    cells[0]["labels"]["divergence.name"] = "kl"
    store.write_sweep("labelled", {**MANIFEST, "cells": cells, "table": table})
    frame = amid.results("labelled", results=store.root)
    assert list(frame.columns[:3]) == ["amid.alpha", "seed", "divergence.name"]
    cells = frame[frame.kind == "cell"].drop_duplicates("id")
    assert cells["seed"].tolist() == [0, 1]
    assert cells["divergence.name"].tolist() == ["kl", ""]


def test_an_unknown_sweep_is_said_with_the_known_ones(store):
    with pytest.raises(RequestError, match="sweep 'dmo' is not in .*; valid: demo"):
        amid.results("dmo", results=store.root)
