"""A folder of its own for every hostile case, and what carries a case out in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Case, Hostile, Outcome, check, prepare, run_here, tree


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.hostile)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the case."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hostile(folder: Path) -> Hostile:
    """Carries a case out and checks how it ended."""

    def carry_out(case: Case, run: Callable[..., Outcome] = run_here, **options: object) -> None:
        before = tree(folder)
        outcome = run(case.argv, **options)
        check(case, outcome, before=before, after=tree(folder))

    return carry_out
