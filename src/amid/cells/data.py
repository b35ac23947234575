"""What names the data of a cell: the generator's parameters, or the digests of the files. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amid.config import DataCfg
from amid.data.chat_templates import template_text
from amid.data.hub import columns_of, split_of
from amid.digests.fingerprint import FileDigests, value_digest
from amid.errors import RequestError


def data_identity(data: DataCfg, digests: FileDigests) -> dict[str, Any]:
    """What names the training data: the generator's parameters, or digests of files or rows; never a path or a name."""
    common: dict[str, Any] = {
        "source": data.source,
        "num_train": data.num_train,
        "num_dev": data.num_dev,
        "max_prompt_tokens": data.max_prompt_tokens,
        "max_tokens": data.max_tokens,
        "truncate_prompt": data.truncate_prompt,
        **_later_fields(data),
    }
    if data.source == "toy":
        from amid.data.toy import TOY_VERSION

        # Evaluation records are drawn after the training records and do not change them.
        return {**common, "seed": data.seed, "num_records": data.num_records, "toy_version": TOY_VERSION}
    assert data.train is not None
    names = {role: name for role, name in (("train", data.train), ("dev", data.dev)) if name is not None}
    if data.source == "hub":
        return {
            **common,
            "files": {role: split_of(data, name).digest(columns_of(data)) for role, name in names.items()},
        }
    assert data.root is not None
    files = {}
    for role, name in names.items():
        path = Path(data.root) / name
        if not path.is_file():
            raise RequestError(f"data.{role}: no file {path}; data.root must be a folder that holds {name}")
        files[role] = digests.file(path)
    return {**common, "files": files}


def part_identity(identity: Mapping[str, Any], *, num_train: int | None) -> dict[str, Any]:
    """What names the data of a training on so many of the records (None = all): a seed only if it draws something."""
    draws = num_train is not None or not has_dev(identity)
    return {key: value for key, value in identity.items() if key != "split_seed" or draws}


def has_dev(identity: Mapping[str, Any]) -> bool:
    """Whether the validation records are apart from the training records, not drawn from them."""
    return "dev" in identity.get("files", ["dev"])


def _later_fields(data: DataCfg) -> dict[str, Any]:
    """Fields that came after the first cells, where they differ from what was so before: older ids stay."""
    values: dict[str, Any] = {}
    if data.prompt != "alpaca":
        used = {name: text for name, text in data.labels.items() if f"{{{name}}}" in (data.template or "")}
        values |= {"prompt": data.prompt, "template": data.template, "labels": used}
    renamed = {ours: theirs for ours, theirs in data.fields.items() if ours != theirs}
    template = data.chat_template
    found: dict[str, Any] = {
        "fields": renamed,
        "stop": list(data.stop),
        "split_seed": data.split_seed,
        "format": None if data.format == "instruction" else data.format,
        "system": data.system,
        "chat_template": None if template is None else value_digest(template_text(template, key="data.chat_template")),
        "turns": None if data.turns == "all" else data.turns,
    }
    return values | {name: value for name, value in found.items() if value not in ({}, [], None)}
