"""Loading by the libraries: without their own output, and with one line for whatever damaged files make them raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

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
def loading(problem: str) -> Iterator[None]:
    """Quiet, and every error of the libraries inside becomes one RequestError that begins with `problem`."""
    with quiet_loading():
        try:
            yield
        except RequestError:
            raise
        except Exception as err:
            # Damaged files make the libraries raise anything: of JSON, pickle, safetensors, types, keys, arithmetic.
            kind = "" if isinstance(err, (OSError, ValueError)) else f"{type(err).__name__}: "
            raise RequestError(f"{problem}: {kind}{one_line(str(err))[:200]}") from err
