"""From what was asked to what is run: a job's configuration, or overrides to a run or a sweep. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from amid.config import RunCfg, register, run_config
from amid.errors import RequestError
from amid.store.frozen import Request, selected
from amid.sweep.plan import Overrides, Sweep, check_method, expand, plan_sweep


@dataclass(frozen=True)
class Job:
    """What one process carries out, the frozen request that it comes from, if it does, and how it was asked for."""

    run: RunCfg
    request: Request | None
    overrides: tuple[str, ...] = ()


def job_of(composed: DictConfig) -> Job:
    """What a process that Hydra started is to do: the request it names, or what was composed.

    Raises RequestError for a bad value, for anything beside a request, and for a key that the method fixes.
    """
    hydra = HydraConfig.get()
    check_folders(hydra)
    overrides = list(hydra.overrides.task)
    run = run_config(composed)
    request = selected(run, overrides)
    if request is not None:
        return Job(request.run, request)
    check_method(run, overrides)
    return Job(run, None, tuple(overrides))


def check_folders(hydra: Any) -> None:
    """Raises RequestError if Hydra was given folders of its own, which it would make and nobody would fill."""
    for key, folder in (("hydra.run.dir", hydra.run.dir), ("hydra.sweep.dir", hydra.sweep.dir)):
        if str(folder) != ".":
            raise RequestError(
                f"{key}={folder} has no effect: every result lies below paths.results; give that instead"
            )


def run_of_overrides(overrides: Sequence[str]) -> RunCfg:
    """The checked configuration of `python run.py OVERRIDES`. Raises RequestError or Hydra's errors."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(register()), version_base="1.3"):
        run = run_config(compose("config", overrides=list(overrides)))
        check_method(run, overrides)
        return run


def sweep_of_overrides(overrides: Sequence[str]) -> Sweep:
    """The sweep of `python run.py -m OVERRIDES`, planned but not run. Raises RequestError or Hydra's errors."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(register()), version_base="1.3"):
        parser = OverridesParser.create()
        given = parser.parse_overrides(list(overrides))
        # Swept values do not choose groups of their own here: only what every cell shares composes the parameters.
        shared = [override.input_line for override in given if not override.is_sweep_override()]
        params = compose(
            "config", overrides=[text for text in shared if text], return_hydra_config=True
        ).hydra.sweeper.params
        swept = [f"{key}={value}" for key, value in params.items()]
        jobs = expand(parser.parse_overrides([*swept, *overrides]))

        def composed(job: Overrides) -> RunCfg:
            return run_config(compose("config", overrides=list(job)))

        return plan_sweep(jobs, composed)
