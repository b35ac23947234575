"""The line of a cell that begins, and cells of a recorded sweep carried out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_stores import STUDENT, TEACHER, cell_of_alpha, finish, stage_of, sweep_of

from amid.cells.cell import cell_of
from amid.cli import app as cli
from amid.cli import retrying
from amid.errors import RequestError, RunError
from amid.store import Store
from amid.store.claims import held
from amid.store.frozen import Requests, freeze
from amid.store.manifests import SINGLE
from amid.sweep import carry_out as carrying
from amid.sweep.again import sweep_again
from amid.sweep.compose import run_of_overrides, sweep_of_overrides
from amid.sweep.plan import manifest_of
from amid.sweep.progress import duration, progress_line
from amid.sweep.single import record_single

CELLS = [cell_of_alpha(alpha) for alpha in (-1.0, 0.0, 1.0, 2.0)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.write_sweep("demo", sweep_of("demo", CELLS))
    for stage in (TEACHER, STUDENT):
        finish(store, stage)
    return store


def test_before_a_cell_is_finished_nothing_is_said_of_time(store: Store) -> None:
    assert progress_line(store, "demo", CELLS[1].id, before="absent") == "cell 2 of 4 (0 done): trains"


def test_the_time_left_is_that_of_the_cells_that_are_not_done(store: Store) -> None:
    for cell in CELLS[:2]:  # 3 s each
        finish(store, cell)
    line = progress_line(store, "demo", CELLS[2].id, before="stopped")
    assert line == "cell 3 of 4 (2 done): goes on; about 6 s left for 2 cells"
    finish(store, CELLS[3])
    line = progress_line(store, "demo", CELLS[2].id, before="failed")
    assert line == "cell 3 of 4 (3 done): tries again; about 3 s left for 1 cell"


def test_cells_that_are_worked_on_at_once_share_the_time(store: Store) -> None:
    finish(store, CELLS[0])
    claims = [store.claim(cell) for cell in CELLS[1:]]
    assert all(claims)
    line = progress_line(store, "demo", CELLS[1].id, before="absent")
    assert line is not None and line.endswith("about 3 s left for 3 cells")
    for claim in claims:
        claim.release()  # type: ignore[union-attr]


def test_a_stage_that_is_not_built_takes_as_long_as_the_others_of_its_kind(store: Store) -> None:
    finish(store, CELLS[0])
    manifest = store.read_sweep("demo")
    other = stage_of("teacher", other=1)
    manifest["references"].append({"kind": "teacher", "id": other.id, "pair": "b", "protocol": "p"})
    store.write_sweep("demo", manifest)
    line = progress_line(store, "demo", CELLS[1].id, before="absent")
    assert line is not None and line.endswith("about 12 s left for 3 cells")  # 3 x 3 s, and 3 s for the teacher


@pytest.mark.parametrize("sweep", [None, "unknown", "broken", "single"])
def test_of_no_sweep_of_several_nothing_is_said(sweep: str | None, store: Store) -> None:
    store.write_sweep("single", sweep_of("single", CELLS[:1]))
    store.sweep_path("broken").write_text("{")
    assert progress_line(store, sweep, CELLS[0].id, before="absent") is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (840, "14 min"), (7800, "2 h 10 min"), (7200, "2 h"), (273600, "3 d 4 h")],
)
def test_a_duration_is_in_the_words_of_a_person(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# Again


@pytest.fixture
def planned(tmp_path: Path) -> Any:
    """A recorded sweep of two cells with their requests; the first has failed."""
    folders = [f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache"]
    sweep = sweep_of_overrides(["amid.alpha=-1,1", "sweep.name=real", *folders])
    store = Store(tmp_path / "results")
    store.write_sweep("real", manifest_of(sweep))
    for each in sweep.cells:
        freeze(each.run, each.cell, store)
    fail(store, sweep.cells[0].cell)
    return sweep, store


def fail(store: Store, cell: Any) -> None:
    claim = store.claim(cell)
    assert claim is not None
    with held(claim):
        store.set_failed(cell, "diverged", "Traceback")


def test_only_what_failed_is_run_again_and_the_manifest_stays(
    planned: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sweep, store = planned
    before = store.sweep_path("real").read_bytes()
    launched: list[list[str]] = []

    def run(arguments: list[str]) -> str | None:
        launched.append(list(arguments))
        return "diverged again"

    monkeypatch.setattr(retrying, "_run", run)
    monkeypatch.setattr(carrying, "check_sweep", lambda sweep: None)
    monkeypatch.setattr(carrying, "unprepared", lambda sweep, store: [])
    caplog.set_level("INFO")
    with pytest.raises(RunError, match="1 of 1 cells not finished: .*diverged again"):
        cli.retry(sweep="real", failed=True, results=store.root)
    (arguments,) = launched
    assert arguments[0].endswith("run.py") and arguments[1].startswith("request=")
    assert (
        f"{sweep.cells[0].cell.id}  retry" in caplog.text and sweep.cells[1].cell.id not in caplog.text.split("\n\n")[0]
    )
    assert store.sweep_path("real").read_bytes() == before


def test_what_is_run_again_is_what_was_asked_for_in_that_sweep(planned: Any) -> None:
    sweep, store = planned
    first = sweep.cells[0]
    other = run_of_overrides(
        ["amid.alpha=-1", "evaluation.num_prompts=3", "sweep.name=other", f"paths.results={store.root}"]
        + [f"paths.cache={first.run.paths.cache}"]
    )
    assert cell_of(other).id == first.cell.id
    freeze(other, first.cell, store)
    assert Requests(store).of_sweep(first.cell.id, "real").run.evaluation.num_prompts is None
    assert Requests(store).of_sweep(first.cell.id, "other").run.evaluation.num_prompts == 3
    (again,) = sweep_again(store.read_sweep("real"), store, states=["failed"]).cells
    assert again.protocol.manifest() == first.protocol.manifest() and again.overrides == first.overrides


def test_nothing_to_run_again_and_no_state_are_one_line(planned: Any) -> None:
    _, store = planned
    with pytest.raises(RequestError, match="no cell of real is stopped; amid status real"):
        cli.retry(sweep="real", stopped=True, results=store.root)
    with pytest.raises(RequestError, match="say what is run again: --failed, --stopped"):
        cli.retry(sweep="real", results=store.root)


def test_a_job_that_fails_says_why_once(capsys: pytest.CaptureFixture[str]) -> None:
    code = "import sys; print('a line', file=sys.stderr); print('amid: bad', file=sys.stderr); sys.exit({})"
    assert retrying._run(["-c", code.format(1)]) == "bad"
    assert capsys.readouterr().err == "a line\n"
    assert retrying._run(["-c", "raise SystemExit(4)"]) == "its process ended with exit code 4"
    assert retrying._run(["-c", "pass"]) is None
    with pytest.raises(KeyboardInterrupt):
        retrying._run(["-c", "raise SystemExit(130)"])


def test_a_single_run_is_recorded_as_the_sweep_of_one_cell_that_it_is(planned: Any) -> None:
    sweep, store = planned
    each = sweep.cells[1]
    record_single(each.run, each.cell, each.protocol, ["amid.alpha=1"], store)
    manifest = store.read_sweep(each.cell.id[:6])
    assert manifest["name"] == f"{SINGLE}{each.cell.id}"
    assert [cell["overrides"] for cell in manifest["cells"]] == [["amid.alpha=1"]]
    assert {reference["kind"] for reference in manifest["references"]} == {"teacher", "student_init"}
