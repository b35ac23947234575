"""The profiles of hydra/launcher=slurm compose, and so does a file of one's own as docs/clusters.md shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from amid.config import config_root, register
from amid.slurm.options import SlurmOptions

ROOT = config_root()
PROFILES = sorted(path.stem for path in (ROOT / "conf" / "hydra" / "launcher").glob("slurm*.yaml"))


@cache
def options_of(profile: str, *overrides: str) -> SlurmOptions:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(register()), version_base="1.3"):
        found = compose("config", overrides=[f"hydra/launcher={profile}", *overrides], return_hydra_config=True)
    values: Any = OmegaConf.to_container(found.hydra.launcher)
    return SlurmOptions(**{name: value for name, value in values.items() if not name.startswith("_")})


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_names_no_real_place(profile: str) -> None:
    options = options_of(profile)
    assert (options.account, options.partition, options.qos, options.constraint) == (None, None, None, None)
    assert options.setup == [] and options.additional == {} and options.export == []
    assert f"`{profile}`" in (ROOT / "docs" / "clusters.md").read_text() or profile == "slurm"


def test_the_profiles_differ_as_they_say() -> None:
    assert (options_of("slurm").gpus, options_of("slurm_cpu").gpus, options_of("slurm_gpu").gpus) == (0, 0, 1)
    assert options_of("slurm_nodes").nodes == 2 and options_of("slurm_nodes").gpus == 1
    assert options_of("slurm_worker").workers == 4 and options_of("slurm_gpu").workers is None
    assert options_of("slurm", "+hydra.launcher.additional.nice=100").additional == {"nice": 100}


def test_every_option_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "clusters.md").read_text()
    missing = [name for name in SlurmOptions.__dataclass_fields__ if f"`{name}`" not in page and f".{name}" not in page]
    assert missing == []


def test_the_file_of_ones_own_in_the_docs_is_submitted_as_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "clusters.md").read_text()
    (text,) = re.findall(r"```yaml\n(# @package _global_\n# my_conf/hydra/launcher/lab.yaml\n.*?)```", page, re.S)
    path = tmp_path / "my_conf" / "hydra" / "launcher" / "lab.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (command,) = re.findall(r"python run.py (--config-dir my_conf .*hydra/launcher=lab)", page)
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *command.split(), "hydra.launcher.dry_run=true"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env={**os.environ, "AMID_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    for line in ("--account=our_lab", "--partition=a100", "--gres=gpu:a100:1", "--time=600"):
        assert f"#SBATCH {line}\n" in done.stdout
    assert "source /etc/profile\nmodule load cuda\n" in done.stdout
    assert not (tmp_path / "results").exists()
