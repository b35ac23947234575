"""The paper's own numbers as tables: every number in its place, best and second from the means, doubts flagged."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from amid.config import config_root
from amid.errors import RequestError
from amid.reports.paper import SETS, paper_names
from amid.reports.paper_alone import table_of_paper
from amid.reports.render import render
from amid.reports.styles import STYLES
from amid.reports.table import Table

ROOT = config_root()
GOLDEN = Path(__file__).parents[1] / "golden" / "paper"
NAMES = [f"table{number}" for number in range(1, 8)]
# Number of rows besides teachers, and the blocks: METHODS 8.7 and the paper.
SHAPES = {
    "table1": (18, ["GPT-2 (0.1B)", "GPT-2 Medium (0.3B)", "GPT-2 Large (0.8B)"]),
    "table2": (8, ["Gemma-2B-It", "Qwen2-0.5B-It"]),
    "table3": (24, ["KL(p||r)", "RKL(p||r)", "AB(p||r)"]),
    "table4": (16, ["fixed", "on_policy", "mixed", "adaptive_off_policy"]),
    "table5": (36, ["GPT-2 (0.1B)", "GPT-2 Medium (0.3B)", "GPT-2 Large (0.8B)"]),
    "table6": (5, ["OpenLLaMA2-3B"]),
    "table7": (8, ["KL(q||r)"]),
}
ALPHAS = ["-5", "-3", "-1", "-0.5", "0", "0.5", "1"]


def printed(name: str) -> list[dict[str, str]]:
    with (ROOT / "sweeps" / "paper" / f"{name}.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def by_place(table: Table) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """(block, column) -> the numbers below each other, with two digits."""
    found = defaultdict(list)
    for row in table.rows:
        for column, value in zip(table.columns, row.values, strict=True):
            if value is not None:
                spread = "" if value.std is None else f"{value.std:.2f}"
                found["".join(row.block), column].append((f"{value.mean:.2f}", spread))
    return dict(found)


def test_all_tables_of_the_paper_are_there() -> None:
    assert paper_names() == NAMES
    with pytest.raises(RequestError, match="paper table 'table8' unknown; did you mean 'table1'|valid: table1, table2"):
        table_of_paper("table8")


@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_the_paper_is_exactly_this(name: str) -> None:
    assert render(table_of_paper(name), "markdown") == (GOLDEN / f"{name}.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_printed_number_is_in_its_place_and_no_other_one_is(name: str) -> None:
    by = {"table4": "sgo", "table3": "method_or_divergence", "table7": "method_or_divergence"}.get(name, "student")
    columns = {"dolly_valid": "Val.", "avg": "Avg.", "dolly_eval": "dolly", "unni": "un_ni"}
    expected = defaultdict(list)
    for line in printed(name):  # the rows of a block are in the order of the paper
        block = "" if line["method_or_divergence"] == "Teacher" else line[by]
        spread = f"{float(line['std']):.2f}" if line["std"] else ""
        column = columns.get(line["dataset"], line["dataset"])
        expected[block, column].append((f"{float(line['mean']):.2f}", spread))
    assert by_place(table_of_paper(name)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_table_has_the_papers_layout(name: str) -> None:
    table, (num_rows, blocks) = table_of_paper(name), SHAPES[name]
    rows = [row for row in table.rows if not row.is_reference]
    assert len(rows) == num_rows
    assert list(dict.fromkeys(row.block[0] for row in rows)) == blocks
    if name != "table2":
        assert table.columns == ("Val.", "dolly", "self_inst", "vicuna", "super_ni", "un_ni", "Avg.")
    labels = [row.labels[0] for row in rows]
    if name == "table3":
        assert labels == ["none (r = q)", *ALPHAS] * 3
    if name == "table7":
        assert labels == ["none (r = p)", *ALPHAS], "as intended, though -0.5 is printed twice"
    if name == "table4":
        assert labels == [*["none (r = q)", "-1", "1", "alpha not +-1"] * 3, *["none (r = q)", "-1", "1"], labels[-1]]
        assert labels[-1] == "alpha not +-1 (-5)"


@pytest.mark.parametrize("name", NAMES)
def test_best_and_second_are_those_of_the_means_in_each_block(name: str) -> None:
    table = table_of_paper(name)
    by_block = defaultdict(list)
    for row in table.rows:
        assert not (row.is_reference and any(value and (value.best or value.second) for value in row.values))
        by_block[row.block].append(row)
    for block, rows in by_block.items():
        for column in range(len(table.columns)) if block else ():
            values = [row.values[column] for row in rows if row.values[column] is not None]
            ranked = sorted({value.mean for value in values})
            assert {value.mean for value in values if value.best} == {ranked[-1]}
            assert {value.mean for value in values if value.second} == {ranked[-2]}


def test_the_paper_says_bold_where_we_do_in_its_main_rows() -> None:
    """Avg. of Table 1: AMiD is bold and ABKD underlined for every student."""
    for row in table_of_paper("table1").rows[1:]:
        average = row.values[-1]
        assert average.best == (row.labels == ("AMiD (Ours)",))
        assert average.second == (row.labels == ("ABKD",))


DOUBTS = {
    "table3": {("RKL(p||r)", "-1"): {"dolly", "Avg."}, ("AB(p||r)", "1"): {"Avg."}},
    "table4": {("adaptive_off_policy", "1"): {"Avg."}},
    "table7": {("KL(q||r)", "0.5"): set()},
}


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_numbers_that_contradict_others_are_flagged_and_only_these(name: str) -> None:
    table = table_of_paper(name)
    found = {
        (row.block[0], row.labels[0]): {
            column for column, value in zip(table.columns, row.values, strict=True) if value and value.doubtful
        }
        for row in table.rows
        if row.doubtful or any(value and value.doubtful for value in row.values)
    }
    assert found == DOUBTS.get(name, {})
    assert table.note.count("; ? ") == len(found)
    for (_, label), columns in found.items():
        assert f"{label} ?" in render(table, "text")
        assert len(re.findall(r"\d\?", render(table, "text"))) >= len(columns)


@pytest.mark.parametrize("style", STYLES)
def test_every_style_prints_every_table(style: str) -> None:
    for name in NAMES:
        shown = render(table_of_paper(name), style)
        assert shown.endswith("\n")
        assert "None" not in shown


def test_the_numbers_ship_in_the_wheel() -> None:
    """The folder goes with sweeps/, and each place that the files name is known."""
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert included["force-include"]["sweeps"] == "amid/sweeps"
    places = {(line["dataset"], line["metric"]) for name in NAMES for line in printed(name)}
    assert {place for place in places if place not in SETS} == {("dolly_valid", "rouge_l"), ("avg", "rouge_l")}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path: Path) -> None:
    tables = "\n\n".join(render(table_of_paper(name), "latex") for name in NAMES)
    head = r"\documentclass{article}\usepackage{booktabs,siunitx}\begin{document}\tiny"
    document = "\n".join([head, tables, r"\end{document}", ""])
    (tmp_path / "tables.tex").write_text(document)
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, env=dict(os.environ))
    assert done.returncode == 0, done.stdout[-2000:]
