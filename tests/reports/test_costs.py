"""What the cells of a sweep used up, as text, CSV and JSON."""

import csv
import io
import json

import pytest

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.reports.costs import NAMES, CostRow, cost_rows, render_costs
from amid.store import Store
from amid.store.claims import held

SPENT = {
    "steps": 280.0,
    "generated_share": 0.125,
    "student_tokens": 1_234_567.0,
    "generation_seconds": 12.3,
    "seconds": 40.0,
}
ROWS = [
    CostRow({"method": "amid", "seed": "10"}, "0123456789ab", "done", SPENT),
    CostRow({"method": "kd", "seed": "10"}, "ba9876543210", "running", {}),
]


def test_people_see_shares_and_millions_and_gaps():
    header, rule, first, second = render_costs(ROWS, "text").splitlines()
    assert header.split()[:3] == ["method", "seed", "state"]
    assert set(rule) == {"-"}
    assert first.split() == [
        *["amid", "10", "done", "280", "12", "%", "1.23", "-", "-", "-", "12", "-", "40", "-", "-", "-"]
    ]
    assert second.split() == ["kd", "10", "running", *["-"] * 12]


def test_programs_get_every_digit():
    rows = list(csv.DictReader(io.StringIO(render_costs(ROWS, "csv"))))
    assert float(rows[0]["student_tokens"]) == 1_234_567
    assert rows[1]["student_tokens"] == ""
    plain = json.loads(render_costs(ROWS, "json"))["rows"]
    assert plain[0]["generated_share"] == pytest.approx(0.125)
    assert plain[1]["state"] == "running"
    assert set(plain[0]) == {"labels", "id", "state", "corpora", *NAMES}


CORPUS = Stage("corpus", "c" * 12, {})


def recorded(store, entry, **details):
    with held(store.claim(entry)):
        store.set_status(entry, "done", **details)


def manifest_of(*cells):
    return {"cells": [{"id": id_, "labels": {"method": name}, **more} for id_, name, more in cells]}


def test_a_written_corpus_is_in_the_row_of_every_cell_that_shares_it_and_of_no_other(tmp_path):
    store = Store(tmp_path)
    recorded(store, CORPUS, spent={"generated_tokens": 2_500_000, "generation_seconds": 321.4})
    for letter in "ab":
        cell = Cell(letter * 12, {}, {})
        recorded(
            store,
            cell,
            spent={"steps": 7, "generated_steps": 0, "generated_tokens": 0, "generation_seconds": 0.0},
            seconds=50,
        )
    written, gold = ("a" * 12, "seqkd", {"corpora": [CORPUS.id]}), ("b" * 12, "kd", {})
    rows = cost_rows(manifest_of(written, ("9" * 12, "also", {"corpora": [CORPUS.id]}), gold), store)
    assert [row.corpora for row in rows] == [(CORPUS.id,), (CORPUS.id,), ()]
    cost = {"corpus_tokens": 2_500_000, "corpus_seconds": 321.4}
    assert [{name: row.values[name] for name in cost if name in row.values} for row in rows] == [cost, cost, {}]
    # What the cell wrote while training, and its seconds, stay its own
    assert (rows[0].values["generated_tokens"], rows[0].values["generation_seconds"]) == (0, 0)
    assert rows[0].values["seconds"] == 50
    *lines, note = render_costs(rows, "text").splitlines()
    assert lines[0].endswith("corpus Mtok  corpus s")
    assert [line.split()[-2:] for line in lines[2:]] == [["2.50", "321"], ["2.50", "321"], ["-", "-"]]
    assert "once for all cells that share them" in note
    plain = json.loads(render_costs(rows, "json"))["rows"]
    assert [(row["corpora"], row["corpus_seconds"]) for row in plain] == [([CORPUS.id], 321.4)] * 2 + [([], None)]
    (first, *_, last) = csv.DictReader(io.StringIO(render_costs(rows, "csv")))
    assert (first["corpora"], first["corpus_tokens"]) == (CORPUS.id, "2500000.0")
    assert (last["corpora"], last["corpus_tokens"]) == ("", "")


def test_a_store_of_before_corpora_were_counted_has_gaps(tmp_path):
    store = Store(tmp_path)
    recorded(store, CORPUS, seconds=9)
    older, newer = cost_rows(manifest_of(("a" * 12, "seqkd", {}), ("b" * 12, "seqkd", {"corpora": [CORPUS.id]})), store)
    assert (older.values, older.corpora) == ({}, ())
    assert (newer.values, newer.corpora) == ({}, (CORPUS.id,))
    assert render_costs([older], "text").splitlines()[-1].split()[-2:] == ["-", "-"], "and no note of a corpus"
