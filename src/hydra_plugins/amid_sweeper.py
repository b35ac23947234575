"""Hydra's `amid` sweeper: expands, checks every cell, drops what is done, builds shared stages, then launches."""

# No postponed annotations here: Hydra's plugin scanner runs this module before it is in sys.modules, where dataclasses
# would look them up.
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from amid.errors import RequestError, StoppedError, reason_of
from amid.stopping import asked

log = logging.getLogger(__name__)
LOCAL_LAUNCHERS = ("BasicLauncher", "JoblibLauncher", "WorkersLauncher", "RayLauncher")  # one process per job


@dataclass
class AmidSweeperConf:
    """`params`: key -> values, as in `-m KEY=V1,V2`; `alpha_grid` and sweep files fill it."""

    _target_: str = "hydra_plugins.amid_sweeper.AmidSweeper"
    params: dict[str, str] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="amid", node=AmidSweeperConf, provider="amid-lab")


class AmidSweeper(Sweeper):
    """A sweep of cells; results are what is in the store, whatever the launcher says."""

    def __init__(self, params: dict[str, str]) -> None:  # read where the sweep is expanded, with the union
        self._config: DictConfig | None = None
        self._context: HydraContext | None = None
        self._launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps Hydra's context and makes the launcher."""
        self._config, self._context = config, hydra_context
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Carries out the sweep. Raises RequestError before the first cell, RunError after the last."""
        from amid.sweep.carry_out import carry_out
        from amid.sweep.compose import check_folders, planned_of
        from amid.sweep.expand import Overrides

        assert self._config is not None and self._context is not None and self._launcher is not None
        loader = self._context.config_loader
        parser = OverridesParser.create(config_loader=loader)
        master = self._config

        def compose(overrides: Overrides) -> DictConfig:
            return loader.load_sweep_config(master, list(overrides))

        first_job = 0

        def launch(batch: Sequence[Overrides]) -> list[str | None]:
            nonlocal first_job
            assert self._launcher is not None
            try:
                returned = self._launcher.launch([list(overrides) for overrides in batch], initial_job_idx=first_job)
            except Exception as err:  # whatever a launcher raises (a worker that died, say), the store is asked first
                return [reason_of(err)] * len(batch)
            finally:
                first_job += len(batch)
            for each in returned:
                if asked() and isinstance(each._return_value, StoppedError):  # a job of this very process
                    raise each._return_value
            return [_reason(each) for each in returned]

        OmegaConf.resolve(master.hydra.sweep)
        check_folders(master.hydra)
        sweep = planned_of(master, arguments, compose, parser, keep_invalid=True)
        devices = max(planned.run.trainer.devices for planned in sweep.cells)
        if devices > 1 and str(master.hydra.launcher._target_).endswith(LOCAL_LAUNCHERS):
            raise RequestError(
                f"trainer.devices={devices} needs that many processes per cell, which this launcher does not start; "
                f"run each cell by itself: torchrun --nproc-per-node {devices} run.py trainer.devices={devices} ..."
            )
        submit = getattr(self._launcher, "submit", None)
        if submit is not None:  # a launcher that takes the sweep as a whole, and need not wait for it
            submit(sweep)
            return
        carry_out(sweep, launch)


def _reason(returned: JobReturn) -> str | None:
    """Why a job failed, None if it did not."""
    if returned.status == JobStatus.COMPLETED:
        return None
    error = returned._return_value  # its property raises the error, after a line on stderr of its own
    return reason_of(error) if isinstance(error, BaseException) else "its job ended without an answer"
