"""The harness itself: it must not pass what the contract forbids."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness import Case, Outcome, cases, check, tree, with_folders

CASE = Case("", ("run.py",), 2, ("amid.lam",))
GOOD = Outcome(2, "", "amid: amid.lam must lie in [0, 1], got 2\n")


def test_what_the_contract_asks_for_passes() -> None:
    check(CASE, GOOD, before={}, after={"results": "folder", "cache": "folder", "cache/file_digests.json": "x"})


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(1, "", GOOD.stderr),
        Outcome(0, "", ""),
        Outcome(2, "", ""),
        Outcome(2, "", "ValueError: amid.lam\n"),
        Outcome(2, "", "amid: something else\n"),
        Outcome(2, "", GOOD.stderr * 2),
        Outcome(2, "", f"a warning of a library\n{GOOD.stderr}"),
        Outcome(2, "", f"{GOOD.stderr}and more\n"),
        Outcome(2, "", f"Traceback (most recent call last):\n{GOOD.stderr}"),
        Outcome(2, "Traceback (most recent call last):", GOOD.stderr),
        Outcome(2, "sweep of 2 cells\n", GOOD.stderr),
    ],
)
def test_what_the_contract_forbids_does_not_pass(outcome: Outcome) -> None:
    with pytest.raises(AssertionError):
        check(CASE, outcome, before={}, after={})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"results/x": "1"}),
        ({}, {"x": "1"}),
        ({"data/train.jsonl": "1"}, {}),
        ({"data/train.jsonl": "1"}, {"data/train.jsonl": "2"}),
        ({}, {"results.json": "1"}),
        ({"a": "folder"}, {"a": "link to /etc"}),
    ],
)
def test_a_change_on_disk_does_not_pass_unless_the_case_allows_it(
    before: dict[str, str], after: dict[str, str]
) -> None:
    with pytest.raises(AssertionError):
        check(CASE, GOOD, before=before, after=after)
    allowed = Case("", CASE.argv, 2, CASE.said, allowed=tuple({*before, *after}))
    check(allowed, GOOD, before=before, after=after)


def test_a_tree_sees_content_links_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("1")
    (tmp_path / "link").symlink_to("/etc")
    first = tree(tmp_path)
    assert (first["a"], first["link"]) == ("folder", "link to /etc")
    (tmp_path / "a" / "b").write_text("2")
    assert tree(tmp_path)["a/b"] != first["a/b"]


def test_an_id_that_stands_twice_is_noticed() -> None:
    with pytest.raises(AssertionError, match="an id stands twice"):
        cases([("a", "run.py x=1", 2, "x"), ("a", "run.py x=2", 2, "x")])


def test_run_py_gets_folders_of_the_case_unless_it_names_some() -> None:
    assert with_folders(("run.py", "a=1"))[-2:] == ("paths.results=results", "paths.cache=cache")
    assert with_folders(("run.py", "--cfg"))[-1] == "--cfg"
    assert "paths.results=results" not in with_folders(("run.py", "paths.results=x"))
    assert with_folders(("amid", "table")) == ("amid", "table")


def test_the_suite_is_as_large_as_it_says() -> None:
    """Rows of the tables, counted in their files, so that a lost table is noticed."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_hostile_*.py"))
    assert len(re.findall(r"^    \(\"[\w-]+\", ", text, re.M)) >= 330
