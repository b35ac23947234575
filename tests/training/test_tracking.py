"""The journal is the truth: nothing is written twice, nothing torn stays, and mirrors see what is new."""

import json
import math

import pytest

from amid.digests.seals import unseal
from amid.errors import TakenOverError
from amid.training.tracking import Journal


def allow():
    """The check of a process that owns what it writes."""


class Recorder:
    """A mirror that remembers what it was told."""

    def __init__(self):
        self.lines = []

    def metrics(self, metrics, *, step):
        self.lines.append((step, dict(metrics)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cell" / "journal.jsonl"


@pytest.fixture(autouse=True)
def _folder(path):
    path.parent.mkdir()


@pytest.fixture
def resumed(path):
    """A journal opened again after steps 1 and 2 were written, and its mirror."""
    first = Journal(path, check=allow)
    first.log_metrics({"train/loss": 1.5, "clock/labels_per_s": 100.0}, step=1)
    first.log_metrics({"train/loss": 1.25, "clock/labels_per_s": 100.0}, step=2)
    mirror = Recorder()
    return Journal(path, [mirror], check=allow), mirror


def lines(path):
    return [unseal(line)[0] for line in path.read_bytes().splitlines()]


def test_metrics_are_written_at_once_and_passed_on(path):
    mirror = Recorder()
    Journal(path, [mirror], check=allow).log_metrics({"train/loss": 2.0}, step=3)
    assert lines(path) == [{"step": 3, "metrics": {"train/loss": 2.0}}]
    assert mirror.lines == [(3, {"train/loss": 2.0})]


def test_a_repeated_step_is_neither_written_nor_mirrored_again(path, resumed, caplog):
    journal, mirror = resumed
    before = path.read_bytes()
    journal.log_metrics({"train/loss": 1.25, "clock/labels_per_s": 100.0}, step=2)
    assert path.read_bytes() == before
    assert mirror.lines == []
    assert caplog.text == ""
    journal.log_metrics({"train/loss": 1.0, "clock/labels_per_s": 100.0}, step=3)
    assert [line["step"] for line in lines(path)] == [1, 2, 3]
    assert [step for step, _ in mirror.lines] == [3]


def test_a_repeated_step_with_another_value_is_reported_and_the_first_one_kept(path, resumed, caplog):
    journal, mirror = resumed
    journal.log_metrics({"train/loss": 9.0, "clock/labels_per_s": 100.0}, step=2)
    assert "step 2 repeated with other values of ['train/loss']" in caplog.text
    assert lines(path)[1]["metrics"]["train/loss"] == 1.25
    assert mirror.lines == []


def test_another_speed_at_a_repeated_step_is_no_difference(resumed, caplog):
    resumed[0].log_metrics({"train/loss": 1.25, "clock/labels_per_s": 7.0}, step=2)
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["clock/labels_per_s", "clock/generation_time_share", "clock/whatever_comes"])
def test_only_what_is_declared_as_depending_on_the_clock_may_differ(path, name, caplog):
    Journal(path, check=allow).log_metrics({"train/loss": 1.5, name: 1.0}, step=1)
    Journal(path, check=allow).log_metrics({"train/loss": 1.5, name: 2.0}, step=1)
    assert caplog.text == ""
    Journal(path, check=allow).log_metrics({"val/tokens_per_s": 1.0}, step=1)
    Journal(path, check=allow).log_metrics({"val/tokens_per_s": 2.0}, step=1)
    assert "other values of ['val/tokens_per_s']" in caplog.text


def test_a_journal_from_before_the_clock_had_a_group_is_gone_on_with(path, caplog):
    old = {"train/loss": 1.5, "labels_per_s": 1.0, "strategy/generation_tokens_per_s": 3.0}
    path.write_text(json.dumps({"step": 1, "metrics": old}) + "\n")
    new = {"train/loss": 1.5, "clock/labels_per_s": 2.0, "clock/generation_tokens_per_s": 4.0}
    Journal(path, check=allow).log_metrics(new, step=1)
    assert len(lines(path)) == 1
    assert caplog.text == ""


def test_every_changed_bit_of_a_line_is_reported_and_its_step_may_be_written_again(path, resumed, caplog):
    sound = path.read_bytes()
    first, second = sound.splitlines(keepends=True)
    for byte in range(0, len(first) - 1, 7):
        changed = bytearray(sound)
        changed[byte] ^= 1 << byte % 8
        path.write_bytes(changed)
        caplog.clear()
        journal = Journal(path, check=allow)
        assert f"{path}, line 1 is damaged" in caplog.text
        assert path.read_bytes() == second
        journal.log_metrics({"train/loss": 1.5, "clock/labels_per_s": 100.0}, step=1)
        assert path.read_bytes() == second + first


def test_a_journal_that_another_process_owns_is_not_written(path, resumed):
    def refuse():
        raise TakenOverError("taken over")

    before = path.read_bytes()
    with pytest.raises(TakenOverError):
        Journal(path, check=refuse)
    journal, checks = None, iter([None, refuse])
    journal = Journal(path, check=lambda: (next(checks) or allow)())
    with pytest.raises(TakenOverError):
        journal.log_metrics({"train/loss": 1.0}, step=3)
    assert path.read_bytes() == before


def test_nan_repeats_nan(path, caplog):
    Journal(path, check=allow).log_metrics({"val/loss": math.nan}, step=1)
    Journal(path, check=allow).log_metrics({"val/loss": math.nan}, step=1)
    assert caplog.text == ""
    assert len(lines(path)) == 1


def test_other_metrics_of_a_known_step_are_new(path, resumed):
    resumed[0].log_metrics({"val/loss": 0.5}, step=2)
    assert lines(path)[-1] == {"step": 2, "metrics": {"val/loss": 0.5}}


@pytest.mark.parametrize("length", [1, 10, 30])
def test_a_torn_last_line_is_cut_and_its_step_written_again(path, resumed, length):
    complete = path.read_bytes()
    torn = json.dumps({"step": 3, "metrics": {"train/loss": 1.0}}).encode()[:length]
    path.write_bytes(complete + torn)
    journal = Journal(path, check=allow)
    assert path.read_bytes() == complete
    journal.log_metrics({"train/loss": 1.0}, step=3)
    assert [line["step"] for line in lines(path)] == [1, 2, 3]
