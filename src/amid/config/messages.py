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
    declared = re.search(r"^In '([^']+)'", text)
    said = (_wrong_key(text) or _wrong_shape(text)) if declared else None
    if declared and said:
        return one_line(f"in {declared[1]}.yaml: {said}")
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


def _wrong_key(text: str) -> str | None:
    """What is said of a key that a file sets and no node of a run has."""
    found = re.search(r"Key '([^']+)' not in '(\w+)'", text)
    if found is None:
        return None
    from amid.config.keys import explain_unknown, nodes_of, unknown_key
    from amid.config.run import RunCfg

    full, nodes = _full_key(text) or "", nodes_of(RunCfg)
    if full.partition(".")[0] in nodes["RunCfg"][1]:
        return explain_unknown(full, RunCfg)
    if found[2] not in nodes:
        return None
    prefix, valid = nodes[found[2]]
    return str(unknown_key(f"{prefix}{found[1]}", valid, prefix=prefix))


def _wrong_shape(text: str) -> str | None:
    """What is said of one value, or of a mapping, in a file in place of a list, and the other way round."""
    where = _full_key(text) or "one of its keys"
    if re.search(r"type hint 'typing\.List|is not a ListConfig", text):
        return f"{where} must be a list, as [VALUE, VALUE]"
    if "Cannot merge DictConfig with ListConfig" in text:
        return f"{where} is a list where a mapping belongs, or a mapping in place of a list"
    return None


def _full_key(text: str) -> str | None:
    """Where OmegaConf says that it was: within an item of a list from that item on."""
    found = re.search(r"full_key: (?!reference_type|object_type)(\S+)", text)
    return None if found is None else found[1]
