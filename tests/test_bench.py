"""The benchmarks, small: what their last lines say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def result_of(script, *arguments, name=None):
    """The numbers of a benchmark's last line by name; the line has the script's name, or another one."""
    # One thread: what is checked are not the times, and two wait for each other on a busy machine.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"RESULT {name or 'bench-' + script.removesuffix('.py')} ")
    return dict(re.findall(r"(\w+)=(\S+)", last))


@pytest.mark.real
def test_bench_step_splits_the_products_own_step_into_parts_that_fill_it():
    found = result_of("step.py", "--steps", "2", "--tokens", "48", "--batch-size", "2", "--micro-batch-size", "1")
    parts = [float(found[f"{part}_s"]) for part in ("teacher", "student", "loss", "backward", "optimiser")]
    assert all(seconds > 0 for seconds in parts)
    assert float(found["labels_per_s"]) > 0
    assert 1.0 < float(found["peak_gb"]) < 8.0


@pytest.mark.real
def test_bench_diagnostics_times_the_same_steps_with_and_without():
    small = ("--rounds", "3", "--tokens", "32", "--batch-size", "2", "--positions", "8")
    found = result_of("diagnostics.py", "--pair", "tiny", *small)
    assert 0 < float(found["diagnostics_s"]) < float(found["with_s"])
    assert float(found["share"]) == pytest.approx(float(found["diagnostics_s"]) / float(found["without_s"]), rel=0.05)


@pytest.mark.real
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_closed_form_is_usable_in_every_position_of_a_real_pair():
    skipped = ("--skip", "dense", "trl", "liger")
    found = result_of("loss.py", "--shapes", "tiny", "--objectives", "ab", "--repeats", "1", *skipped)
    assert float(found["unusable_share"]) < 0.01
    assert float(found["fused_over_floor_real"]) > 0


@pytest.mark.real
def test_bench_memory_measures_near_what_is_estimated():
    found = result_of("memory.py", "--tokens", "96", "--batch-size", "2", "--settings", "plain", "lora")
    for setting in ("plain", "lora"):
        measured, estimate = float(found[f"{setting}_gb"]), float(found[f"{setting}_estimate_gb"])
        assert 0.5 < measured < 3.0
        assert estimate == pytest.approx(measured, rel=0.25)


@pytest.mark.long
def test_bench_workers_counts_what_a_cell_asks_of_the_store():
    found = result_of("worker_overhead.py", "--cells", "4", "--workers", "2", name="bench-workers")
    assert found["cells"] == "3" and found["workers"] == "2"
    parts = [float(found[f"{part}_s"]) for part in ("training", "evaluation", "overhead")]
    assert all(seconds > 0 for seconds in parts)
    assert float(found["cell_s"]) == pytest.approx(sum(parts), abs=0.01)
    assert 0 < float(found["claims_share"]) < 1 and float(found["operations"]) > 100
