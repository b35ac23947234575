"""Run one distillation, or with -m a sweep of them: python run.py --help."""

from __future__ import annotations

import os
import sys

import hydra
from omegaconf import DictConfig

from amid.config import register, run_config
from amid.entry import check_arguments, exit_code, run_job


def job(config: DictConfig) -> None:
    """Carry out the configured task."""

    def task() -> None:
        run = run_config(config)
        from amid.experiment import run_task  # imports torch: not before the request is known to be sound

        run_task(run)

    run_job(task)


def command() -> None:
    """Carry out the command line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's errors reach `exit_code`, which makes one line of them
    check_arguments(sys.argv[1:])
    hydra.main(version_base="1.3", config_path=str(register()), config_name="config")(job)()


if __name__ == "__main__":
    sys.exit(exit_code(command))
