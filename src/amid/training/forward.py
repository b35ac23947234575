"""The forward passes of a step: a micro-batch through student and teacher to the parts of the loss.

Legend: B batch, T input positions, H hidden units, V vocabulary, N labelled tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from amid.core import Head, LossParts, Objective, chunked_objective_from_logits, linear_objective
from amid.core.heads import project_into
from amid.data.batch import Batch
from amid.pairs import Pair, hidden_states, output_head
from amid.training.diagnostics import SAMPLED, PositionSums
from amid.training.spent import Spent

log = logging.getLogger(__name__)


class Forward:
    """The models of a pair, read for a loss; the teacher without a graph.

    Through the heads in pieces, so that [N, V] is never held; through whole logits where the output head of a model is
    no plain linear layer.
    """

    def __init__(self, pair: Pair) -> None:
        self._student, self._teacher, self._vocab_size = pair.student, pair.teacher, pair.vocab_size
        self._heads: list[Head | None] = []

    def begin(self, device: torch.device) -> None:
        """Looks at the models as they are on the device; says so where logits must be whole."""
        models = [self._student]
        if self._teacher is not None:
            self._teacher.to(device)  # type: ignore[arg-type]  # transformers wraps nn.Module.to without its types
            models.append(self._teacher)
        self._heads = [output_head(model) for model in models]
        for model, head in zip(models, self._heads, strict=True):
            if head is None:
                log.warning(
                    "the output head of %s is not a plain linear layer: its logits are computed whole (more memory)",
                    type(model).__name__,
                )

    def loss_parts(
        self,
        batch: Batch,
        objective: Objective,
        weights: Tensor,
        spent: Spent,
        positions: PositionSums | None = None,
    ) -> LossParts:
        """The objective on the labelled tokens of a micro-batch, whose weights are [N]; counted in `spent`.

        positions: what the batch's marked positions are added to.
        """
        mask, labels = batch.labelled, batch.labels[batch.labelled]
        inputs = {name: values[mask] for name, values in batch.inputs.items()}
        marks = inputs.pop(SAMPLED, None)
        teacher = self._teacher if objective.needs_teacher else None
        models = [self._student] if teacher is None else [self._student, teacher]
        spent.student_tokens += int(batch.attention_mask.sum())
        if teacher is not None and batch.teacher_states is None:
            spent.count_teacher(int(batch.attention_mask.sum()))
        heads = self._heads[: len(models)]
        if any(head is None for head in heads):
            logits = [self._all_logits(model, batch)[mask] for model in models]
            if positions is not None and marks is not None:
                positions.add(marks, lambda places: [each[places] for each in logits], vocab_size=self._vocab_size)
            return chunked_objective_from_logits(
                logits[0],
                logits[1] if len(logits) > 1 else None,
                objective,
                labels=labels,
                inputs=inputs,
                token_weights=weights,
                vocab_size=self._vocab_size,
            )
        states = [self._states(model, batch)[mask] for model in models]
        student_head = heads[0]
        assert student_head is not None
        if positions is not None and marks is not None:
            known = [head for head in heads if head is not None]
            positions.add(marks, lambda places: self._logits_of(states, known, places), vocab_size=self._vocab_size)
        return linear_objective(
            states[0],
            student_head,
            states[1] if len(states) > 1 else None,
            heads[1] if len(heads) > 1 else None,
            objective,
            labels=labels,
            inputs=inputs,
            token_weights=weights,
            vocab_size=self._vocab_size,
        )

    def teacher_states(self, batch: Batch, spent: Spent, *, micro_batch_size: int | None) -> Tensor | None:
        """[B, T, H] states of the teacher before its head, counted in `spent`; None where logits must be whole."""
        assert self._teacher is not None
        if any(head is None for head in self._heads):
            return None
        micro_batches = list(batch.split(micro_batch_size))
        parts = [self._states(self._teacher, micro) for micro in micro_batches]
        for micro in micro_batches:
            spent.count_teacher(int(micro.attention_mask.sum()))
        width = batch.input_ids.shape[1]
        return torch.cat([nn.functional.pad(part, (0, 0, 0, width - part.shape[1])) for part in parts])

    def student_logits(self, batch: Batch) -> Tensor:
        """[N, V] logits of the student at the labelled tokens."""
        head = self._heads[0]
        if head is None:
            return self._all_logits(self._student, batch)[batch.labelled]
        return head.logits(self._states(self._student, batch)[batch.labelled])

    def _logits_of(self, states: Sequence[Tensor], heads: Sequence[Head], places: Tensor) -> list[Tensor]:
        """[n, V] float32 logits of states [N, H] at places [n], of each model; without graph."""
        found = []
        with torch.no_grad(), torch.autocast(device_type=places.device.type, enabled=False):
            for each, head in zip(states, heads, strict=True):
                found.append(torch.empty(len(places), self._vocab_size, device=places.device))
                project_into(found[-1], each[places].float(), head)
        return found

    def _states(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        """[B, T, H] states before the output head; without graph for the teacher, whose states may be there already."""
        if model is not self._student and batch.teacher_states is not None:
            return batch.teacher_states
        with torch.set_grad_enabled(model is self._student):
            return hidden_states(model, batch.input_ids)

    def _all_logits(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        """[B, T, V] logits; without graph for the teacher."""
        with torch.set_grad_enabled(model is self._student):
            logits = model(input_ids=batch.input_ids, use_cache=False).logits
        assert isinstance(logits, Tensor)
        return logits
