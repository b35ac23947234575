"""What a sweep is said to cost, and the smallest difference its table can tell."""

import copy
import os
import random
import statistics
from dataclasses import replace

import pytest
import yaml

from amid.evaluation.validation import tuning_score
from amid.store import PerExample, Score, Store
from amid.sweep import cost, resolution
from amid.sweep.compose import sweep_of_overrides
from amid.sweep.plan import plan_sweep

TRAIN_S, ALL_S, WRITING_S = 100.0, 150.0, 20.0


@pytest.fixture
def planned(run):
    """A sweep of one cell for each learning rate."""
    run.data.num_records, run.data.num_eval, run.train.global_batch_size = 64, 4, 8

    def of(*rates):
        def compose(job):
            changed = copy.deepcopy(run)
            changed.train.lr = float(job[0].partition("=")[2])
            return changed

        return plan_sweep([(f"train.lr={rate}",) for rate in rates], compose)

    return of


def finish(sweep, run, **spent):
    """Writes what a finished cell leaves of its costs."""
    store = Store(run.paths.results)
    for each in sweep.cells:
        store.folder(each.cell).mkdir(parents=True)
        (store.folder(each.cell) / "cell.yaml").write_text(yaml.safe_dump(dict(each.cell.values)))
        spent = {"steps": 10, "generated_tokens": 400, "generation_seconds": WRITING_S, **spent}
        store.set_status(each.cell, "done", train_seconds=TRAIN_S, seconds=ALL_S, spent=spent)
        store.write(each.cell, [score(each, "in_distribution", seed) for seed in (10, 20)])


def score(planned, name, seed, *, number=25):
    protocol, entry = planned.protocol, planned.cell.id
    generation = protocol.generation_id(entry, name, seed)
    named = {"entry_id": entry, "eval_set": name, "generation_id": generation, "score_id": f"{generation[:11]}x"}
    group = protocol.group_id(name)
    return Score(**named, decode_seed=seed, metric="rouge_l", value=1.0, num_samples=number, group_id=group, main=True)


def test_without_finished_cells_the_default_is_stated_and_grows_with_the_work(planned, run):
    one, two = cost.estimate(planned(1e-3)), cost.estimate(planned(1e-3, 2e-3))
    assert two.cell_seconds == pytest.approx(2 * one.cell_seconds)
    assert two.stage_seconds == one.stage_seconds > 0.0, "stages are shared"
    assert one.stages == {"tokenizer": 1, "teacher": 1, "initial student": 1}
    assert "no finished cell to learn from: 2e+10 operations a second" in "\n".join(cost.lines_of_estimate(one))


def test_seconds_are_learned_from_finished_cells_of_the_same_student(planned, run):
    finish(planned(1e-3), run)
    sweep = planned(2e-3)
    found = cost.estimate(sweep)
    (each,) = cost.measured(Store(run.paths.results))
    assert each.per_sequence == (TRAIN_S - WRITING_S) / (10 * 8)
    assert (each.per_token, each.per_answer) == (WRITING_S / 400, (ALL_S - TRAIN_S) / 50)
    sequences, answers = cost.num_steps(sweep.cells[0].run) * 8, cost.num_answers(sweep.cells[0])
    assert found.cell_seconds == pytest.approx(sequences * TRAIN_S / 80 + answers * (ALL_S - TRAIN_S) / 50)
    assert found.learned == 1
    assert "from 1 finished cells" in cost.lines_of_estimate(found)[0]


def test_answers_that_are_there_cost_nothing_again(planned, run):
    (before,) = planned(1e-3).cells
    in_all = cost.num_answers(before)
    found = [score(before, name, seed) for name, each in before.protocol.sets.items() for seed in each.decode_seeds]
    assert (in_all, cost.num_answers(before, found)) == (5 * 4 * 5, 0)
    run.evaluation.also_greedy = True
    (greedy,) = planned(1e-3).cells
    assert (cost.num_answers(greedy), cost.num_answers(greedy, found)) == (in_all + 5 * 4, 5 * 4)


def test_a_choice_among_temperatures_costs_its_validation_and_the_sets_once_more(planned, run):
    run.data.num_dev = 7
    (before,) = planned(1e-3).cells
    in_all = cost.num_answers(before)
    run.evaluation.also_tuned = [0.0, 0.5, 1.0]
    (tuned,) = planned(1e-3).cells
    assert tuned.cell.id == before.cell.id
    assert cost.num_answers(tuned) == 2 * in_all + 2 * 7, "at 1 every cell is validated"
    run.train.validation.num_examples = 3
    assert cost.num_answers(planned(1e-3).cells[0]) == 2 * in_all + 2 * 3
    run.train.validation.num_examples = None
    validated = {0.0: 1.0, 0.5: 2.0, 1.0: 9.0}
    known = [
        tuning_score(tuned.protocol, entry_id=tuned.cell.id, temperature=each, rouge=value, num_samples=7)
        for each, value in validated.items()
    ]
    assert cost.num_answers(tuned, known) == in_all, "the chosen one is that of the sets themselves"


def test_devices_that_share_a_cell_and_cells_side_by_side_end_earlier_and_cost_the_same(planned, run):
    alone = cost.estimate(planned(1e-3, 2e-3, 3e-3))
    assert alone.elapsed == pytest.approx(alone.cell_seconds + alone.stage_seconds)
    assert " of one device (" in cost.lines_of_estimate(alone)[0]
    side_by_side = cost.estimate(replace(planned(1e-3, 2e-3, 3e-3), at_once=2))
    assert side_by_side.cell_seconds == alone.cell_seconds
    assert side_by_side.elapsed == pytest.approx(alone.stage_seconds + alone.cell_seconds * 2 / 3), "two, then one"
    assert "device hours: 2 cells at once" in cost.lines_of_estimate(side_by_side)[0]
    run.trainer.devices = 4
    shared = cost.estimate(planned(1e-3, 2e-3, 3e-3))
    assert shared.cell_seconds == pytest.approx(alone.cell_seconds)
    assert shared.elapsed == pytest.approx(alone.elapsed / 4)
    line = cost.lines_of_estimate(replace(shared, elapsed=2400.0, cell_seconds=4000.0, stage_seconds=800.0))[0]
    assert line.startswith("time: about 40 min (1.3 device hours: 4 devices a cell; of one device 67 min of cells, ")


def test_of_a_cell_that_several_devices_shared_their_seconds_are_learned(planned, run):
    finish(planned(1e-3), run, devices=2)
    (each,) = cost.measured(Store(run.paths.results))
    assert each.per_sequence == (2 * TRAIN_S - WRITING_S) / (10 * 8), "writing is summed over the ranks already"
    assert (each.per_token, each.per_answer) == (WRITING_S / 400, 2 * (ALL_S - TRAIN_S) / 50)


@pytest.mark.parametrize(
    ("launcher", "at_once"),
    [
        ((), 1),
        (("hydra/launcher=joblib", "hydra.launcher.n_jobs=3"), 3),
        (("hydra/launcher=joblib",), os.cpu_count()),  # its default is -1: all
    ],
)
def test_how_many_cells_run_at_once_is_read_from_the_launcher(launcher, at_once, tmp_path):
    if launcher:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra joblib")
    assert sweep_of_overrides(["amid.alpha=1,3", f"paths.results={tmp_path}", *launcher]).at_once == at_once


def test_a_cell_that_says_nothing_of_its_costs_teaches_nothing(planned, run):
    sweep = planned(1e-3)
    store = Store(run.paths.results)
    store.folder(sweep.cells[0].cell).mkdir(parents=True)
    store.set_status(sweep.cells[0].cell, "done")
    assert cost.measured(store) == []
    (store.folder(sweep.cells[0].cell) / "cell.yaml").write_text("{[")
    assert cost.measured(store) == []


def test_the_variance_of_a_difference_is_taken_apart_into_prompts_and_seeds():
    rng = random.Random(0)
    between, within, num_seeds = 3.0, 2.0, 5
    prompts = [rng.gauss(0.0, between) for _ in range(4000)]
    left = [[prompt + rng.gauss(0.0, within) for _ in range(num_seeds)] for prompt in prompts]
    right = [[0.0] * num_seeds for _ in prompts]
    found = resolution.variances(left, right)
    assert found == pytest.approx((between**2, within**2), rel=0.08)  # 4,000 prompts: 2 % and 1 % are one deviation
    assert resolution.variances([[1.0], [3.0]], [[0.0], [0.0]]) == (2.0, 0.0)


def test_the_smallest_difference_falls_with_prompts_and_is_not_said_without_two_cells(planned, run):
    sweep = planned(1e-3, 2e-3)
    assert resolution.resolution(sweep) is None
    assert "not known before two cells are finished" in resolution.line_of_resolution(sweep)
    store, name = Store(run.paths.results), "in_distribution"
    number = cost.num_prompts(sweep.cells[0].protocol.sets[name].data)
    for side, each in enumerate(sweep.cells):
        store.folder(each.cell).mkdir(parents=True)
        store.set_status(each.cell, "done")
        scores = [score(each, name, seed, number=number) for seed in (10, 20)]
        values = [tuple(float(side * (i + 1)) for i in range(number))] * 2
        kept = [PerExample(s.score_id, "0", v) for s, v in zip(scores, values, strict=True)]
        store.write(each.cell, scores, kept)
    found = resolution.resolution(sweep)
    sd = statistics.stdev(range(1, number + 1))
    assert found.by_set == {name: pytest.approx(1.96 * sd / number**0.5)}
    assert found.num_pairs == 1
