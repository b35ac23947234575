"""One Slurm for all tests of it: two nodes with two cores each, whose silence is noticed soon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slurm.cluster import Cluster, cluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A running cluster; a test leaves nothing in its queue, and all its nodes up."""
    with cluster(slurmd_timeout=5) as made:
        yield made
