"""Hydra's `slurm` launcher: puts a sweep's cells into Slurm's queue by their frozen requests, and returns."""

# No postponed annotations here: Hydra's plugin scanner runs this module before it is in sys.modules, where dataclasses
# would look them up.
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from amid.errors import RequestError
from amid.slurm.options import SlurmOptions


@dataclass
class SlurmLauncherConf(SlurmOptions):
    """What conf/hydra/launcher/slurm*.yaml and the command line may set."""

    _target_: str = "hydra_plugins.amid_slurm_launcher.SlurmLauncher"
    _convert_: str = "all"  # lists and mappings as Python's own


ConfigStore.instance().store(group="hydra/launcher", name="slurm_schema", node=SlurmLauncherConf, provider="amid-lab")


class SlurmLauncher(Launcher):
    """A launcher that is handed the whole sweep, and not one job after the other."""

    def __init__(self, **options: Any) -> None:
        self._given = options
        self._options: SlurmOptions | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Checks the options. Raises RequestError."""
        self._options = SlurmOptions(**self._given)

    def submit(self, sweep: Any) -> None:
        """Submits what is left of a planned sweep (`amid.sweep.plan.Sweep`). Raises RequestError or RunError."""
        from amid.sweep.submit import submit

        assert self._options is not None
        submit(sweep, self._options)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Raises RequestError: another sweeper than ours knows of no frozen requests."""
        raise RequestError(
            "hydra/launcher=slurm goes with hydra/sweeper=amid, which checks and freezes what it submits"
        )
