"""The cluster that the other tests here run on: a job runs, is put back in the queue, and a killed node comes back."""

import pytest
from slurm.cluster import Cluster, wait_for

pytestmark = pytest.mark.slurm


def test_a_job_is_requeued_and_a_killed_node_comes_back(slurm: Cluster, tmp_path):
    script = tmp_path / "a script.sh"
    script.write_text("#!/bin/bash\necho began on $SLURMD_NODENAME; exec srun sleep 600\n")
    log = tmp_path / "log"
    options = ("--requeue", "--parsable", "--mem=100", f"--output={log}", "--open-mode=append", "-w", "n1")
    job = slurm.run("sbatch", *options, str(script)).strip()
    wait_for(lambda: log.is_file() and "began" in log.read_text(), 30, "the job to begin")
    slurm.kill_daemon("n1")
    slurm.start_node("n1")
    slurm.run("scontrol", "requeue", job)
    wait_for(lambda: log.read_text().count("began on n1") == 2, 60, "the job to begin again")
    assert slurm.job(job)["Restarts"] == "1"
    slurm.run("scancel", job)
    slurm.wait_until_empty()
