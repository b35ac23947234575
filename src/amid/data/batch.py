"""The batch every strategy returns and every objective reads.

Legend: B batch, T input positions, P prompt positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

IGNORE_INDEX = -100
Source = Literal["gold", "fresh", "replayed"]
SOURCES: tuple[Source, ...] = ("gold", "fresh", "replayed")


@dataclass(frozen=True)
class Batch:
    """Token sequences with their labels, and their prompts for generation.

    input_ids: [B, T] int64, right-padded. attention_mask: [B, T] bool, from lengths, never from ids (pad may be EOS).
    labels: [B, T] int64, already shifted: labels[t] is the target of the logits at t; IGNORE_INDEX elsewhere.
    prompt_ids, prompt_mask: [B, P], left-padded. example_ids: [B] stable ids of the training examples.
    source: [B] index into SOURCES.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    prompt_ids: Tensor
    prompt_mask: Tensor
    example_ids: Tensor
    source: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def labelled(self) -> Tensor:
        """[B, T] bool: the positions that carry loss."""
        return self.labels != IGNORE_INDEX

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def split(self, size: int | None) -> Iterator[Batch]:
        """Micro-batches of at most `size` rows, cut to their own longest row; the whole batch for None."""
        if size is None or size >= len(self):
            yield self
            return
        for start in range(0, len(self), size):
            rows = replace(self, **{f.name: getattr(self, f.name)[start : start + size] for f in fields(self)})
            width = int(rows.attention_mask.sum(dim=1).max())
            yield replace(
                rows,
                input_ids=rows.input_ids[:, :width],
                attention_mask=rows.attention_mask[:, :width],
                labels=rows.labels[:, :width],
            )

    def prompts(self) -> list[list[int]]:
        """Token ids of each prompt, without padding."""
        pairs = zip(self.prompt_ids, self.prompt_mask, strict=True)
        return [row[mask.bool()].tolist() for row, mask in pairs]


def collate(
    sequences: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    example_ids: Sequence[int],
    pad_id: int,
    source: Source = "gold",
) -> Batch:
    """A batch of (prompt ids, response ids), padded to its longest row.

    The last prompt token predicts the first response token; every response token (EOS included) is a label once.
    Source: reference data_utils/lm_datasets.py, with padding to the batch's own width.
    """
    rows = [[*prompt, *response] for prompt, response in sequences]
    width = max(len(row) - 1 for row in rows)
    prompt_width = max(len(prompt) for prompt, _ in sequences)
    shape = (len(rows), width)
    input_ids = torch.full(shape, pad_id, dtype=torch.int64)
    attention_mask = torch.zeros(shape, dtype=torch.bool)
    labels = torch.full(shape, IGNORE_INDEX, dtype=torch.int64)
    prompt_ids = torch.full((len(rows), prompt_width), pad_id, dtype=torch.int64)
    prompt_mask = torch.zeros((len(rows), prompt_width), dtype=torch.bool)
    for i, ((prompt, response), row) in enumerate(zip(sequences, rows, strict=True)):
        tokens = torch.tensor(row, dtype=torch.int64)
        input_ids[i, : len(row) - 1] = tokens[:-1]
        attention_mask[i, : len(row) - 1] = True
        if response:
            labels[i, len(prompt) - 1 : len(row) - 1] = tokens[len(prompt) :]
        prompt_ids[i, prompt_width - len(prompt) :] = tokens[: len(prompt)]
        prompt_mask[i, prompt_width - len(prompt) :] = True
    return Batch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        labels=labels,
        prompt_ids=prompt_ids,
        prompt_mask=prompt_mask,
        example_ids=torch.tensor(list(example_ids), dtype=torch.int64),
        source=torch.full((len(rows),), SOURCES.index(source), dtype=torch.int64),
    )
