"""Frozen requests: what was planned is what runs."""

import copy
import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import amid.store.frozen as module_of_requests
from amid.cells.cell import cell_of
from amid.config import RunCfg, from_plain
from amid.digests.fingerprint import plain
from amid.errors import RequestError
from amid.store import Store
from amid.store.frozen import check_same_cell, freeze, latest_request, request_overrides, selected, thaw
from amid.sweep.compose import run_of_overrides


@pytest.fixture
def store(run):
    return Store(run.paths.results)


def frozen(run, store):
    return thaw(freeze(run, cell_of(run), store), store)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["amid.alpha=-inf", "train.lr=1e-7"],
        ["method=taid", "strategy=speculative", "compat=official_code"],
        ["evaluation=[toy,gsm8k]", r"+evaluation.sets.mine={files: [a.jsonl], stop: ['\${x}', '{y}']}"],
        ["+evaluation.sets.in_distribution.filter.kept=true", "pair.keep_layers=null"],
    ],
    ids=str,
)
def test_a_request_comes_back_as_it_was_checked(run, store, overrides):
    run = run_of_overrides([*overrides, f"paths.results={store.root}", f"paths.cache={run.paths.cache}"])
    request = frozen(run, store)
    assert request.run == run
    assert request.cell_id == cell_of(run).id == cell_of(request.run).id


def test_an_alpha_of_infinity_survives_as_a_number(run, store):
    run.amid.alpha = -math.inf
    assert frozen(run, store).run.amid.alpha == -math.inf


def test_a_request_that_is_asked_for_again_is_the_latest_again(run, store):
    cell, other = cell_of(run), copy.deepcopy(run)
    other.evaluation.num_prompts = 3
    first, second = freeze(run, cell, store), freeze(other, cell, store)
    for digest, written in ((first, 100), (second, 200)):
        os.utime(store.layout.request(digest), (written, written))
    assert latest_request(cell.id, store).digest == second
    assert freeze(run, cell, store) == first
    assert latest_request(cell.id, store).digest == first


def test_the_same_request_has_one_file_whoever_writes_it(run, store):
    assert freeze(run, cell_of(run), store) == freeze(copy.deepcopy(run), cell_of(run), store)
    assert len(list((store.root / "requests").iterdir())) == 1
    other = copy.deepcopy(run)
    other.evaluation.decode_seeds = [1]
    assert cell_of(other).id == cell_of(run).id
    assert freeze(other, cell_of(other), store) != freeze(run, cell_of(run), store)


def test_relative_folders_are_the_same_for_a_job_in_another_folder(run, store, monkeypatch, tmp_path):
    run.evaluation.root, run.plain_text.root, run.data.root = "sets", "texts", "records"
    monkeypatch.chdir(tmp_path)
    found = frozen(run, store).run
    asked = [found.evaluation.root, found.plain_text.root, found.data.root, found.paths.results, found.paths.cache]
    assert all(Path(str(folder)).is_absolute() for folder in asked), asked
    assert found.plain_text.root == str(tmp_path / "texts")


def test_a_results_folder_that_moved_takes_its_requests_along(run, store, tmp_path):
    digest = freeze(run, cell_of(run), store)
    store.root.rename(tmp_path / "moved")
    assert thaw(digest, Store(tmp_path / "moved")).run.paths.results == str(tmp_path / "moved")


@pytest.mark.parametrize("digest", ["../../etc/passwd", "abc", "0123456789abcdeg", ""])
def test_a_name_that_is_no_digest_is_refused(store, digest):
    with pytest.raises(RequestError, match="request must be 16 hex digits, got"):
        thaw(digest, store)


def test_an_unknown_request_names_the_known_ones(run, store):
    digest = freeze(run, cell_of(run), store)
    with pytest.raises(RequestError, match=f"request '0000000000000000' is not in .*valid: {digest}"):
        thaw("0" * 16, store)


def test_a_request_that_was_edited_is_refused(run, store):
    digest = freeze(run, cell_of(run), store)
    path = store.layout.request(digest)
    path.write_text(path.read_text().replace("alpha: -5.0", "alpha: -3.0"))
    with pytest.raises(RequestError, match=f"{path} is not what was frozen"):
        thaw(digest, store)


def test_a_request_whose_data_changed_meanwhile_is_refused(run, store):
    request = frozen(run, store)
    check_same_cell(request, cell_of(request.run))
    request.run.data.seed += 1
    with pytest.raises(RequestError, match=rf"planned as cell {request.cell_id} and names \w+ now"):
        check_same_cell(request, cell_of(request.run))


def test_the_latest_request_of_a_cell_is_the_last_written_and_one_that_trains(run, store):
    import os

    first = freeze(run, cell_of(run), store)
    run.evaluation.decode_seeds = [1]
    second = freeze(run, cell_of(run), store)
    run.task = "prepare"
    prepares = freeze(run, cell_of(run), store)
    for age, digest in enumerate((prepares, second, first)):
        os.utime(store.layout.request(digest), (1000 - age, 1000 - age))
    assert latest_request(cell_of(run).id[:6], store).digest == second
    with pytest.raises(RequestError, match="cell 'zz' has no request"):
        latest_request("zz", store)
    with pytest.raises(RequestError, match="cell '' has no request"):
        latest_request("", store)
    known = cell_of(run).id
    while cell_of(run).id == known or cell_of(run).id[0] != known[0]:  # another cell whose id begins alike
        run.amid.alpha += 1.0
    freeze(run, cell_of(run), store)
    with pytest.raises(RequestError, match=f"cell '{known[0]}' names 2 cells"):
        latest_request(known[0], store)


def test_nothing_may_stand_beside_a_request_but_the_folder_it_lies_in(run, store):
    digest = freeze(run, cell_of(run), store)
    asked = copy.deepcopy(run)
    asked.request = digest
    where = f"paths.results={store.root}"
    found = selected(asked, [f"request={digest}", where])
    assert found is not None
    assert found.run == run
    with pytest.raises(RequestError, match="only paths.results may stand beside it, got seed=3, cell=x"):
        selected(asked, [f"request={digest}", "seed=3", where, "cell=x"])
    assert selected(run, ["seed=3"]) is None


def test_a_launcher_passes_the_request_and_its_folder_literally(run, tmp_path):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    root = tmp_path / "it's a, {strange} folder\\"
    overrides = request_overrides("0" * 16, Store(root))
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    assert [str(each.value()) for each in parsed] == ["0" * 16, str(root)]


def test_a_request_with_a_key_of_another_version_is_refused(run):
    from dataclasses import asdict

    values = yaml.safe_load(yaml.safe_dump(plain(asdict(run))))
    assert from_plain(RunCfg, values) == run
    values["amid"]["novelty"] = 3
    with pytest.raises(RequestError, match="unknown key 'amid.novelty'"):
        from_plain(RunCfg, values)


def test_a_request_holds_no_secret(run, store, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "not-for-disk")
    digest = freeze(run, cell_of(run), store)
    assert "not-for-disk" not in Path(store.layout.request(digest)).read_text()


@pytest.mark.parametrize("digits", ["943869e352222393", "0001234567890123", "123456789012e123"])
@pytest.mark.parametrize("selector", ["request", "cell"])
def test_digits_that_read_as_a_number_name_what_they_name(selector, digits, store, monkeypatch):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    asked = []
    found = SimpleNamespace(cell_id="", digest="")
    for name in ("thaw", "latest_request"):
        monkeypatch.setattr(module_of_requests, name, lambda text, _: asked.append(text) or found)
    as_job = request_overrides(digits, store)[0].replace("request=", f"{selector}=")
    for given in (f"{selector}={digits}", as_job):
        selected(run_of_overrides([given, f"paths.results={store.root}"]), [given])
    assert asked == [digits] * 2
    assert str(OverridesParser.create().parse_override(as_job).value()) == digits, "a job reads it as a text"
