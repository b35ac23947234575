"""What a user is told of an error of Hydra, OmegaConf or YAML: one line, with the nearest valid name."""

from __future__ import annotations

import re

from yaml import YAMLError

from amid.errors import one_line, unknown_name


def hydra_message(err: BaseException) -> str:
    """One line for an error of Hydra or OmegaConf, with the nearest valid name where there are valid names."""
    from hydra.errors import OverrideParseException

    if isinstance(err, OverrideParseException):
        return one_line(
            f"cannot read '{err.override}': a value with blanks, quotes or brackets of its own goes into quotes that "
            "the shell leaves in place, as in 'KEY=\"a value\"'"
        )
    text = str(err)
    option = re.search(
        r"Could not find '(?P<group>[^']+)/(?P<name>[^'/]+)'.*Available options[^:]*:(?P<valid>.*)", text, re.S
    )
    if option:
        valid = [line.strip() for line in option["valid"].splitlines() if line.strip() and "Config search" not in line]
        return str(
            unknown_name(
                option["group"], option["name"], [name for name in valid if "/" not in name and " " not in name]
            )
        )
    several = re.search(r"Ambiguous value for argument '(.*?)'\n", text, re.S)
    if several:
        key = several[1].partition("=")[0]
        return one_line(
            f"{several[1]} names several values: add -m to sweep over them; one value that is a list is {key}=[...]"
        )
    missing = re.search(r"Could not override '([^']+)'", text)
    cause = err.__cause__
    if missing and (cause is None or "not in" in str(cause)):
        full = re.search(r"full_key: (\S+)", str(cause))
        key = full[1] if full else missing[1]
        from amid.config.keys import explain_unknown
        from amid.config.run import RunCfg

        return explain_unknown(key, RunCfg) or f"unknown key '{key}'; every key is listed by: python run.py --cfg job"
    headless = re.search(r"In '(\w+)/(\S+)': ConfigKeyError .*[\s\S]*Key '\1' not in 'RunCfg'", f"{text}\n{cause}")
    if headless:
        return (
            f"{headless[1]}/{headless[2]}.yaml sets keys of a whole run: its first line must be '# @package _global_'"
        )
    text = text.partition("Config search path:")[0]  # provider by provider: nothing a person can choose
    if cause is not None and str(cause):
        text = f"{text.splitlines()[0]} {str(cause).splitlines()[0]}"
    return one_line(text)


def yaml_message(err: YAMLError) -> str:
    """One line for a YAML file that cannot be read: file, line, and what is wrong there."""
    mark = getattr(err, "problem_mark", None)
    problem = getattr(err, "problem", None) or str(err)
    where = "a YAML file" if mark is None else f"{mark.name}:{mark.line + 1}"
    return one_line(f"{where} is no valid YAML: {problem}")
