"""The notebooks: both forms agree, nothing of a run is kept in them, and each runs from beginning to end."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from paired_notebooks import FOLDER, json_of, notebook_of, texts

TEXTS = [pytest.param(path, id=path.stem) for path in texts()]
LIMIT_S = 240  # for a whole notebook, which takes less than a minute on an idle machine


def test_every_notebook_has_both_forms():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {path.stem for path in texts()}
    assert len(texts()) >= 4


@pytest.mark.parametrize("text", TEXTS)
def test_both_forms_agree_to_the_byte(text):
    assert text.with_suffix(".ipynb").read_text() == json_of(text), "make notebooks writes it from its text"


@pytest.mark.parametrize("text", TEXTS)
def test_no_output_is_kept(text):
    held = json.loads(text.with_suffix(".ipynb").read_text())
    codes = [cell for cell in held["cells"] if cell["cell_type"] == "code"]
    assert codes
    assert [cell for cell in codes if cell["outputs"] or cell["execution_count"] is not None] == []


def test_an_output_would_be_noticed(tmp_path):
    """That the comparison of bytes is one: a notebook as it is after a run is another file."""
    (text,) = [path for path in texts() if path.stem == "alpha_mixture"]
    after = notebook_of(text)
    code = next(cell for cell in after.cells if cell.cell_type == "code")
    code.outputs = [nbformat.v4.new_output("stream", text="3")]
    assert f"{nbformat.writes(after)}\n" != json_of(text)


@pytest.mark.parametrize("text", TEXTS)
def test_a_notebook_is_prose_with_a_few_short_cells(text):
    cells = notebook_of(text).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert cells[-1].cell_type == "markdown", "it says where to go on"
    codes = [cell.source for cell in cells if cell.cell_type == "code"]
    assert len(codes) <= 12
    assert max(len(source.splitlines()) for source in codes) <= 25
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    assert words > sum(len(source.split()) for source in codes) / 2


@pytest.mark.parametrize("text", TEXTS)
def test_a_notebook_names_no_private_part_of_the_package_and_links_to_what_is_there(text):
    named = {
        alias.name
        for node in ast.walk(ast.parse(text.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("amid")
        for alias in node.names
    }
    assert not {name for name in named if name.startswith("_")}
    prose = "\n".join(cell.source for cell in notebook_of(text).cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
        assert (FOLDER / target).is_file(), target


@pytest.mark.notebooks
@pytest.mark.timeout(LIMIT_S + 30)
@pytest.mark.parametrize("text", TEXTS)
def test_a_notebook_runs(text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In a folder of its own, offline, without settings of the person who runs the tests."""
    for name in (
        "TMPDIR",
        "IPYTHONDIR",
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "MPLCONFIGDIR",
    ):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    (work := tmp_path / "work").mkdir()
    ran = NotebookClient(
        nbformat.read(text.with_suffix(".ipynb"), as_version=4),
        timeout=LIMIT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(work)}},
    ).execute()
    said = [output for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in said), "it shows a picture"
    assert [output["text"] for output in said if output.get("name") == "stderr"] == [], "and no warning"
    assert list(work.iterdir()) == [], "what it writes lies in a temporary folder"
