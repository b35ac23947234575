"""What a training uses up: sums over ranks, and what an older checkpoint lacks."""

from amid.training.spent import Spent, over_ranks


def test_ranks_share_their_steps_and_add_up_their_tokens():
    one = Spent(steps=5, generated_steps=2, student_tokens=10, teacher_calls=3, peak_memory_mb=7.0)
    other = Spent(steps=5, generated_steps=2, student_tokens=20, generation_seconds=1.5, peak_memory_mb=9.0)
    total = over_ranks([one, other])
    assert (total.steps, total.generated_steps, total.student_tokens, total.teacher_calls) == (5, 2, 30, 3)
    assert (total.generation_seconds, total.peak_memory_mb) == (1.5, 9.0)
    assert total.devices == 2


def test_a_checkpoint_without_sums_begins_at_nothing_and_one_with_more_is_read():
    assert Spent.of_state(None) == Spent()
    spent = Spent(steps=3, teacher_tokens=4)
    assert Spent.of_state({**spent.state_dict(), "of_a_later_version": 1}) == spent
