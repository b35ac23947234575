"""The stock submitit launcher carries out the same frozen requests, and makes no provenance dirty."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from slurm.cluster import Cluster
from slurm.sweeps import ROOT, Place

pytestmark = [pytest.mark.slurm, pytest.mark.long]
# submitit asks for what has ended; without slurmdbd there is no accounting to answer it.
SACCT = """#!{python}
import subprocess
import sys

print("JobID|State|NodeList")
for job in [value for flag, value in zip(sys.argv, sys.argv[1:]) if flag == "-j"]:
    shown = subprocess.run(["scontrol", "-o", "show", "job", job], capture_output=True, text=True).stdout
    for line in shown.splitlines():
        fields = dict(word.partition("=")[::2] for word in line.split())
        name = fields["JobId"] if "ArrayTaskId" not in fields else f"{{fields['ArrayJobId']}}_{{fields['ArrayTaskId']}}"
        print(f"{{name}}|{{fields['JobState']}}|{{fields.get('NodeList', '')}}")
"""


def test_the_stock_launcher_carries_out_frozen_requests(slurm: Cluster, tmp_path: Path) -> None:
    sacct = slurm.folder / "bin" / "sacct"
    sacct.write_text(SACCT.format(python=sys.executable))
    sacct.chmod(0o755)
    place = Place(slurm, tmp_path)
    launcher = (
        *("hydra/launcher=submitit_slurm", "hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1"),
        *("hydra.launcher.timeout_min=30", "train.max_steps=6"),
    )
    arguments = place.arguments(*launcher, "amid.alpha=-1,0", launcher=())
    try:
        done = place.command(arguments)
    finally:
        sacct.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    statuses = list(place.results.glob("*/status.json"))
    assert [json.loads(path.read_text())["state"] for path in statuses] == ["done", "done"]
    requests = {path.stem for path in (place.results / "requests").glob("*.yaml")}
    assert len(requests) == 1 + 2, "one prepares, and two cells"
    assert (tmp_path / ".submitit").is_dir(), "in the folder of the command"
    ignored = subprocess.run(["git", "check-ignore", "-q", ".submitit/1"], cwd=ROOT, check=False)
    assert ignored.returncode == 0, "a checkout in which it is typed stays clean"
