"""How many rounds of how many steps a training has."""

import pytest

from amid.config import TrainCfg, ValidationCfg
from amid.errors import RunError
from amid.training.plan import plan_steps


def planned(num_examples, *, epochs=1, max_steps=None, rounds=None, every_steps=None):
    train = TrainCfg(
        epochs=epochs,
        max_steps=max_steps,
        global_batch_size=10,
        lr=1.0,
        validation=ValidationCfg(rounds=rounds, every_steps=every_steps),
    )
    plan = plan_steps(num_examples, train)
    return plan.rounds, plan.steps_per_round


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, (1, 10)),
        ({"epochs": 3}, (3, 10)),
        ({"rounds": 5}, (5, 2)),
        ({"rounds": 4}, (4, 2)),  # equally long: the last two of ten steps are left out
        ({"rounds": 50}, (10, 1)),
        ({"epochs": 4, "max_steps": 20, "rounds": 10}, (10, 2)),
        ({"every_steps": 3}, (4, 2)),
        ({"every_steps": 5, "rounds": 10}, (2, 5)),
    ],
    ids=str,
)
def test_a_training_is_divided_into_equal_rounds_that_end_with_a_validation(asked, found):
    assert planned(109, **asked) == found


def test_a_pair_validates_at_least_ten_times_with_its_own_budget():
    from amid.sweep.compose import run_of_overrides

    for pair, num_records in (("tiny", 9000), ("smollm2", 9000)):
        assert plan_steps(num_records, run_of_overrides([f"pair={pair}"]).train).rounds >= 10


def test_too_few_examples_are_refused():
    with pytest.raises(RunError, match="9 training examples do not fill one batch of 10"):
        planned(9)
