"""The batch every strategy returns and every objective reads.

Legend: B batch, T input positions, P prompt positions, H hidden units of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import itemgetter
from typing import Literal

import torch
from torch import Tensor

IGNORE_INDEX = -100
# Who wrote the responses: the data; the student while it trains, just now or before; a model of the pair, once before.
Source = Literal["gold", "fresh", "replayed", "teacher", "student"]
SOURCES: tuple[Source, ...] = ("gold", "fresh", "replayed", "teacher", "student")
WRITER_OF_SOURCE = {"gold": "gold", "fresh": "student", "replayed": "student"}  # the others are their own


@dataclass(frozen=True)
class Row:
    """One sequence without padding.

    input_ids, labels: [T] int64, as in `Batch`. prompt_ids: [P] int64. example_id: as in `Batch`.
    teacher_states: [N, H] of the N labelled positions, or None. inputs: [N] by name, as in `Batch`.
    """

    input_ids: Tensor
    labels: Tensor
    prompt_ids: Tensor
    example_id: int
    teacher_states: Tensor | None = None
    inputs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Token sequences with their labels, and their prompts for generation.

    input_ids: [B, T] int64, right-padded. attention_mask: [B, T] bool, from lengths, never from ids (pad may be EOS).
    labels: [B, T] int64, already shifted: labels[t] is the target of the logits at t; IGNORE_INDEX elsewhere.
    prompt_ids, prompt_mask: [B, P], left-padded. example_ids: [B] stable ids of the training examples.
    source: [B] index into SOURCES.
    teacher_states: [B, T, H] the teacher's states before its head at the labelled positions (0 elsewhere), or None
        where the teacher must run.
    inputs: [B, T] float32 by name: what is known of every labelled position besides its label (0 elsewhere).
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    prompt_ids: Tensor
    prompt_mask: Tensor
    example_ids: Tensor
    source: Tensor
    teacher_states: Tensor | None = None
    inputs: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def labelled(self) -> Tensor:
        """[B, T] bool: the positions that carry loss."""
        return self.labels != IGNORE_INDEX

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def split(self, size: int | None) -> Iterator[Batch]:
        """Micro-batches of at most `size` rows, cut to their own longest row; the whole batch for None."""
        if size is None or size >= len(self):
            yield self
            return
        for start in range(0, len(self), size):
            yield self._each(itemgetter(slice(start, start + size)))._cut()

    def micro_batches(self, size: int | None) -> Iterator[Batch]:
        """The rows in micro-batches of at most `size`, the shortest first, so that little of each is padding.

        What is summed over a step does not depend on the order of its rows.
        """
        if size is None or size >= len(self):
            yield self
            return
        order = torch.argsort(self.attention_mask.sum(dim=1), stable=True)
        yield from self._each(lambda tensor: tensor[order]).split(size)

    def written_by(self, writer: str) -> Batch:
        """The rows whose responses are the writer's (gold, teacher or student); without any, one row without labels."""
        sources = [place for place, name in enumerate(SOURCES) if WRITER_OF_SOURCE.get(name, name) == writer]
        chosen = torch.isin(self.source, torch.tensor(sources, device=self.source.device))
        if bool(chosen.any()):
            rows = self._each(itemgetter(chosen))
            return rows if bool(chosen.all()) else rows._cut()
        first = self._each(itemgetter(slice(0, 1)))._cut()
        return replace(first, labels=torch.full_like(first.labels, IGNORE_INDEX))

    def prompts(self) -> list[list[int]]:
        """Token ids of each prompt, without padding."""
        pairs = zip(self.prompt_ids, self.prompt_mask, strict=True)
        return [row[mask.bool()].tolist() for row, mask in pairs]

    def rows(self) -> list[Row]:
        """The sequences without padding, on the CPU."""
        batch = self.to("cpu")
        rows = []
        for i, length in enumerate(batch.attention_mask.sum(dim=1).tolist()):
            states = batch.teacher_states
            rows.append(
                Row(
                    input_ids=batch.input_ids[i, :length].clone(),
                    labels=batch.labels[i, :length].clone(),
                    prompt_ids=batch.prompt_ids[i, batch.prompt_mask[i]].clone(),
                    example_id=int(batch.example_ids[i]),
                    teacher_states=None if states is None else states[i, batch.labelled[i]].clone(),
                    inputs={name: values[i, batch.labelled[i]].clone() for name, values in batch.inputs.items()},
                )
            )
        return rows

    def _cut(self) -> Batch:
        """Without the columns that are padding in every row."""
        width = int(self.attention_mask.sum(dim=1).max())
        return replace(
            self,
            input_ids=self.input_ids[:, :width],
            attention_mask=self.attention_mask[:, :width],
            labels=self.labels[:, :width],
            teacher_states=None if self.teacher_states is None else self.teacher_states[:, :width],
            inputs={name: values[:, :width] for name, values in self.inputs.items()},
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "inputs"}
        changed = {name: change(tensor) for name, tensor in values.items() if tensor is not None}
        return replace(self, **changed, inputs={name: change(tensor) for name, tensor in self.inputs.items()})


def stack(rows: Sequence[Row], *, pad_id: int, source: Source | Sequence[Source]) -> Batch:
    """A batch of rows, padded to its longest one; with teacher states if all rows have them, and the first's inputs.

    source: of all rows, or of each.
    """
    sources = [source] * len(rows) if isinstance(source, str) else source
    width = max(len(row.input_ids) for row in rows)
    prompt_width = max(len(row.prompt_ids) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(rows), width), dtype=torch.bool)
    labels = torch.full((len(rows), width), IGNORE_INDEX, dtype=torch.int64)
    prompt_ids = torch.full((len(rows), prompt_width), pad_id, dtype=torch.int64)
    prompt_mask = torch.zeros((len(rows), prompt_width), dtype=torch.bool)
    teacher_states = None
    first = rows[0].teacher_states
    if first is not None and all(row.teacher_states is not None for row in rows):
        teacher_states = torch.zeros((len(rows), width, first.shape[-1]), dtype=first.dtype)
    inputs = {name: torch.zeros((len(rows), width), dtype=values.dtype) for name, values in rows[0].inputs.items()}
    for i, row in enumerate(rows):
        length = len(row.input_ids)
        input_ids[i, :length] = row.input_ids
        attention_mask[i, :length] = True
        labels[i, :length] = row.labels
        prompt_ids[i, prompt_width - len(row.prompt_ids) :] = row.prompt_ids
        prompt_mask[i, prompt_width - len(row.prompt_ids) :] = True
        if teacher_states is not None and row.teacher_states is not None:
            teacher_states[i, :length][row.labels != IGNORE_INDEX] = row.teacher_states
        for name, values in inputs.items():
            values[i, :length][row.labels != IGNORE_INDEX] = row.inputs[name]
    return Batch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        labels=labels,
        prompt_ids=prompt_ids,
        prompt_mask=prompt_mask,
        example_ids=torch.tensor([row.example_id for row in rows], dtype=torch.int64),
        source=torch.tensor([SOURCES.index(each) for each in sources], dtype=torch.int64),
        teacher_states=teacher_states,
        inputs=inputs,
    )


def collate(
    sequences: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    example_ids: Sequence[int],
    pad_id: int,
    source: Source | Sequence[Source] = "gold",
    earlier: Sequence[Sequence[tuple[int, int]]] | None = None,
) -> Batch:
    """A batch of (prompt ids, response ids), padded to its longest row.

    The last prompt token predicts the first response token; every response token (EOS included) is a label once.
    earlier: of each row, (start, stop) of prompt tokens that are labels too, as of a conversation's earlier answers.
    Source: reference data_utils/lm_datasets.py, with padding to the batch's own width.
    """
    rows = []
    spans: Sequence[Sequence[tuple[int, int]]] = [()] * len(sequences) if earlier is None else earlier
    for (prompt, response), example_id, learnt in zip(sequences, example_ids, spans, strict=True):
        tokens = torch.tensor([*prompt, *response], dtype=torch.int64)
        labels = torch.full((len(tokens) - 1,), IGNORE_INDEX, dtype=torch.int64)
        labels[len(prompt) - 1 :] = tokens[len(prompt) :]
        for start, stop in learnt:
            labels[start - 1 : stop - 1] = tokens[start:stop]
        rows.append(Row(tokens[:-1], labels, tokens[: len(prompt)], example_id))
    return stack(rows, pad_id=pad_id, source=source)


def collate_unshifted(
    sequences: Sequence[tuple[Sequence[int], Sequence[int]]], *, example_ids: Sequence[int], pad_id: int, source: Source
) -> Batch:
    """A batch of (prompt ids, response ids without EOS) labelled as the reference labels generated text.

    The label at a position is the token at that position, not the next: the prediction of the first response token is
    never trained, the one after the last token is. Only for compat.sgo_label_offset.
    Source: reference distillm/sampler.py.
    """
    rows = []
    for (prompt, response), example_id in zip(sequences, example_ids, strict=True):
        tokens = torch.tensor([*prompt, *response], dtype=torch.int64)
        labels = tokens.clone()
        labels[: len(prompt)] = IGNORE_INDEX
        rows.append(Row(tokens, labels, tokens[: len(prompt)], example_id))
    return stack(rows, pad_id=pad_id, source=source)
