"""Deviations of the reference code that concern the objective."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Compat:
    """Deviations of the reference code that concern the objective; all off by default.

    alpha_ge1_geometric: every alpha >= 1 is the geometric mean (docs/deviations.md).
    native_loss_dtype: log-softmax in the dtype that the models' own logits have, under autocast that of autocast.
    ab_constants: AB always with (0.2, 0.7), whatever was configured.
    akl_swapped: AKL with teacher and student exchanged and gradient through its weights.
    abkd_prefactors: ABKD's factors on AB's singular lines.
    The reference's mean per micro-batch is a matter of token_weights, not of the objective.
    """

    alpha_ge1_geometric: bool = False
    native_loss_dtype: bool = False
    ab_constants: bool = False
    akl_swapped: bool = False
    abkd_prefactors: bool = False
