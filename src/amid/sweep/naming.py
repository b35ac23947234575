"""The command that names a cell: found from its whole configuration, and checked to name it. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from amid.cells.cell import IDENTITY_NODES, cell_of
from amid.config import RunCfg, config_root
from amid.config.overrides import override
from amid.digests.fingerprint import plain
from amid.digests.seals import DamagedError
from amid.errors import RequestError
from amid.sweep.compose import run_of_overrides


def overrides_of(run: RunCfg, cell_id: str) -> list[str] | None:
    """Overrides with which `python run.py` names the cell; None where none were found that do.

    Groups first, by the names that the configuration bears, then every key in which it still differs.
    """
    groups = _groups(run)
    try:
        base = run_of_overrides(groups)
        found = [*groups, *_differences(_identity(base), _identity(run))]
        again = run_of_overrides([*found, override("paths.cache", run.paths.cache)])
        return found if cell_of(again).id == cell_id else None
    except (RequestError, DamagedError, HydraException, OmegaConfBaseException, OSError):
        return None  # of files that are gone, or a group that needs more than its name


def _groups(run: RunCfg) -> list[str]:
    named = {"pair": run.pair.name, "divergence": run.divergence.name, "strategy": run.strategy.name}
    if run.data.source != "toy":
        named["data"] = run.data.source
    folder = config_root() / "conf"
    groups = [f"{group}={name}" for group, name in named.items() if (folder / group / f"{name}.yaml").is_file()]
    given = {"data.root": run.data.root, "pair.teacher": run.pair.teacher, "pair.student": run.pair.student}
    needed = [key for key in given if key.split(".")[0] in named and f"{key.split('.')[0]}=hf" in groups]
    needed += ["data.root"] if "data" in named else []
    return [*groups, *(override(key, given[key]) for key in dict.fromkeys(needed) if given[key] is not None)]


def _identity(run: RunCfg) -> dict[str, Any]:
    values = plain(asdict(run))
    return {name: values[name] for name in IDENTITY_NODES}


def _differences(base: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in wanted.items():
        if key in base and base[key] == value:
            continue
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            found += _differences(base[key], value, prefix=f"{prefix}{key}.")
        elif f"{prefix}{key}" not in ("pair.name", "data.name"):
            added = "" if key in base else "+"  # to a mapping that is open
            found.append(f"{added}{prefix}{key}={_text(value)}")
    return found


def _text(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, str):
        return override("", value)[1:]
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
