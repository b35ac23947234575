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
# Relative to the largest logit: kernels may differ with the number of rows and columns, so that the same sums round
# differently (float32: about 1e-6), while a token that should not count moves logits by much more.
TOLERANCE = 1e-3
TOLERANCE_16_BIT = 1e-2  # where two rows are read at once, and round alike
# Relative to all logits together, where the text is read in pieces and every layer rounds its sums to 8 or 11 binary
# digits: SmolLM2-135M in bfloat16 differs by up to 0.05, and by 0.06 of the largest logit in a single one.
TOLERANCE_OF_PIECES_16_BIT = 0.15


def check_reads_left_to_right(model: PreTrainedModel, *, name: str) -> None:
    """Raises RequestError unless a token's logits depend on the tokens up to it alone, and come out the same
    when the text is read in pieces with the cache of our generation.

    The random state and the modules' modes are left as they are.
    """
    kind = type(model).__name__
    sizes = sizes_of(model.config)
    num_tokens = max(2, min(NUM_TOKENS, sizes.num_positions or NUM_TOKENS))
    # From all over the vocabulary: the first ids are often those of tokens that no text has, which are all alike
    ids = torch.arange(num_tokens) * max(1, sizes.vocab_size // num_tokens) % sizes.vocab_size
    other = ids.clone()
    other[-1] = (other[-1] + NUM_TOKENS) % sizes.vocab_size
    last = len(ids) - 1
    with loading(f"model '{name}' ({kind}) cannot be run on text alone"), inference(model, amp_dtype=None):
        logits = model(input_ids=torch.stack([ids, other]).to(device_of(model)), use_cache=False).logits.float()
        largest = logits.abs().max()
        if not torch.isfinite(largest):
            raise RequestError(f"model '{name}' ({kind}) gives logits that are not finite: its weights have diverged")
        tolerance = TOLERANCE if model.dtype == torch.float32 else TOLERANCE_16_BIT
        if not _close(logits[1, :last], logits[0, :last], largest, tolerance=tolerance):
            raise not_causal(name, f"{kind} reads text in both directions")
    with loading(f"model '{name}' ({kind}) cannot be decoded token by token"), inference(model, amp_dtype=None):
        pieces, whole = _read_in_two(model, ids), logits[0, last - 1 :]
        if model.dtype == torch.float32:
            alike = _close(pieces, whole, largest, tolerance=TOLERANCE)
        else:
            alike = bool((pieces - whole).norm() <= TOLERANCE_OF_PIECES_16_BIT * whole.norm())
        if not alike:
            raise RequestError(
                f"model '{name}' ({kind}) cannot be decoded token by token: with cached keys and values its logits "
                "are not those of the whole text"
            )


def _read_in_two(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """[2, V] logits of the last but one and the last token, which is read by itself after all the others."""
    device, cache, last = device_of(model), SlotCache(num_slots=1), len(ids) - 1
    rows = []
    for start, end in ((0, last), (last, len(ids))):
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


def _close(found: Tensor, expected: Tensor, largest: Tensor, *, tolerance: float) -> bool:
    return bool(((found - expected).abs() <= tolerance * largest).all())
