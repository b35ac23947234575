"""COMET needs its own model; a stand-in for its package shows what is handed over and what is made of the result."""

import sys
import types

import pytest

from amid.metrics.comet import comet, comet_per_example


@pytest.fixture
def calls(monkeypatch):
    seen = {}

    class Model:
        def predict(self, rows, *, batch_size, gpus):
            seen.update(rows=rows, batch_size=batch_size, gpus=gpus)
            return types.SimpleNamespace(scores=[0.5 + 0.1 * index for index in range(len(rows))])

    def load_from_checkpoint(path):
        seen["path"] = path
        return Model()

    package = types.ModuleType("comet")
    package.download_model = lambda name: f"downloaded:{name}"
    package.load_from_checkpoint = load_from_checkpoint
    monkeypatch.setitem(sys.modules, "comet", package)
    return seen


def test_rows_name_source_translation_and_reference_and_scores_are_in_percent(calls):
    scores = comet_per_example(["s0", "s1"], ["m0", "m1"], ["r0", "r1"], batch_size=4, num_gpus=1)
    assert scores == pytest.approx([50.0, 60.0])
    assert calls["rows"] == [{"src": "s0", "mt": "m0", "ref": "r0"}, {"src": "s1", "mt": "m1", "ref": "r1"}]
    assert calls["path"] == "downloaded:Unbabel/wmt22-comet-da"
    assert (calls["batch_size"], calls["gpus"]) == (4, 1)


def test_the_score_of_the_set_is_the_mean(calls):
    assert comet(["s0", "s1"], ["m0", "m1"], ["r0", "r1"]) == pytest.approx(55.0)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "comet", None)
    with pytest.raises(ImportError, match=r"pip install 'amid-lab\[comet\]'"):
        comet(["s"], ["m"], ["r"])


def test_sequences_of_different_length_are_refused_before_a_model_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "comet", None)
    with pytest.raises(ValueError, match="got 2, 1 and 1"):
        comet(["s", "t"], ["m"], ["r"])
    with pytest.raises(ValueError, match="at least 1 text"):
        comet([], [], [])
