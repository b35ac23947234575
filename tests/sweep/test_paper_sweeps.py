"""The sweeps of the paper's tables and figures: what each of them names, on its real pair and on the embedded one."""

import json
import os
from pathlib import Path

import pytest
import yaml
from hydra.errors import HydraException

import amid.sweep.compose as requests
from amid.cli.exit_codes import failure_of
from amid.config import config_root
from amid.errors import RequestError
from amid.reports.declaration import label_keys
from amid.reports.tables import build_table
from amid.store import Store
from amid.sweep.compose import run_of_overrides, sweep_of_overrides
from amid.sweep.plan import manifest_of

TINY = ("pair=tiny", "data=toy")
# Cells on the embedded pair, and jobs on the real one
NUM_CELLS = {
    "table1": (10, 30),
    "table2": (8, 48),
    "table3": (24, 24),
    "table4": (32, 32),
    "table5": (24, 24),
    "table6": (9, 9),
    "table7": (8, 8),
    "figure3": (6, 6),
    "figure4": (16, 16),
    "figure5": (6, 6),
}
DEFAULT_STRATEGY = [name for name in NUM_CELLS if name not in ("table2", "table4", "table5")]


@pytest.fixture(scope="module")
def on_tiny(tmp_path_factory):
    """Name -> the sweep on the embedded pair."""
    folder = tmp_path_factory.mktemp("plans")
    folders = (f"paths.results={folder}/results", f"paths.cache={folder}/cache")
    return {name: sweep_of_overrides([f"sweeps={name}", *TINY, *folders]) for name in NUM_CELLS}


@pytest.fixture
def expanded(monkeypatch, tmp_path):
    """The jobs of a sweep and its products, none of them composed."""
    monkeypatch.setattr(requests, "plan_sweep", lambda jobs, compose, groups, **_: (jobs, groups))
    files = [f"data.root={tmp_path}", "plain_text=files", f"plain_text.root={tmp_path}", "plain_text.files=[a.txt]"]
    return lambda *given: sweep_of_overrides([*given, *files])


@pytest.mark.parametrize("name", NUM_CELLS)
def test_a_sweep_of_the_paper_names_its_cells_on_the_embedded_pair(on_tiny, name):
    sweep, (number, _) = on_tiny[name], NUM_CELLS[name]
    assert (len(sweep.cells), sweep.invalid, sweep.name) == (number, (), name)
    assert not sweep.notes, "a value of the sweep that a method fixes, or too few validations"
    assert json.loads(json.dumps(manifest_of(sweep)))["table"]["average"] == ["seed"]


@pytest.mark.parametrize(
    ("name", "none"),
    [("table3", ["none (r = q)"] * 3), ("table4", ["none (r = q)"] * 4), ("table7", ["none (r = p)"])],
)
def test_a_table_says_the_same_before_and_after_its_cells_begin(on_tiny, name, none, tmp_path):
    manifest, store = manifest_of(on_tiny[name]), Store(tmp_path)
    before = build_table(manifest, store)
    for planned in on_tiny[name].cells:
        folder = store.layout.folder_of("cell", planned.cell.id)
        folder.mkdir()
        (folder / "cell.yaml").write_text(yaml.safe_dump(planned.cell.values))
    after = build_table(manifest, store)
    assert [row.labels for row in before.rows] == [row.labels for row in after.rows]
    assert [label for row in before.rows for label in row.labels if label.startswith("none")] == none
    assert before.label_names == after.label_names == ("amid.alpha",), "what is known of a cell is no column"
    assert ("divergence.order" in label_keys(manifest)) == (name != "table4"), "nor a label, where it does not vary"


@pytest.mark.parametrize("name", NUM_CELLS)
def test_on_its_real_pair_every_job_composes(expanded, name):
    jobs, groups = expanded(f"sweeps={name}")
    assert len(jobs) == len(set(jobs)) == NUM_CELLS[name][1]
    for group in groups:  # one of each product: they differ in plain values
        run = run_of_overrides(jobs[group.jobs[0]])
        assert run.pair.name != "tiny"
        assert run.data.name in ("dolly", "gsm8k", "dialogsum", "flores200")
        assert len(run.evaluation.sets) == (1 if name == "table2" else 5)
        if run.strategy.name == "adaptive_off_policy":
            assert (run.train.validation.rounds or run.train.epochs) >= 10


def test_the_sweeps_share_their_cells(on_tiny):
    cells = {name: {planned.cell.id for planned in sweep.cells} for name, sweep in on_tiny.items()}
    assert cells["table6"] < cells["table1"], "toy texts stand in for both"
    assert cells["figure4"] < cells["table3"]
    assert cells["figure3"] < cells["table1"]
    assert len(cells["table4"] & cells["table3"]) == 8, "the block of the paper's default strategy"
    assert len(cells["table1"] & cells["table3"]) >= 5, "AMiD's alphas"
    assert len(set().union(*cells.values())) == 88


@pytest.mark.parametrize("name", DEFAULT_STRATEGY)
def test_the_default_strategy_and_the_pretraining_loss_are_named_in_the_file(on_tiny, name):
    text = (config_root() / "sweeps" / f"{name}.yaml").read_text()
    assert "adaptive_off_policy" in text
    assert "lm_coef" in text
    for planned in on_tiny[name].cells:
        adaptive = planned.run.strategy.name == "adaptive_off_policy"
        assert adaptive == (planned.run.objective.lm_coef == 1.0) == (planned.run.method.name != "gkd")


def test_the_tables_have_the_paper_s_lambda_and_orders(on_tiny):
    runs = {name: [planned.run for planned in sweep.cells] for name, sweep in on_tiny.items()}
    orders = {name: {(run.divergence.name, run.divergence.order) for run in of_name} for name, of_name in runs.items()}
    assert orders["table3"] == {("kl", "pr"), ("kl", "rp"), ("ab", "pr")}
    assert orders["table7"] == {("kl", "qr")}
    assert orders["table2"] == orders["table4"] == orders["figure5"] == {("ab", "pr")}
    assert {planned.run.amid.lam for planned in on_tiny["table7"].cells} == {0.9}
    for name in ("table1", "table5", "table6", "figure3"):
        lams = {(run.method.name, run.amid.lam) for run in runs[name]}
        assert lams >= {("distillm_skl", 0.1), ("distillm_srkl", 0.9), ("amid", 0.1)}
    assert {planned.run.amid.lam for name in ("table2", "table3", "table4") for planned in on_tiny[name].cells} == {0.1}


def test_a_tuned_row_is_chosen_by_validation_and_names_what_it_is(on_tiny):
    groups = manifest_of(on_tiny["table4"])["groups"]
    assert [(group["name"], group["select"]) for group in groups] == [
        (None, None),
        ("alpha != ±1", {"by": "val", "over": ["amid.alpha"]}),
    ]
    for name, sweep in on_tiny.items():
        for group in sweep.groups:
            assert group.select is None or group.select.by == "val", name


def test_a_learning_rate_of_one_s_own_is_chosen_by_validation_for_every_method(expanded):
    jobs, groups = expanded("sweeps=table1", *TINY, "train.lr=1e-4,5e-4")
    assert len(jobs) == 20
    assert all("train.lr" in group.select.over for group in groups)


def test_a_value_of_the_user_replaces_the_declared_ones(expanded):
    jobs, _ = expanded("sweeps=table3", *TINY, "amid.alpha=-1,1")
    assert len(jobs) == 6
    jobs, groups = expanded("sweeps=table4", *TINY, "amid.alpha=-1,1")
    assert (len(jobs), [group.name for group in groups]) == (8, [None])
    jobs, _ = expanded("sweeps=table1", "pair=gpt2_xl_to_large", "method=abkd,amid")
    assert len(jobs) == 6


def test_data_of_one_s_own_are_evaluated_on_their_own_sets(on_tiny):
    for name, sweep in on_tiny.items():
        sets = {tuple(sorted(planned.protocol.sets)) for planned in sweep.cells}
        assert len(sets) == 1, name
        assert "dolly" not in sets.pop()


def test_the_stand_in_says_so(on_tiny):
    for name, sweep in on_tiny.items():
        note = manifest_of(sweep)["table"]["note"] or ""
        assert ("toy texts stand in" in note) == name.startswith("table")


def test_ids_of_the_sweeps_of_before_have_not_moved(on_tiny):
    golden = json.loads((Path(__file__).parents[1] / "golden" / "sweeps.json").read_text())
    assert [planned.cell.id for planned in on_tiny["table5"].cells] == golden["table5"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["sweep.union=[{axes: {amid.alpha: []}}]"], "sweep.union.axes: 'amid.alpha' has no value"),
        (["sweep.union=[{axes: {amid.alhpa: [1]}}]"], "unknown key 'amid.alhpa'; did you mean 'amid.alpha'?"),
        (["sweep.union=[{axis: {seed: [1]}}]"], "axis"),
        (["sweep.union=[{axes: {method: [amit]}}]"], "method 'amit' unknown; did you mean 'amid'?"),
        (["sweep.union=[{axes: {sweep.name: [a]}}]"], "'sweep.name' names or carries out a sweep"),
        (["sweep.union=[{name: best}]"], "give sweep.union.select"),
        (["sweep.union=[{select: {over: [seeds]}}]"], "sweep.union[0].select.over: 'seeds' is no key of a run"),
        (["sweep.union=[{select: {by: test, over: [seed]}}]"], "sweep.union.select.by 'test' unknown"),
        (["sweep.union=3"], "sweep.union"),
        (["sweep.table.blocks=[amid.alhpa]"], "sweep.table.blocks: 'amid.alhpa' is no key of a run"),
        (["sweep.table.paper=a/b"], "sweep.table.paper 'a/b' is no name"),
        (["+sweep.table.block=[seed]"], "unknown key 'sweep.table.block'; did you mean 'sweep.table.blocks'?"),
    ],
)
def test_a_bad_declaration_is_refused_in_one_line(tmp_path, given, said):
    with pytest.raises((RequestError, HydraException)) as caught:
        sweep_of_overrides([*given, f"paths.results={tmp_path}"])
    line = str(failure_of(caught.value))
    assert isinstance(failure_of(caught.value), RequestError)
    assert said in line
    assert "\n" not in line


def test_every_sweep_is_in_the_map_with_its_number_of_cells():
    rows = (config_root() / "sweeps" / "README.md").read_text()
    for path in (config_root() / "sweeps").glob("*.yaml"):
        assert f"`{path.stem}`" in rows
        assert yaml.safe_load(path.read_text())["sweep"]["name"] == path.stem
    for name, (tiny, real) in NUM_CELLS.items():
        (row,) = [line for line in rows.splitlines() if f"| `{name}` |" in line]
        assert f"| {real} / {tiny} |" in row


def test_the_folder_of_sweeps_is_named_by_the_environment_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(sweep_of_overrides(["sweeps=demo", f"paths.results={os.devnull}/x"]).cells) == 5
