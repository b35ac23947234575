"""Hydra's launcher `workers`: several processes on this machine, none of which takes another one with it."""

# No postponed annotations here, as in amid_sweeper.py.
from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from amid.config.checks import number_of_launcher
from amid.errors import RunError


class WorkersLauncher(Launcher):
    """conf/hydra/launcher/workers.yaml has its options."""

    def __init__(self, num_workers: int | None) -> None:
        self._num_workers = num_workers

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing of Hydra's is needed: a job is a frozen request. Raises RequestError for a bad option."""
        if self._num_workers is not None:
            number_of_launcher("num_workers", self._num_workers, 1, whole=True)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Carries out the jobs. Raises KeyboardInterrupt when interrupted."""
        from amid.sweep.workers import launch

        return [returned(reason) for reason in launch(job_overrides, num_workers=self._num_workers)]


def returned(reason: str | None) -> JobReturn:
    """What Hydra is told of a job that failed for a reason, or did not."""
    answer = JobReturn(status=JobStatus.COMPLETED if reason is None else JobStatus.FAILED)
    if reason is not None:
        answer.return_value = RunError(reason)
    return answer
