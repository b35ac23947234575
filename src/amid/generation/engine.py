"""Completions of prompts, for training strategies and evaluation alike.

Why this loop is ours and not `model.generate`: that call decodes a fixed batch until its last row has ended, copies the
whole cache on every step, and draws from the global generator in batch order, so that another batch size gives other
texts. Here rows that have ended leave at once, waiting prompts take their place, the cache is written in place, and the
random numbers belong to the example. The library's models, masks, cache interface and warpers are used as they are.
`bench/generation.py` measures the difference.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from amid.generation.decoding import Completion, Decoding
from amid.generation.randomness import Key
from amid.generation.sampler import History, Sampler
from amid.generation.slot_cache import SlotCache
from amid.generation.stopping import StopStrings

SIMILAR_LENGTH = 2 / 3  # prompts at least this share of the longest are read together: padding stays below a third
REFILL_SHARE = 8  # waiting prompts enter once an eighth of the slots is free: one prefill costs about one decoding step


@runtime_checkable
class HasBaseModel(Protocol):
    """A wrapper around a model, such as peft's."""

    def get_base_model(self) -> torch.nn.Module:
        """The model inside."""
        ...


@dataclass(frozen=True)
class Mixture:
    """A second model that has a say in every token: drawn from share x its distribution + (1 - share) x the first.

    model: of the same vocabulary. share: in (0, 1]. Raises ValueError for another share.
    Source: MiniLLM (Gu et al. 2024), teacher-mixed sampling.
    """

    model: PreTrainedModel
    share: float

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"the share of a mixture must lie in (0, 1], got {self.share}")


@dataclass
class _Row:
    index: int  # of its prompt
    history: History


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    keys: Sequence[Key],
    decoding: Decoding,
    eos_id: int,
    batch_size: int,
    max_length: int | None = None,
    vocab_size: int | None = None,
    amp_dtype: torch.dtype | None = None,
    other_eos_ids: Collection[int] = (),
    decode: Callable[[Sequence[int]], str] | None = None,
    mixed_with: Mixture | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[Completion]:
    """One completion per prompt, in the order of the prompts.

    model: any causal language model of `transformers` with attention layers, whole on its device: a sharded model must
        be gathered first, because ranks take different numbers of steps.
    prompts: token ids without padding; special tokens are ordinary tokens here, so pad may equal EOS.
    keys: one per prompt, such as (seed, set name, index); the only source of randomness. In exact arithmetic a text
        does not depend on batch size, order, or ranks; rounding can change a token where two of them nearly tie.
    eos_id: the token that ends a response; it is part of the response.
    batch_size: most rows decoded at once.
    max_length: most tokens of prompt + response; a prompt without room gives an empty completion that has not ended.
    vocab_size: no token from this id on is written; None for all that the model knows.
    amp_dtype: computes in this type under autocast; None computes in the model's own type.
    other_eos_ids: further tokens that end a response, such as a chat's end of turn.
    decode: token ids to text, as the caller reads responses; needed where decoding.stop names texts. A response also
        ends when it contains one of them, with the token that completed it as its last.
    mixed_with: a second model, on the same device, whose distribution is mixed into that of `model` before `decoding`.
    check: called before every token; what it raises ends the generation.
    The model is in eval mode and without gradients meanwhile; its modules' modes are restored, and the global random
    state is neither read nor changed.
    Raises ValueError on an empty prompt, on stop strings without `decode`, on keys that do not match the prompts, on
    lengths beyond the model's positions, on a model with layers other than attention, and on logits that are not
    finite.

    Source: reference evaluate_main.py. Unlike ours, it seeds the global generator once per rank, so that
    its texts depend on batch size and number of ranks.
    """
    models = [model] if mixed_with is None else [model, mixed_with.model]
    for each in models:
        budgets = budgets_of(each, prompts, keys=keys, decoding=decoding, batch_size=batch_size, max_length=max_length)
    stop = stop_strings(decoding, decode)
    completions = [Completion(token_ids=(), ended=False)] * len(prompts)
    lengths = [len(prompt) for prompt in prompts]
    # Taken from the end, longest first: later prompts fit into the columns in use, and a lack of memory shows at once
    waiting = sorted((index for index, budget in enumerate(budgets) if budget > 0), key=lambda index: lengths[index])
    if not waiting:
        return completions
    num_slots = min(batch_size, len(waiting))
    eos_ids = {eos_id, *other_eos_ids}
    engine = _Engine(
        models,
        share=0.0 if mixed_with is None else mixed_with.share,
        sampler=Sampler(decoding),
        num_slots=num_slots,
        pad_id=eos_id,
        vocab_size=vocab_size,
    )
    rows: list[_Row] = []
    with ExitStack() as entered_models:
        for each in models:
            entered_models.enter_context(inference(each, amp_dtype=amp_dtype))
        while waiting or rows:
            check()
            num_free = num_slots - len(rows)
            if waiting and num_free * REFILL_SHARE >= num_slots:
                entering = _take_similar(waiting, lengths=lengths, at_most=num_free)
                entered = [
                    _Row(i, History(prompts[i], key=keys[i], decoding=decoding, budget=budgets[i])) for i in entering
                ]
                rows += entered
                engine.prefill([row.history for row in entered])
            else:
                engine.decode([row.history for row in rows])
            keep = []
            for row in rows:
                ended = row.history.tokens[-1] in eos_ids
                stopped = not ended and stop is not None and stop.found(row.history.response)
                keep.append(not ended and not stopped and row.history.num_response_tokens < row.history.budget)
                if not keep[-1]:
                    completions[row.index] = Completion(row.history.response, ended=ended, stopped=stopped)
            if not all(keep):
                rows = [rows[old] for old in engine.drop_rows(keep)]
    return completions


def stop_strings(decoding: Decoding, decode: Callable[[Sequence[int]], str] | None) -> StopStrings | None:
    """The stop strings of a decoding, None if it has none. Raises ValueError for some without `decode`."""
    if not decoding.stop:
        return None
    if decode is None:
        raise ValueError(f"decoding.stop {list(decoding.stop)} needs `decode`, which makes text of tokens")
    return StopStrings(decoding.stop, decode=decode)


def _take_similar(waiting: list[int], *, lengths: Sequence[int], at_most: int) -> list[int]:
    """Up to `at_most` prompts off the end of `waiting`, which ascends by length: those not much shorter than the last.

    The others enter with the next prefill: reading a batch of prompts costs as much per padding as per token.
    """
    longest = lengths[waiting[-1]]
    taken = [waiting.pop()]
    while waiting and len(taken) < at_most and lengths[waiting[-1]] >= SIMILAR_LENGTH * longest:
        taken.append(waiting.pop())
    return taken


class _Reader:
    """One model with its cache."""

    def __init__(self, model: PreTrainedModel, *, num_slots: int) -> None:
        self.cache = SlotCache(num_slots=num_slots)
        self._model = model
        self._device = device_of(model)
        # A prefill needs the logits of its last column only, where a model can leave the others out
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in _forward_parameters(model) else {}

    def last_logits(self, input_ids: Tensor, *, mask: Tensor, positions: Tensor) -> Tensor:
        """[R, W] logits of the last column."""
        logits = self._model(
            input_ids=input_ids.to(self._device),
            attention_mask=mask.to(self._device),
            position_ids=positions.to(self._device),
            past_key_values=self.cache,
            use_cache=True,
            **self._options,
        ).logits[:, -1]
        assert isinstance(logits, Tensor)
        return logits


class _Engine:
    """One or two models, their caches and the sampler: each call appends one token to the histories it is given.

    share: of the second model in the distribution that tokens are drawn from.
    """

    def __init__(
        self,
        models: Sequence[PreTrainedModel],
        *,
        share: float,
        sampler: Sampler,
        num_slots: int,
        pad_id: int,
        vocab_size: int | None,
    ) -> None:
        self._readers = [_Reader(model, num_slots=num_slots) for model in models]
        self._share = share
        self._sampler = sampler
        self._pad_id = pad_id
        self._vocab_size = vocab_size

    def prefill(self, rows: Sequence[History]) -> None:
        """Read the prompts of new rows, which take the slots after those in use."""
        lengths = [len(row.tokens) for row in rows]
        width = max(lengths)
        input_ids = torch.tensor([[self._pad_id] * (width - len(row.tokens)) + row.tokens for row in rows])
        for reader in self._readers:
            reader.cache.add_rows(num_rows=len(rows), width=width)
        self._step(rows, input_ids, lengths=lengths, num_columns=width)

    def decode(self, rows: Sequence[History]) -> None:
        """Read the last token of every row."""
        lengths = [len(row.tokens) for row in rows]
        longest = max(lengths)
        for reader in self._readers:
            reader.cache.add_column(longest=longest)
        self._step(rows, torch.tensor([row.tokens[-1:] for row in rows]), lengths=lengths, num_columns=longest)

    def drop_rows(self, keep: Sequence[bool]) -> list[int]:
        """Forgets the other rows; which of the old rows each remaining one was."""
        orders = [reader.cache.drop_rows(keep) for reader in self._readers]
        return orders[0]

    def _step(self, rows: Sequence[History], input_ids: Tensor, *, lengths: Sequence[int], num_columns: int) -> None:
        # By length, never by id: EOS may be padding, prompt text and the end of a response
        positions = torch.arange(num_columns) - num_columns + torch.tensor(lengths)[:, None]
        mask, places = (positions >= 0).long(), positions[:, -input_ids.shape[1] :].clamp(min=0)
        of_models = [
            reader.last_logits(input_ids, mask=mask, positions=places)[:, : self._vocab_size]
            for reader in self._readers
        ]
        logits = of_models[0] if len(of_models) == 1 else _mixed(*of_models, share=self._share)
        for row, token in zip(rows, self._sampler.next_tokens(logits, rows), strict=True):
            row.append(token)


def _mixed(logits: Tensor, other: Tensor, *, share: float) -> Tensor:
    """Logarithm [R, V] of the mixture of two distributions given by logits, `share` that of the other."""
    width = min(logits.shape[-1], other.shape[-1])
    log_q, log_p = (each[:, :width].float().log_softmax(-1) for each in (logits, other.to(logits.device)))
    if share == 1.0:
        return log_p
    return torch.logaddexp(log_p + math.log(share), log_q + math.log1p(-share))


def budgets_of(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    keys: Sequence[Key],
    decoding: Decoding,
    batch_size: int,
    max_length: int | None,
) -> list[int]:
    """Most response tokens of each prompt; 0 or less if it leaves no room. Raises ValueError as `generate` does."""
    if len(keys) != len(prompts):
        raise ValueError(f"generate needs one key per prompt, got {len(keys)} keys for {len(prompts)} prompts")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length must be at least 1, or None for no limit, got {max_length}")
    config = model.config.get_text_config()
    unsupported = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if unsupported:
        raise ValueError(f"generate supports attention layers only, the model has {', '.join(sorted(unsupported))}")
    for index, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ValueError(f"prompt {index} (key {keys[index]!r}) has no token; begin it with a BOS or EOS token")
    budgets = [
        min(decoding.max_new_tokens, (max_length or len(prompt) + decoding.max_new_tokens) - len(prompt))
        for prompt in prompts
    ]
    num_positions = getattr(config, "max_position_embeddings", None)
    lengths = [len(prompt) + budget for prompt, budget in zip(prompts, budgets, strict=True) if budget > 0]
    longest = max(lengths, default=0)
    if num_positions is not None and longest > num_positions:
        raise ValueError(
            f"prompt + response may reach {longest} tokens, the model has {num_positions} positions; "
            f"set max_length to {num_positions} or less"
        )
    return budgets


def _forward_parameters(model: PreTrainedModel) -> set[str]:
    # A LoRA wrapper's own forward hides the names behind **kwargs
    base: torch.nn.Module = model.get_base_model() if isinstance(model, HasBaseModel) else model
    return set(inspect.signature(base.forward).parameters)


def eos_ids_of(model: PreTrainedModel) -> list[int]:
    """The tokens with which the model's authors end its texts, such as a chat's end of turn."""
    ids = None if model.generation_config is None else model.generation_config.eos_token_id
    return [] if ids is None else [int(ids)] if isinstance(ids, int) else [int(id_) for id_ in ids]


def device_of(model: PreTrainedModel) -> torch.device:
    """Where the model reads its tokens."""
    return next(model.get_input_embeddings().parameters()).device


@contextmanager
def inference(model: PreTrainedModel, *, amp_dtype: torch.dtype | None) -> Iterator[None]:
    """Eval mode, no gradients, and this autocast setting whatever the caller's is; everything is restored afterwards.

    no_grad and not inference_mode: a model that replaces its buffers in forward (rotary tables that grow) could not
    train on them afterwards.
    """
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        module.training = False
    try:
        with torch.no_grad(), torch.autocast(device_of(model).type, dtype=amp_dtype, enabled=amp_dtype is not None):
            yield
    finally:
        # Where torch caches casts under no_grad too (2.13 does not), a caller's autocast would go on to train on casts
        # made here, which have no gradient
        torch.clear_autocast_cache()
        for module, training in modes:
            module.training = training
