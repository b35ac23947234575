"""What a journal line counts: kept in a checkpoint, so that a resumed run says the same of the same steps."""

from __future__ import annotations

from typing import Any

from stepping import module_of

from amid.core import DivergenceTerm, Objective, constant, kl
from amid.data.batch import Source
from amid.strategies import Fixed
from amid.training.optimisation import StepParts
from amid.training.rollout import Rollout
from amid.training.step_report import StepReport

STEPS: tuple[Source, ...] = ("fresh", "gold", "replayed", "fresh")


class Writing(Rollout):
    """One that has written four tokens at every step, and no model."""

    def __init__(self) -> None:
        self.load_state_dict({"num_responses": 0, "num_tokens": 0, "num_ended": 0, "seconds": 0.0})

    def write(self) -> None:
        self._tally.num_responses += 1
        self._tally.num_tokens += 4
        self._tally.num_ended += 1
        self._tally.seconds += 0.5


def counted(*, resumed_after: int | None) -> tuple[dict[str, float], str]:
    """The line after four steps, and what the round came to; by two reports if it was resumed meanwhile."""

    def begun() -> tuple[StepReport, Writing]:
        rollout = Writing()
        return StepReport(every_steps=4, total_steps=8, strategy=Fixed(), rollout=rollout), rollout

    report, rollout = begun()
    line: dict[str, float] | None = None
    for step, source in enumerate(STEPS):
        if step == resumed_after:
            state = report.state_dict()
            report, rollout = begun()
            report.load_state_dict(state)
        report.count_source(source)
        rollout.write()
        line = report.metrics(step, StepParts(signals={}, num_tokens=10), values={}, num_nonfinite=0)
    assert line is not None
    return {name: value for name, value in line.items() if not name.startswith("clock/")}, report.summary()


def test_a_line_counts_the_steps_before_the_checkpoint_too() -> None:
    whole = counted(resumed_after=None)
    assert whole[0]["strategy/fresh_share"] == 0.5
    assert whole[0]["strategy/generation_response_tokens"] == 4.0
    assert "fresh 50%" in whole[1]
    for step in (1, 2, 3):
        assert counted(resumed_after=step) == whole


def test_a_checkpoint_of_an_earlier_version_without_these_counts_is_gone_on_with() -> None:
    def made() -> Any:
        return module_of(Objective((DivergenceTerm(kl, "rp", constant(value=-1.0), constant(value=0.1)),)))

    checkpoint: dict[str, Any] = {}
    made().on_save_checkpoint(checkpoint)
    assert len(checkpoint["report"]) == len(checkpoint["spent"]) == len(checkpoint["strategy"]) == 1
    del checkpoint["report"]
    module = made()
    module.on_load_checkpoint(checkpoint)
    module._report.count_source("gold")
    assert sum(module._report.state_dict()["sources"].values()) == 1
