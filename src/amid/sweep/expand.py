"""From declared values to jobs: a sweep's products, and what the user's own values do to them. No torch here."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from amid.config import GroupCfg, SelectCfg, SweepCfg
from amid.config.overrides import value_text
from amid.config.sweep import is_no_axis
from amid.errors import RequestError

Overrides = tuple[str, ...]


@dataclass(frozen=True)
class JobGroup:
    """One product of a sweep: which of its jobs (by number) belong to it, and which cell of several is shown."""

    jobs: tuple[int, ...]
    name: str | None = None
    select: SelectCfg | None = None


@dataclass(frozen=True)
class Expansion:
    """The jobs of a sweep, each given by its overrides, and the products they come from."""

    jobs: tuple[Overrides, ...]
    groups: tuple[JobGroup, ...]


def expand_sweep(
    params: Mapping[str, str],
    sweep: SweepCfg,
    arguments: Sequence[str],
    parser: OverridesParser,
    *,
    replaced: Collection[str] = (),
) -> Expansion:
    """The union of the products, each times the sweeper's parameters and the arguments.

    A key that the arguments give has their values in place of the declared ones. Where products declare different
    values of a key, each keeps those that it declares, and one that is left without any is left out; a value that
    none declares goes to the first product that declares the key, and to those that declare the same values.
    replaced: keys that a preset gives, for which a declared one gives way too.
    Raises RequestError for a sweep that is not a list, such as interval(); for an axis that is named twice, or is none;
    and for values that leave no product.
    """
    given = choices_of(parser.parse_overrides(list(arguments)))
    names = {_bare(key): key for key in given}
    ways = [keys for asked, keys in sweep.gives_way.items() if asked in names or asked in replaced]
    left_out = {key for keys in ways for key in keys if key not in names}
    declared = choices_of(
        parser.parse_overrides([f"{key}={value}" for key, value in params.items() if key not in left_out])
    )
    _check_axes(given)
    _check_axes(declared)
    jobs: list[Overrides] = []
    groups: list[JobGroup] = []
    union = sweep.union or [GroupCfg()]
    for group in union:
        choices = dict(declared)
        for key, values in group.axes.items():
            if key in left_out:
                continue
            if key in declared and key not in names:
                raise RequestError(
                    f"'{key}' is an axis of sweep.union and has values of hydra.sweeper.params, which alpha_grid fills "
                    "too; name it once"
                )
            texts = [f"{key}={value_text(value)}" for value in values]
            choices[names.get(key, key)] = _kept(key, group, union, given[names[key]]) if key in names else texts
        for key, texts in given.items():
            choices[key] = choices[key] if _bare(key) in group.axes else texts
        product = [tuple(job) for job in itertools.product(*choices.values())]
        if product:
            groups.append(JobGroup(tuple(range(len(jobs), len(jobs) + len(product))), group.name, group.select))
            jobs += product
    if not jobs:
        asked = " ".join(text for texts in given.values() for text in texts)
        raise RequestError(f"no product of sweep.union has all of these values: {asked}")
    return Expansion(tuple(jobs), tuple(groups))


def expand(overrides: Sequence[Override]) -> list[Overrides]:
    """The product of all swept values, in the order given; a later override of a key replaces an earlier one.

    Raises RequestError for a sweep that is not a list, such as interval().
    """
    return [tuple(product) for product in itertools.product(*choices_of(overrides).values())]


def choices_of(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """Key, with the sign before it -> its overrides, one for each of its values. Raises as `expand`."""
    choices: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_delete() and override.value() is None:
            choices[key] = [key]  # `~KEY`: with a value it would mean "delete it if it has this value"
        elif override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise RequestError(f"'{override.input_line}' is no list of values; valid: {key}=V1,V2,...")
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            choices[key] = [f"{key}={override.get_value_element_as_str()}"]
    return choices


def swept_keys(jobs: Sequence[Overrides]) -> set[str]:
    """The keys that do not have the same value in all jobs."""
    common = set(jobs[0]).intersection(*jobs)
    return {override.partition("=")[0] for job in jobs for override in job if override not in common}


def _check_axes(choices: Mapping[str, Sequence[str]]) -> None:
    """Raises RequestError for several values of what names or carries out a sweep."""
    for key, texts in choices.items():
        if len(texts) > 1 and is_no_axis(_bare(key)):
            raise RequestError(f"'{key}' names or carries out a sweep; give it one value, got {', '.join(texts)}")


def _kept(key: str, group: GroupCfg, union: Sequence[GroupCfg], given: Sequence[str]) -> list[str]:
    """Those of the given overrides of a declared key that a product keeps."""
    lists = [[_value(value_text(value)) for value in each.axes[key]] for each in union if key in each.axes]
    own = [_value(value_text(value)) for value in group.axes[key]]
    if all(values == lists[0] for values in lists):
        return list(given)
    known = set(itertools.chain.from_iterable(lists))
    return [
        text
        for text in given
        if (value := _value(text.partition("=")[2])) in own or (value not in known and own == lists[0])
    ]


def _bare(key: str) -> str:
    return key.lstrip("+~")


def _value(text: str) -> float | str:
    """What a value is compared by: -5 and -5.0 are one number, 'kl' and kl one text."""
    try:
        return float(text)
    except ValueError:
        return text.strip("'\"")
