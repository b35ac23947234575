"""From what was asked to what is run: a job's configuration, or overrides to a run or a sweep. No torch here."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amid.config import RunCfg, SweepCfg, register, run_config
from amid.config.keys import check_keys, explain_unknown
from amid.config.own_files import own_folder
from amid.errors import RequestError, one_line
from amid.store.frozen import Request, selected
from amid.sweep.composer import Composer
from amid.sweep.expand import Overrides, expand_sweep
from amid.sweep.machine import num_cores, visible_gpus
from amid.sweep.plan import Sweep, check_method, plan_sweep
from amid.sweep.presets import PRESET, check_preset, preset_in, replaced_by_preset

GROUPS_ALONE = ("alpha_grid", PRESET)  # groups whose files set keys of a whole run, and that are no key of one


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
    launcher = hydra.runtime.choices.get("hydra/launcher")
    if hydra.mode == RunMode.RUN and launcher not in ("basic", None):
        raise RequestError(f"hydra/launcher={launcher} starts the cells of a sweep, be it one cell: add -m")
    overrides = list(hydra.overrides.task)
    run = run_config(composed)
    request = selected(run, overrides)
    if request is not None:
        return Job(request.run, request)
    if run.sweep.union:
        raise RequestError("sweep.union declares several cells: add -m to carry them out")
    check_method(run, overrides)
    if preset_in(overrides) is not None:
        again = [*hydra.overrides.hydra, *overrides]
        compose_again = functools.partial(composition, name=str(hydra.job.config_name))
        check_preset(compose_again(again), again, compose_again)
    return Job(run, None, tuple(overrides))


def check_folders(hydra: Any) -> None:
    """Raises RequestError if Hydra was given folders of its own, which it would make and nobody would fill."""
    for key, folder in (("hydra.run.dir", hydra.run.dir), ("hydra.sweep.dir", hydra.sweep.dir)):
        if str(folder) != ".":
            raise RequestError(
                f"{key}={folder} has no effect: every result lies below paths.results; give that instead"
            )


def run_of_overrides(overrides: Sequence[str], *, config_dir: Path | None = None) -> RunCfg:
    """The checked configuration of `python run.py OVERRIDES`. Raises RequestError or Hydra's errors.

    config_dir: a folder of the user's own groups and files, as run.py's --config-dir.
    """
    with _hydra(config_dir):
        composed = composition(overrides)
        run = run_config(composed)
        check_method(run, overrides)
        check_preset(composed, overrides, composition)
        return run


def sweep_of_overrides(
    overrides: Sequence[str], *, keep_invalid: bool = False, config_dir: Path | None = None
) -> Sweep:
    """The sweep of `python run.py -m OVERRIDES`, planned but not run. Raises RequestError or Hydra's errors.

    keep_invalid: cells that cannot be carried out are kept in its `invalid`, unless none can. config_dir: as
    `run_of_overrides`.
    """
    with _hydra(config_dir):
        parser = OverridesParser.create()
        # Swept values do not choose groups of their own here: only what every cell shares composes what is declared.
        declared = composition(_shared(overrides, parser))
        return planned_of(declared, overrides, composition, parser, keep_invalid=keep_invalid)


def composition(overrides: Sequence[str], name: str = "config") -> DictConfig:
    """What Hydra, which has been initialised, composes of the overrides; its own node among it."""
    return compose(name, overrides=list(overrides), return_hydra_config=True)


@contextlib.contextmanager
def _hydra(config_dir: Path | None) -> Iterator[None]:
    """Hydra with our configuration and, if one is given, a folder of the user's in the place that run.py gives it."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(register()), version_base="1.3"):
        if config_dir is not None:
            # Read whenever something is composed: conf/config.yaml extends the search path then.
            path = GlobalHydra.instance().config_loader().get_search_path()
            path.prepend("command-line", f"file://{own_folder(config_dir)}", SearchPathQuery(provider="schema"))
        yield


def _shared(arguments: Sequence[str], parser: OverridesParser) -> list[str]:
    given = parser.parse_overrides(list(arguments))
    return [each.input_line for each in given if each.input_line and not each.is_sweep_override()]


def planned_of(
    declared: DictConfig,
    arguments: Sequence[str],
    compose_job: Callable[[Overrides], DictConfig],
    parser: OverridesParser,
    *,
    keep_invalid: bool = False,
) -> Sweep:
    """The sweep that a configuration declares, with the values that the arguments give.

    declared: composed of what all cells share, Hydra's own node among it. Raises as `plan_sweep`.
    """
    sweep = _declared_sweep(declared)
    replaced = replaced_by_preset(sweep.gives_way, declared, _shared(arguments, parser), compose_job)
    expansion = expand_sweep(declared.hydra.sweeper.params, sweep, arguments, parser, replaced=replaced)
    composer = Composer(compose_job, expansion.jobs)
    at_once = _at_once(declared.hydra.launcher)
    return plan_sweep(expansion.jobs, composer, expansion.groups, keep_invalid=keep_invalid, at_once=at_once)


def _at_once(launcher: Any) -> int:
    """How many jobs a launcher runs at the same time: joblib's n_jobs, or the parallelism of a cluster's array.

    Of workers as many as there are cores or GPUs, unless a number is given.
    """
    if "num_workers" in launcher:
        return int(launcher.num_workers or len(visible_gpus()) or num_cores())
    number = launcher.get("n_jobs", launcher.get("array_parallelism"))
    if not isinstance(number, int) or number == 0:
        return 1
    return number if number > 0 else max(1, (os.cpu_count() or 1) + 1 + number)  # -1: as many as there are CPUs


def _declared_sweep(declared: DictConfig) -> SweepCfg:
    try:
        check_keys(OmegaConf.to_container(declared.sweep), SweepCfg, prefix="sweep.")  # type: ignore[arg-type]  # a dict
        found = OmegaConf.to_object(declared.sweep)
    except OmegaConfBaseException as err:
        raise RequestError(one_line(str(err))) from err
    assert isinstance(found, SweepCfg)
    for key in itertools.chain.from_iterable((asked, *keys) for asked, keys in found.gives_way.items()):
        unknown = explain_unknown(key, RunCfg) or ""
        if unknown.startswith("unknown key") and key not in GROUPS_ALONE:
            raise RequestError(f"sweep.gives_way: {unknown}")
    return found
