"""Composing many jobs at once gives what Hydra gives for each of them."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from amid.config import register, run_config
from amid.errors import RequestError
from amid.sweep.composer import Composer

SCHEDULE = "+amid.alpha_schedule={name: linear, params: {start: 0.0, end: 1.0}}"


@pytest.fixture
def composed(tmp_path):
    """Hydra's composition, and how often it was asked."""
    folders = [f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(register()), version_base="1.3"):
        yield lambda job: compose("config", overrides=[*folders, *job], return_hydra_config=True)


@pytest.mark.parametrize(
    ("jobs", "num_composed"),
    [
        ([(f"seed={i}",) for i in range(1, 9)], 1),
        ([(f"amid.alpha={a}", f"train.lr={lr}") for a in ("null", "-inf", "-5", "0.5") for lr in ("1e-4", "3")], 1),
        # Once for each choice of groups
        ([(f"method={m}", f"train.epochs={n}") for m in ("kd", "gkd", "taid") for n in (1, 2, 3)], 3),
        ([(f"divergence={d}", f"amid.alpha={a}") for d in ("kl", "ab") for a in (-1, 1)], 2),
        # A value above of what a swept one lies in: in the order given, composed each
        ([(f"amid.alpha={a}", SCHEDULE) for a in (1, 2)], 2),
        # What other nodes take their values from is composed each
        ([(f"data.num_train={n}",) for n in (1000, 2000)], 2),
        ([(f"pair.student_sft.lr={lr}",) for lr in (1, 2)], 2),
    ],
)  # fmt: skip
def test_every_job_is_what_hydra_makes_of_it(composed, jobs, num_composed):
    def answer(make, job):
        try:
            return make(job)
        except RequestError as err:
            return str(err)

    composer = Composer(composed, jobs)
    found = [answer(composer, job) for job in jobs]
    assert composer.num_composed <= num_composed + (
        0 if all(not isinstance(each, str) for each in found) else len(jobs)
    )
    assert found == [answer(lambda job: run_config(composed(job)), job) for job in jobs]


def test_a_thousand_seeds_are_composed_once(composed):
    jobs = [(f"seed={i}",) for i in range(1, 1001)]
    composer = Composer(composed, jobs)
    assert [composer(job).seed for job in jobs] == list(range(1, 1001))
    assert composer.num_composed == 1


@pytest.mark.parametrize("bad", ["amid.lam=2", "train.lr=fast", "seed=-1", "amid.lamb=1", "strategy.capacity=0"])
def test_a_bad_value_is_refused_with_the_words_of_the_whole(composed, bad):
    jobs = [("seed=1", bad), ("seed=2", bad.partition("=")[0] + "=1")]
    with pytest.raises((RequestError, HydraException)) as whole:
        run_config(composed(jobs[0]))
    with pytest.raises(type(whole.value)) as caught:
        Composer(composed, jobs)(jobs[0])
    assert str(caught.value) == str(whole.value)


def test_jobs_do_not_share_what_one_of_them_sets(composed):
    jobs = [("amid.alpha=-1",), ("amid.alpha=3",)]
    composer = Composer(composed, jobs)
    first, second = map(composer, jobs)
    assert (first.amid.alpha, second.amid.alpha) == (-1.0, 3.0)
    assert composer(jobs[0]).amid.alpha == -1.0


@pytest.mark.parametrize("value", ["2.5", "true", "null", "two"])
def test_a_plain_value_at_the_top_keeps_its_type(composed, value):
    """Set apart from its node's type, seed=2.5 became a cell of its own."""
    jobs = [("seed=1",), (f"seed={value}",)]
    composer = Composer(composed, jobs)
    assert composer(jobs[0]).seed == 1
    with pytest.raises((RequestError, HydraException)):
        composer(jobs[1])
