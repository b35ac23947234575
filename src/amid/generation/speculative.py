"""Interleaved sampling: the student proposes a few tokens at a time, the teacher keeps or replaces them (SKD).

Legend: R rows, C columns, K proposed tokens, V shared vocabulary.
Both models keep every column they have computed. Rows reject at different places, so the columns of rejected tokens
stay, hidden by the attention mask; positions count the tokens that stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from amid.generation.decoding import Completion, Decoding
from amid.generation.engine import budgets_of, device_of, inference, stop_strings
from amid.generation.randomness import Key
from amid.generation.sampler import History, Sampler
from amid.generation.stopping import StopStrings


@dataclass(frozen=True)
class Interleaving:
    """How two models write one text.

    student, teacher: how each draws its tokens; the longest text is the student's max_new_tokens.
    num_proposed: tokens the student proposes at a time. accept_top_k: a proposed token stays if it is among the
    teacher's likeliest `accept_top_k`. fresh_test: test another draw of the student than the one that is kept, as the
    published sampler does by mistake.
    A text ends at the student's stop strings. Raises ValueError if the teacher names others.
    Source: Xu et al. 2024 (SKD), Algorithm 1.
    """

    student: Decoding
    teacher: Decoding
    num_proposed: int
    accept_top_k: int
    fresh_test: bool = False

    def __post_init__(self) -> None:
        if self.teacher.stop not in ((), self.student.stop):
            raise ValueError(
                f"one text has one set of stop strings, the student's {list(self.student.stop)}; got of the teacher "
                f"{list(self.teacher.stop)}"
            )


@dataclass(frozen=True)
class _End:
    """Whether a text has ended with EOS, or at a stop string."""

    ended: bool = False
    stopped: bool = False


@dataclass(frozen=True)
class _Ends:
    """What ends a text."""

    eos_ids: Collection[int]
    stop: StopStrings | None

    def of(self, response: Sequence[int]) -> _End:
        """Whether the last token ends the response, of which every shorter beginning was asked about."""
        ended = response[-1] in self.eos_ids
        return _End(ended, not ended and self.stop is not None and self.stop.found(response))


class _Row:
    """A prompt's text so far, once for each stream of random numbers that may continue it.

    The number of a proposal that was taken back serves again at its place: what decided about the tokens before it did
    not depend on it.
    """

    def __init__(self, index: int, prompt: Sequence[int], *, key: Key, interleaving: Interleaving, budget: int) -> None:
        self.index = index
        self.budget = budget
        self.num_prompt_tokens = len(prompt)
        longest = budget + interleaving.num_proposed  # proposals may pass the limit before they are cut
        self.student = History(prompt, key=(*key, "student"), decoding=interleaving.student, budget=longest)
        self.teacher = History(prompt, key=(*key, "teacher"), decoding=interleaving.teacher, budget=longest)
        self.tester = History(prompt, key=(*key, "tester"), decoding=interleaving.student, budget=longest)

    @property
    def num_left(self) -> int:
        """Response tokens that may still come."""
        return self.budget - self.student.num_response_tokens

    def append(self, token: int) -> None:
        """Add a token of the response."""
        for history in (self.student, self.teacher, self.tester):
            history.append(token)

    def remove_last(self, count: int) -> None:
        """Take back the last `count` tokens."""
        for history in (self.student, self.teacher, self.tester):
            for _ in range(count):
                history.remove_last()

    def cut(self, ends: _Ends, *, first_new: int) -> _End:
        """How the text has ended; what follows its end, or passes the limit, is taken back."""
        response = self.student.response
        length, end = min(len(response), self.budget), _End()
        for place in range(first_new, length):
            end = ends.of(response[: place + 1])
            if end.ended or end.stopped:
                length = place + 1
                break
        self.remove_last(len(response) - length)
        return end


class _Reader:
    """One model, with the keys and values of all columns so far."""

    def __init__(self, model: PreTrainedModel, *, vocab_size: int) -> None:
        self.cache = DynamicCache()
        self._model = model
        self._vocab_size = vocab_size
        self._device = device_of(model)

    def read(self, input_ids: Tensor, *, mask: Tensor, positions: Tensor) -> Tensor:
        """[R, T, V] float32 logits of T new columns; mask [R, C] covers the columns before them too."""
        logits = self._model(
            input_ids=input_ids.to(self._device),
            attention_mask=mask.to(self._device),
            position_ids=positions.to(self._device),
            past_key_values=self.cache,
            use_cache=True,
        ).logits
        assert isinstance(logits, Tensor)
        return logits[..., : self._vocab_size].float()


def generate_speculative(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    keys: Sequence[Key],
    interleaving: Interleaving,
    eos_id: int,
    vocab_size: int,
    batch_size: int,
    max_length: int | None = None,
    other_eos_ids: Collection[int] = (),
    decode: Callable[[Sequence[int]], str] | None = None,
) -> list[Completion]:
    """One interleaved sample per prompt, in the order of the prompts.

    vocab_size: shared vocabulary; neither model writes a token beyond it. The other arguments, the errors and the
    promise that a text depends on its key only are those of `generate`. Raises ValueError for a model with a sliding
    window: hidden columns would count as part of the window.
    """
    budgets: list[int] = []
    for model in (student, teacher):
        config = model.config.get_text_config()
        if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
            raise ValueError(f"speculative generation needs full attention, {type(model).__name__} has sliding windows")
        budgets = budgets_of(
            model, prompts, keys=keys, decoding=interleaving.student, batch_size=batch_size, max_length=max_length
        )
    ends = _Ends({eos_id, *other_eos_ids}, stop_strings(interleaving.student, decode))
    completions = [Completion(token_ids=(), ended=False)] * len(prompts)
    # Longest first: a lack of memory shows at once, and rows of one batch need little padding
    order = sorted((i for i, budget in enumerate(budgets) if budget > 0), key=lambda i: -len(prompts[i]))
    with inference(student, amp_dtype=None), inference(teacher, amp_dtype=None):
        for start in range(0, len(order), batch_size):
            rows = [
                _Row(i, prompts[i], key=keys[i], interleaving=interleaving, budget=budgets[i])
                for i in order[start : start + batch_size]
            ]
            readers = tuple(_Reader(model, vocab_size=vocab_size) for model in (student, teacher))
            for row, end in _write(readers[0], readers[1], rows, interleaving, ends=ends, pad_id=eos_id):
                completions[row.index] = Completion(row.student.response, ended=end.ended, stopped=end.stopped)
    return completions


def _write(
    student: _Reader, teacher: _Reader, rows: list[_Row], interleaving: Interleaving, *, ends: _Ends, pad_id: int
) -> list[tuple[_Row, _End]]:
    """The rows with their finished texts, and how each ended."""
    draw_student, draw_teacher = Sampler(interleaving.student), Sampler(interleaving.teacher)
    mask = _read_prompts(student, teacher, rows, pad_id=pad_id)
    finished: list[tuple[_Row, _End]] = []
    while rows:
        num_proposed = min(interleaving.num_proposed, max(row.num_left for row in rows))
        first_new = [row.student.num_response_tokens for row in rows]
        first_column = mask.shape[1]
        mask = torch.cat([mask, torch.ones((len(rows), num_proposed), dtype=torch.long)], dim=1)
        lengths = torch.tensor([[len(row.student.tokens)] for row in rows])
        # Proposals beyond a row's limit will be cut; their positions must exist in the model all the same.
        limits = torch.tensor([[row.num_prompt_tokens + row.budget] for row in rows])
        positions = torch.minimum(lengths - 1 + torch.arange(num_proposed), limits - 1)
        read, tested = [], []
        for k in range(num_proposed):
            read.append([row.student.tokens[-1] for row in rows])
            columns, place = torch.tensor(read[-1]).unsqueeze(1), positions[:, k : k + 1]
            logits = student.read(columns, mask=mask[:, : first_column + k + 1], positions=place)[:, -1]
            proposed = draw_student.next_tokens(logits, [row.student for row in rows])
            tested.append(
                draw_student.next_tokens(logits, [row.tester for row in rows]) if interleaving.fresh_test else proposed
            )
            for row, token in zip(rows, proposed, strict=True):
                row.append(token)
        judged = teacher.read(torch.tensor(read).t(), mask=mask, positions=positions)
        num_kept = _num_kept(judged, torch.tensor(tested).t().to(judged.device), top_k=interleaving.accept_top_k)
        for i, (row, kept) in enumerate(zip(rows, num_kept, strict=True)):
            row.remove_last(num_proposed - kept)
            mask[i, first_column + kept + 1 :] = 0  # the first new column is the token before the proposals
        rejecting = [i for i, kept in enumerate(num_kept) if kept < num_proposed]
        if rejecting:
            logits = judged[rejecting, [num_kept[i] for i in rejecting]]
            for i, token in zip(
                rejecting, draw_teacher.next_tokens(logits, [rows[i].teacher for i in rejecting]), strict=True
            ):
                rows[i].append(token)
        ended = [row.cut(ends, first_new=first) for row, first in zip(rows, first_new, strict=True)]
        going = [not (end.ended or end.stopped) and row.num_left > 0 for row, end in zip(rows, ended, strict=True)]
        finished += [(row, end) for row, end, goes in zip(rows, ended, going, strict=True) if not goes]
        if not all(going):
            rows = [row for row, goes in zip(rows, going, strict=True) if goes]
            index = torch.tensor(going).nonzero()[:, 0]
            mask = mask[index]
            for reader in (student, teacher):
                reader.cache.batch_select_indices(index)
    return finished


def _read_prompts(student: _Reader, teacher: _Reader, rows: Sequence[_Row], *, pad_id: int) -> Tensor:
    """[R, C] mask of the columns read: each prompt but its last token, which is read with the first proposals."""
    prompts = [row.student.tokens[:-1] for row in rows]
    width = max(len(prompt) for prompt in prompts)
    input_ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        input_ids[i, width - len(prompt) :] = torch.tensor(prompt, dtype=torch.int64)
        mask[i, width - len(prompt) :] = 1
    if width:
        # A row with nothing to attend to would give nan: a prompt of one token looks at padding, which is then hidden.
        visible = mask.clone()
        visible[mask.sum(dim=1) == 0] = 1
        positions = (visible.cumsum(dim=1) - 1).clamp(min=0)
        for reader in (student, teacher):
            reader.read(input_ids, mask=visible, positions=positions)
    return mask


def _num_kept(judged: Tensor, tested: Tensor, *, top_k: int) -> list[int]:
    """How many leading tested tokens [R, K] are among the teacher's likeliest by logits [R, K, V]."""
    likely = judged.topk(min(top_k, judged.shape[-1]), dim=-1).indices
    passed = (likely == tested.unsqueeze(-1)).any(dim=-1)
    kept: list[int] = passed.long().cumprod(dim=1).sum(dim=1).tolist()
    return kept
