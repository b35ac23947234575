"""How commands end: one line whatever happened, exit codes, and text that no terminal obeys."""

from __future__ import annotations

import errno
import logging
import os
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amid.cli.exit_codes import check_arguments, exit_code, failure_of
from amid.cli.printing import PlainFormatter
from amid.errors import SPEAKS, RequestError, RunError, one_line, place_of, reason_of, visible
from amid.sweep.compose import run_of_overrides


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RequestError("amid.lam must lie in [0, 1], got 2"), 2, "amid: amid.lam must lie in [0, 1], got 2"),
        (RunError("cell abc failed"), 1, "amid: cell abc failed"),
        (RequestError("two\nlines\t and \x1b[2J a clear screen"), 2, r"amid: two lines and \x1b[2J a clear screen"),
        (KeyboardInterrupt(), 130, "amid: interrupted; the same command continues"),
        (FileNotFoundError(2, "No such file", "x.txt"), 1, "amid: x.txt cannot be read or written: No such file"),
        (
            OSError(errno.ENAMETOOLONG, "Too long", "x" * 999),
            2,
            f"amid: {'x' * 200} cannot be read or written: Too long",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "amid: writing failed: No space left on device"),
    ],
)
def test_every_known_end_is_one_line_with_its_code(error, code, line, capsys):
    assert exit_code(raising(error)) == code
    assert capsys.readouterr().err.splitlines() == [line]


def test_an_unexpected_error_is_one_line_that_names_the_file_of_its_traceback(capsys):
    assert exit_code(lambda: {}["missing"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("amid: unexpected error, please report it: KeyError: 'missing' (traceback: ")
    path = Path(re.search(r"traceback: (.*)\)", line)[1])
    assert "Traceback" in path.read_text()
    assert "missing" in path.read_text()
    path.unlink()


def test_without_a_place_for_the_traceback_the_line_says_where_the_error_arose(capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    assert exit_code(lambda: 1 / 0) == 1
    (line,) = capsys.readouterr().err.splitlines()
    said = r"ZeroDivisionError: division by zero \(at .*test_exit_codes\.py:\d+; its traceback could not"
    assert re.search(said, line)


def test_sys_exit_somewhere_in_a_command_is_a_failure_and_a_plain_end_is_none(capsys):
    assert exit_code(raising(SystemExit(0))) == 0
    assert exit_code(raising(SystemExit(None))) == 0
    assert capsys.readouterr().err == ""
    assert exit_code(raising(SystemExit(5))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "sys.exit(5)" in line


def test_nobody_reading_the_output_is_no_error_and_says_nothing(capfd):
    assert exit_code(raising(BrokenPipeError(errno.EPIPE, "Broken pipe"))) == 141
    assert capfd.readouterr().err == ""


def test_of_ranks_that_refuse_one_request_only_the_first_says_so(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("amid.cli.exit_codes.SILENT_S", 0.0)
    assert exit_code(raising(RequestError("no"))) == 2
    assert capsys.readouterr().err == ""
    assert exit_code(raising(RunError("this rank alone"))) == 1
    assert capsys.readouterr().err == "amid: this rank alone\n"
    monkeypatch.setenv("RANK", "0")
    assert exit_code(raising(RequestError("no"))) == 2
    assert capsys.readouterr().err == "amid: no\n"


def test_what_the_ranks_have_agreed_on_decides_who_speaks(capsys, monkeypatch):
    monkeypatch.setattr("amid.cli.exit_codes.SILENT_S", 0.0)
    for speaks in (True, False):
        error = RunError("diverged")
        setattr(error, SPEAKS, speaks)
        assert exit_code(raising(error)) == 1
        assert bool(capsys.readouterr().err) is speaks


def test_an_error_of_hydra_is_a_bad_request_and_the_same_error_of_ours_is_a_bug():
    with pytest.raises(ValueError, match="Config group override must be") as caught:
        run_of_overrides(["train=null"])
    assert isinstance(failure_of(caught.value), RequestError)
    with pytest.raises(ValueError, match="no number") as caught:
        raise ValueError("no number")
    assert isinstance(failure_of(caught.value), RunError)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cfg"], "expected one argument"),
        (["-m", "--cfg", "job"], "--multirun and --cfg exclude each other"),
        (["--resolve"], "--resolve goes with --cfg"),
        (["a=1", "-m", "b=1"], "-m and other options stand before or after all KEY=VALUE"),
    ],
)
def test_arguments_that_hydra_refuses_with_its_usage_are_one_request_error(arguments, said):
    with pytest.raises(RequestError, match=re.escape(said)):
        check_arguments(arguments)


def test_arguments_that_hydra_takes_pass():
    for arguments in ([], ["-m", "a=1"], ["a=1", "--cfg", "job", "--resolve"], ["--help"]):
        check_arguments(arguments)


@given(st.text())
def test_visible_text_holds_nothing_that_a_terminal_obeys(text):
    shown = visible(text)
    hidden = [char for char in shown if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp", "Cf")]
    assert set(hidden) <= set("\n\t\u00ad\u200c\u200d")
    assert visible(shown) == shown
    assert len(one_line(text).splitlines()) <= 1


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_ordinary_text_of_any_script_is_shown_as_it_is(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten", r"over\rwritten"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\x9b2J", r"\x9b2J"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("line\n\tnext", "line\n\tnext"),
        ("family: \U0001f468\u200d\U0001f469", "family: \U0001f468\u200d\U0001f469"),
    ],
)
def test_what_is_hidden_is_spelled_out(text, shown):
    assert visible(text) == shown


def test_a_log_line_is_safe_to_print_and_keeps_its_line_feeds():
    record = logging.LogRecord("amid", logging.INFO, "", 0, "\n%s", ("a\x1b[31mb",), None)
    assert PlainFormatter("%(message)s").format(record) == "\na\\x1b[31mb"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RunError("diverged"), "diverged"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError(), "ValueError"),
        (OSError(28, "No space left on device", "a.bin"), "a.bin: No space left on device"),
        (MemoryError(), "out of memory"),
        (SystemExit(3), "it called sys.exit(3)"),
        (RuntimeError("a\n\n  b"), "RuntimeError: a b"),
    ],
)
def test_a_reason_is_one_line_that_says_what_and_of_which_kind(error, reason):
    assert reason_of(error) == reason


def test_a_long_reason_is_cut_and_shows_it():
    assert len(reason_of(RunError("x" * 999))) == 300
    assert reason_of(RunError("x" * 999)).endswith("...")


def test_the_place_of_an_error_is_the_user_s_file_and_not_the_library_it_called():
    import yaml

    with pytest.raises(yaml.YAMLError) as caught:
        yaml.safe_load("[")
    assert place_of(caught.value).rpartition(":")[0] == os.path.abspath(__file__)
    assert place_of(SyntaxError("bad", ("mine.py", 7, 1, ""))) == "mine.py:7"
