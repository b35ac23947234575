"""Composing many jobs: once for every choice of groups, plain values put into what was composed. No torch here.

Hydra composes the groups, then sets the values that were given. A value that lies in a node of its own, which no other
node refers to, can be set in a copy of that node with the same result; everything else is composed by Hydra.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from amid.config import RunCfg, check_whole, run_config
from amid.errors import RequestError, one_line
from amid.sweep.expand import Overrides, swept_keys
from amid.sweep.presets import check_preset

# Made of the whole configuration (evaluation takes defaults from data), or read before it.
COMPOSED = ("data", "pair", "evaluation", "sweep", "hydra")


@dataclass(frozen=True)
class _Base:
    """What jobs share: the composed configuration, its checked form, and the nodes that may be set apart from it."""

    config: DictConfig
    run: RunCfg
    apart: frozenset[str]


class Composer:
    """The checked configuration of every job. Counts what Hydra has composed: `num_composed`.

    compose: Hydra's composition of the given overrides, its own node among it. jobs: all there are; what they share is
    composed once.
    """

    def __init__(self, compose: Callable[[Overrides], DictConfig], jobs: Sequence[Overrides]) -> None:
        self._compose = compose
        self._swept = swept_keys(jobs)
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._bases: dict[Overrides, _Base | None] = {}
        self.num_composed = 0

    def __call__(self, overrides: Overrides) -> RunCfg:
        """The checked RunCfg of a job. Raises RequestError or Hydra's errors."""
        values = [text for text in overrides if self._is_value(text)]
        shared = tuple(text for text in overrides if text not in values)
        touched = {text.lstrip("+~").partition("=")[0].partition(".")[0] for text in shared}
        values = [text for text in values if _node(text) not in touched]
        base = self._base(tuple(text for text in overrides if text not in values)) if values else None
        if base is not None and all(_node(text) in base.apart for text in values):
            try:
                return self._set(base, values)
            except (RequestError, HydraException, OmegaConfBaseException):
                pass  # composed as it is without this class, with the words that it has for it
        return run_config(self._composed(overrides))

    def _composed(self, overrides: Overrides) -> DictConfig:
        self.num_composed += 1
        try:
            composed = self._compose(overrides)
        except ValueError as err:  # Hydra's answer to a choice that is neither text nor a list
            raise RequestError(one_line(str(err))) from err
        check_preset(composed, overrides, self._compose)
        return composed

    def _is_value(self, text: str) -> bool:
        """Whether an override sets one plain value of a run, and is not the same in all jobs."""
        key, separator, value = text.partition("=")
        if key not in self._swept or not separator or not re.fullmatch(r"\w+(\.\w+)+|seed", key) or "${" in value:
            return False
        if _node(text) in COMPOSED:
            return False
        if text not in self._parsed:
            self._parsed[text] = self._parser.parse_override(text)
        return not isinstance(self._parsed[text].value(), (dict, list))

    def _base(self, shared: Overrides) -> _Base | None:
        if shared not in self._bases:
            try:
                config = self._composed(shared).copy()
                with open_dict(config):
                    config.pop("hydra", None)
                self._bases[shared] = _Base(config, run_config(config), _nodes_apart(config))
            except (RequestError, HydraException, OmegaConfBaseException):
                self._bases[shared] = None  # nothing of itself: a job gives what it lacks
        return self._bases[shared]

    def _set(self, base: _Base, values: Sequence[str]) -> RunCfg:
        # The nodes themselves, as a plain value (seed) would lose its type without its own
        names = sorted({_node(text) for text in values})
        nodes = OmegaConf.create({name: copy.deepcopy(base.config._get_node(name)) for name in names})
        OmegaConf.set_struct(nodes, True)
        for text in values:
            OmegaConf.update(nodes, text.partition("=")[0], self._parsed[text].value(), merge=True)
        changed: Any = OmegaConf.to_object(nodes)  # node -> its object
        run = dataclasses.replace(base.run, **changed)
        check_whole(run)
        return run


def _node(text: str) -> str:
    return text.partition("=")[0].partition(".")[0]


def _nodes_apart(config: DictConfig) -> frozenset[str]:
    """The nodes that refer to nothing and that nothing refers to."""
    texts = {str(name): list(_texts(config._get_node(name))) for name in config}
    words = {word for found in texts.values() for text in found for word in re.findall(r"\w+", text)}
    return frozenset(name for name, found in texts.items() if not found and name not in words)


def _texts(node: Any) -> list[str]:
    """The interpolations below a node."""
    raw = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node._value()
    found: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)
        elif isinstance(value, str) and re.search(r"\$\{(?!oc\.env:)", value):  # the environment is no node
            found.append(value)

    look(raw)
    return found
