"""Commands as children of a process that has imported everything already: python forking.py, requests on its stdin.

A request is one line of JSON: the arguments (a script, or -m and a module, and its own), the folder to run in, and a
file for what it prints. The answers are two lines: the process id, which is also that of its group, and the exit code.
Each command is a process of its own as any other, but for the seconds in which it would import the same libraries.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A command that has been started; `wait` is called once, before the next one starts."""

    def __init__(self, forks: subprocess.Popen[str], output: Path) -> None:
        self.pid = int(_line(forks.stdout))
        self._forks = forks
        self._output = output

    def wait(self) -> tuple[int, str]:
        """Exit code, negative for a signal, and all that was printed."""
        code = int(_line(self._forks.stdout))
        return code, self._output.read_text()

    @property
    def is_running(self) -> bool:
        """False once it is about to end or has ended."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state not in "ZX"


class Forks:
    """The process that starts others, for a `with`."""

    def __enter__(self) -> Forks:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def start(self, *arguments: str, folder: Path, output: Path) -> Child:
        """Starts a command in the folder."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([arguments, str(folder), str(output)]) + "\n")
        self._process.stdin.flush()
        return Child(self._process, output)


def _line(stream: IO[str] | None) -> str:
    assert stream
    line = stream.readline()
    assert line, "the process that starts others has ended"
    return line


def import_everything() -> None:
    """What commands import; nothing is computed, so that no thread is running when a child is forked."""
    from transformers.models.gpt2 import modeling_gpt2

    import amid.cli.app
    import amid.experiment
    import amid.sweep.trials
    import hydra_plugins.amid_sweeper

    assert all((amid.cli.app, amid.experiment, amid.sweep.trials, hydra_plugins.amid_sweeper, modeling_gpt2))


def become(arguments: list[str], folder: str, output: str) -> None:
    """Makes of a forked child the command, which ends it."""
    os.setsid()
    os.chdir(folder)
    with open(output, "wb") as stream, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    if arguments[0] == "-m":
        sys.argv = ["", *arguments[2:]]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
    sys.exit()


def serve() -> None:
    """Answers requests until there are no more."""
    import_everything()
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            become(*json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
