"""Loading by the libraries: without their own output, and with one line for whatever damaged files make them raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import logging as transformers_logging

from amid.digests.hub import hub_problem
from amid.errors import RequestError, one_line


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' loading bars and reports: the user sees our own lines."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def loading(problem: str, *, source: str | None = None, revision: str | None = None) -> Iterator[None]:
    """Quiet, and every error of the libraries inside becomes one RequestError that begins with `problem`.

    source: folder or hub name of what is loaded; where the hub refuses it or is out of reach, the line says what to do.
    """
    with quiet_loading():
        try:
            yield
        except RequestError:
            raise
        except Exception as err:
            of_hub = source is not None and not Path(source).is_dir()
            refused = hub_problem(err, str(source), revision=revision) if of_hub else None
            if refused is not None:
                raise RequestError(refused) from err
            # Damaged files make the libraries raise anything: of JSON, pickle, safetensors, types, keys, arithmetic.
            kind = "" if isinstance(err, (OSError, ValueError)) else f"{type(err).__name__}: "
            raise RequestError(f"{problem}: {kind}{one_line(str(err))[:200]}") from err
