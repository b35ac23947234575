"""How a command ends: what went wrong as one line on stderr, and the exit code."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import NoReturn

import yaml

from amid.cli.printing import complain
from amid.config.messages import hydra_message, yaml_message
from amid.config.own_files import own_folder
from amid.errors import (
    EXIT_BAD_REQUEST,
    EXIT_BROKEN_PIPE,
    EXIT_INTERRUPTED,
    EXIT_RUN_FAILED,
    EXIT_STOPPED,
    EXIT_TAKEN_OVER,
    REASON_LENGTH,
    SPEAKS,
    RankLostError,
    RequestError,
    RunError,
    StoppedError,
    TakenOverError,
    one_line,
    place_of,
    reason_of,
)
from amid.slurm.requeue import requeue
from amid.stopping import check_interrupt, end_undisturbed, heeded, leads

# Raised from within these, an error is their answer to the request, not a bug of ours.
_READERS_OF_REQUESTS = ("hydra", "omegaconf", "antlr4", "yaml")
# Errors of a path as it was asked for, whatever the machine does.
_BAD_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
SILENT_S = 5.0  # a process that is spoken for waits so long, so that the other can speak
SECOND_S = 0.5  # and so long one that is not the first of its job, so that the first can put the job back in the queue
_failures: list[BaseException] = []


def run_job(task: Callable[[], object]) -> None:
    """Runs a Hydra job. A single run's failure is kept for `exit_code`: Hydra would print a line of its own.

    In a multirun it is raised, so that the launcher (a cluster, say) sees a failed job; as RequestError or RunError,
    which every launcher can carry from one process to another, and which sys.exit in a user's function is too. After a
    job that was asked to stop no other one of the same process begins.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    try:
        with heeded():
            check_interrupt()
            task()
    except (Exception, SystemExit) as err:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise failure_of(err) from err
        _failures.append(err)


def exit_code(command: Callable[[], object]) -> int:
    """0, or after one line on stderr: 2 for a bad request, 1 for a failed run, 3 for one taken over, 130 for Ctrl-C.

    75 for one that was asked to stop; under Slurm its job goes back in the queue, if its script says so.

    141, without a line, where nobody reads the output any more (`... | head`).
    """
    _failures.clear()
    with _outputs_that_never_fail(), heeded():  # to the end: who is asked to stop twice ends as it does once
        try:
            try:
                with heeded():
                    _run(command)
                for kept in _failures:
                    raise kept
            finally:
                end_undisturbed()
            _flush_output()
        except KeyboardInterrupt as err:
            saved = f": {err}" if str(err) else "; the same command continues"
            return _say(f"interrupted{saved}", EXIT_INTERRUPTED) if _speaks(err) else EXIT_INTERRUPTED
        except StoppedError as err:
            return _stopped(err)
        except BrokenPipeError:
            _read_by_nobody()
            return EXIT_BROKEN_PIPE
        except Exception as err:
            failure = failure_of(err)
            code = _code_of(failure)
            if _speaks(err):
                return _say(str(failure), code)
            time.sleep(SILENT_S)  # whoever started the processes ends all of them when the first one ends
            return code
        return 0


def _run(command: Callable[[], object]) -> None:
    """Runs the command, of which sys.exit is only one more way to end."""
    try:
        command()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer has met it first
            raise BrokenPipeError from end
        if end.code not in (0, None):
            raise failure_of(end) from end


def _code_of(failure: RequestError | RunError) -> int:
    if isinstance(failure, RequestError):
        return EXIT_BAD_REQUEST
    if isinstance(failure, TakenOverError):
        return EXIT_TAKEN_OVER
    return EXIT_STOPPED if isinstance(failure, StoppedError) else EXIT_RUN_FAILED


def _stopped(err: StoppedError) -> int:
    """Ends a process that was cut short; one of those that share a job puts it back in the queue."""
    queued = None
    if leads(os.environ):
        queued = requeue(os.environ)
    elif isinstance(err, RankLostError):  # it may be the first one that is gone
        time.sleep(SECOND_S)
        queued = requeue(os.environ)
    if _speaks(err) or queued is not None:
        complain(str(err) if queued is None else f"{err}; {queued}")
    return EXIT_STOPPED


def failure_of(err: BaseException) -> RequestError | RunError:
    """What the user is told of any error: a bad request, a failed run, or a bug of ours with its traceback's file."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(err, (RequestError, RunError)):
        return err
    if isinstance(err, yaml.YAMLError):
        return RequestError(yaml_message(err))
    if isinstance(err, (HydraException, OmegaConfBaseException)):
        return RequestError(hydra_message(err))
    if isinstance(err, OSError):
        kind = RequestError if err.errno in _BAD_PATH else RunError
        where = f"{one_line(str(err.filename))[:200]} cannot be read or written" if err.filename else "writing failed"
        return kind(f"{where}: {err.strerror or err}")
    if _raised_within(err, _READERS_OF_REQUESTS):
        if isinstance(err, RecursionError):
            return RequestError("the request nests or refers to itself without end (brackets, defaults, ${...})")
        if isinstance(err, UnicodeDecodeError):
            return RequestError(f"a file of the configuration is no UTF-8 text: {err}")
        null = re.search(r"full_key: (\S+)[\s\S]*object_type=NoneType|Unexpected type for root: NoneType", str(err))
        if null:
            return RequestError(
                f"{null[1] or 'what lies above one of the given keys'} is null here, and Hydra fills what is null from "
                "a file only: give it in a YAML file of your own (--config-dir FOLDER)"
            )
        if isinstance(err, (ValueError, TypeError, AssertionError)):
            return RequestError(one_line(str(err))[:REASON_LENGTH])
    return RunError(f"unexpected error, please report it: {reason_of(err)} ({_traceback_kept(err)})")


def check_arguments(arguments: Sequence[str]) -> None:
    """Raises RequestError for arguments that Hydra's own command line refuses with its usage or a traceback."""
    from hydra.main import get_args_parser  # type: ignore[attr-defined]  # not exported, but what hydra.main calls

    def refuse(message: str) -> NoReturn:
        if message.startswith("unrecognized arguments") and "=" in message and "-m" in arguments:
            message += "; -m and other options stand before or after all KEY=VALUE, not between them"
        raise RequestError(f"{message} (python run.py --help, --hydra-help)")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # argparse would print the usage
    given = parser.parse_args(arguments)
    modes = [
        option
        for option, is_given in (
            ("--run", given.run),
            ("--multirun", given.multirun),
            ("--cfg", given.cfg is not None),
            ("--info", given.info is not None),
            ("--shell-completion", given.shell_completion),
        )
        if is_given
    ]
    if len(modes) > 1:
        refuse(f"{' and '.join(modes)} exclude each other; give one of them")
    if given.resolve and given.cfg is None and not given.help:
        refuse("--resolve goes with --cfg")
    if given.package is not None and given.cfg is None:
        refuse("--package goes with --cfg")
    if given.experimental_rerun is not None:
        refuse("--experimental-rerun is not supported: the same command runs a cell again")
    if given.config_dir is not None:
        own_folder(given.config_dir)


def _raised_within(err: BaseException, packages: Sequence[str]) -> bool:
    """True if the innermost call outside of the standard library was one of the packages'."""
    frames: TracebackType | None = err.__traceback__
    innermost = ""
    while frames is not None:
        package = str(frames.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in sys.stdlib_module_names:
            innermost = package
        frames = frames.tb_next
    return innermost in packages


def _traceback_kept(err: BaseException) -> str:
    """Where the traceback was written; where the error was raised, if it could not be."""
    text = "".join(traceback.format_exception(err))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="amid-", suffix=".log", delete=False, errors="replace") as stream:
            stream.write(text)
    except OSError:
        return f"at {place_of(err)}; its traceback could not be written"
    return f"traceback: {stream.name}"


@contextlib.contextmanager
def _outputs_that_never_fail() -> Iterator[None]:
    """stdout and stderr that print what their encoding lacks as escapes, and a log that does not report a closed pipe.

    Logging would write a traceback for every line that nobody reads.
    """
    raises = logging.raiseExceptions
    logging.raiseExceptions = False
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        logging.raiseExceptions = raises


def _flush_output() -> None:
    """Raises BrokenPipeError if nobody reads the output, RunError if it cannot be written."""
    if sys.stdout is None:  # closed by whoever started us
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as err:
        _read_by_nobody()
        raise RunError(f"the output cannot be written: {err.strerror}") from err


def _read_by_nobody() -> None:
    """What is still buffered goes nowhere, or the interpreter would complain of it when it ends."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor has nothing to redirect
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _speaks(err: BaseException) -> bool:
    """False on all but one of the processes that train a cell together and end for one reason.

    They agree where they are connected (`amid.ranks`); before that, what rank 0 refuses all of them refuse.
    """
    agreed = getattr(err, SPEAKS, None)
    if agreed is not None:
        return bool(agreed)
    rank = os.environ.get("RANK", "0")
    return not isinstance(err, RequestError) or not rank.isdecimal() or int(rank) == 0


def _say(message: str, code: int) -> int:
    complain(message)
    return code
