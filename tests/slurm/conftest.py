"""One Slurm for all tests of it: two nodes with two cores each, whose silence is noticed soon; a cell without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm.cells import run_alone
from slurm.cluster import Cluster, cluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A running cluster; a test leaves nothing in its queue, and all its nodes up."""
    with cluster(slurmd_timeout=5) as made:
        yield made


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cell of `slurm.cells` as one process trains it, without Slurm."""
    folder = tmp_path_factory.mktemp("alone")
    run_alone(folder)
    return folder
