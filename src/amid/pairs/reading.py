"""How a model reads: from left to right, and token by token with the same result. Tried on a few tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from amid.errors import RequestError
from amid.generation.engine import device_of, inference
from amid.generation.slot_cache import SlotCache
from amid.model_folders.architecture import not_causal
from amid.pairs.loading import loading
from amid.pairs.sizes import sizes_of

NUM_TOKENS = 8
NUM_CHANGED = 2  # of the last tokens
# Relative to the largest logit. The same products in the same order should give the same bits; kernels may differ with
# the number of columns, so that cached reading rounds differently (float32: about 1e-6).
TOLERANCE = 1e-3


def check_reads_left_to_right(model: PreTrainedModel, *, name: str) -> None:
    """None; raises RequestError unless a token's logits depend on the tokens up to it alone, and come out the same
    when the text is read in pieces with the cache of our generation.

    The random state and the modules' modes are left as they are.
    """
    kind = type(model).__name__
    sizes = sizes_of(model.config)
    ids = torch.arange(min(NUM_TOKENS, sizes.num_positions or NUM_TOKENS)) % sizes.vocab_size
    changed = ids.clone()
    changed[-NUM_CHANGED:] = (changed[-NUM_CHANGED:] + NUM_TOKENS) % sizes.vocab_size
    num_same = len(ids) - NUM_CHANGED
    with loading(f"model '{name}' ({kind}) cannot be run on text alone"), inference(model, amp_dtype=None):
        whole, other = (_logits(model, tokens) for tokens in (ids, changed))
        if not _close(other[:num_same], whole[:num_same], scale=whole):
            raise not_causal(name, f"{kind} reads text in both directions")
    with loading(f"model '{name}' ({kind}) cannot be decoded token by token"), inference(model, amp_dtype=None):
        pieces = _read_in_pieces(model, ids, first=num_same)
        if not _close(pieces, whole[num_same - 1 :], scale=whole):
            raise RequestError(
                f"model '{name}' ({kind}) cannot be decoded token by token: with cached keys and values its logits "
                "are not those of the whole text"
            )


def _logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """[T, V] float32."""
    logits = model(input_ids=ids.unsqueeze(0).to(device_of(model)), use_cache=False).logits[0].float()
    assert isinstance(logits, Tensor)
    return logits


def _read_in_pieces(model: PreTrainedModel, ids: Tensor, *, first: int) -> Tensor:
    """[T - first + 1, V] logits from the last of the `first` tokens on, which are read together, then one by one."""
    device, cache, rows = device_of(model), SlotCache(num_slots=1), []
    for start, end in [(0, first), *((place, place + 1) for place in range(first, len(ids)))]:
        if start == 0:
            cache.add_rows(num_rows=1, width=end)
        else:
            cache.add_column(longest=end)
        output = model(
            input_ids=ids[start:end].unsqueeze(0).to(device),
            attention_mask=torch.ones(1, end, dtype=torch.int64, device=device),
            position_ids=torch.arange(start, end, device=device).unsqueeze(0),
            past_key_values=cache,
            use_cache=True,
        )
        rows.append(output.logits[0, -1].float())
    return torch.stack(rows)


def _close(found: Tensor, expected: Tensor, *, scale: Tensor) -> bool:
    return bool(((found - expected).abs() <= TOLERANCE * scale.abs().max()).all())
