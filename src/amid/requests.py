"""Requests made outside of Hydra's own command line: overrides in, sweep out. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import open_dict

from amid.config import RunCfg, register, run_config
from amid.sweep import Overrides, Sweep, expand, plan_sweep


def override(key: str, value: object) -> str:
    """`KEY=VALUE` in which quotes, blanks, commas and `${` of the value stand for themselves; a text stays a text."""
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", str(value))
    return f"{key}={QuotedString(text=text, quote=Quote.single).with_quotes()}"


def run_of_overrides(overrides: Sequence[str]) -> RunCfg:
    """The checked configuration of `python run.py OVERRIDES`. Raises RequestError or Hydra's errors."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(register()), version_base="1.3"):
        return run_config(compose("config", overrides=list(overrides)))


def sweep_of_overrides(overrides: Sequence[str]) -> Sweep:
    """The sweep of `python run.py -m OVERRIDES`, planned but not run. Raises RequestError or Hydra's errors."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(register()), version_base="1.3"):
        parser = OverridesParser.create()
        given = parser.parse_overrides(list(overrides))
        # Swept values do not choose groups of their own here: only what every cell shares composes the parameters.
        shared = [override.input_line for override in given if not override.is_sweep_override()]
        params = compose(
            "config", overrides=[text for text in shared if text], return_hydra_config=True
        ).hydra.sweeper.params
        swept = [f"{key}={value}" for key, value in params.items()]
        jobs = expand(parser.parse_overrides([*swept, *overrides]))

        def composed(job: Overrides) -> RunCfg:
            config = compose("config", overrides=list(job))
            with open_dict(config):
                config.pop("hydra", None)
            return run_config(config)

        return plan_sweep(jobs, composed)
