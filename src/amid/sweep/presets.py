"""What a preset (`experiment=NAME`) changes: beside a sweep, and beside a method that fixes it. No torch here.

A preset that a sweep's own file chooses is a part of what the sweep declares, and none of this is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from amid.config.method import fixed_overrides
from amid.errors import RequestError

PRESET = "experiment"
_Compose = Callable[[tuple[str, ...]], DictConfig]  # overrides -> Hydra's composition, its own node among it


def preset_in(given: Iterable[str]) -> str | None:
    """The override that chooses a preset, or several; None without one."""
    found = [text for text in given if _group(text) == PRESET and not text.startswith("~")]
    return found[-1] if found else None


def replaced_by_preset(keys: Iterable[str], composed: DictConfig, given: Sequence[str], compose: _Compose) -> list[str]:
    """Those of the keys, groups or values, for which a preset chooses otherwise than what it stands beside.

    given: the overrides of which `composed` was made.
    """
    if preset_in(given) is None:
        return []
    without = compose((*_groups_in(given, composed), f"~{PRESET}"))
    return [key for key in keys if _choice(composed, key) != _choice(without, key)]


def check_preset(composed: DictConfig, given: Sequence[str], compose: _Compose) -> None:
    """Raises RequestError if a preset changes what makes the method what it is. Arguments as `replaced_by_preset`."""
    preset, fixes = preset_in(given), list(composed.method.fixes)
    if preset is None or not fixes:
        return
    method = f"method={composed.hydra.runtime.choices.method}"
    groups = [text for text in _groups_in(given, composed) if _group(text) != "method"]
    groups = [text for text in groups if not fixed_overrides([text], fixes)]
    beside, without = (compose((*groups, method, each)) for each in (preset, f"~{PRESET}"))
    changed = [key for key in fixes if _value(beside, key) != _value(without, key)]
    if changed:
        raise RequestError(f"{preset} changes {', '.join(changed)}, which {method} fixes; leave out one of them")


def _groups_in(given: Sequence[str], composed: DictConfig) -> list[str]:
    """The other choices that were given, without values: those may be of what only the preset brings."""
    choices = composed.hydra.runtime.choices
    return [text for text in given if _group(text) in choices and _group(text) != PRESET]


def _group(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]


def _choice(composed: DictConfig, key: str) -> Any:
    choices = composed.hydra.runtime.choices
    return choices[key] if key in choices else _value(composed, key)


def _value(composed: DictConfig, key: str) -> Any:
    found = OmegaConf.select(composed, key, throw_on_missing=False)
    return OmegaConf.to_container(found, resolve=False) if OmegaConf.is_config(found) else found
