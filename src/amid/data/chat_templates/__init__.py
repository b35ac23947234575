"""Chat templates by name or file, as text. No torch here.

`chatml`, `llama3`, `mistral` and `gemma` write as the models of these families expect, `plain` suits every tokenizer.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from amid.errors import RequestError, unknown_name

SUFFIX = ".jinja"
NAMES = tuple(sorted(path.stem for path in Path(__file__).parent.glob(f"*{SUFFIX}")))


def template_text(name: str, *, key: str) -> str:
    """The text of a template of ours, or of a file that ends in .jinja.

    key: of the configuration, for messages. Raises RequestError for a name that is none, or a file that cannot be read.
    """
    if not name.endswith(SUFFIX):
        if name not in NAMES:
            raise unknown_name(key, name, [*NAMES, f"FILE{SUFFIX}"])
        return _read(Path(__file__).with_name(f"{name}{SUFFIX}"))
    path = Path(os.path.expanduser(name))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(f"{key}: no file {path}; valid besides files: {', '.join(NAMES)}") from None
    except UnicodeDecodeError as err:
        raise RequestError(f"{key}: {path} is no UTF-8 text (byte {err.start})") from err
    except OSError as err:
        raise RequestError(f"{key}: {path} cannot be read: {err.strerror}") from err
    if not text.strip():
        raise RequestError(f"{key}: {path} is empty")
    return text


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
