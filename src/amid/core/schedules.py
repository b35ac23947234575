"""Schedules: values of alpha and lam that may change between optimiser steps.

A schedule is updated once per optimiser step, from signals already reduced over ranks and micro-batches.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

PROGRESS = "progress"
OVERLAP = "overlap"
ASSISTANT_CROSS_ENTROPY = "assistant_cross_entropy"


class Schedule(Protocol):
    """A value over training, with the state that a resumed run needs."""

    @property
    def signals(self) -> frozenset[str]:
        """Names of the signals that `update` reads."""

    def value(self) -> float | Tensor:
        """The present value; a tensor [N, 1] for one value per token."""

    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value the schedule can take."""

    def update(self, signals: Mapping[str, float]) -> None:
        """Moves to the next step's value."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that `update` has changed, JSON-ready."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state`."""


def _read(signals: Mapping[str, float], name: str, *, schedule: str) -> float:
    if name not in signals:
        raise ValueError(f"schedule '{schedule}' needs the signal '{name}'; got {sorted(signals)}")
    return float(signals[name])


def _read_progress(signals: Mapping[str, float], *, schedule: str) -> float:
    progress = _read(signals, PROGRESS, schedule=schedule)
    if not 0.0 <= progress <= 1.0:
        raise ValueError(f"progress must lie in [0, 1], got {progress}; pass step / total_steps")
    return progress


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}; use the constant schedule for inf and -inf")


class Constant:
    """The same value at every step; inf and -inf allowed."""

    signals: frozenset[str] = frozenset()

    def __init__(self, value: float) -> None:
        if math.isnan(value):
            raise ValueError("the value of a constant schedule must not be nan")
        self._value = float(value)

    def value(self) -> float:
        """The value given at construction."""
        return self._value

    def bounds(self) -> tuple[float, float]:
        """The value, twice."""
        return self._value, self._value

    def update(self, signals: Mapping[str, float]) -> None:
        """A constant has nothing to update."""

    def state_dict(self) -> dict[str, Any]:
        """Empty: a constant has no state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """A constant has no state."""


class _OverProgress:
    """A value between `start` and `end`, a fixed function of progress; subclasses are not needed, see `shape`."""

    signals: frozenset[str] = frozenset({PROGRESS})

    def __init__(self, name: str, shape: Callable[[float], float], *, start: float, end: float) -> None:
        _check_finite("start", start)
        _check_finite("end", end)
        self._name = name
        self._shape = shape
        self._start = float(start)
        self._end = float(end)
        self._progress = 0.0

    def value(self) -> float:
        """`start` at progress 0, `end` at progress 1, exactly."""
        if self._progress >= 1.0:
            return self._end
        return self._start + (self._end - self._start) * self._shape(self._progress)

    def bounds(self) -> tuple[float, float]:
        """The two end points, in order."""
        return min(self._start, self._end), max(self._start, self._end)

    def update(self, signals: Mapping[str, float]) -> None:
        """Reads `progress` in [0, 1]."""
        self._progress = _read_progress(signals, schedule=self._name)

    def state_dict(self) -> dict[str, Any]:
        """The progress reached."""
        return {"progress": self._progress}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from the stored progress."""
        self._progress = float(state["progress"])


def linear(*, start: float, end: float) -> Schedule:
    """A schedule that goes from `start` to `end` in a straight line over progress."""
    return _OverProgress("linear", lambda progress: progress, start=start, end=end)


def cosine(*, start: float, end: float) -> Schedule:
    """A schedule that goes from `start` to `end` along half a cosine over progress, flat at both ends."""
    return _OverProgress("cosine", lambda progress: 0.5 * (1.0 - math.cos(math.pi * progress)), start=start, end=end)


def constant(*, value: float) -> Schedule:
    """A schedule that keeps one value."""
    return Constant(value)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


class TaidAdaptive:
    """TAID's adaptive weight of the teacher: it rises faster while the loss falls.

    t_start, t_end: first and last value, in [0, 1]; never below the straight line between them over progress.
    step_size: largest step a; momentum: beta of the running relative fall of the loss, in [0, 1).
    Signals: `progress`, and `assistant_cross_entropy`, the mean of -sum_k r_k log q_k over the step's tokens.
    The first loss is only recorded.

    Source: TAID (Shing et al. 2025). Unlike its code: one update per optimiser step, in training only, from the value
    reduced over ranks; the code updates per micro-batch, per rank, and in validation.
    """

    signals: frozenset[str] = frozenset({PROGRESS, ASSISTANT_CROSS_ENTROPY})

    def __init__(
        self, *, t_start: float = 0.4, t_end: float = 1.0, step_size: float = 5e-4, momentum: float = 0.99
    ) -> None:
        if not 0.0 <= t_start <= t_end <= 1.0:
            raise ValueError(f"TAID needs 0 <= t_start <= t_end <= 1, got t_start {t_start} and t_end {t_end}")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        if not (step_size >= 0.0 and math.isfinite(step_size)):
            raise ValueError(f"step_size must be finite and at least 0, got {step_size}")
        self._t_start = float(t_start)
        self._t_end = float(t_end)
        self._step_size = float(step_size)
        self._momentum = float(momentum)
        self._t = self._t_start
        self._previous_loss: float | None = None
        self._relative_fall = 0.0

    def value(self) -> float:
        """The present t."""
        return self._t

    def bounds(self) -> tuple[float, float]:
        """t_start and t_end."""
        return self._t_start, self._t_end

    def update(self, signals: Mapping[str, float]) -> None:
        """One step of TAID's rule. A non-finite loss (no token had one) moves t along the straight line only."""
        progress = _read_progress(signals, schedule="taid_adaptive")
        loss = _read(signals, ASSISTANT_CROSS_ENTROPY, schedule="taid_adaptive")
        step = 0.0
        if math.isfinite(loss):
            previous, self._previous_loss = self._previous_loss, loss
            if previous is None:
                return
            fall = (previous - loss) / (previous + 1e-15)
            self._relative_fall = self._momentum * self._relative_fall + (1.0 - self._momentum) * fall
            step = self._step_size * _sigmoid(self._relative_fall) * (1.0 - self._t)
        on_line = self._t_start + (self._t_end - self._t_start) * progress
        self._t = min(self._t_end, max(on_line, self._t + step))

    def state_dict(self) -> dict[str, Any]:
        """t, the last loss and the running relative fall."""
        return {"t": self._t, "previous_loss": self._previous_loss, "relative_fall": self._relative_fall}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from the stored t."""
        self._t = float(state["t"])
        self._previous_loss = None if state["previous_loss"] is None else float(state["previous_loss"])
        self._relative_fall = float(state["relative_fall"])


class OverlapAdaptive:
    """An alpha driven by the measured overlap of p and q. An extension of this project; not in the paper or its code.

    value = at_zero + (at_full - at_zero) * overlap, so it always lies between the two end points. overlap is the mean
    of sum_k min(p_k, q_k) over the step's tokens, in [0, 1] (one minus the total variation), smoothed by `momentum`.
    Before the first measurement the value is `at_zero`: with little overlap a small alpha keeps the assistant on the
    union of the supports.
    Signals: `overlap`. A non-finite overlap leaves the value as it is.
    """

    signals: frozenset[str] = frozenset({OVERLAP})

    def __init__(self, *, at_zero: float = -5.0, at_full: float = 1.0, momentum: float = 0.9) -> None:
        _check_finite("at_zero", at_zero)
        _check_finite("at_full", at_full)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        self._at_zero = float(at_zero)
        self._at_full = float(at_full)
        self._momentum = float(momentum)
        self._overlap: float | None = None

    def value(self) -> float:
        """The present alpha."""
        return self._at_zero + (self._at_full - self._at_zero) * (self._overlap or 0.0)

    def bounds(self) -> tuple[float, float]:
        """The two end points, in order."""
        return min(self._at_zero, self._at_full), max(self._at_zero, self._at_full)

    def update(self, signals: Mapping[str, float]) -> None:
        """The first measurement sets the overlap, later ones move it."""
        overlap = _read(signals, OVERLAP, schedule="overlap_adaptive")
        if not math.isfinite(overlap):
            return
        # Rounding can put a sum of probabilities a few 1e-7 above 1.
        overlap = min(max(overlap, 0.0), 1.0)
        if self._overlap is None:
            self._overlap = overlap
        else:
            self._overlap = self._momentum * self._overlap + (1.0 - self._momentum) * overlap

    def state_dict(self) -> dict[str, Any]:
        """The smoothed overlap."""
        return {"overlap": self._overlap}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from the stored overlap."""
        self._overlap = None if state["overlap"] is None else float(state["overlap"])


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "taid_adaptive": TaidAdaptive,
    "overlap_adaptive": OverlapAdaptive,
}
