"""A user's own function, named in the configuration as "module:function": found here, and its failures told as such."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from amid.errors import RequestError, place_of, reason_of, unknown_name


def own_function(noun: str, reference: str) -> Callable[..., Any]:
    """The function that "module:function" names; importing its module runs it, once per process.

    noun: what it is for, such as `divergence`. Raises RequestError for a malformed reference, a module that cannot be
    imported, or a name that the module lacks (nearest match named).
    """
    module_name, separator, attribute = reference.partition(":")
    if not (separator and module_name and attribute):
        raise RequestError(f"{noun} function must read 'module:function', got '{reference}'")
    with users_code(noun, reference):
        try:
            module = importlib.import_module(module_name)
        except ImportError as err:
            raise RequestError(
                f"{noun} function '{reference}': module '{module_name}' cannot be imported ({err}); "
                "install it or add its folder to PYTHONPATH"
            ) from err
    found = getattr(module, attribute, None)
    if not callable(found):
        callables = [key for key, item in vars(module).items() if callable(item) and not key.startswith("_")]
        raise unknown_name(f"function in module '{module_name}'", attribute, callables)
    return found  # type: ignore[no-any-return]


@contextmanager
def users_code(noun: str, reference: str) -> Iterator[None]:
    """A bad request, with the place in the user's file, is whatever a user's module or function raises inside."""
    try:
        yield
    except RequestError:
        raise
    except (Exception, SystemExit) as err:
        raise RequestError(
            f"{noun} function '{reference}' cannot be used: {reason_of(err)} (at {place_of(err)})"
        ) from err
