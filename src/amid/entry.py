"""How a command ends: what went wrong as one line on stderr, and the exit code."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from amid.errors import (
    EXIT_BAD_REQUEST,
    EXIT_INTERRUPTED,
    EXIT_RUN_FAILED,
    EXIT_TAKEN_OVER,
    RequestError,
    RunError,
    TakenOverError,
    one_line,
    unknown_name,
)

_failures: list[RequestError | RunError] = []


def run_job(task: Callable[[], object]) -> None:
    """None; runs a Hydra job. A single run's failure is kept for `exit_code`: Hydra would print a line of its own.

    In a multirun it is raised, so that the launcher (a cluster, say) sees a failed job.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    try:
        task()
    except (RequestError, RunError) as err:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        _failures.append(err)


def exit_code(command: Callable[[], object]) -> int:
    """0, or after one line on stderr: 2 for a bad request, 1 for a failed run, 3 for one taken over, 130 for Ctrl-C."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        command()
        for failure in _failures:
            raise failure
    except RequestError as err:
        return _say(str(err), EXIT_BAD_REQUEST)
    except TakenOverError as err:
        return _say(str(err), EXIT_TAKEN_OVER)
    except RunError as err:
        return _say(str(err), EXIT_RUN_FAILED)
    except (HydraException, OmegaConfBaseException) as err:
        return _say(hydra_message(err), EXIT_BAD_REQUEST)
    except KeyboardInterrupt:
        return _say("interrupted; the same command continues", EXIT_INTERRUPTED)
    except OSError as err:
        return _say(f"{err.filename or 'a file'} cannot be read or written: {err.strerror or err}", EXIT_RUN_FAILED)
    return 0


def hydra_message(err: BaseException) -> str:
    """One line for an error of Hydra or OmegaConf, with the nearest valid name where there are valid names."""
    text = str(err)
    option = re.search(
        r"Could not find '(?P<group>[^']+)/(?P<name>[^'/]+)'.*Available options[^:]*:(?P<valid>.*)", text, re.S
    )
    if option:
        valid = [line.strip() for line in option["valid"].splitlines() if line.strip() and "Config search" not in line]
        return str(
            unknown_name(
                option["group"], option["name"], [name for name in valid if "/" not in name and " " not in name]
            )
        )
    missing = re.search(r"Could not override '([^']+)'", text)
    cause = err.__cause__
    if missing and (cause is None or "not in" in str(cause)):
        full = re.search(r"full_key: (\S+)", str(cause))
        key = full[1] if full else missing[1]
        from amid.config import RunCfg, explain_unknown

        return explain_unknown(key, RunCfg) or f"unknown key '{key}'; every key is listed by: python run.py --cfg job"
    if cause is not None and str(cause):
        text = f"{text.splitlines()[0]} {str(cause).splitlines()[0]}"
    return one_line(text)


def _say(message: str, code: int) -> int:
    print(f"amid: {one_line(message)}", file=sys.stderr)
    return code
