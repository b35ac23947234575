"""The order of the data: a function of seed and step, the same after a resume and over any number of ranks."""

import itertools

import pytest

from amid.data.loader import StepBatches, epoch_batches, validation_batches
from amid.data.tokenise import Example

EXAMPLES = [Example(i, tuple(range(1, 2 + i % 7)), (i + 1, 0), ("x",)) for i in range(53)]
BATCH_SIZE, STEPS_PER_EPOCH = 8, 6


def batches(*, seed=1, **options):
    return StepBatches(EXAMPLES, batch_size=BATCH_SIZE, seed=seed, pad_id=0, **options)


def ids(batch):
    return batch.example_ids.tolist()


def orders(source, number):
    return [ids(source(step)) for step in range(number)]


def test_the_order_is_a_function_of_the_seed():
    assert orders(batches(), 12) == orders(batches(), 12)
    assert orders(batches(), 12) != orders(batches(seed=2), 12)


def test_the_order_is_a_function_of_the_step_whatever_was_asked_before():
    steps = [ids(batches()(step)) for step in range(20)]  # each asked of a new object, as after a resume
    one = batches()
    assert [ids(one(step)) for step in reversed(range(20))] == steps[::-1]
    assert orders(one, 20) == steps


def test_an_epoch_shows_every_example_at_most_once_and_drops_the_incomplete_batch():
    for epoch in range(3):
        seen = list(itertools.chain(*(ids(batches()(epoch * STEPS_PER_EPOCH + i)) for i in range(STEPS_PER_EPOCH))))
        assert len(seen) == len(set(seen)) == len(EXAMPLES) // BATCH_SIZE * BATCH_SIZE


def test_two_epochs_have_different_orders_and_drop_different_examples():
    first, second = (epoch_batches([1] * 53, batch_size=8, seed=0, epoch=epoch) for epoch in (0, 1))
    assert first != second
    assert set(itertools.chain(*first)) != set(itertools.chain(*second))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_out_the_batch_of_a_step(world_size):
    for step in range(12):
        shares = [ids(batches(rank=rank, world_size=world_size)(step)) for rank in range(world_size)]
        assert {len(share) for share in shares} == {BATCH_SIZE // world_size}
        assert sorted(itertools.chain(*shares)) == sorted(ids(batches()(step)))


LENGTHS = [i * 37 % 101 for i in range(256)]  # all in one bucket


def test_which_examples_share_a_batch_does_not_depend_on_their_lengths():
    assert epoch_batches(LENGTHS, batch_size=8, seed=0, epoch=0) == epoch_batches(
        [1] * 256, batch_size=8, seed=0, epoch=0
    )


@pytest.mark.parametrize(("bucketed", "expected"), [(False, 1 / 19), (True, 1 / 3)])
def test_a_token_weighs_the_same_in_random_batches_and_not_in_bucketed_ones(bucketed, expected):
    # A third of the responses have 5 tokens, the others 45: short ones hold 1/19 of all tokens. A mean over the tokens
    # of each batch gives them about that share of the gradient if batches are mixed, and a third if each is of one
    # length (but for the batches at the borders of the two lengths).
    lengths = [5 if i % 3 == 0 else 45 for i in range(9600)]
    formed = epoch_batches(lengths, batch_size=32, seed=0, epoch=0, bucket_by_length=bucketed)
    shares = [sum(lengths[i] for i in b if lengths[i] == 5) / sum(lengths[i] for i in b) for b in formed]
    assert sum(shares) / len(shares) == pytest.approx(expected, abs=0.02)


def test_a_bucketed_batch_holds_similar_lengths():
    lengths = LENGTHS
    formed = epoch_batches(lengths, batch_size=8, seed=0, epoch=0, bucket_by_length=True)
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in formed]
    assert max(spread) < 20  # sorted: 8 neighbours of 256 values in [0, 101)


def test_validation_sees_every_example_once_also_in_an_incomplete_batch():
    formed = validation_batches(EXAMPLES, batch_size=8, pad_id=0)
    assert sorted(itertools.chain(*map(ids, formed))) == list(range(53))
    assert len(formed[-1]) == 5
