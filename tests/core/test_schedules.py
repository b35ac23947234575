import json
import math

import pytest

from amid.core import SCHEDULES, OverlapAdaptive, TaidAdaptive, constant, cosine, linear


def test_linear_and_cosine_hit_both_ends_and_meet_in_the_middle():
    for schedule in (linear(start=-5.0, end=1.0), cosine(start=-5.0, end=1.0)):
        values = []
        for progress in (0.0, 0.5, 1.0):
            schedule.update({"progress": progress})
            values.append(schedule.value())
        assert values == pytest.approx([-5.0, -2.0, 1.0], abs=1e-12)
        assert values[-1] == 1.0


def test_cosine_is_flatter_than_linear_at_the_ends():
    line, bend = linear(start=0.0, end=1.0), cosine(start=0.0, end=1.0)
    for schedule in (line, bend):
        schedule.update({"progress": 0.1})
    assert bend.value() == pytest.approx((1 - math.cos(0.1 * math.pi)) / 2)
    assert bend.value() < line.value()


def test_constant_keeps_infinity():
    schedule = constant(value=-math.inf)
    schedule.update({})
    assert schedule.value() == -math.inf


def test_taid_follows_its_recurrence():
    schedule = TaidAdaptive(t_start=0.4, t_end=1.0, step_size=0.1, momentum=0.9)
    losses = [3.0, 2.0, 2.5, 1.0]
    t, fall, previous = 0.4, 0.0, None
    for step, loss in enumerate(losses):
        progress = step / 100
        if previous is not None:
            fall = 0.9 * fall + 0.1 * (previous - loss) / previous
            t = min(1.0, max(0.4 + 0.6 * progress, t + 0.1 * (1 / (1 + math.exp(-fall))) * (1 - t)))
        previous = loss
        schedule.update({"progress": progress, "assistant_cross_entropy": loss})
        assert schedule.value() == pytest.approx(t, abs=1e-12)


def test_taid_is_never_below_the_line_and_never_above_its_end():
    schedule = TaidAdaptive(t_start=0.4, t_end=0.8, step_size=0.0)
    for step in range(11):
        schedule.update({"progress": step / 10, "assistant_cross_entropy": 1.0})
        if step:
            assert schedule.value() == pytest.approx(0.4 + 0.4 * step / 10)
    quick = TaidAdaptive(t_start=0.4, t_end=0.8, step_size=10.0)
    for step in range(3):
        quick.update({"progress": 0.0, "assistant_cross_entropy": 1.0 - 0.1 * step})
    assert quick.value() == 0.8


def test_taid_survives_a_non_finite_loss():
    schedule = TaidAdaptive()
    for loss in (math.nan, 2.0, math.inf, 1.0):
        schedule.update({"progress": 0.0, "assistant_cross_entropy": loss})
    assert 0.4 < schedule.value() < 0.401


def test_overlap_moves_alpha_between_its_bounds():
    schedule = OverlapAdaptive(at_zero=-5.0, at_full=1.0, momentum=0.5)
    assert schedule.value() == -5.0
    schedule.update({"overlap": 1.0})
    assert schedule.value() == 1.0
    schedule.update({"overlap": 0.0})
    assert schedule.value() == -2.0
    schedule.update({"overlap": math.nan})
    assert schedule.value() == -2.0
    schedule.update({"overlap": 1.0000002})
    assert schedule.value() == pytest.approx(-0.5)


EXAMPLES = {
    "constant": {"value": 0.1},
    "linear": {"start": 0.0, "end": 1.0},
    "cosine": {"start": 0.0, "end": 1.0},
    "taid_adaptive": {},
    "overlap_adaptive": {},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_schedule_continues_exactly(name):
    def signals(step):
        return {"progress": step / 10, "assistant_cross_entropy": 3.0 / (step + 1), "overlap": 0.05 * step}

    undisturbed = SCHEDULES[name](**EXAMPLES[name])
    for step in range(4):
        undisturbed.update(signals(step))
    resumed = SCHEDULES[name](**EXAMPLES[name])
    resumed.load_state_dict(json.loads(json.dumps(undisturbed.state_dict())))
    for step in range(4, 8):
        for schedule in (undisturbed, resumed):
            schedule.update(signals(step))
        assert resumed.value() == undisturbed.value()
        low, high = resumed.bounds()
        assert low <= resumed.value() <= high


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: constant(value=math.nan), "must not be nan"),
        (lambda: linear(start=-math.inf, end=1.0), "start must be finite, got -inf"),
        (lambda: TaidAdaptive(t_start=0.5, t_end=0.4), "0 <= t_start <= t_end <= 1, got t_start 0.5"),
        (lambda: TaidAdaptive(momentum=1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (lambda: linear(start=0.0, end=1.0).update({"progress": 1.5}), r"progress must lie in \[0, 1\], got 1.5"),
        (lambda: OverlapAdaptive().update({"progress": 0.0}), "needs the signal 'overlap'; got"),
    ],
)
def test_bad_schedules_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
