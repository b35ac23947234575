"""Presets and a folder of the user's own: the same composition wherever a run is composed, and frozen as it was."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from amid.cells.cell import cell_of
from amid.cli import evaluating
from amid.cli.app import app
from amid.config import RunCfg, config_root
from amid.errors import RequestError
from amid.store import Store
from amid.store.claims import held
from amid.store.frozen import freeze, selected
from amid.sweep.again import sweep_again
from amid.sweep.compose import run_of_overrides, sweep_of_overrides
from amid.sweep.plan import Sweep, manifest_of

FILES = {
    "experiment/mine.yaml": """
# @package _global_
defaults:
  - quick
  - override /divergence: doubled
amid: {alpha: 0.25}
""",
    "experiment/headless.yaml": "amid: {alpha: 0.25}",
    "experiment/on_gkd.yaml": """
# @package _global_
defaults:
  - override /method: gkd
amid: {lam: 0.3}
""",
    "experiment/against_gkd.yaml": """
# @package _global_
defaults:
  - override /method: gkd
amid: {alpha: 3}
""",
    "divergence/doubled.yaml": "{name: ab, order: pr, params: {ab_alpha: 0.4, ab_beta: 1.4}}",
    "sweeps/few.yaml": """
# @package _global_
hydra: {mode: MULTIRUN}
sweep:
  name: few
  union:
    - axes: {amid.alpha: [null, 0]}
""",
    "sweeps/on_dolly.yaml": """
# @package _global_
hydra: {mode: MULTIRUN, sweeper: {params: {evaluation: dolly}}}
sweep:
  name: on_dolly
  gives_way: {data: [evaluation]}
""",
    "evaluation/own.yaml": "sets: {own: {files: [own.jsonl]}}",
}


@pytest.fixture
def my_conf(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "my_conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip())
    return tmp_path / "my_conf"


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return [f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache"]


@pytest.fixture
def run_of(folders: list[str], my_conf: Path) -> Callable[..., RunCfg]:
    return lambda *overrides: run_of_overrides([*overrides, *folders], config_dir=my_conf)


@pytest.fixture
def sweep_of(folders: list[str], my_conf: Path) -> Callable[..., Sweep]:
    return lambda *overrides: sweep_of_overrides([*overrides, *folders], config_dir=my_conf)


def test_a_preset_chooses_and_sets_and_what_is_given_beside_it_wins(run_of: Callable[..., RunCfg]) -> None:
    plain, preset = run_of(), run_of("experiment=mine")
    assert (preset.pair.name, preset.train.max_steps, preset.amid.alpha) == ("tiny", 4, 0.25)
    assert preset.divergence.params == {"ab_alpha": 0.4, "ab_beta": 1.4} != plain.divergence.params
    given = run_of("experiment=mine", "divergence=kl", "amid.alpha=2", "train.max_steps=1")
    assert (given.divergence.name, given.amid.alpha, given.train.max_steps) == ("kl", 2.0, 1)
    assert run_of("experiment=[quick,paper_default]").strategy.name == "adaptive_off_policy"
    assert run_of("experiment=[quick,paper_default]").train.max_steps == 4
    for several, value in (("[paper_default,mine]", 0.4), ("[mine,paper_default]", 0.2)):  # the later one wins
        assert run_of(f"experiment={several}").divergence.params["ab_alpha"] == value


def test_the_paper_default_is_the_method_without_its_name(run_of: Callable[..., RunCfg]) -> None:
    preset, method = run_of("experiment=paper_default"), run_of("method=amid")
    assert cell_of(preset).id == cell_of(method).id != cell_of(run_of()).id
    assert preset.method.name is None


def test_a_sweep_varies_what_it_declares_under_a_preset(sweep_of: Callable[..., Sweep]) -> None:
    sweep = sweep_of("sweeps=few", "experiment=mine")
    assert [planned.run.amid.alpha for planned in sweep.cells] == [None, 0.0], "its axes are the sweep's"
    assert {planned.run.train.max_steps for planned in sweep.cells} == {4}, "all else is the preset's"
    assert sweep.name == "few"
    assert len(sweep_of("experiment=quick,paper_default,mine").cells) == 3


def test_what_goes_with_the_declared_data_gives_way_to_those_of_a_preset(sweep_of: Callable[..., Sweep]) -> None:
    """Table 3 declares Dolly and the paper's five sets, which are files; a preset with the embedded data has others."""
    sweep = sweep_of("sweeps=table3", "experiment=quick", "amid.alpha=-1,1")
    runs = [planned.run for planned in sweep.cells]
    assert {(run.pair.name, run.data.source, run.train.max_steps) for run in runs} == {("tiny", "toy", 4)}
    assert all(set(run.evaluation.sets) == set(run_of_overrides([]).evaluation.sets) for run in runs)
    assert [cell.cell.id for cell in sweep.cells] == [
        cell.cell.id
        for cell in sweep_of("sweeps=table3", "experiment=quick", "pair=tiny", "data=toy", "amid.alpha=-1,1").cells
    ]
    # A preset that chooses no data leaves the declared sets where they are.
    with pytest.raises(RequestError, match="evaluation.root"):
        sweep_of("sweeps=on_dolly", "experiment=paper_default")


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        (("experiment=paper_default", "method=gkd"), "divergence.name, strategy.name, which method=gkd fixes"),
        (("experiment=paper_default", "method=gkd", "amid.lam=0.2"), "divergence.name, strategy.name"),
        (("experiment=[quick,paper_default]", "method=kd"), "divergence, which method=kd fixes"),
        (("experiment=against_gkd",), "amid.alpha, which method=gkd fixes"),
    ],
)
def test_a_preset_that_changes_what_a_method_fixes_is_refused(
    given: tuple[str, ...], changed: str, run_of: Callable[..., RunCfg], sweep_of: Callable[..., Sweep]
) -> None:
    for compose in (run_of, sweep_of):
        with pytest.raises(RequestError, match=changed):
            compose(*given)


def test_a_preset_beside_a_method_that_does_not_fix_its_values(
    run_of: Callable[..., RunCfg], sweep_of: Callable[..., Sweep]
) -> None:
    assert run_of("experiment=on_gkd").method.name == "gkd"
    assert run_of("experiment=on_gkd").amid.lam == 0.3
    assert run_of("experiment=quick", "method=gkd").divergence.name == "gjs"
    assert len(sweep_of("experiment=quick", "method=gkd,kd").cells) == 2


def test_a_file_with_the_place_of_one_of_the_product_is_refused(run_of: Callable[..., RunCfg], my_conf: Path) -> None:
    """Hydra looks into conf/ first: what the user wrote would have no effect."""
    theirs = my_conf / "divergence" / "ab.yaml"
    shutil.copy(config_root() / "conf" / "divergence" / "ab.yaml", theirs)
    run_of()
    theirs.write_text(FILES["divergence/doubled.yaml"])
    with pytest.raises(RequestError, match="my_conf/divergence/ab.yaml has the name of a file of the product"):
        run_of()


def test_a_frozen_request_is_whole_without_the_folder(sweep_of: Callable[..., Sweep], my_conf: Path) -> None:
    sweep = sweep_of("sweeps=few", "experiment=mine")
    store = Store(sweep.cells[0].run.paths.results)
    store.write_sweep(sweep.name, manifest_of(sweep))
    for planned in sweep.cells:  # as a sweep freezes its jobs
        freeze(replace(planned.run, sweep=replace(planned.run.sweep, union=[])), planned.cell, store)
    claim = store.claim(sweep.cells[1].cell)
    assert claim is not None
    with held(claim):
        store.set_failed(sweep.cells[1].cell, "diverged", "Traceback")
    shutil.rmtree(my_conf)
    for planned in sweep.cells:
        asked = [f"cell={planned.cell.id}", f"paths.results={store.root}"]
        request = selected(run_of_overrides(asked), asked)
        assert request is not None and request.cell_id == planned.cell.id == cell_of(request.run).id
        assert replace(request.run, sweep=planned.run.sweep) == planned.run
    (again,) = sweep_again(store.read_sweep("few"), store, states=["failed"]).cells  # amid retry
    assert (again.run.amid, again.cell.id) == (sweep.cells[1].run.amid, sweep.cells[1].cell.id)


def test_the_verbs_that_compose_take_the_folder(
    my_conf: Path, folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def amid(*words: str) -> str:
        done = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    folder = ("--config-dir", str(my_conf))
    assert "sweep few: 2 cells" in amid("plan", "few", "experiment=mine", *folders, *folder)
    assert "200 records" in amid("data", "experiment=mine", "--num", "1", *folders, *folder)
    (tmp_path / "own.jsonl").write_text('{"instruction": "Say hi.", "input": "", "output": "Hi."}\n' * 2)
    (tmp_path / "answers.jsonl").write_text('{"response": "Hi."}\n' * 2)
    answers = ("score", str(tmp_path / "answers.jsonl"), "--set", "own", "--root", str(tmp_path))
    assert "100.00" in amid(*answers, *folder)
    seen: list[RunCfg] = []
    monkeypatch.setitem(sys.modules, "amid.cli.model_evaluation", type(sys)("stub"))
    sys.modules["amid.cli.model_evaluation"].evaluate_model = (  # type: ignore[attr-defined]
        lambda model, run, revision: seen.append(run)
    )
    monkeypatch.setattr("amid.reports.tables.render", lambda table, style: "")
    evaluating.evaluate("MODEL", sets="own", root=tmp_path, config_dir=my_conf)
    assert list(seen[0].evaluation.sets) == ["own"]
    with pytest.raises(RequestError, match="evaluation set 'own' unknown"):
        evaluating.evaluate("MODEL", sets="own", root=tmp_path)
