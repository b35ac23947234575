"""docs/divergences.md, as written: an objective of three terms trains, and is frozen whole."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from small import ROOT
from test_training import losses_of

from amid.cells.cell import cell_of
from amid.config import RunCfg
from amid.experiment import Experiment, run_task
from amid.store.frozen import freeze, thaw

Compose = Callable[..., RunCfg]
DOCUMENTED = re.search(r"python run.py '(objective.terms=.*)'", (ROOT / "docs" / "divergences.md").read_text())
SHORT = ("train.max_steps=2", "train.validation={every_steps: 1, max_new_tokens: 6}", "evaluation.decode_seeds=[10]")


def test_the_documented_list_trains_and_its_loss_is_the_sum_of_its_terms(small_run: Compose) -> None:
    assert DOCUMENTED
    request = (DOCUMENTED[1], "trainer.log_every_steps=1", *SHORT)
    run = small_run(*request)
    run_task(run)
    losses = losses_of(run)
    assert len(losses) == 2
    # On the first step every objective sees the same weights and batch: losses add up.
    of_terms = [
        "objective.terms=[{kind: divergence, weight: 0.9}]",
        "objective.terms=[{kind: divergence, weight: 0.1, name: kl, order: rp, alpha: null}]",
        "objective.terms=[{kind: labels, weight: 0.1}]",
    ]
    alone = []
    for terms in of_terms:
        part = small_run(terms, *request[1:])
        run_task(part)
        alone.append(losses_of(part)[0])
    assert losses[0] == pytest.approx(sum(alone), rel=1e-5)


def test_a_list_is_frozen_whole(small_run: Compose) -> None:
    assert DOCUMENTED
    run = small_run(DOCUMENTED[1])
    experiment = Experiment(run)
    digest = freeze(run, experiment.cell, experiment.store)
    assert thaw(digest, experiment.store).run.terms == run.terms
    assert cell_of(thaw(digest, experiment.store).run).id == experiment.cell.id
