"""The certificate as a whole: grid, identities, mutants, and its page."""

from dataclasses import dataclass

import torch

from amid.certificate import settings
from amid.certificate.grid import (
    BFLOAT16_GRADIENT_TOLERANCE,
    PLAIN_FLOOR,
    PLAIN_TOLERANCE,
    SIZE_TOLERANCE,
    SMALLEST_SIZE,
    SURELY_CARRIED,
    SURELY_LEFT_OUT,
    WIDE_PLAIN_SHARE,
    WIDE_SIZE_TOLERANCE,
    Row,
    run_grid,
)
from amid.certificate.identities import Identity, run_identities
from amid.certificate.mutants import (
    MUTANTS,
    Mistakes,
    Step,
    distillation_step,
    make_steps,
    our_step,
    true_step,
    worst_error,
)
from amid.core import Objective


@dataclass(frozen=True)
class Caught:
    """A mutant (or a right implementation) and its worst error over the steps."""

    name: str
    error: float
    should_pass: bool

    @property
    def passed(self) -> bool:
        """Whether a right implementation passes, or a wrong one is caught."""
        return (self.error <= SIZE_TOLERANCE) == self.should_pass


@dataclass(frozen=True)
class Certificate:
    """Everything that was checked; `passed` if all of it holds."""

    short: bool
    rows: tuple[Row, ...]
    identities: tuple[Identity, ...]
    steps: tuple[Caught, ...]

    @property
    def passed(self) -> bool:
        """Whether every row, identity and mutant is as it must be."""
        parts = (
            all(row.passed for row in self.rows),
            all(identity.passed for identity in self.identities),
            all(step.passed for step in self.steps),
        )
        return all(parts)


def _run_steps(*, short: bool) -> list[Caught]:
    steps = make_steps(short=short)
    truths = [true_step(step) for step in steps]
    found = []
    for form in ("dense", "fused"):
        errors = [
            worst_error(our_step(step, _objective(step), form), true) for step, true in zip(steps, truths, strict=True)
        ]
        found.append(Caught(f"ours, {form}", max(errors), should_pass=True))
    for name, mistakes in {"no mistake": Mistakes(), **MUTANTS}.items():
        errors = [
            worst_error(distillation_step(step, mistakes), true) for step, true in zip(steps, truths, strict=True)
        ]
        found.append(Caught(name, max(errors), should_pass=name == "no mistake"))
    return found


def _objective(step: Step) -> Objective:
    bound = settings.divergence_called("kl" if step.divergence == "kl" else "ab(0.2,0.7)")
    return settings.objective_of(bound, step.order, alpha=step.alpha, lam=step.lam)


def certify(*, short: bool) -> Certificate:
    """The certificate of the installed package; short: three divergences and fewer alphas, about ten seconds."""
    with torch.random.fork_rng(devices=[]):
        return Certificate(
            short=short,
            rows=tuple(run_grid(short=short)),
            identities=tuple(run_identities()),
            steps=tuple(_run_steps(short=short)),
        )


def _mark(passed: bool) -> str:
    return "pass" if passed else "FAIL"


def render(certificate: Certificate) -> str:
    """The certificate as a Markdown page."""
    lines = [
        "# Certificate of the objective",
        "",
        f"Result: **{_mark(certificate.passed)}**"
        + (" (short version)" if certificate.short else "")
        + f", torch {torch.__version__}. Made by `amid certify`.",
        "",
        "## Values and gradients against a float64 oracle",
        "",
        "The oracle works on probabilities in float64 and shares no code with `amid.core`. Each row covers the orders",
        "pr, rp, qr, rq; "
        + ("a subset of " if certificate.short else "")
        + "alpha none, -inf, -5, -3, -1, -0.5, 0, 0.5, 1 - 1e-5, 1, 1 + 1e-5, 3, 6, inf;",
        "lam 0, 1e-3, 0.1, 0.5, 0.9, 1.",
        "Degenerate settings (lam 1 for the p-orders, 0 for the q-orders) must be refused and are counted.",
        "",
        "- *by size*: error over the sum of the absolute terms (for gradients: over the norm of their terms), at most",
        f"  {SIZE_TOLERANCE:g}. A divergence near 0 is a difference of large numbers; float32 promises no more. Of",
        f"  values, a sum below {SMALLEST_SIZE:g} counts as {SMALLEST_SIZE:g}: probabilities add up to 1 within 1e-7.",
        f"- *plain*: relative error of the tokens whose divergence is above {PLAIN_FLOOR:g}, at most",
        f"  {PLAIN_TOLERANCE:g}.",
        "- *wide* inputs: log-probabilities of teacher and student differ by 30 to 100. A token whose value or",
        f"  gradient is above {SURELY_LEFT_OUT:g} must be left out, one below {SURELY_CARRIED:g} must not. float32",
        f"  knows a logarithm of 100 to 4e-6: by size at most {WIDE_SIZE_TOLERANCE:g}; plain only where a value or a",
        f"  gradient is above {WIDE_PLAIN_SHARE:g} of its terms.",
        "- *left out*, *dense*: tokens so lost, and tokens that the fused form left to the dense form, of all tokens.",
        "- bfloat16 inputs: the arithmetic is float32, so values meet the same tolerances; a gradient is returned in",
        f"  bfloat16, whose last bit is 2^-8, so gradients may differ by {BFLOAT16_GRADIENT_TOLERANCE:.2g}.",
        "",
        "| divergence | form | inputs | settings | refused | left out | dense | value by size | value plain "
        "| gradient by size | gradient plain | worst gradient at | |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.divergence} | {row.form} | {row.inputs} | {row.num_settings} | {row.num_refused} "
        f"| {row.num_left_out / row.num_tokens:.0%} | {row.num_dense / row.num_tokens:.0%} "
        f"| {row.value_by_size:.1e} | {row.value_plain:.1e} | {row.gradient_by_size:.1e} | {row.gradient_plain:.1e} "
        f"| {row.worst_setting} | {_mark(row.passed)} |"
        for row in certificate.rows
    ]
    lines += ["", "## Propositions and special cases", "", "| statement | error | tolerance | |", "|---|---|---|---|"]
    lines += [
        f"| {item.name} | {item.error:.1e} | {item.tolerance:.0e} | {_mark(item.passed)} |"
        for item in certificate.identities
    ]
    lines += [
        "",
        "## Mutants",
        "",
        "Whole optimiser steps (two micro-batches, unlabelled positions, heads of different width with bias, scale and",
        "soft-cap) against the oracle. A right implementation must stay within "
        f"{SIZE_TOLERANCE:g}; every wrong one must be caught.",
        "",
        "| implementation | worst error by size | verdict | |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {item.name} | {item.error:.1e} | {'right' if item.error <= SIZE_TOLERANCE else 'wrong'} "
        f"| {_mark(item.passed)} |"
        for item in certificate.steps
    ]
    return "\n".join(lines) + "\n"
