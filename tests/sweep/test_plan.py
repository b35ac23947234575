"""Sweeps: which cells a request names, in which order, and what is refused before anything runs."""

import copy
import json
import os
import time

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from amid.config import SelectCfg, TableCfg
from amid.digests.seals import seal
from amid.errors import RequestError
from amid.reports.tables import build_table, render
from amid.store import PerExample, Score, Store
from amid.store.layout import status_path
from amid.sweep.carry_out import plan_lines
from amid.sweep.expand import JobGroup, expand
from amid.sweep.invalid import InvalidCellsError
from amid.sweep.labels import differing_keys, label
from amid.sweep.plan import is_evaluated, manifest_of, plan_sweep


def jobs_of(*overrides):
    return expand(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.fixture
def composed(run):
    """A stand-in for Hydra's composition: understands amid.alpha, amid.lam and sweep.name."""
    run.data.num_records, run.data.num_eval = 64, 4

    def compose(overrides):
        changed = copy.deepcopy(run)
        for override in overrides:
            key, _, text = override.partition("=")
            node, name = key.split(".")
            value = text if node == "sweep" else None if text == "null" else float(text)
            setattr(getattr(changed, node), name, value)
        return changed

    return compose


def test_the_last_key_varies_fastest_and_values_keep_their_order():
    assert jobs_of("a=2,1", "b=x,y", "c=3") == [
        ("a=2", "b=x", "c=3"),
        ("a=2", "b=y", "c=3"),
        ("a=1", "b=x", "c=3"),
        ("a=1", "b=y", "c=3"),
    ]


def test_a_later_override_of_a_key_replaces_the_earlier_one():
    assert jobs_of("a=1,2,3", "b=0", "a=9") == [("a=9", "b=0")]
    assert jobs_of("a=9", "a=1,2") == [("a=1",), ("a=2",)]


def test_nothing_swept_is_one_job():
    assert jobs_of() == [()]


def test_ranges_and_choices_are_lists_of_values():
    assert jobs_of("seed=range(1,4)") == [("seed=1",), ("seed=2",), ("seed=3",)]
    assert jobs_of("a=choice(kl,-inf)") == [("a=kl",), ("a=-inf",)]
    assert jobs_of("a=null,inf") == [("a=null",), ("a=inf",)]


def test_a_deleted_key_stays_a_deletion():
    assert jobs_of("~sets.open_ended", "~a=3", "b=1,2") == [
        ("~sets.open_ended", "~a=3", "b=1"),
        ("~sets.open_ended", "~a=3", "b=2"),
    ]


def test_an_interval_is_refused_with_one_line():
    with pytest.raises(RequestError) as caught:
        jobs_of("amid.alpha=interval(-5,1)")
    assert str(caught.value) == "'amid.alpha=interval(-5,1)' is no list of values; valid: amid.alpha=V1,V2,..."


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (-5.0, "-5"), (0.1, "0.1"), (float("-inf"), "-inf"), ("kl", "kl"), (3, "3"), (True, "True"),
     ([0, 3], "[0,3]"), ([None, 0.5], "[null,0.5]")],
)  # fmt: skip
def test_a_label_is_what_a_person_writes(value, text):
    assert label(value) == text


def test_the_keys_of_the_rows_are_those_that_differ_and_belong_to_the_identity():
    runs = [
        {"amid.alpha": 1.0, "seed": 1, "trainer.progress_bar": 1},
        {"amid.alpha": 2.0, "seed": 1, "trainer.progress_bar": 0},
    ]
    assert differing_keys(runs) == ["amid.alpha"]
    assert differing_keys(runs[:1]) == ["amid.alpha"]


def test_options_that_follow_from_the_name_are_no_rows():
    runs = [
        {"strategy.name": "fixed", "strategy.capacity": None, "divergence.name": "kl", "divergence.order": "pr"},
        {"strategy.name": "mixed", "strategy.capacity": 1000, "divergence.name": "ab", "divergence.order": "rp"},
    ]
    assert differing_keys(runs) == ["strategy.name", "divergence.name", "divergence.order"]
    other_capacity = {**runs[1], "strategy.capacity": 10}
    assert "strategy.capacity" in differing_keys([*runs, other_capacity])


def test_two_names_of_one_cell_are_one_cell_and_counted(composed):
    sweep = plan_sweep(jobs_of("amid.alpha=-5,-5.0,0,-5e0"), composed)
    assert [planned.overrides for planned in sweep.cells] == [("amid.alpha=-5",), ("amid.alpha=0",)]
    assert sweep.duplicates == 2


def test_a_sweep_without_a_name_is_named_by_its_cells_in_any_order(composed):
    first, second = (plan_sweep(jobs_of(text), composed) for text in ("amid.alpha=1,0", "amid.alpha=0,1"))
    assert first.name == second.name
    assert plan_sweep(jobs_of("amid.alpha=0,2"), composed).name != first.name
    assert plan_sweep(jobs_of("amid.alpha=0", "sweep.name=mine"), composed).name == "mine"


def test_a_bad_third_cell_is_refused_before_anything_is_written(composed, run, tmp_path):
    with pytest.raises(RequestError, match="amid.lam=1 makes"):
        plan_sweep(jobs_of("amid.alpha=1", "amid.lam=0.1,0.2,1"), composed)
    assert not (tmp_path / "results").exists()


def test_planning_writes_nothing(composed, tmp_path):
    plan_lines(plan_sweep(jobs_of("amid.alpha=0,1"), composed))
    assert not (tmp_path / "results").exists()


def test_a_plan_does_not_wait_for_cells_that_run_elsewhere(composed, run):
    jobs = jobs_of("amid.alpha=0,1,2")
    store = Store(run.paths.results)
    for planned in plan_sweep(jobs, composed).cells:
        path = store.folder(planned.cell) / "claims" / "000001.json"
        path.parent.mkdir(parents=True)
        path.write_text(seal({"host": "elsewhere/boot", "pid": 1, "started": "1", "heartbeat": 0}))
        store.set_status(planned.cell, "running")
        os.utime(path, (0, 0))
    start = time.monotonic()
    assert [planned.state for planned in plan_sweep(jobs, composed).cells] == ["running"] * 3
    assert time.monotonic() - start < 5.0  # composing three cells; one heartbeat more is what one of them would cost


@pytest.mark.parametrize("text", [b"\xff\x00", b"{", b'{"state": "done", "digest": "0123456789abcdef"}'])
def test_a_damaged_status_is_planned_to_be_rebuilt_and_hides_no_other_cell(text, composed, run):
    jobs = jobs_of("amid.alpha=0,1,2")
    store = Store(run.paths.results)
    damaged = plan_sweep(jobs, composed).cells[1].cell
    store.folder(damaged).mkdir(parents=True)
    status_path(store.folder(damaged)).write_bytes(text)
    sweep = plan_sweep(jobs, composed)
    assert [planned.state for planned in sweep.cells] == ["absent", "damaged", "absent"]
    assert [line.split()[1] for line in plan_lines(sweep)[1:]] == ["train", "rebuild", "train"]


def test_teacher_and_initial_student_are_named_once_for_all_cells(composed):
    sweep = plan_sweep(jobs_of("amid.alpha=0,1,2"), composed)
    assert [stage.kind for stage in sweep.evaluated_stages] == ["teacher", "student_init"]


def test_the_plan_says_what_is_ignored_once(composed):
    lines = plan_lines(plan_sweep(jobs_of("amid.alpha=inf", "amid.lam=0.1,0.1"), composed))
    assert len([line for line in lines if line.startswith("  note: ")]) == 1
    assert "1 named twice" in lines[0]


def test_a_manifest_is_json_and_its_table_can_be_built_at_once(composed, run):
    sweep = plan_sweep(jobs_of("amid.alpha=null,0"), composed)
    manifest = json.loads(json.dumps(manifest_of(sweep), allow_nan=False))
    assert manifest["rows"] == ["amid.alpha"]
    assert [cell["labels"]["amid.alpha"] for cell in manifest["cells"]] == ["null", "0"]
    table = build_table(manifest, Store(run.paths.results))
    assert [row.labels for row in table.rows] == [("teacher",), ("initial student",), ("none (r = q)",), ("0",)]
    assert {row.state for row in table.rows} == {"absent"}
    assert [line.split()[0] for line in render(table, "text").splitlines()[2:6]] == ["teacher", "initial", "none", "0"]


def test_a_cell_is_finished_only_with_every_score_of_the_protocol(composed, run):
    jobs = jobs_of("amid.alpha=0")
    (planned,) = plan_sweep(jobs, composed).cells
    store = Store(run.paths.results)
    store.folder(planned.cell).mkdir(parents=True)
    store.set_status(planned.cell, "done")
    expected = sorted(planned.protocol.expected(planned.cell.id))
    scores = [Score(planned.cell.id, "x", f"g{id_}", id_, 1, "rouge_l", 1.0, 4) for id_ in expected]
    examples = [PerExample(id_, "t", (1.0,) * 4) for id_ in planned.protocol.expected_per_example(planned.cell.id)]
    store.write(planned.cell, scores[:-1], examples)
    assert not is_evaluated(store, planned.cell, planned.protocol)
    assert [cell.finished for cell in plan_sweep(jobs, composed).cells] == [False]
    store.write(planned.cell, scores)
    (finished,) = plan_sweep(jobs, composed).cells
    assert finished.finished
    assert plan_sweep(jobs, composed).pending == ()
    assert plan_lines(plan_sweep(jobs, composed))[0].endswith("1 cells, 1 finished, nothing to run")


@pytest.fixture
def with_methods(composed):
    """As `composed`, with a method that fixes alpha and one that leaves it open."""

    def compose(overrides):
        given = dict(override.split("=") for override in overrides)
        method = given.pop("method", None)
        seed = int(given.pop("seed", 10))
        run = composed(tuple(f"{key}={value}" for key, value in given.items()))
        run.seed = seed
        if method == "kd":
            run.amid.alpha = None if "amid.alpha" not in given else run.amid.alpha
            run.divergence.name, run.divergence.params = "kl", {}
        run.method.name = method
        run.method.fixes = {"kd": ["divergence", "amid.alpha"], "amid": ["objective"], None: []}[method]
        return run

    return compose


def test_an_axis_that_a_method_fixes_falls_together_into_one_row_and_says_so(with_methods):
    sweep = plan_sweep(jobs_of("method=amid,kd", "amid.alpha=-1,0"), with_methods)
    assert [planned.overrides for planned in sweep.cells] == [
        ("method=amid", "amid.alpha=-1"),
        ("method=amid", "amid.alpha=0"),
        ("method=kd",),
    ]
    assert [planned.run.amid.alpha for planned in sweep.cells] == [-1.0, 0.0, None]
    assert sweep.notes == ("method=kd fixes amid.alpha: one cell for all its values",)
    assert plan_lines(sweep)[-1] == "  note: method=kd fixes amid.alpha: one cell for all its values"


def test_a_value_that_only_one_of_several_methods_fixes_is_left_out_for_that_one(with_methods):
    sweep = plan_sweep(jobs_of("method=amid,kd", "amid.alpha=-1"), with_methods)
    assert [planned.run.amid.alpha for planned in sweep.cells] == [-1.0, None]


def test_a_value_that_the_only_method_fixes_is_refused(with_methods):
    with pytest.raises(RequestError, match="method=kd fixes divergence, amid.alpha, got amid.alpha=-1; leave it out"):
        plan_sweep(jobs_of("method=kd", "amid.alpha=-1"), with_methods)


def test_a_table_over_methods_says_method_and_seed_and_not_what_follows_from_them(with_methods, run):
    def manifest(*overrides):
        return manifest_of(plan_sweep(jobs_of(*overrides), with_methods))

    assert manifest("method=amid,kd", "amid.alpha=-1,0")["rows"] == ["method", "amid.alpha"]
    assert manifest("method=amid,kd")["rows"] == ["method"]
    several = manifest("method=kd", "seed=10,11")
    assert (several["rows"], several["table"]["average"]) == (["method"], ["seed"])
    assert [cell["labels"] for cell in several["cells"]] == [{"method": "kd", "seed": seed} for seed in ("10", "11")]
    assert build_table(manifest("method=amid,kd"), Store(run.paths.results)).note.startswith("seed 10; ")


def test_a_manifest_says_which_written_corpus_a_cell_is_trained_on(composed):
    def compose(overrides):
        writer = dict(override.split("=") for override in overrides)["corpus"]
        made = composed(())
        made.corpus.writer = writer
        return made

    sweep = plan_sweep(jobs_of("corpus=gold,teacher,student"), compose)
    gold, *written = manifest_of(sweep)["cells"]
    assert "corpora" not in gold
    assert [cell["corpora"] for cell in written] == [[planned.cell.stages["corpus"].id] for planned in sweep.cells[1:]]
    assert len({*written[0]["corpora"], *written[1]["corpora"]}) == 2


def test_a_row_that_is_no_key_of_a_run_is_refused_with_the_nearest_one(composed, run):
    run.sweep.table.rows = ["amid.alpah"]
    said = "sweep.table.rows: 'amid.alpah' is no key of a run; did you mean 'amid.alpha'"
    with pytest.raises(RequestError, match=said):
        plan_sweep(jobs_of("amid.alpha=-1,0"), composed)


@pytest.mark.parametrize("selector", ["request", "cell"])
def test_a_request_is_no_axis_of_a_sweep(run, selector):
    setattr(run, selector, "0" * 16)
    with pytest.raises(RequestError, match="name one cell, planned already; leave out -m"):
        plan_sweep([()], lambda overrides: run)


def test_a_manifest_says_the_products_and_how_their_rows_are_chosen(composed, run):
    run.sweep.table = TableCfg(rows=["amid.alpha"], blocks=["amid.lam"], paper="table4", note="ours")
    jobs = jobs_of("amid.alpha=-1,1,-5,0", "amid.lam=0.1")
    chosen = JobGroup((2, 3, 0), "others", SelectCfg(over=["amid.alpha"]))
    manifest = manifest_of(plan_sweep(jobs, composed, [JobGroup((0, 1)), chosen]))
    ids = [cell["id"] for cell in manifest["cells"]]
    assert manifest["groups"] == [
        {"name": None, "select": None, "cells": ids[:2]},
        {"name": "others", "select": {"by": "val", "over": ["amid.alpha"]}, "cells": [ids[2], ids[3], ids[0]]},
    ]
    note = manifest["table"].pop("note")
    assert manifest["table"] == {"blocks": ["amid.lam"], "average": ["seed"], "columns": [], "paper": "table4"}
    assert note == "ours; strategy fixed; pretraining loss x 0; toy texts stand in for the paper's data"
    assert manifest["cells"][0]["labels"] == {"amid.alpha": "-1", "amid.lam": "0.1", "seed": "10"}


def test_cells_that_the_declared_rows_do_not_tell_apart_have_more_rows(composed, run):
    run.sweep.table = TableCfg(rows=["amid.alpha"])
    jobs = jobs_of("amid.alpha=-1,1", "amid.lam=0.1,0.2")
    assert manifest_of(plan_sweep(jobs, composed))["rows"] == ["amid.alpha", "amid.lam"]
    chosen = [JobGroup((0, 1, 2, 3), None, SelectCfg(over=["amid.lam"]))]
    assert manifest_of(plan_sweep(jobs, composed, chosen))["rows"] == ["amid.alpha"]


@pytest.mark.parametrize("place", ["rows", "blocks", "columns", "average"])
def test_a_key_of_the_table_that_no_run_has_is_refused_with_the_nearest(composed, run, place):
    run.sweep.table = TableCfg(**{place: ["amid.alhpa"]})
    with pytest.raises(RequestError, match=f"sweep.table.{place}: 'amid.alhpa' is no key of a run; did you mean 'amid"):
        plan_sweep(jobs_of("amid.alpha=0,1"), composed)


def test_every_cell_that_cannot_be_carried_out_is_named_with_its_reason(composed):
    jobs = jobs_of("amid.alpha=1,2", "amid.lam=0.1,1,0")
    with pytest.raises(InvalidCellsError) as caught:
        plan_sweep(jobs, composed)
    assert [each.overrides for each in caught.value.invalid] == jobs_of("amid.alpha=1,2", "amid.lam=1")
    assert str(caught.value).startswith("2 of 6 cells cannot be carried out: amid.lam=1 makes")
    assert str(caught.value).endswith("(amid.alpha=1 amid.lam=1, amid.alpha=2 amid.lam=1)")
    first, second = caught.value.lines
    assert first.startswith("  invalid  amid.alpha=1 amid.lam=1: amid.lam=1 makes")
    assert second.startswith("  invalid  amid.alpha=2 amid.lam=1: amid.lam=1 makes")
    kept = plan_sweep(jobs, composed, keep_invalid=True)
    assert len(kept.cells) + len(kept.invalid) + kept.duplicates == len(jobs)
    assert kept.invalid == caught.value.invalid


def test_one_reason_against_all_cells_is_said_once(composed):
    with pytest.raises(InvalidCellsError) as caught:
        plan_sweep(jobs_of("amid.alpha=1,2", "amid.lam=1"), composed, keep_invalid=True)
    assert str(caught.value).startswith("amid.lam=1 makes")
    assert len(caught.value.lines) == 2


def test_an_adaptive_strategy_that_looks_too_seldom_is_noted(run):
    run.data.num_records, run.data.num_eval = 64, 4
    run.strategy.name, run.train.validation.rounds = "adaptive_off_policy", 3
    (note,) = plan_sweep([()], lambda _: run).notes
    assert note.startswith("strategy=adaptive_off_policy looks at 3 validations, in the paper at 10 to 20")
    run.train.validation.rounds = 10
    assert plan_sweep([()], lambda _: run).notes == ()
