"""Data sets of the Hugging Face hub by name and split, through the package datasets. No torch here."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from amid.config import FIELDS_OF_FORMAT, DataCfg
from amid.data.rows import Row
from amid.errors import RequestError, one_line


@dataclass(frozen=True)
class HubSplit:
    """One split of a data set; name: of the hub, or a folder that datasets can read."""

    name: str
    config: str | None
    revision: str | None
    split: str

    def rows(self) -> Iterator[Row]:
        """Its rows. Raises RequestError for a data set or a split that cannot be had."""
        for number, item in enumerate(_read(self), start=1):
            yield number, f"{self.name}, {self.split}: row {number}", item

    def digest(self, columns: tuple[str, ...]) -> str:
        """The sha256 of what the columns hold, row by row: of what is read, whatever revision it was read from."""
        return _digest(self, columns)


def split_of(data: DataCfg, split: str) -> HubSplit:
    """A split of the data set that the configuration names."""
    assert data.hub is not None
    return HubSplit(data.hub, data.hub_config, data.hub_revision, split)


def columns_of(data: DataCfg) -> tuple[str, ...]:
    """The columns that are read, as the data set calls them."""
    return tuple(data.fields.get(name, name) for name in FIELDS_OF_FORMAT[data.format])


@cache
def _read(asked: HubSplit) -> list[dict[str, Any]]:
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from datasets import load_dataset

    for noisy in ("datasets", "huggingface_hub", "httpx"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    name = os.path.expanduser(asked.name)
    try:
        dataset = load_dataset(name, asked.config, split=asked.split, revision=asked.revision)
        rows = [dict(row) for row in dataset]
    except Exception as err:
        # The library lets the errors of its HTTP client and of pyarrow through.
        offline = "" if Path(name).is_dir() else "; without a network it must have been downloaded before"
        raise RequestError(
            f"data.hub={asked.name}: split '{asked.split}' could not be read ({one_line(str(err))[:200]}){offline}"
        ) from err
    if not rows:
        raise RequestError(f"data.hub={asked.name}: split '{asked.split}' holds no record")
    return rows


@cache
def _digest(asked: HubSplit, columns: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for row in _read(asked):
        read = {name: row[name] for name in columns if name in row}
        digest.update(json.dumps(read, sort_keys=True, default=repr).encode() + b"\n")
    return digest.hexdigest()
