"""What several test files share: a checked default configuration, a trained tokenizer and a tiny model."""

import copy
import os
from collections import Counter

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for a network

import pytest

SHARED = ("hostile", "kill", "long", "faults")  # suites with a short form


def pytest_collection_modifyitems(config, items):
    """AMID_SHARE=N keeps, of these suites, the first of every N cases of a test, or tests of a file that have none."""
    share, seen = int(os.environ.get("AMID_SHARE") or 1), Counter()
    kept, left_out = [], []
    for item in items:
        test, has_cases, _ = item.nodeid.partition("[")
        among = test if has_cases else str(item.path)
        counts = any(item.get_closest_marker(name) for name in SHARED)
        (left_out if counts and seen[among] % share else kept).append(item)
        seen[among] += counts
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@pytest.fixture(scope="session")
def _default_run(tmp_path_factory):
    from amid.sweep.compose import run_of_overrides

    root = tmp_path_factory.mktemp("default")
    return run_of_overrides([f"paths.results={root / 'results'}", f"paths.cache={root / 'cache'}"])


@pytest.fixture
def run(_default_run, tmp_path):
    """The configuration of `python run.py`, free to be changed, with folders of the test's own."""
    run = copy.deepcopy(_default_run)
    run.paths.results, run.paths.cache = str(tmp_path / "results"), str(tmp_path / "cache")
    return run


@pytest.fixture(scope="session")
def tokenizer():
    """A byte-level BPE of 320 tokens whose pad token is its EOS."""
    from amid.data.prompt import render_prompt
    from amid.data.records import Record
    from amid.pairs import train_tokenizer

    texts = [render_prompt(Record("0", f"Say the number {i}.", "", ("",))) for i in range(30)]
    return train_tokenizer([*texts, "yes no maybe", "the cat sat on the mat"], vocab_size=420)


@pytest.fixture
def tiny_model(tokenizer):
    """A GPT-2 of 2 layers with random weights that are large enough to answer differently to different prompts."""
    from amid.config import ArchCfg
    from amid.pairs import model_from_scratch

    model = model_from_scratch(
        ArchCfg(layers=2, width=32, heads=2, positions=256),
        vocab_size=len(tokenizer),
        eos_id=tokenizer.eos_token_id,
        seed=0,
    )
    for weight in model.parameters():
        weight.data.mul_(4.0)
    return model.eval()
