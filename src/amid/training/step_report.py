"""What is said of the steps of a training: the numbers of a journal line, and a line for people."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from amid.data.batch import SOURCES, Source
from amid.store.measures import CLOCK
from amid.strategies import Strategy
from amid.training.optimisation import StepParts
from amid.training.rollout import Rollout

LABELS_PER_S = f"{CLOCK}labels_per_s"


class StepReport:
    """Counts what happens between two journal lines, and between two validations.

    every_steps: between journal lines. rollout: of a strategy that has texts written, else None.
    """

    def __init__(self, *, every_steps: int, total_steps: int, strategy: Strategy, rollout: Rollout | None) -> None:
        self._every_steps = every_steps
        self._total_steps = total_steps
        self._strategy = strategy
        self._rollout = rollout
        self._tokens, self._time = 0, time.perf_counter()
        self._sources: dict[Source, int] = dict.fromkeys(SOURCES, 0)
        self._sources_of_round: dict[Source, int] = dict.fromkeys(SOURCES, 0)

    def count_source(self, source: Source) -> None:
        """Counts the batch of one step."""
        self._sources[source] += 1
        self._sources_of_round[source] += 1

    def state_dict(self) -> dict[str, Any]:
        """The counts since the last line and since the last validation, so that a resumed run says the same of them."""
        return {
            "tokens": self._tokens,
            "seconds": time.perf_counter() - self._time,
            "sources": dict(self._sources),
            "sources_of_round": dict(self._sources_of_round),
            "rollout": None if self._rollout is None else self._rollout.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on counting from there."""
        self._tokens, self._time = state["tokens"], time.perf_counter() - state["seconds"]
        self._sources, self._sources_of_round = dict(state["sources"]), dict(state["sources_of_round"])
        if self._rollout is not None and state["rollout"] is not None:
            self._rollout.load_state_dict(state["rollout"])

    def is_due(self, step: int) -> bool:
        """Whether the step, counted from 0, has a journal line."""
        return (step + 1) % self._every_steps == 0 or step + 1 == self._total_steps

    def metrics(
        self, step: int, parts: StepParts, *, values: Mapping[str, float], num_nonfinite: int
    ) -> dict[str, float] | None:
        """The journal line of a step, counted from 0; None between two lines.

        values: what the step knows itself. num_nonfinite: positions of the round that were left out.
        """
        self._tokens += parts.num_tokens
        if not self.is_due(step):
            return None
        now = time.perf_counter()
        seconds = now - self._time
        tokens_per_s = self._tokens / max(1e-9, seconds)
        self._tokens, self._time = 0, now
        return {
            **values,
            "train/num_nonfinite": num_nonfinite,
            "train/dense_share": parts.num_dense / max(1, parts.num_tokens),
            LABELS_PER_S: tokens_per_s,
            **self._strategy_measures(seconds),
        }

    def summary(self) -> str:
        """What the strategy did since the last call, on one line; empty where it only hands out gold batches."""
        if self._rollout is None:
            return ""
        counts, self._sources_of_round = self._sources_of_round, dict.fromkeys(SOURCES, 0)
        parts = [f"{name} {share:.0%}" for name, share in _shares(counts).items() if share]
        measures = self._strategy.measures()
        if "threshold" in measures:
            parts.append(f"threshold {measures['threshold']:.1f}")
        if "buffer_size" in measures:
            parts.append(f"buffer {measures['buffer_size']:.0f} ({measures['buffer_mb']:.1f} MiB)")
        return "  " + ", ".join(parts)

    def _strategy_measures(self, seconds: float) -> dict[str, float]:
        """What the strategy did since the last line, `seconds` ago; empty where it only hands out gold batches."""
        if self._rollout is None:
            return {}
        counts, self._sources = self._sources, dict.fromkeys(SOURCES, 0)
        shares = {f"{name}_share": share for name, share in _shares(counts).items()}
        strategy = {f"strategy/{name}": value for name, value in {**shares, **self._strategy.measures()}.items()}
        return {**strategy, **self._rollout.measures(seconds=seconds)}


def _shares(counts: Mapping[Source, int]) -> dict[Source, float]:
    return {name: count / max(1, sum(counts.values())) for name, count in counts.items()}
