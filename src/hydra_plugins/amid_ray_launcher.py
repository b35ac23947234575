"""Hydra's launcher `ray`: every cell is a task of a Ray cluster."""

# No postponed annotations here, as in amid_sweeper.py.
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.amid_workers_launcher import returned


class RayLauncher(Launcher):
    """conf/hydra/launcher/ray.yaml has its options."""

    def __init__(self, **options: Any) -> None:
        self._given: Mapping[str, Any] = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing of Hydra's is needed: a job is a frozen request. Raises RequestError for a bad option, or no Ray."""
        from amid.sweep.on_ray import RayOptions, check_installed

        plain = OmegaConf.to_container(OmegaConf.create(dict(self._given)), resolve=True)
        assert isinstance(plain, dict)
        self._options = RayOptions(**{str(name): value for name, value in plain.items()})
        check_installed()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Carries out the jobs. Raises KeyboardInterrupt when interrupted."""
        from amid.sweep.on_ray import launch

        return [returned(reason) for reason in launch(job_overrides, self._options)]
