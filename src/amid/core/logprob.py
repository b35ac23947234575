"""Log-probabilities: the one place where logits become a distribution.

Legend: V shared vocabulary. LogProb: float32, normalised over its last axis.
"""

from typing import TypeAlias

import torch
from torch import Tensor

LogProb: TypeAlias = Tensor


def to_log_prob(logits: Tensor, vocab_size: int, *, native_dtype: bool = False) -> LogProb:
    """Log-softmax of the first `vocab_size` logits, float32 whatever the autocast.

    Shapes: logits [..., W] with W >= vocab_size; result [..., vocab_size], float32.
    vocab_size: the shared vocabulary; entries past it (padded head rows) are absent from the distribution.
    native_dtype: take the softmax in the dtype of `logits` and cast afterwards, as the reference code does.
    Raises ValueError if the logits are not floating point, or are narrower than vocab_size: a missing token is never
    padded, because a zero logit is probability mass, not absence.

    Deviates from the reference, whose AMiD loss takes the softmax in the model's dtype (docs/deviations.md).
    """
    if not logits.is_floating_point():
        raise ValueError(f"logits must be floating point, got {logits.dtype}; pass the head's output, not token ids")
    width = logits.shape[-1]
    if vocab_size < 1:
        raise ValueError(f"vocab_size must be at least 1, got {vocab_size}")
    if width < vocab_size:
        raise ValueError(
            f"logits hold {width} tokens, fewer than vocab_size {vocab_size}; "
            "pass the vocabulary shared by teacher and student (at most the narrower head)"
        )
    shared = logits[..., :vocab_size]
    with torch.autocast(device_type=logits.device.type, enabled=False):
        if native_dtype:
            return torch.log_softmax(shared, dim=-1).float()
        return torch.log_softmax(shared.float(), dim=-1)


def overlap(log_p: LogProb, log_q: LogProb) -> Tensor:
    """sum_k min(p_k, q_k), one minus the total variation: [..., V] x2 -> [...], in [0, 1]."""
    return torch.exp(torch.minimum(log_p, log_q)).sum(-1)
