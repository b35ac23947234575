"""W&B and CSV show what the journal says: with W&B's own settings, without a network, and when they fail."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import wandb

from amid.config import LoggerCfg
from amid.store.trackers import offline_runs, waiting_runs
from amid.training import wandb_mirror
from amid.training.mirrors import CsvMirror, Guarded
from amid.training.wandb_mirror import WandbMirror, lineage_of, wandb_mode
from tests.reference.wandb_file import axes, history, summary, table

CFG = LoggerCfg(name="wandb")
KEY = "0123456789" * 4
WANDB_VARIABLES = [name for name in os.environ if name.startswith("WANDB_")]


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A user without any W&B settings or login, and a W&B that has read nothing yet."""
    for name in {*WANDB_VARIABLES, "WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wandb_mirror, "_unreachable", set())
    wandb.teardown()
    yield
    if wandb.run is not None:
        wandb.finish()
    wandb.teardown()


def opened(folder: Path, *, cfg: LoggerCfg = CFG, run_id: str = "abc-123456", mode: str = "offline") -> WandbMirror:
    folder.mkdir(parents=True, exist_ok=True)
    return WandbMirror(
        cfg, run_id=run_id, name="label", group=None, job_type="distill", tags=[], config={}, folder=folder, mode=mode
    )


def offline(folder: Path) -> list[Path]:
    """What is recorded below a folder, oldest first."""
    return sorted((folder / "wandb").glob("offline-run-*"))


def host() -> str:
    """The machine of W&B's server as the installed release names it."""
    wandb.setup(settings=wandb.Settings(silent=True))
    found = urlsplit(wandb.setup().settings.base_url).netloc
    wandb.teardown()
    return found


# How it records


@pytest.mark.parametrize(
    ("asked", "variable", "key", "mode"),
    [
        (None, None, None, "offline"),
        (None, None, KEY, "online"),
        (None, "online", KEY, "online"),
        (None, "online", None, "offline"),
        (None, "offline", KEY, "offline"),
        (None, "dryrun", KEY, "offline"),
        (None, "disabled", KEY, "disabled"),
        ("offline", None, KEY, "offline"),
        ("online", "offline", KEY, "offline"),
        ("offline", "disabled", None, "offline"),
        ("disabled", "online", KEY, "disabled"),
    ],
)
def test_the_request_decides_and_what_it_leaves_open_w_and_b_s_environment(asked, variable, key, mode, monkeypatch):
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    assert wandb_mode(asked) == mode


def test_online_without_a_login_is_offline_and_says_so(caplog):
    assert wandb_mode("online") == "offline"
    assert "logger.mode=online, but there is no login" in caplog.text


def test_a_key_that_cannot_be_one_is_no_login_and_says_so(monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert wandb_mode(None) == "offline"
    assert "recording offline" in caplog.text


def test_a_login_in_the_netrc_file_is_found_where_the_installed_release_keeps_it(tmp_path):
    machine = host()
    file = tmp_path / "home" / ".netrc"
    file.write_text(f"machine {machine}\n  login user\n  password {KEY}\n")
    file.chmod(0o600)
    assert wandb_mode(None) == "online"
    wandb.teardown()
    file.write_text(f"machine example.org\n  login user\n  password {KEY}\n")
    assert wandb_mode(None) == "offline"


def test_a_login_for_a_server_of_one_s_own_is_one_for_that_server(tmp_path, monkeypatch):
    file = tmp_path / "home" / ".netrc"
    file.write_text(f"machine example.org\n  login user\n  password {KEY}\n")
    file.chmod(0o600)
    monkeypatch.setenv("WANDB_BASE_URL", "https://example.org")
    assert wandb_mode(None) == "online"


def test_a_broken_netrc_is_no_login(tmp_path):
    (tmp_path / "home" / ".netrc").write_text("machine\nnonsense here")
    assert wandb_mode(None) == "offline"


def test_project_entity_and_folder_are_w_and_b_s_own_unless_the_request_names_them(tmp_path, monkeypatch):
    first = opened(tmp_path / "first")
    assert first._run.project == "amid-lab"
    assert len(offline(tmp_path / "first")) == 1
    first.close(failed=False)
    wandb.teardown()
    monkeypatch.setenv("WANDB_PROJECT", "of-the-environment")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    second = opened(tmp_path / "second")
    assert (second._run.project, second._run.entity) == ("of-the-environment", "team")
    assert len(offline(tmp_path / "elsewhere")) == 1
    assert not offline(tmp_path / "second")
    second.close(failed=False)
    third = opened(tmp_path / "third", cfg=replace(CFG, project="of-the-request", entity="me"))
    assert (third._run.project, third._run.entity) == ("of-the-request", "me")
    third.close(failed=False)


def test_recording_offline_leaves_the_environment_as_it_was(tmp_path):
    before = dict(os.environ)
    opened(tmp_path / "cell").close(failed=False)
    changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
    assert "WANDB_MODE" not in changed


# Without a network


def test_a_key_without_a_network_goes_offline_once_and_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(wandb_mirror, "INIT_TIMEOUT_S", 2)
    tried = []
    init = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **options: (tried.append(options["mode"]), init(**options))[1])
    for name in ("aaa-111111", "bbb-222222", "aaa-111111"):
        mode = wandb_mode(None)
        assert mode == "online", "there is a key"
        mirror = opened(tmp_path / name, run_id=name, mode=mode)
        mirror.metrics({"train/loss": 1.0}, step=1)
        mirror.close(failed=False)
        folder = offline(tmp_path / name)[-1]
        assert [step for step, _ in history(folder)] == [1]
    assert tried == ["online", "offline", "offline", "offline"]
    assert caplog.text.count("recording offline") == 1


# Steps


def test_steps_are_those_of_the_training_also_in_a_second_attempt(tmp_path):
    first = opened(tmp_path / "cell")
    first.metrics({"train/loss": 2.0}, step=3)
    first.metrics({"val/loss": 1.5}, step=3)
    first.metrics({"train/loss": 1.0}, step=6)
    first.close(failed=True)
    second = opened(tmp_path / "cell")
    second.metrics({"train/loss": 0.5}, step=9)
    second.results({"avg": 20.0}, {"generations": [{"set": "dolly", "response": "hi"}]})
    second.close(failed=False)
    folders = offline(tmp_path / "cell")
    assert len(folders) == 2
    assert [step for step, _ in history(folders[0])] == [3, 6]
    assert history(folders[0])[0][1]["val/loss"] == 1.5
    assert [step for step, _ in history(folders[1])] == [9]


def test_every_curve_stands_over_the_trainers_step(tmp_path):
    mirror = opened(tmp_path / "cell")
    mirror.metrics({"train/loss": 2.0, "train/lr": 0.1, "clock/labels_per_s": 7.0}, step=3)
    mirror.metrics({"val/loss": 1.5}, step=3)
    mirror.close(failed=False)
    (folder,) = offline(tmp_path / "cell")
    assert axes(folder) == {"train/*": "step", "clock/*": "step", "val/*": "step"}
    assert [values["step"] for _, values in history(folder)] == [3]


def test_the_summary_is_what_the_results_say_and_no_last_value_of_a_curve(tmp_path):
    mirror = opened(tmp_path / "cell")
    mirror.metrics({"train/loss": 2.0, "val/loss": 1.5}, step=3)
    mirror.results({"avg": 20.0, "set/dolly": 20.0}, {"empty": [], "scores": [{"set": "a", "decode_seed": None}]})
    mirror.close(failed=False)
    (folder,) = offline(tmp_path / "cell")
    found = summary(folder)
    assert {key: value for key, value in found.items() if key != "scores"} == {"avg": 20.0, "set/dolly": 20.0}
    assert table(folder, "scores") == [{"set": "a", "decode_seed": None}]


def test_an_attempt_that_only_adds_results_adds_no_step(tmp_path):
    opened(tmp_path / "cell").close(failed=True)
    mirror = opened(tmp_path / "cell")
    mirror.results({"avg": 20.0}, {"generations": [{"set": "dolly", "response": "hi"}]})
    mirror.close(failed=False)
    folder = offline(tmp_path / "cell")[-1]
    assert history(folder) == []
    assert summary(folder)["avg"] == 20.0


def test_an_uploaded_recording_waits_no_more(tmp_path):
    for run_id in ("abc-111111", "abc-222222", "abd-111111"):
        opened(tmp_path, run_id=run_id).close(failed=False)
    room = tmp_path / "wandb"
    assert [path.name.rpartition("abc-")[2] for path in waiting_runs(room, ["abc"])] == ["111111", "222222"]
    assert len(waiting_runs(room, ["abc-111111", "abd-111111"])) == 2
    (folder,) = waiting_runs(room, ["abc-111111"])
    (folder / "run-abc-111111.wandb.synced").touch()
    assert [path.name.rpartition("abc-")[2] for path in waiting_runs(room, ["abc"])] == ["222222"]


# Which run


def test_what_is_recorded_offline_holds_no_login_and_no_environment(tmp_path, monkeypatch):
    """A bundle may hold these files (amid.store.trackers)."""
    secrets = {"WANDB_API_KEY": KEY, "HF_TOKEN": "hf_secretsecretsecret", "SOME_PASSWORD": "swordfish-swordfish"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    mirror = opened(tmp_path / "cell")
    mirror.metrics({"train/loss": 1.0}, step=1)
    mirror.results({"set/dolly": 20.0}, {"generations": [{"prompt": "a", "response": "b"}]})
    mirror.close(failed=False)
    (folder,) = offline(tmp_path / "cell")
    assert history(folder)
    (files,) = offline_runs(tmp_path / "cell").values()
    assert {path.suffix for path in files} >= {".wandb", ".json"}
    assert any(b"set/dolly" in path.read_bytes() for path in files), "what is recorded is found in this way"
    for name, value in secrets.items():
        assert not [path for path in files if value.encode() in path.read_bytes()], name


def test_a_resumed_training_keeps_its_lineage(tmp_path):
    path, journal = tmp_path / "lineage", tmp_path / "journal.jsonl"
    first = lineage_of(path, journal)
    journal.write_text("{}\n")
    assert lineage_of(path, journal) == first
    assert len(first) == 6
    assert int(first, 16) >= 0


def test_another_store_and_a_start_from_nothing_are_other_lineages(tmp_path):
    found = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found.add(lineage_of(tmp_path / name / "lineage", tmp_path / name / "journal.jsonl"))
    (tmp_path / "one" / "journal.jsonl").touch()
    found.add(lineage_of(tmp_path / "one" / "lineage", tmp_path / "one" / "journal.jsonl"))
    assert len(found) == 3


# Failures


class Failing:
    """A mirror that raises at one call and counts all of them."""

    def __init__(self, at: str) -> None:
        self.at, self.calls = at, []
        self._call("init")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.at:
            raise ConnectionError("the tracker is gone")

    def metrics(self, metrics, *, step):
        self._call("metrics")

    def results(self, summary, tables):
        self._call("results")

    def close(self, *, failed, stopped):
        self._call("close")


@pytest.mark.parametrize("at", ["init", "metrics", "results", "close"])
def test_a_tracker_that_fails_at_any_call_is_one_warning_and_called_no_more(at, caplog):
    made = []
    mirror = Guarded("tracker", lambda: made.append(Failing(at)) or made[0])
    for step in (1, 2):
        mirror.metrics({"train/loss": 1.0}, step=step)
    mirror.results({}, {})
    mirror.close(failed=False)
    mirror.close(failed=False)
    assert [record.getMessage() for record in caplog.records] == [
        "tracker: ConnectionError: the tracker is gone; the cell goes on without it, its journal has everything"
    ]
    if made:
        assert made[0].calls[-1] == at


def test_ctrl_c_inside_a_tracker_is_no_failure_of_the_tracker():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Guarded("tracker", interrupted)


def test_a_run_left_open_by_a_failed_tracker_is_not_continued_by_the_next_cell(tmp_path):
    left_open = opened(tmp_path / "first", run_id="first-111111")
    mirror = opened(tmp_path / "second", run_id="second-222222")
    assert left_open._run.id != mirror._run.id
    mirror.metrics({"train/loss": 1.0}, step=1)
    mirror.close(failed=False)
    folder = offline(tmp_path / "second")[-1]
    assert [step for step, _ in history(folder)] == [1]


def test_the_csv_mirror_writes_metrics_csv(tmp_path):
    mirror = CsvMirror(tmp_path)
    mirror.metrics({"train/loss": 1.5}, step=1)
    mirror.metrics({"train/loss": 1.25}, step=2)
    mirror.close(failed=False)
    (file,) = tmp_path.rglob("metrics.csv")
    rows = list(csv.DictReader(file.open()))
    assert [(row["step"], row["train/loss"]) for row in rows] == [("1", "1.5"), ("2", "1.25")]
