"""docs/faults.md: every test that its table names is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_test_that_the_table_of_faults_names_is_there():
    rows = [line for line in (ROOT / "docs" / "faults.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        found = re.fullmatch(r".*\| `(tests/[\w/]+\.py)::(\w+)` \|", row)
        assert found is not None, f"no test in {row}"
        path, name = found.groups()
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path} has no {name}"
