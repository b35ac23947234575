"""Divergences as users name them: on the command line (conf/divergence/NAME.yaml) and in `AmidLoss`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amid.core.divergences import DIVERGENCES, unknown_name_text
from amid.core.terms import Order


@dataclass(frozen=True)
class NamedDivergence:
    """What a name stands for: a function of `DIVERGENCES`, the order of its arguments, its parameters.

    fixed_order: whether the order is what the name means, as the paper's RKL(p||r) means KL(r||p).
    """

    function: str
    order: Order = "pr"
    params: Mapping[str, Any] = field(default_factory=dict)
    fixed_order: bool = False


# The same values as conf/divergence/*.yaml, which say where they come from; a test compares the two.
NAMED_DIVERGENCES: dict[str, NamedDivergence] = {
    "ab": NamedDivergence("ab", params={"ab_alpha": 0.2, "ab_beta": 0.7}),
    "akl": NamedDivergence("akl", params={"akl_mu": 0.5}),
    "amari": NamedDivergence("amari", params={"amari_alpha": 0.0}),
    "bdkd": NamedDivergence("bdkd", params={"bdkd_factor": 2.0}),
    "chi2": NamedDivergence("f_divergence", params={"generator": "chi2"}),
    "csd": NamedDivergence("csd", params={"csd_weights": "student", "csd_temperature": 1.0, "csd_mix": 0.5}),
    "gjs": NamedDivergence("gjs", params={"gjs_weight": 0.1}),
    "hellinger": NamedDivergence("f_divergence", params={"generator": "hellinger"}),
    "jeffreys": NamedDivergence("jeffreys"),
    "js": NamedDivergence("js"),
    "kl": NamedDivergence("kl"),
    "rkl": NamedDivergence("kl", order="rp", fixed_order=True),
    "tv": NamedDivergence("tv"),
    "wsd": NamedDivergence("wsd", params={"wsd_reverse_weight": 0.5}),
}


def named_divergence(name: str, order: Order | None) -> NamedDivergence:
    """What a name stands for, in the given order; a function's own name (f_divergence) stands for itself.

    order: None for the name's own. Raises ValueError for an unknown name (nearest match named), and for an order beside
    a name that means one: `rkl` in order rp could be KL(r||p), as the command line reads it, or its reverse.
    """
    found = NAMED_DIVERGENCES.get(name)
    if found is None:
        if name not in DIVERGENCES:
            raise ValueError(unknown_name_text("divergence", name, {*NAMED_DIVERGENCES, *DIVERGENCES}))
        found = NamedDivergence(name)
    if order is None:
        return found
    if found.fixed_order:
        raise ValueError(
            f"divergence '{name}' is '{found.function}' with order '{found.order}', its letters exchanged; order "
            f"'{order}' beside it could mean either way round: use '{found.function}' with the order you mean"
        )
    return NamedDivergence(found.function, order, found.params)
