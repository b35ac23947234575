"""What the cells of a sweep used up, as text, CSV and JSON."""

import csv
import io
import json

import pytest

from amid.reports.costs import NAMES, CostRow, render_costs

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
    assert first.split() == ["amid", "10", "done", "280", "12", "%", "1.23", "-", "-", "-", "12", "-", "40", "-"]
    assert second.split() == ["kd", "10", "running", *["-"] * 10]


def test_programs_get_every_digit():
    rows = list(csv.DictReader(io.StringIO(render_costs(ROWS, "csv"))))
    assert float(rows[0]["student_tokens"]) == 1_234_567
    assert rows[1]["student_tokens"] == ""
    plain = json.loads(render_costs(ROWS, "json"))["rows"]
    assert plain[0]["generated_share"] == pytest.approx(0.125)
    assert plain[1]["state"] == "running"
    assert set(plain[0]) == {"labels", "id", "state", *NAMES}
