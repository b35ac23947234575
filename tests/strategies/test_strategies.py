"""Strategies against traces worked out by hand, without models: what is trained on, and what is remembered."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch

from amid.data.batch import SOURCES, Batch, collate
from amid.strategies import AdaptiveOffPolicy, Draws, Fixed, Mixed, ReplayBuffer, Strategy

PAD = 0
ROWS = 2  # per batch


def gold(step: int) -> Batch:
    """The gold batch of a step: example ids 10 * step + row."""
    ids = [10 * step + row for row in range(ROWS)]
    return collate([((1, 2), (3, 4 + row)) for row in range(ROWS)], example_ids=ids, pad_id=PAD)


class Writer:
    """A `Generate` that answers with recognisable tokens and remembers who asked."""

    def __init__(self) -> None:
        self.policies: list[str] = []

    def __call__(self, batch: Batch, *, policy: str) -> Batch:
        self.policies.append(policy)
        ids = batch.example_ids.tolist()
        rows = [(prompt, (7, 100 + number)) for prompt, number in zip(batch.prompts(), ids, strict=True)]
        return collate(rows, example_ids=ids, pad_id=PAD, source="fresh")


class Coins(Draws):
    """Draws whose coins are given."""

    def __init__(self, coins: list[float], **others: Any) -> None:
        super().__init__(seed=3, **others)
        object.__setattr__(self, "coins", coins)

    def coin(self, step: int) -> float:
        return self.coins[step]  # type: ignore[attr-defined]


def source(batch: Batch) -> str:
    (index,) = set(batch.source.tolist())
    return SOURCES[index]


def adaptive(coins: list[float], *, capacity: int = 4, **changed: Any) -> AdaptiveOffPolicy:
    draws = Coins(coins)
    options = {"init_threshold": 0.0, "loss_eps": 0.1, "replay_ratio": "decreasing", "reference": "last_raise"}
    return AdaptiveOffPolicy(
        **{**options, **changed}, buffer=ReplayBuffer(capacity=capacity, pad_id=PAD, draws=draws), draws=draws
    )


def sources(strategy: Strategy, *, progress: list[float], first: int = 0) -> list[str]:
    writer = Writer()
    return [source(strategy.next_batch(gold(first + i), progress=x, generate=writer)) for i, x in enumerate(progress)]


def test_adaptive_off_policy_follows_the_trace_worked_out_by_hand() -> None:
    # phi is the threshold, psi = phi (1 - progress); the buffer holds 4 sequences, 2 come with every fresh batch.
    strategy = adaptive([0.05, 0.05, 0.15, 0.05, 0.05, 0.06, 0.25, 0.05, 0.19])
    strategy.on_validation(1.0)  # the starting student: reference loss 1.0
    assert sources(strategy, progress=[0.0]) == ["gold"]  # phi 0: no coin is below it
    strategy.on_validation(1.09)  # less than 0.1 above 1.0
    assert strategy.measures()["threshold"] == 0.0
    strategy.on_validation(1.1)  # exactly 0.1 above: phi 0.1, reference 1.1
    assert strategy.measures()["threshold"] == pytest.approx(0.1)
    # coin 0.05 < psi 0.08: fresh (buffer 2 of 4). coin 0.15 > phi: gold.
    assert sources(strategy, progress=[0.2, 0.2], first=1) == ["fresh", "gold"]
    # coin 0.05 > psi 0.04, but below phi with the buffer not full: fresh (buffer 4 of 4).
    assert sources(strategy, progress=[0.6], first=3) == ["fresh"]
    # coin 0.05 > psi 0.04, buffer full: replayed. coin 0.06 < psi 0.07: fresh.
    assert sources(strategy, progress=[0.6, 0.3], first=4) == ["replayed", "fresh"]
    strategy.on_validation(1.19)  # 0.09 above 1.1
    strategy.on_validation(1.21)  # 0.11 above 1.1: phi 0.2, reference 1.21
    assert strategy.measures()["threshold"] == pytest.approx(0.2)
    strategy.on_validation(1.3)  # 0.09 above 1.21: the reference is the loss at the last raise, not the one before
    assert strategy.measures()["threshold"] == pytest.approx(0.2)
    # coins 0.25, 0.05, 0.19 against phi 0.2, psi 0.02: gold, replayed, replayed.
    assert sources(strategy, progress=[0.9, 0.9, 0.9], first=6) == ["gold", "replayed", "replayed"]


def test_the_threshold_never_passes_one() -> None:
    strategy = adaptive([], init_threshold=0.95)
    for loss in (1.0, 2.0, 3.0):
        strategy.on_validation(loss)
    assert strategy.measures()["threshold"] == 1.0


def test_the_reference_previous_compares_with_the_validation_before() -> None:
    last_raise, previous = adaptive([]), adaptive([], reference="previous")
    for loss in (1.0, 1.08, 1.16, 0.5, 0.65):
        last_raise.on_validation(loss)
        previous.on_validation(loss)
    assert last_raise.measures()["threshold"] == pytest.approx(0.1)  # 1.16 against 1.0
    assert previous.measures()["threshold"] == pytest.approx(0.1)  # 0.65 against 0.5


@pytest.mark.parametrize(
    ("ratio", "at_start", "at_end"),
    [("decreasing", "fresh", "replayed"), ("constant", "fresh", "fresh"), ("increasing", "replayed", "fresh")],
)
def test_the_replay_ratio_moves_from_fresh_to_replayed_or_back(ratio: str, at_start: str, at_end: str) -> None:
    strategy = adaptive([0.3] * 4, capacity=ROWS, init_threshold=0.8, replay_ratio=ratio)
    assert sources(strategy, progress=[0.5]) == ["fresh"]  # fills the buffer
    assert sources(strategy, progress=[0.1, 0.9], first=1) == [at_start, at_end]


def test_mixed_throws_a_coin_and_on_policy_always_writes() -> None:
    draws = Coins([0.2, 0.7, 0.49, 0.5])
    mixed = Mixed(student_probability=0.5, policy="student", buffer=None, draws=draws)
    assert sources(mixed, progress=[0.0] * 4) == ["fresh", "gold", "fresh", "gold"]
    on_policy = Mixed(student_probability=1.0, policy="student", buffer=None, draws=Coins([0.0, 0.999999]))
    assert sources(on_policy, progress=[0.0] * 2) == ["fresh", "fresh"]


def test_on_policy_with_a_buffer_trains_on_distinct_sequences_of_the_last_ones() -> None:
    draws = Draws(seed=1)
    strategy = Mixed(
        student_probability=1.0,
        policy="student",
        buffer=ReplayBuffer(capacity=6, pad_id=PAD, draws=draws),
        draws=draws,
    )
    drawn: set[int] = set()
    for step in range(40):
        batch = strategy.next_batch(gold(step), progress=0.0, generate=Writer())
        assert source(batch) == "replayed"
        ids = batch.example_ids.tolist()
        assert len(set(ids)) == ROWS
        assert all(number // 10 > step - 3 for number in ids), "older than the capacity allows"
        drawn |= {step - number // 10 for number in ids}
    assert drawn == {0, 1, 2}, "every age that is still held is drawn at some time"


def test_speculative_asks_for_interleaved_text_at_every_step() -> None:
    writer = Writer()
    strategy = Mixed(student_probability=1.0, policy="speculative", buffer=None, draws=Draws(seed=0))
    assert source(strategy.next_batch(gold(0), progress=0.0, generate=writer)) == "fresh"
    assert writer.policies == ["speculative"]


def test_fixed_returns_the_gold_batch_itself() -> None:
    batch = gold(0)
    assert Fixed().next_batch(batch, progress=0.5, generate=Writer()) is batch


def test_a_replayed_sequence_has_the_tokens_labels_and_prompt_it_was_written_with() -> None:
    buffer = ReplayBuffer(capacity=4, pad_id=PAD, draws=Draws(seed=0))
    rows = [((1, 2, 3), (4, 5)), ((6,), (7, 8, 9, 9))]
    fresh = collate(rows, example_ids=[5, 6], pad_id=PAD, source="fresh")
    buffer.append(fresh, step=0)
    again = buffer.sample(2, step=1)
    order = again.example_ids.tolist()
    expected = collate([rows[i - 5] for i in order], example_ids=order, pad_id=PAD, source="replayed")
    for name in ("input_ids", "attention_mask", "labels", "prompt_ids", "prompt_mask", "example_ids", "source"):
        assert torch.equal(getattr(again, name), getattr(expected, name)), name


def test_teacher_states_are_replayed_at_the_labelled_positions_of_their_own_sequence() -> None:
    fresh = collate([((1, 2, 3), (4, 5)), ((6,), (7, 8, 9, 9))], example_ids=[0, 1], pad_id=PAD, source="fresh")
    states = torch.arange(fresh.input_ids.numel() * 3, dtype=torch.float32).reshape(*fresh.input_ids.shape, 3)
    buffer = ReplayBuffer(capacity=4, pad_id=PAD, draws=Draws(seed=0))
    buffer.append(Batch(**{**vars(fresh), "teacher_states": states}), step=0)
    again = buffer.sample(2, step=1)
    assert again.teacher_states is not None
    for i, example in enumerate(again.example_ids.tolist()):
        assert torch.equal(again.teacher_states[i][again.labelled[i]], states[example][fresh.labelled[example]])
    assert buffer.measures(step=5) == {
        "buffer_size": 2,
        "buffer_age_steps": 5.0,
        # 4 + 4 inputs and as many labels, 3 + 1 prompt tokens of 8 bytes; 2 + 4 states of 3 x 4 bytes
        "buffer_mb": ((4 + 4) * 2 * 8 + (3 + 1) * 8 + 6 * 12) / 2**20,
    }


def everything(batch: Batch) -> list[Any]:
    return [value.tolist() for value in vars(batch).values() if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("name", ["mixed", "adaptive"])
def test_a_saved_strategy_goes_on_as_if_it_had_not_stopped(name: str) -> None:
    def build() -> Strategy:
        if name == "adaptive":
            draws = Draws(seed=5)
            buffer = ReplayBuffer(capacity=4, pad_id=PAD, draws=draws)
            return AdaptiveOffPolicy(
                init_threshold=0.5,
                loss_eps=0.1,
                replay_ratio="constant",
                reference="last_raise",
                buffer=buffer,
                draws=draws,
            )
        draws = Draws(seed=5)
        return Mixed(
            student_probability=0.7,
            policy="student",
            buffer=ReplayBuffer(capacity=5, pad_id=PAD, draws=draws),
            draws=draws,
        )

    def run(strategy: Strategy, steps: range) -> list[Any]:
        seen = []
        for step in steps:
            if step % 5 == 0:
                strategy.on_validation(1.0 + 0.2 * step)
            seen.append(everything(strategy.next_batch(gold(step), progress=step / 30, generate=Writer())))
        return seen

    undisturbed = run(build(), range(30))
    for stop in (1, 7, 20):
        first = build()
        begun = run(first, range(stop))
        stream = io.BytesIO()
        torch.save(first.state_dict(), stream)
        stream.seek(0)
        second = build()
        second.load_state_dict(torch.load(stream, weights_only=True))
        assert begun + run(second, range(stop, 30)) == undisturbed


def test_draws_are_functions_of_seed_step_and_rank_where_ranks_may_differ() -> None:
    one, other = Draws(seed=1, rank=0, num_ranks=2), Draws(seed=1, rank=1, num_ranks=2)
    coins = [one.coin(step) for step in range(200)]
    assert coins == [other.coin(step) for step in range(200)]
    assert coins != [Draws(seed=2).coin(step) for step in range(200)]
    assert 0.4 < sum(coins) / 200 < 0.6
    assert one.replay(3, shared=False).random() != other.replay(3, shared=False).random()
    assert one.replay(3, shared=True).random() == other.replay(3, shared=True).random()
    apart = [Draws(seed=1, rank=rank, rank_local_coin=True) for rank in (0, 1)]
    assert apart[0].coin(0) != apart[1].coin(0)


def test_a_global_buffer_holds_and_draws_the_same_whatever_the_number_of_ranks() -> None:
    whole = collate([((1,), (2, 3 + i)) for i in range(4)], example_ids=[0, 1, 2, 3], pad_id=PAD, source="fresh")
    alone = ReplayBuffer(capacity=4, pad_id=PAD, draws=Draws(seed=9), gather=lambda rows: [rows])
    alone.append(whole, step=0)
    shares = [[row for i, row in enumerate(whole.rows()) if i % 2 == rank] for rank in (0, 1)]
    drawn = []
    for rank in (0, 1):
        of_rank = ReplayBuffer(
            capacity=4,
            pad_id=PAD,
            draws=Draws(seed=9, rank=rank, num_ranks=2),
            gather=lambda rows: copy.deepcopy(shares),
        )
        of_rank.append(whole, step=0)  # what the rank gives is in `shares`
        drawn.append(of_rank.sample(1, step=4).example_ids.tolist())
    assert sorted(drawn[0] + drawn[1]) == sorted(alone.sample(2, step=4).example_ids.tolist())
