"""Policy gradient without models: returns worked out by hand, whitening over ranks, and the order of passes."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amid.core import ADVANTAGE, BEHAVIOUR_LOG_PROB
from amid.data.batch import SOURCES, Batch, Row, collate
from amid.strategies import STUDENT_LOG_PROB, TEACHER_LOG_PROB, Advantages, Draws, RolloutPasses

PAD, ROWS = 0, 2


def gold(step: int) -> Batch:
    ids = [10 * step + row for row in range(ROWS)]
    return collate([((1, 2), (3, 4 + row)) for row in range(ROWS)], example_ids=ids, pad_id=PAD)


class Writer:
    """Answers with the example's number, longer for odd ones, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, batch: Batch, *, policy: str) -> Batch:
        assert policy == "mixture"
        ids = batch.example_ids.tolist()
        self.asked.append(ids)
        rows = [(prompt, (7,) * (1 + i % 2) + (100 + i,)) for prompt, i in zip(batch.prompts(), ids, strict=True)]
        written = collate(rows, example_ids=ids, pad_id=PAD, source="fresh")
        place = written.labelled
        scores = {STUDENT_LOG_PROB: -0.01 * written.labels * place, TEACHER_LOG_PROB: -1.0 * place}
        return replace(written, inputs=scores)


def passes(num_batches: int, passes: int, **changed: Any) -> RolloutPasses:
    options = {"advantages": Advantages(teacher_share=0.2), "gather": lambda value: [value]}
    return RolloutPasses(
        num_batches=num_batches,
        passes=passes,
        batch_of_step=gold,
        draws=Draws(seed=3),
        pad_id=PAD,
        **{**options, **changed},
    )


def row(log_p: list[float], log_q: list[float]) -> Row:
    tokens = torch.arange(len(log_p) + 1)
    labels = torch.cat([torch.tensor([-100]), tokens[1:]])
    scores = {TEACHER_LOG_PROB: torch.tensor(log_p), STUDENT_LOG_PROB: torch.tensor(log_q)}
    return Row(tokens, labels, tokens[:1], 0, inputs=scores)


def test_returns_worked_out_by_hand() -> None:
    # Rewards log p - log q over 0.5: 2, -4, 1; discount 0.5
    log_p, log_q = torch.tensor([-1.0, -3.0, -0.5]), torch.tensor([-2.0, -1.0, -1.0])
    plain = Advantages(teacher_share=0.2, discount=0.5, length_normalised=False)
    assert plain.returns(log_p, log_q).tolist() == [2 - 2 + 0.25, -4 + 0.5, 1.0]
    assert Advantages(teacher_share=0.2, discount=0.5).returns(log_p, log_q).tolist() == [0.25 / 3, -3.5 / 2, 1.0]
    later = replace(plain, immediate_reward=False)
    assert later.returns(log_p, log_q).tolist() == [-2 + 0.25, 0.5, 0.0]
    clipped = replace(plain, reward_clip=3.0)
    assert clipped.returns(log_p, log_q).tolist() == [2 - 1.5 + 0.25, -3 + 0.5, 1.0]


@given(st.floats(0.0, 1.0), st.floats(-20, -1e-3), st.floats(-20, -1e-3))
def test_the_text_was_drawn_from_the_mixture(share: float, log_p: float, log_q: float) -> None:
    found = Advantages(teacher_share=share).behaviour(torch.tensor([log_p]), torch.tensor([log_q]))
    assert float(found) == pytest.approx(math.log(share * math.exp(log_p) + (1 - share) * math.exp(log_q)), abs=1e-5)


def test_advantages_are_white_over_all_tokens_and_the_same_on_two_ranks() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [row(*(-3 * torch.rand(2, length, generator=generator)).tolist()) for length in (3, 1, 4, 2)]
    advantages = Advantages(teacher_share=0.2)
    alone = advantages(rows, lambda value: [value])
    values = torch.cat([each.inputs[ADVANTAGE] for each in alone])
    assert float(values.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float((values**2).mean()) == pytest.approx(1.0, abs=1e-5)
    parts = [rows[0::2], rows[1::2]]
    seen: list[list[Any]] = []
    for part in parts:  # what each rank gives, call by call, with a gather that has not heard of the other yet
        given_to: list[Any] = []
        advantages(part, lambda value, given_to=given_to: given_to.append(value) or [value])  # type: ignore[func-returns-value]
        seen.append(given_to)
    totals = [rank[0] for rank in seen]
    mean = sum(total for total, _ in totals) / sum(number for _, number in totals)
    returns = [advantages.returns(each.inputs[TEACHER_LOG_PROB], each.inputs[STUDENT_LOG_PROB]) for each in rows]
    squares = [float(sum(((each - mean) ** 2).sum() for each in returns[rank::2])) for rank in (0, 1)]
    for rank, part in enumerate(parts):
        answers = iter([totals, squares])
        found = advantages(part, lambda value, answers=answers: next(answers))
        for ours, theirs in zip(found, alone[rank::2], strict=True):
            torch.testing.assert_close(ours.inputs, theirs.inputs)


def test_batches_are_collected_trained_on_in_passes_and_collected_again() -> None:
    strategy, writer = passes(num_batches=3, passes=2), Writer()
    trained = [strategy.next_batch(gold(step), progress=0.0, generate=writer) for step in range(12)]
    assert writer.asked == [[10 * step + i for step in range(first, first + 3) for i in (0, 1)] for first in (0, 6)]
    sources = [SOURCES[int(batch.source[0])] for batch in trained]
    assert sources == ["fresh"] * 3 + ["replayed"] * 3 + ["fresh"] * 3 + ["replayed"] * 3
    for first, last in ((0, 3), (3, 6), (6, 9), (9, 12)):
        seen = sorted(example for batch in trained[first:last] for example in batch.example_ids.tolist())
        assert seen == sorted(writer.asked[first // 6]), "every text once a pass"
    for batch in trained:
        assert set(batch.inputs) == {ADVANTAGE, BEHAVIOUR_LOG_PROB}
        assert bool((batch.inputs[BEHAVIOUR_LOG_PROB][batch.labelled] < 0).all())
        assert not batch.inputs[ADVANTAGE][~batch.labelled].any()
    orders = [[batch.example_ids.tolist() for batch in trained[first : first + 3]] for first in (0, 3, 6, 9)]
    assert orders[0] != orders[1] or orders[2] != orders[3], "passes are shuffled"


@pytest.mark.parametrize("stop", range(1, 8))
def test_a_saved_state_continues_inside_any_pass(stop: int) -> None:
    whole, stopped = passes(num_batches=2, passes=2), passes(num_batches=2, passes=2)
    expected = [whole.next_batch(gold(step), progress=0.0, generate=Writer()) for step in range(8)]
    for step in range(stop):
        stopped.next_batch(gold(step), progress=0.0, generate=Writer())
    file = io.BytesIO()
    torch.save(stopped.state_dict(), file)
    file.seek(0)
    again = passes(num_batches=2, passes=2)
    again.load_state_dict(torch.load(file, weights_only=True))
    for step in range(stop, 8):
        batch = again.next_batch(gold(step), progress=0.0, generate=Writer())
        torch.testing.assert_close(batch.input_ids, expected[step].input_ids, rtol=0, atol=0)
        torch.testing.assert_close(batch.inputs, expected[step].inputs, rtol=0, atol=0)
