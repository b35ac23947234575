"""Diagnostics: how student, teacher and assistant stand to each other at a few positions of a step.

The positions are read from the step's own forward passes, without a gradient and without a draw from torch's global
generator: the weights are the same with and without. docs/diagnostics.md says what is measured.
Legend: N labelled tokens of a micro-batch; n sampled ones; V shared vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amid.core import Assistant, Objective
from amid.core.diagnostics import measure_names, position_sums
from amid.data.batch import Batch
from amid.training.seeds import seed_of

GROUP = "diagnostics/"
NUM_POSITIONS = f"{GROUP}num_positions"
SAMPLED = "sampled"  # of a batch's inputs: 1 at the positions that are read
PROJECTED = 64  # positions whose logits are there at a time
# Of them those that are measured together: as many as this many logits, so that what is made of them stays small
MEASURED_LOGITS = 2**20


def sampled(batch: Batch, *, num_positions: int, key: tuple[int, int, int]) -> Batch:
    """The batch with so many of its labelled positions marked, or all of them if there are no more.

    key: (seed, step, rank), of which the choice is a function; how the batch is divided later does not matter.
    """
    places = batch.labelled.flatten().nonzero().squeeze(-1)
    if len(places) > num_positions:
        generator = torch.Generator().manual_seed(seed_of("diagnostics", *key))
        chosen = torch.randperm(len(places), generator=generator)[:num_positions]
        places = places[chosen.to(places.device)]
    marks = torch.zeros(batch.labels.numel(), device=batch.labels.device)
    marks[places] = 1.0
    return replace(batch, inputs={**batch.inputs, SAMPLED: marks.view_as(batch.labels)})


@dataclass
class PositionSums:
    """Sums of the measures over the marked positions of one step: by name, a sum and what it is divided by.

    assistants: those that the marked positions train. sums: the same names whether or not there is a position, since
    ranks exchange them.
    """

    assistants: Mapping[str, Assistant]
    sums: dict[str, list[float]]

    def add(self, marks: Tensor, logits_of: Callable[[Tensor], Sequence[Tensor]], *, vocab_size: int) -> None:
        """Adds the marked ones of N positions.

        marks: [N]. logits_of: places [n] among the N -> logits [n, W] of the student, and of the teacher if it is read.
        """
        for places in torch.split(marks.nonzero().squeeze(-1), PROJECTED):
            logits = [each.detach() for each in logits_of(places)]
            block = max(1, MEASURED_LOGITS // vocab_size)
            for first in range(0, len(places), block):
                part = slice(first, first + block)
                of_part = {name: each.rows(places[part]) for name, each in self.assistants.items()}
                teacher = logits[1][part] if len(logits) > 1 else None
                found = position_sums(logits[0][part], teacher, of_part, vocab_size=vocab_size)
                for name, pair in zip(found, torch.stack(list(found.values())).tolist(), strict=True):
                    self.sums[name] = [mine + new for mine, new in zip(self.sums[name], pair, strict=True)]


def position_sums_for(batch: Batch, part: Objective, whole: Objective) -> PositionSums | None:
    """Sums at 0 for the positions of a batch, which a part of the whole objective reads; None if none are marked."""
    if SAMPLED not in batch.inputs:
        return None
    # The part's terms are the whole's own: only there have their assistants the numbers of their schedules
    assistants = {
        name: assistant
        for name, (term, assistant) in whole.assistants().items()
        if any(term is each for each in part.terms)
    }
    names = measure_names(teacher=part.needs_teacher, assistants=assistants)
    return PositionSums(assistants, {name: [0.0, 0.0] for name in names})


def diagnostic_metrics(sums: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The journal's measures from their sums over all ranks; without one that is the mean of nothing."""
    means = {f"{GROUP}{name}": total / weight for name, (total, weight) in sums.items() if weight > 0}
    count = max((weight for name, (_, weight) in sums.items() if name == "entropy_q"), default=0.0)
    return {**means, NUM_POSITIONS: count} if means else {}
