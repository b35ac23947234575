"""The files of docs/clusters start workers as the command line knows them, and start others for exit code 75."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from typer.main import get_command

from amid.cli.app import app
from amid.config import config_root
from amid.errors import EXIT_BAD_REQUEST, EXIT_RUN_FAILED, EXIT_STOPPED

FOLDER = config_root() / "docs" / "clusters"
PAGE = (config_root() / "docs" / "clusters.md").read_text()


def loaded(name: str) -> Any:
    (document,) = yaml.safe_load_all((FOLDER / name).read_text())
    return document


def check_work(words: list[str], *, results: str) -> None:
    """The command is a worker's that its verb can parse."""
    assert words[:2] == ["amid", "work"]
    context = get_command(app).commands["work"].make_context("work", words[2:])  # type: ignore[attr-defined]
    assert context.params["results"] == Path(results)


def test_a_worker_of_skypilot_is_started_again_when_it_was_asked_to_stop() -> None:
    task = loaded("skypilot.yaml")
    codes = task["resources"]["job_recovery"]["recover_on_exit_codes"]
    assert codes == [EXIT_STOPPED]
    (line,) = task["run"].splitlines()
    variables = {f"${name}": value for name, value in task["envs"].items()}
    words = [variables.get(word, word) for word in shlex.split(line)]
    assert words[0] == "exec", "so that the signal and the exit code are the worker's"
    check_work(words[1:], results=task["envs"]["RESULTS"])
    assert any(task["envs"]["RESULTS"].startswith(f"{folder}/") for folder in task["volumes"])


def test_a_worker_of_kueue_is_replaced_when_it_was_asked_to_stop_and_fails_alone() -> None:
    job = loaded("kueue.yaml")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    spec = job["spec"]
    assert spec["suspend"] is True
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    assert spec["backoffLimitPerIndex"] == 0
    actions = {
        code: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {"values": ["disrupted"]})["values"]
    }
    assert actions == {EXIT_BAD_REQUEST: "FailJob", EXIT_STOPPED: "Ignore", "disrupted": "Ignore"}
    assert EXIT_RUN_FAILED not in actions
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never", "as a policy for exit codes needs"
    (container,) = pod["containers"]
    check_work(container["command"], results="/shared/results")
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount["name"] == volume["name"] and mount["mountPath"] == "/shared"


def test_the_page_leads_to_both_files_and_they_to_commands_that_exist() -> None:
    for name in ("skypilot.yaml", "kueue.yaml"):
        assert f"](clusters/{name})" in PAGE
        recorded = re.findall(r"amid plan (\S+) --record", (FOLDER / name).read_text())
        assert recorded and (config_root() / "sweeps" / f"{recorded[0]}.yaml").is_file()
