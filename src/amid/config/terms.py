"""The terms of an objective: what a list of them may say, and the one form that shorthand and list are compiled into.

A later kind is one dataclass with the members of `TermCfg`, and one line in `KINDS`. No torch here.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Protocol, TypeVar, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amid.config.checks import one_of
from amid.config.corpus import WRITERS
from amid.config.keys import check_keys, unknown_key
from amid.config.objective import AmidCfg, DivergenceCfg, ObjectiveCfg, ScheduleCfg
from amid.errors import RequestError, one_line

Node = TypeVar("Node")
COMMON_KEYS = ("kind", "weight", "source")
# The nodes of a run from which a divergence takes what its entry leaves out.
OF_DIVERGENCE = tuple(each.name for each in fields(DivergenceCfg))
OF_AMID = tuple(each.name for each in fields(AmidCfg))
# Measured for one term of an objective; a second one would follow what the first one measured.
ADAPTIVE_SCHEDULE = "taid_adaptive"


@dataclass(frozen=True)
class Inherited:
    """The nodes of a run from which its terms take what their entries leave out."""

    divergence: DivergenceCfg
    amid: AmidCfg


class TermCfg(Protocol):
    """A checked term.

    kind: its name in a list. keys: what an entry may hold beside kind and weight. reads_teacher: whether the teacher
    has a say. place: its entry, such as objective.terms[1], for messages; None for the shorthand.
    source: whose responses it is taken over: gold, teacher or student; None = all.
    """

    kind: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    reads_teacher: ClassVar[bool]

    @property
    def weight(self) -> float:
        """Factor in the objective, at least 0."""

    @property
    def place(self) -> str | None:
        """Where it was written."""

    @property
    def source(self) -> str | None:
        """Whose responses."""

    @classmethod
    def filled(cls, given: Mapping[str, Any], inherited: Inherited, *, weight: float, place: str) -> TermCfg:
        """The term of an entry: given are its values beside kind and weight. Raises RequestError for a bad one."""


@dataclass(frozen=True)
class LabelsTermCfg:
    """Cross-entropy on the labels."""

    kind: ClassVar[str] = "labels"
    keys: ClassVar[tuple[str, ...]] = ()
    reads_teacher: ClassVar[bool] = False

    weight: float
    place: str | None = field(default=None, compare=False)
    source: str | None = None

    @classmethod
    def filled(cls, given: Mapping[str, Any], inherited: Inherited, *, weight: float, place: str) -> LabelsTermCfg:
        """The term: its weight is all there is."""
        return cls(weight, place)


@dataclass(frozen=True)
class DivergenceTermCfg:
    """A divergence with its assistant."""

    kind: ClassVar[str] = "divergence"
    keys: ClassVar[tuple[str, ...]] = (*OF_DIVERGENCE, *OF_AMID)
    reads_teacher: ClassVar[bool] = True

    weight: float
    divergence: DivergenceCfg
    amid: AmidCfg
    place: str | None = field(default=None, compare=False)
    source: str | None = None

    @classmethod
    def filled(cls, given: Mapping[str, Any], inherited: Inherited, *, weight: float, place: str) -> DivergenceTermCfg:
        """The term, with what the entry leaves out taken from the nodes divergence and amid.

        Parameters and version belong to a divergence, and a schedule to its value: who names another divergence, or
        gives alpha or lam, inherits none.
        """
        if not given:
            return cls(weight, inherited.divergence, inherited.amid, place)
        divergence, amid = asdict(inherited.divergence), asdict(inherited.amid)
        if any(given.get(key, divergence[key]) != divergence[key] for key in ("name", "function")):
            divergence = {"name": divergence["name"], "order": divergence["order"]}
        for key in ("alpha", "lam"):
            if key in given:
                amid[f"{key}_schedule"] = asdict(ScheduleCfg())
        return cls(
            weight,
            _made(DivergenceCfg, divergence, {key: given[key] for key in OF_DIVERGENCE if key in given}, place=place),
            _made(AmidCfg, amid, {key: given[key] for key in OF_AMID if key in given}, place=place),
            place,
        )

    def key(self, name: str) -> str:
        """The key that a value was given by: that of its entry, or of its node in the shorthand."""
        return f"{self.place or ('divergence' if name in OF_DIVERGENCE else 'amid')}.{name}"

    def is_scheduled(self, name: str) -> bool:
        """Whether a schedule replaces the value of alpha or lam."""
        schedule: ScheduleCfg = getattr(self.amid, f"{name}_schedule")
        return schedule.name != "constant"

    @property
    def neutral_lam(self) -> float:
        """The lam at which r is the end point that the order does not hold, no assistant: 0 with p, 1 with q."""
        return 1.0 if "q" in self.divergence.order else 0.0

    @property
    def has_assistant(self) -> bool:
        """Whether there is an alpha, and lam does not make r an end point."""
        has_alpha = self.amid.alpha is not None or self.is_scheduled("alpha")
        return has_alpha and (self.is_scheduled("lam") or self.amid.lam != self.neutral_lam)


@dataclass(frozen=True)
class MaxTermCfg:
    """The largest of several divergences of a batch, each with its assistant (max-AB)."""

    kind: ClassVar[str] = "max"
    keys: ClassVar[tuple[str, ...]] = ("candidates",)
    reads_teacher: ClassVar[bool] = True

    weight: float
    candidates: tuple[DivergenceTermCfg, ...]
    place: str | None = field(default=None, compare=False)
    source: str | None = None

    @classmethod
    def filled(cls, given: Mapping[str, Any], inherited: Inherited, *, weight: float, place: str) -> MaxTermCfg:
        """The term, its candidates filled as divergences are and of weight 1."""
        listed = given.get("candidates")
        if not isinstance(listed, list) or len(listed) < 2:
            raise RequestError(
                f"{place}.candidates must be a list of at least two divergences such as {{name: kl, order: pr, "
                f"alpha: null}}, got {json.dumps(listed, default=str)}"
            )
        candidates = []
        for index, entry in enumerate(listed):
            where = f"{place}.candidates[{index}]"
            if not isinstance(entry, Mapping):
                raise RequestError(f"{where} must be a mapping such as {{name: kl, alpha: null}}, got {entry!r}")
            _check_entry(entry, DivergenceTermCfg.keys, place=where)
            candidates.append(DivergenceTermCfg.filled(entry, inherited, weight=1.0, place=where))
        return cls(weight, tuple(candidates), place)


@dataclass(frozen=True)
class PolicyGradientTermCfg:
    """The clipped policy gradient of sampled text (MiniLLM); the teacher has its say in the advantages."""

    kind: ClassVar[str] = "policy_gradient"
    keys: ClassVar[tuple[str, ...]] = ("clip_ratio",)
    reads_teacher: ClassVar[bool] = True

    weight: float
    clip_ratio: float = 0.2  # reference minillm/losses.py
    place: str | None = field(default=None, compare=False)
    source: str | None = None

    @classmethod
    def filled(
        cls, given: Mapping[str, Any], inherited: Inherited, *, weight: float, place: str
    ) -> PolicyGradientTermCfg:
        """The term, its ratio above 0."""
        ratio = given.get("clip_ratio", cls.clip_ratio)
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not ratio > 0.0:
            raise RequestError(f"{place}.clip_ratio must be a number above 0, got {json.dumps(ratio, default=str)}")
        return cls(weight, float(ratio), place)


KINDS: dict[str, type[TermCfg]] = {
    kind.kind: kind for kind in (DivergenceTermCfg, LabelsTermCfg, MaxTermCfg, PolicyGradientTermCfg)
}


def compiled_terms(objective: ObjectiveCfg, divergence: DivergenceCfg, amid: AmidCfg) -> tuple[TermCfg, ...]:
    """The terms with a weight above 0 of an objective, every value decided; the order of a list does not matter.

    Without a list they are those of the shorthand: the divergence by kd_ratio, the labels by 1 - kd_ratio.
    Raises RequestError for an entry that is no term, an unknown key, a value out of range, and no weight above 0.
    """
    if objective.terms is None:
        ratio = objective.kd_ratio
        return tuple(_active([DivergenceTermCfg(ratio, divergence, amid), LabelsTermCfg(1.0 - ratio)]))
    inherited = Inherited(divergence, amid)
    listed = [_term(entry, inherited, place=f"objective.terms[{index}]") for index, entry in enumerate(objective.terms)]
    terms = sorted(_active(listed), key=_rank)
    if not terms:
        raise RequestError(
            "objective.terms needs at least one term with a weight above 0, got "
            f"{json.dumps(objective.terms, default=str)}; null is the shorthand of objective.kd_ratio"
        )
    _check_adaptive(terms)
    return _as_shorthand(terms)


def kd_ratio_of(terms: Iterable[TermCfg]) -> float | None:
    """The kd_ratio whose shorthand the compiled terms are; None if there is none."""
    terms = tuple(terms)
    weights = {term.kind: term.weight for term in terms}
    if any(term.source is not None for term in terms):
        return None
    if len(weights) < len(terms) or not set(weights) <= {"divergence", "labels"}:
        return None
    ratio = weights.get("divergence", 0.0)
    return ratio if weights.get("labels", 0.0) == 1.0 - ratio else None


def _term(entry: Any, inherited: Inherited, *, place: str) -> TermCfg:
    """The term of an entry. Raises RequestError, one line that names its place."""
    if not isinstance(entry, Mapping):
        raise RequestError(f"{place} must be a mapping such as {{kind: labels, weight: 0.1}}, got {entry!r}")
    if "kind" not in entry:
        raise RequestError(f"{place}.kind has no value and no default; valid: {', '.join(sorted(KINDS))}")
    one_of(f"{place}.kind", str(entry["kind"]), tuple(sorted(KINDS)))
    kind = KINDS[entry["kind"]]
    _check_entry(entry, [*COMMON_KEYS, *kind.keys], place=place)
    weight = entry.get("weight")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not (0.0 <= weight <= sys.float_info.max):
        raise RequestError(f"{place}.weight must be a number, at least 0, got {json.dumps(weight, default=str)}")
    given = {key: value for key, value in entry.items() if key not in COMMON_KEYS}
    source = entry.get("source")
    if source is not None:
        one_of(f"{place}.source", str(source), WRITERS)
    term = kind.filled(given, inherited, weight=float(weight), place=place)
    return cast(TermCfg, replace(cast(Any, term), source=source))


def _check_entry(entry: Mapping[str, Any], valid: Sequence[str], *, place: str) -> None:
    """Raises RequestError for a key that the entry may not hold."""
    for key in entry:
        if key not in valid:
            raise unknown_key(f"{place}.{key}", list(valid), prefix=f"{place}.")


def _made(schema: type[Node], inherited: dict[str, Any], given: dict[str, Any], *, place: str) -> Node:
    """The node of these values, checked."""
    check_keys(given, schema, prefix=f"{place}.")
    try:
        made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), inherited | given))
    except (OmegaConfBaseException, RequestError) as err:
        raise RequestError(f"{place}: {one_line(str(err))}") from err
    assert isinstance(made, schema)
    return made


def _active(terms: Iterable[TermCfg]) -> list[TermCfg]:
    return [term for term in terms if term.weight > 0.0]


def _rank(term: TermCfg) -> tuple[str, str, float]:
    """What sorts terms: their values, so that a list means the same in any order."""
    values = {key: value for key, value in _placeless(asdict(cast(Any, term))).items() if key != "weight"}
    return term.kind, json.dumps(values, sort_keys=True, default=str), term.weight


def _placeless(values: Any) -> Any:
    """The values of a term without where it, and what it is made of, was written."""
    if isinstance(values, Mapping):
        return {key: _placeless(value) for key, value in values.items() if key != "place"}
    return [_placeless(value) for value in values] if isinstance(values, list | tuple) else values


def _as_shorthand(terms: list[TermCfg]) -> tuple[TermCfg, ...]:
    """The terms, the labels' weight exactly 1 - w beside one divergence of weight w where that is what was meant.

    In binary 0.9 and 0.1 do not add up to 1 as kd_ratio and 1 - kd_ratio do.
    """
    if [(term.kind, term.source) for term in terms] == [("divergence", None), ("labels", None)]:
        divergence, labels = terms
        if math.isclose(labels.weight, 1.0 - divergence.weight, rel_tol=1e-9):
            return divergence, LabelsTermCfg(1.0 - divergence.weight, labels.place)
    return tuple(terms)


def _check_adaptive(terms: Iterable[TermCfg]) -> None:
    """Raises RequestError if several terms would follow the measurement of one."""
    divergences: list[DivergenceTermCfg] = []
    for term in terms:
        divergences += [term] if isinstance(term, DivergenceTermCfg) else getattr(term, "candidates", ())
    adaptive = [
        term.place
        for term in divergences
        if ADAPTIVE_SCHEDULE in (term.amid.alpha_schedule.name, term.amid.lam_schedule.name)
    ]
    if len(adaptive) > 1:
        raise RequestError(
            f"{', '.join(map(str, adaptive))}: schedule '{ADAPTIVE_SCHEDULE}' follows what is measured of one term, "
            f"got {len(adaptive)}; give the others a lam of their own"
        )
