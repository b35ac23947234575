"""The text of an array's script, and what of its options is refused."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from amid.errors import RequestError
from amid.slurm.options import EXPORTED, SlurmOptions
from amid.slurm.script import array_script

SRUN = """#!/bin/bash
printf '%s\\n' "$@"
env > "$AMID_TEST_ENVIRONMENT"
exit 7
"""


def script(
    options: SlurmOptions | None = None, *, folder: str = "/results/submissions/0001-demo", **more: object
) -> str:
    given: dict[str, Any] = {"devices": 1, "command": ["python", "run.py"], "location": "paths.results='/results'"}
    return array_script(options or SlurmOptions(), title="Sweep demo", folder=folder, **{**given, **more})


def directives(text: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def carried_out(text: str, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the script as Slurm would, with an srun that prints what it is given, one word a line, and fails with 7."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "srun").write_text(SRUN)
    (folder / "bin" / "srun").chmod(0o755)
    variables = {
        "PATH": f"{folder}/bin:/usr/bin:/bin",
        "AMID_TEST_ENVIRONMENT": str(folder / "environment"),
        **{"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "2", "SLURM_JOB_ID": "14", "SLURM_CPUS_PER_TASK": "4"},
        **{"SLURM_JOB_NODELIST": "n1", **environment},
    }
    (folder / "job.sh").write_text(text)
    command = ["bash", str(folder / "job.sh"), *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_the_resources_of_a_cell_are_those_that_were_asked_for() -> None:
    asked = SlurmOptions(
        account="lab", partition="gpu", gpus=1, gpu_type="a100", mem="64G", timeout_min=90, signal_s=60
    )
    found = directives(script(asked))
    assert (
        found.items()
        >= {
            "account": "lab",
            "partition": "gpu",
            "nodes": "1",
            "ntasks-per-node": "1",
            "cpus-per-task": "4",
            "gres": "gpu:a100:1",
            "mem": "64G",
            "time": "90",
            "signal": "USR1@60",
            "requeue": "",
            "open-mode": "append",
            "output": "/results/submissions/0001-demo/logs/%A_%a.log",
        }.items()
    )
    assert not {"qos", "constraint"} & set(found), "what is not asked for is Slurm's to choose"


def test_without_a_gpu_none_is_asked_for_and_no_memory_is_slurms_default() -> None:
    assert not {"gres", "mem"} & set(directives(script(SlurmOptions(mem=None))))


def test_a_cell_on_several_devices_is_a_task_for_each_and_they_find_each_other() -> None:
    text = script(SlurmOptions(nodes=2, gpus=1), devices=8)
    assert directives(text).items() >= {"nodes": "2", "ntasks-per-node": "4", "gres": "gpu:4"}.items()
    assert "export MASTER_ADDR MASTER_PORT" in text
    assert "MASTER_ADDR" not in script()
    with pytest.raises(RequestError, match=r"trainer.devices=3 is no multiple of hydra.launcher.nodes=2"):
        script(SlurmOptions(nodes=2), devices=3)


def test_only_named_variables_are_passed_on_and_no_secret_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "s3cret")
    monkeypatch.setenv("HF_TOKEN", "t0ken")
    text = script()
    names = directives(text)["export"].split(",")
    assert names == list(EXPORTED)
    assert not [name for name in names if any(word in name for word in ("KEY", "TOKEN", "SECRET", "PASSWORD"))]
    asked = script(SlurmOptions(export=["WANDB_API_KEY", "PATH"]))
    assert directives(asked)["export"].split(",") == [*EXPORTED, "WANDB_API_KEY"], "each name once"
    assert "s3cret" not in asked, "the value goes from the environment to Slurm, and into no file of ours"


def test_a_task_carries_out_the_request_on_the_line_of_its_number(tmp_path: Path) -> None:
    folder = tmp_path / "a folder ü of $HOME"
    folder.mkdir()
    (folder / "cells.txt").write_text("aaaa\nbbbb\ncccc\n")
    text = script(folder=str(folder), location=f"paths.results='{folder}'", command=["/opt/my python", "run.py"])
    done = carried_out(text, tmp_path, "cells")
    assert done.returncode == 7, "Slurm sees the exit code of the run"
    first, *words = done.stdout.splitlines()
    assert first == "job 12_2, start 1, on n1"
    assert words[-4:] == ["/opt/my python", "run.py", "request='bbbb'", f"paths.results='{folder}'"]
    assert "--kill-on-bad-exit=1" in words and "--cpus-per-task=4" in words and "--export=ALL" in words
    seen = (tmp_path / "environment").read_text().splitlines()
    assert {"OMP_NUM_THREADS=4", "AMID_MAX_REQUEUES=20"} <= set(seen)


def test_set_up_lines_run_before_and_may_use_unset_variables(tmp_path: Path) -> None:
    (tmp_path / "cells.txt").write_text("a\nb\n")
    setup = ['export GREETING="hello $NOT_SET"', "echo from $GREETING"]
    text = script(SlurmOptions(setup=setup, run_with="apptainer exec --nv 'my image.sif'"), folder=str(tmp_path))
    done = carried_out(text, tmp_path, "cells")
    words = done.stdout.splitlines()
    assert words[0] == "from hello" and done.returncode == 7
    assert words[-8:-3] == ["apptainer", "exec", "--nv", "my image.sif", "python"]
    failing = script(SlurmOptions(setup=["false"]), folder=str(tmp_path))
    failed = carried_out(failing, tmp_path, "cells")
    assert failed.returncode == 1 and failed.stdout == "", "a set-up that fails is the end of the task"


def test_workers_choose_their_cells(tmp_path: Path) -> None:
    (tmp_path / "stages.txt").write_text("a\nb\n")
    work = ["python", "-m", "amid.cli", "work", "demo", "--results", "/some where"]
    text = script(SlurmOptions(workers=3), folder=str(tmp_path), work=work)
    assert carried_out(text, tmp_path, "workers").stdout.splitlines()[-7:] == work
    assert carried_out(text, tmp_path, "stages").stdout.splitlines()[-2] == "request='b'"


def test_a_second_start_says_so(tmp_path: Path) -> None:
    (tmp_path / "cells.txt").write_text("a\nb\n")
    done = carried_out(script(folder=str(tmp_path)), tmp_path, "cells", SLURM_RESTART_COUNT="2")
    assert done.stdout.startswith("job 12_2, start 3, on n1\n")


def test_further_options_of_sbatch_are_written_as_they_were_given() -> None:
    given = {
        "nice": 100,
        "exclusive": True,
        "mail_user": "me@there",
        "comment": 'say "hi" there',
        "exclude": "n[1-3],n5",
    }
    lines = [line for line in script(SlurmOptions(additional=given)).splitlines() if line.startswith("#SBATCH")]
    wanted = [
        "--nice=100",
        "--exclusive",
        "--mail-user=me@there",
        '--comment="say \\"hi\\" there"',
        "--exclude=n[1-3],n5",
    ]
    assert lines[-5:] == [f"#SBATCH {each}" for each in wanted]


def test_a_percent_sign_of_a_folder_is_none_of_slurms() -> None:
    assert directives(script(folder="/50%/a"))["output"] == "/50%%/a/logs/%A_%a.log"
    with pytest.raises(RequestError, match="line break"):
        script(folder="/a\nb")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout_min": 0}, "hydra.launcher.timeout_min: '0' cannot be; valid: at least 1"),
        ({"mem": "lots"}, "valid: a number and K, M, G or T"),
        ({"gpus": 4}, "a cell on several GPUs is trainer.devices=N"),
        ({"gpu_type": "a100"}, "a type where gpus=1"),
        ({"partition": "a b"}, "one word without quotes"),
        ({"array_parallelism": 0}, "at least 1"),
        ({"workers": -1}, "at least 1"),
        ({"max_requeues": -1}, "at least 0"),
        ({"timeout_min": 1, "signal_s": 60}, "less than the limit of 1 min"),
        ({"export": ["A-B"]}, "names of environment variables"),
        ({"export": ["ALL"]}, "names of environment variables"),
        ({"additional": {"array": "1-3"}}, "give hydra.launcher.array_parallelism"),
        ({"additional": {"ntasks_per_node": 2}}, "it follows from trainer.devices and nodes"),
        ({"additional": {"wrap": "x"}}, "it is part of how a sweep is submitted"),
        ({"additional": {"--nice": 1}}, "without dashes before them"),
        ({"additional": {"nice": [1]}}, "a text, a number, or true"),
        ({"additional": {"exclusive": False}}, "a text, a number, or true"),
        ({"run_with": "a\nb"}, "one line"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_an_option_that_cannot_be_is_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError) as caught:
        SlurmOptions(**options)  # type: ignore[arg-type]
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_value_given_with_a_name_to_export_is_not_repeated() -> None:
    with pytest.raises(RequestError) as caught:
        SlurmOptions(export=["WANDB_API_KEY=s3cret"])
    assert "s3cret" not in str(caught.value) and "WANDB_API_KEY" in str(caught.value)


def test_a_script_is_plain_bash() -> None:
    options = SlurmOptions(setup=["module load cuda"], nodes=2, gpus=1, workers=2)
    text = script(options, devices=4, work=["amid", "work"], folder="/a b/c")
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    assert all(len(shlex.split(line)) for line in text.splitlines() if line.startswith("exec "))
