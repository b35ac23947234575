"""The whole configuration of a run, its registration with Hydra, and the step from composed to checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from amid.config.checks import at_least, one_of
from amid.config.corpus import CorpusCfg
from amid.config.evaluation import EvaluationCfg, EvaluationSetCfg
from amid.config.keys import check_keys
from amid.config.method import MethodCfg
from amid.config.objective import AmidCfg, DivergenceCfg, ObjectiveCfg
from amid.config.pair import PairCfg
from amid.config.plain_text import PlainTextCfg
from amid.config.resources import LoggerCfg, PathsCfg, TrainerCfg
from amid.config.strategy import StrategyCfg
from amid.config.sweep import SweepCfg
from amid.config.terms import DivergenceTermCfg, LabelsTermCfg, PolicyGradientTermCfg, TermCfg, compiled_terms
from amid.config.train import CompatCfg, DataCfg, TrainCfg
from amid.errors import RequestError, one_line

TASKS = ("prepare", "distill", "evaluate")


@dataclass
class RunCfg:
    """One run: a cell, and how to carry it out.

    Nodes are MISSING until a group or config.yaml fills them: a default object would be checked half-filled.
    """

    task: str = "distill"
    seed: int = 10
    request: str | None = None  # digest of a frozen request: carry out that one, and nothing else
    cell: str | None = None  # id of a cell, or how it begins: carry out its latest request
    data: DataCfg = MISSING  # before what takes its values from it, so that a bad one is named as it was given
    pair: PairCfg = MISSING
    amid: AmidCfg = MISSING
    objective: ObjectiveCfg = MISSING
    divergence: DivergenceCfg = MISSING
    strategy: StrategyCfg = MISSING
    train: TrainCfg = MISSING
    evaluation: EvaluationCfg = MISSING
    trainer: TrainerCfg = MISSING
    logger: LoggerCfg = MISSING
    compat: CompatCfg = MISSING
    paths: PathsCfg = MISSING
    sweep: SweepCfg = MISSING
    corpus: CorpusCfg = field(default_factory=CorpusCfg)
    plain_text: PlainTextCfg = field(default_factory=PlainTextCfg)
    method: MethodCfg = field(default_factory=MethodCfg)

    def __post_init__(self) -> None:
        one_of("task", self.task, TASKS)
        at_least("seed", self.seed, 0)

    @property
    def terms(self) -> tuple[TermCfg, ...]:
        """The terms of the objective, compiled. Raises RequestError for a list that cannot be."""
        return compiled_terms(self.objective, self.divergence, self.amid)

    @property
    def plain_text_terms(self) -> tuple[TermCfg, ...]:
        """The terms of the pretraining loss, without its lm_coef; none where it has no weight.

        Source: MiniLLM, 0.5 of each; the others have the labels only.
        """
        share = self.objective.lm_kd_ratio
        if self.objective.lm_coef == 0.0:
            return ()
        soft = DivergenceTermCfg(share, DivergenceCfg(name="kl", order="pr"), AmidCfg(alpha=None))
        return tuple(term for term in (soft, LabelsTermCfg(1.0 - share)) if term.weight > 0.0)

    @property
    def plain_text_batch_size(self) -> int:
        """Chunks of plain text per optimiser step; 0 where they have no weight."""
        if self.objective.lm_coef == 0.0:
            return 0
        return self.plain_text.batch_size or self.train.global_batch_size


def config_root() -> Path:
    """The folder that holds `conf/` and `sweeps/`: the installed package, or the checkout it runs from."""
    package = Path(__file__).resolve().parents[1]
    for root in (package, package.parent.parent):
        if (root / "conf" / "config.yaml").is_file():
            return root
    raise RequestError(f"no conf/config.yaml beside {package}; reinstall the package")


def register() -> Path:
    """The `conf` folder, after registering the schema with Hydra and naming the config root in the environment."""
    from hydra.core.config_store import ConfigStore  # slow to import, and a status or a table composes nothing

    root = config_root()
    os.environ["AMID_ROOT"] = str(root)
    ConfigStore.instance().store(name="run_schema", node=RunCfg)
    return root / "conf"


def run_config(composed: DictConfig) -> RunCfg:
    """The checked RunCfg of a composed configuration.

    Raises RequestError, one line, for an unknown key, and for a missing or bad value.
    """
    composed = composed.copy()
    with open_dict(composed):
        composed.pop("hydra", None)
    try:
        check_keys(OmegaConf.to_container(composed, throw_on_missing=False), RunCfg)  # type: ignore[arg-type]  # a dict
        if not OmegaConf.is_missing(composed, "data"):
            OmegaConf.to_object(composed.data)  # before the sets, which may take their values from it
        _make_sets(composed)
        run = OmegaConf.to_object(composed)
    except MissingMandatoryValue as err:
        raise RequestError(f"{err.full_key} has no value and no default; give it: {err.full_key}=VALUE") from err
    except OmegaConfBaseException as err:
        raise RequestError(one_line(str(err))) from err
    assert isinstance(run, RunCfg)
    check_whole(run)
    return run


def check_whole(run: RunCfg) -> None:
    """Raises RequestError for values that are sound by themselves and do not go together."""
    # A list of terms is refused here, as every other value is
    terms = compiled_terms(run.objective, run.divergence, run.amid)
    if any(isinstance(term, PolicyGradientTermCfg) for term in terms) and run.strategy.name != "policy_gradient":
        raise RequestError(
            "a term of kind policy_gradient reads what strategy=policy_gradient keeps of the texts it collects, got "
            f"strategy={run.strategy.name}; method=minillm has both"
        )
    _check_sources(run, terms)
    if run.objective.lm_coef > 0.0 and run.plain_text.source == "none":
        raise RequestError(
            f"objective.lm_coef={run.objective.lm_coef:g} needs plain text: plain_text=files plain_text.root=DIR "
            "plain_text.files=[FILE], or plain_text=toy; objective.lm_coef=0 trains without the pretraining loss"
        )


def _check_sources(run: RunCfg, terms: Sequence[TermCfg]) -> None:
    """Raises RequestError for a term of responses that never occur, and for text that nobody could write."""
    if run.corpus.beside is not None and run.strategy.name != "fixed":
        raise RequestError(
            f"corpus.beside={run.corpus.beside} goes with strategy=fixed: strategy={run.strategy.name} writes "
            "one response to a prompt"
        )
    occurring = set(run.corpus.writers) | ({"student"} if run.strategy.name != "fixed" else set())
    for term in terms:
        if term.source is not None and term.source not in occurring:
            raise RequestError(
                f"{term.place}.source={term.source}: there are responses by {', '.join(sorted(occurring))} only; "
                "corpus.writer and corpus.beside say who writes"
            )


def _make_sets(composed: DictConfig) -> None:
    """Gives every evaluation set its type, and so the defaults of what it leaves out."""
    if OmegaConf.is_missing(composed, "evaluation"):
        return
    sets, typed = composed.evaluation.sets, OmegaConf.structured(EvaluationSetCfg)
    for name in sets:
        if not isinstance(sets[name], DictConfig):
            raise RequestError(
                f"evaluation.sets.{name} must be a declaration such as {{files: [FILE]}}, got {sets[name]}"
            )
        try:
            sets[name] = OmegaConf.merge(typed, sets[name])
            OmegaConf.to_object(sets[name])
        except OmegaConfBaseException as err:
            raise RequestError(f"evaluation.sets.{name}: {one_line(str(err))}") from err
        except RequestError as err:
            raise RequestError(str(err).replace("evaluation.sets.NAME", f"evaluation.sets.{name}")) from err
