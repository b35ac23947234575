"""Columns of sets that each model answered at the temperature that validation chose for it, in every style."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_sweep import NUM_PROMPTS, SETS, Made, protocol_of

from amid.cells.cell import Cell
from amid.evaluation.protocol import Protocol
from amid.evaluation.validation import tuning_score
from amid.reports.render import render
from amid.reports.styles import STYLES
from amid.reports.table import Table
from amid.reports.tables import build_table
from amid.store import PerExample, Score, Store

ALPHA = "amid.alpha"
TUNED = ("dolly_tuned", "self_inst_tuned")


@pytest.fixture
def protocol() -> Protocol:
    base = protocol_of(SETS[:2])
    return replace(base, temperatures=(0.3, 1.0), validation={"seed": 10, "temperature": 1.0})


def add(made: Made, labels: dict[str, str], validation: dict[float, float], *, answered: float | None = None) -> None:
    """A cell with 10 on every set at temperature 1, its validation, and its sets at 0.3 with a mean."""
    id_ = made.add(labels, mean={"dolly": 10.0, "self_inst": 10.0})
    entry = Cell(id_, {}, {"teacher": made.teacher})
    scores = [
        tuning_score(made.protocol, entry_id=id_, temperature=temperature, rouge=value, num_samples=3)
        for temperature, value in validation.items()
    ]
    examples = []
    cooler = made.protocol.at(0.3)
    for name in ("dolly", "self_inst") if answered is not None else ():
        for seed in (10, 20):
            generation = cooler.generation_id(id_, f"{name}_t0.3", seed)
            values = np.random.default_rng([int(id_[:8], 16), seed]).normal(0.0, 0.1, NUM_PROMPTS)
            values = values - values.mean() + answered
            mean = float(values.mean())
            named = (id_, f"{name}_t0.3", generation, f"{generation}r", seed, "rouge_l", mean, NUM_PROMPTS)
            scores.append(Score(*named))
            examples.append(PerExample(f"{generation}r", f"digest of {name}", tuple(values)))
    made.store.write(entry, scores, examples)


@pytest.fixture
def made(protocol: Protocol, tmp_path: Path) -> Made:
    """Validation keeps -1 at 1, where its sets would be better at 0.3, sends 0 and 1 to 0.3, and is not done for 2."""
    made = Made(Store(tmp_path / "results"), protocol, [ALPHA])
    add(made, {ALPHA: "-1"}, {0.3: 4.0, 1.0: 5.0}, answered=90.0)
    add(made, {ALPHA: "0"}, {0.3: 6.0, 1.0: 5.0}, answered=8.0)
    add(made, {ALPHA: "1"}, {0.3: 6.0, 1.0: 5.0}, answered=12.0)
    add(made, {ALPHA: "2"}, {1.0: 5.0})
    return made


def values(table: Table, label: str) -> dict[str, object]:
    row = next(row for row in table.rows if row.labels[0] == label)
    return {
        name: None if v is None else pytest.approx(v.mean) for name, v in zip(table.columns, row.values, strict=True)
    }


def test_each_row_is_answered_at_what_its_validation_chose_and_says_at_what(made: Made) -> None:
    table = build_table(made.manifest, made.store)
    assert table.columns == ("Val.", "dolly", "self_inst", "Avg.", "Avg. tuned", "T", "Self-BLEU")
    assert [values(table, label)["Avg. tuned"] for label in ("-1", "0", "1", "2")] == [10.0, 8.0, 12.0, None]
    assert [values(table, label)["T"] for label in ("-1", "0", "1", "2")] == [1.0, 0.3, 0.3, None]
    assert all(values(table, label)["Avg."] == 10.0 for label in ("-1", "0", "1", "2"))
    assert (
        "Avg. tuned: the sampled sets at T, the temperature of 0.3, 1 with the highest validation ROUGE-L of each "
        "model, of equals the highest (set by set: --decoding tuned)"
    ) in table.note


def test_rows_are_compared_at_their_own_temperatures(made: Made) -> None:
    table = build_table(made.manifest, made.store, decoding="tuned")
    assert table.columns == ("Val.", *TUNED, "Avg. tuned", "T")
    column = table.columns.index("Avg. tuned")
    best = {row.labels[0]: value.best for row in table.rows if (value := row.values[column]) is not None}
    assert best == {"-1": False, "0": False, "1": True}
    header, *rows = csv.reader(io.StringIO(render(table, "csv")))
    assert header.index("Avg. tuned to best low") > 0
    assert "Avg. - best" in render(table, "text"), "of the only average that is shown"
    assert len(rows) == 5


def test_a_pivot_may_be_of_the_tuned_average_and_of_the_temperature(made: Made) -> None:
    for cell in made.manifest["cells"]:
        cell["labels"]["pair"] = "tiny"
    for column, expected in (("Avg. tuned", 12.0), ("T", 0.3), ("dolly_tuned", 12.0)):
        table = build_table(made.manifest, made.store, rows=[ALPHA], columns=["pair"], column=column)
        assert values(table, "1") == {"tiny": expected}
    table = build_table(made.manifest, made.store, rows=[ALPHA], columns=["pair"], decoding="tuned")
    assert values(table, "0") == {"tiny": 8.0}


@pytest.mark.parametrize("style", STYLES)
def test_every_style_shows_the_temperature(made: Made, style: str) -> None:
    text = render(build_table(made.manifest, made.store), style)
    assert "Avg. tuned" in text
    if style == "json":
        rows = {row["labels"][ALPHA]: row["values"] for row in json.loads(text)["rows"]}
        assert [rows[label]["T"]["mean"] for label in ("-1", "0")] == [1.0, 0.3]
        assert rows["2"]["T"] is None
    elif style == "csv":
        rows = {row[ALPHA]: row["T"] for row in csv.DictReader(io.StringIO(text))}
        assert (rows["-1"], rows["0"], rows["2"]) == ("1.0", "0.3", "")
    else:
        cell = {"html": ">0.3</td>", "latex": " & 0.3 & "}.get(style, " 0.3 ")
        assert text.count(cell) >= 2


def test_training_seeds_that_chose_differently_are_all_named(protocol: Protocol, tmp_path: Path) -> None:
    made = Made(Store(tmp_path / "results"), protocol, [ALPHA], table={"average": ["seed"]})
    add(made, {ALPHA: "1", "seed": "1"}, {0.3: 6.0, 1.0: 5.0}, answered=12.0)
    add(made, {ALPHA: "1", "seed": "2"}, {0.3: 5.0, 1.0: 5.0})
    table = build_table(made.manifest, made.store)
    assert values(table, "1")["Avg. tuned"] == 11.0
    assert " 0.3, 1 " in render(table, "text")
    (row,) = (row for row in json.loads(render(table, "json"))["rows"] if row["labels"][ALPHA] == "1")
    assert row["values"]["T"]["temperatures"] == [0.3, 1.0]
    (row,) = (row for row in csv.DictReader(io.StringIO(render(table, "csv"))) if row[ALPHA] == "1")
    assert row["T temperatures"] == "0.3 1.0"
