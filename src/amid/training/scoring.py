"""What a model says of the tokens of a batch: the log-probability of every label.

Legend: B batch, T input positions; V shared vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from amid.core import to_log_prob
from amid.data.batch import Batch
from amid.generation.engine import device_of, inference
from amid.pairs import hidden_states, output_head

TOKENS_AT_ONCE = 192  # whose logits [n, V] are alive


def label_log_probs(model: PreTrainedModel, batch: Batch, *, vocab_size: int, batch_size: int) -> Tensor:
    """[B, T] float32: log-probability of each label, 0 where there is none; no dropout, no gradient.

    Under the caller's autocast, so that it is what the same weights say while training. batch_size: rows read at once.
    """
    device = device_of(model)
    amp_dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
    scores = torch.zeros(batch.labels.shape, device=device)
    head, row = output_head(model), 0
    with inference(model, amp_dtype=amp_dtype):
        for micro in batch.to(device).split(batch_size):
            place, labels = micro.labelled, micro.labels[micro.labelled]
            if head is None:
                logits = model(input_ids=micro.input_ids, use_cache=False).logits[place]
                found = [_of_labels(logits, labels, vocab_size)]
            else:
                states = hidden_states(model, micro.input_ids)[place]
                parts = zip(torch.split(states, TOKENS_AT_ONCE), torch.split(labels, TOKENS_AT_ONCE), strict=True)
                found = [_of_labels(head.logits(part), of_part, vocab_size) for part, of_part in parts]
            width = micro.labels.shape[1]
            scores[row : row + len(micro), :width][place] = torch.cat(found)
            row += len(micro)
    return scores.to(batch.labels.device)


def _of_labels(logits: Tensor, labels: Tensor, vocab_size: int) -> Tensor:
    return to_log_prob(logits, vocab_size).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
