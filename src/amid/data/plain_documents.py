"""The documents of the plain text, read from files or drawn from the toy generator. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from amid.config import PlainTextCfg
from amid.data.rows import read_objects
from amid.errors import RequestError


def plain_documents(plain: PlainTextCfg) -> Iterator[str]:
    """The documents that the configuration names, in order.

    Raises RequestError (with file and line number) for a missing file or an object without the text.
    """
    if plain.source == "toy":
        from amid.data.toy import toy_documents

        assert plain.num_documents is not None
        yield from toy_documents(seed=plain.seed, num=plain.num_documents)
        return
    for name in plain.files or ():
        yield from _documents_of(plain, name)


def check_readable(plain: PlainTextCfg) -> None:
    """Raises RequestError as `plain_documents` does, for the beginning of every file: what follows may be long."""
    for name in plain.files or ():
        next(_documents_of(plain, name), None)


def _documents_of(plain: PlainTextCfg, name: str) -> Iterator[str]:
    assert plain.root is not None
    path = Path(plain.root) / name
    if not name.endswith(".jsonl"):
        yield _text_of(path)
        return
    for _, where, item in read_objects(path):
        text = item.get(plain.field)
        if not isinstance(text, str):
            found = ", ".join(sorted(item)) or "none"
            raise RequestError(
                f"{where}: plain_text.field={plain.field} must be a text, got {type(text).__name__}; fields: {found}"
            )
        yield text


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(f"plain_text.files: no file {path}") from None
    except UnicodeDecodeError as err:
        raise RequestError(f"plain_text.files: {path} is no UTF-8 text (byte {err.start})") from err
    except OSError as err:
        raise RequestError(f"plain_text.files: {path} cannot be read: {err.strerror}") from err
