"""The training and validation records of a data set, and which of them a training uses. No torch here."""

from __future__ import annotations

import random
from pathlib import Path

from amid.config import DataCfg
from amid.data.hub import split_of
from amid.data.prompt import asking_of, form_of
from amid.data.records import Record, records_of, toy_records
from amid.data.rows import read_rows
from amid.errors import RequestError


def training_records(data: DataCfg) -> tuple[list[Record], list[Record]]:
    """All training records and the validation records that the configuration names, in file order.

    Without a file of validation records, `num_dev` of the training file validate and the others train.
    Raises RequestError (with file and line number) for a missing file or a record that cannot be used.
    """
    if data.source == "toy":
        corpus = toy_records(data)
        return corpus["train"], corpus["dev"]
    assert data.train is not None
    train = _records(data, data.train)
    if data.dev is not None:
        return train, _records(data, data.dev)[: data.num_dev]
    assert data.num_dev is not None
    if data.num_dev >= len(train):
        raise RequestError(
            f"data.num_dev={data.num_dev} leaves no training record: data.train={data.train} holds {len(train)}, and "
            "without data.dev they are divided"
        )
    held_out = set(drawn(len(train), data.num_dev, seed=data.split_seed))
    kept = [record for place, record in enumerate(train) if place not in held_out]
    return kept, [train[place] for place in sorted(held_out)]


def drawn(num_records: int, number: int | None, *, seed: int | None) -> list[int]:
    """Positions, ascending, of the records that are used: `number` at random, or the first ones without a seed.

    number: None, or more than there are, uses all. What is drawn for a number holds what is drawn for a smaller one.
    """
    positions = list(range(num_records))
    if seed is not None:
        random.Random(f"{seed}/split").shuffle(positions)
    return sorted(positions[:number])


def _records(data: DataCfg, name: str) -> list[Record]:
    """The records of a file, or of a split of a data set of the hub."""
    asking = asking_of(data)
    if data.source == "hub":
        split = split_of(data, name)
        records, place = records_of(split.rows(), form_of(data)), f"{split.name}, {name}"
    else:
        assert data.root is not None
        path = Path(data.root) / name
        records, place = records_of(read_rows(path), form_of(data)), str(path)
    for record in records:
        asking.check(record, noun="data", path=place)
    return records
