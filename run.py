"""Run one distillation, or with -m a sweep of them: python run.py --help."""

from __future__ import annotations

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from amid.cli.exit_codes import check_arguments, exit_code, run_job
from amid.config import register


def job(config: DictConfig) -> None:
    """Carry out the configured task, or the frozen request that is named."""

    def task() -> None:
        from amid.sweep.compose import job_of

        asked = job_of(config)
        from amid.experiment import run_task  # imports torch: not before the request is known to be sound

        # The jobs of a sweep leave to other processes what those run; the sweep waits for it at its end.
        waits = HydraConfig.get().mode != RunMode.MULTIRUN
        run_task(asked.run, planned=asked.request, waits=waits, overrides=asked.overrides)

    run_job(task)


def command() -> None:
    """Carry out the command line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's errors reach `exit_code`, which makes one line of them
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a rank that is gone is one line too, without frames of C++
    check_arguments(sys.argv[1:])
    hydra.main(version_base="1.3", config_path=str(register()), config_name="config")(job)()


if __name__ == "__main__":
    sys.exit(exit_code(command))
