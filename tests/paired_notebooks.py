"""The .ipynb files of notebooks/, made from their text: `make notebooks`. Nothing that a run leaves is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jupytext
import nbformat

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def texts() -> list[Path]:
    """The text form of every notebook, py:percent, in which it is written and reviewed."""
    return sorted(FOLDER.glob("*.py"))


def notebook_of(text: Path) -> Any:
    """The notebook that a text is: cells without outputs, numbered, so that the same text gives the same bytes."""
    made = jupytext.read(text, fmt="py:percent")
    made.metadata = nbformat.from_dict({"kernelspec": KERNEL, "jupytext": {"formats": "ipynb,py:percent"}})
    made.nbformat, made.nbformat_minor = 4, 5
    for number, cell in enumerate(made.cells):
        cell.id, cell.metadata = f"cell-{number}", nbformat.from_dict({})
    nbformat.validate(made)
    return made


def json_of(text: Path) -> str:
    """The .ipynb file of a text."""
    return f"{nbformat.writes(notebook_of(text))}\n"


if __name__ == "__main__":
    for each in texts():
        each.with_suffix(".ipynb").write_text(json_of(each))
