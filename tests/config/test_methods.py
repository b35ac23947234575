"""docs/methods.md against conf/method: every row is a file, every file a row, and says what that file composes."""

import re
from pathlib import Path

import pytest

from amid.config import DivergenceTermCfg, LabelsTermCfg, PolicyGradientTermCfg
from amid.sweep.compose import run_of_overrides

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| `(\w+)` \| ([\d.]+) \| (.+) \|$", re.M)
ROWS = {name: rest for name, *rest in ROW.findall((ROOT / "docs" / "methods.md").read_text())}
# Methods that are more than a divergence with an assistant on a strategy's data; everything else is one YAML file.
WITH_A_PART_OF_THEIR_OWN = {
    "max_ab": "the term `max`",
    "minillm": "the term and the strategy `policy_gradient`",
    "distillm2": "two responses per prompt, and terms by their writer",
}
NAMES = {"ab": "AB(0.2, 0.7)", "kl": "KL", "gjs": "GJS", "akl": "AKL", "bdkd": "both KLs", "csd": "variance"}
NAMES |= {"jeffreys": "KL(p ‖ q) + KL(q ‖ p)", "tv": "L1 distance", "amari": "Amari"}


@pytest.fixture(scope="module")
def methods():
    return {name: run_of_overrides([f"method={name}"]) for name in ROWS}


def test_every_method_is_a_row_and_every_row_a_method():
    assert set(ROWS) == {path.stem for path in (ROOT / "conf" / "method").glob("*.yaml")}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_names_the_data_and_the_pretraining_loss_that_the_method_has(methods, name):
    _, strategy, lm_coef, _ = ROWS[name]
    assert methods[name].strategy.name == strategy
    assert methods[name].objective.lm_coef == float(lm_coef)
    assert methods[name].objective.lm_kd_ratio == (0.5 if name == "minillm" else 0.0)


@pytest.mark.parametrize("name", sorted(set(ROWS) - {"sft", "seqkd"} - set(WITH_A_PART_OF_THEIR_OWN)))
def test_a_row_says_the_divergence_and_the_assistant_of_its_only_term(methods, name):
    loss = ROWS[name][0]
    (term,) = methods[name].terms
    assert isinstance(term, DivergenceTermCfg)
    assert NAMES[term.divergence.name] in loss
    assert ("λ" in loss) == term.has_assistant
    if term.has_assistant:
        assert f"α {term.amid.alpha:g}," in loss
        left, right = term.divergence.order
        assert f"({left} ‖ {right})" in loss
        assert term.is_scheduled("lam") or f"λ {term.amid.lam:g}" in loss
    assert ("detached" in loss) == term.amid.detach_student


def test_sft_and_seqkd_are_the_labels_alone_of_other_text(methods):
    assert methods["sft"].terms == methods["seqkd"].terms == (LabelsTermCfg(1.0),)
    assert {name for name, run in methods.items() if run.corpus.is_written} == {"seqkd", "distillm2"}
    assert methods["seqkd"].corpus.writer == "teacher"


def test_distillm2_is_one_skewed_divergence_for_each_writer(methods):
    run = methods["distillm2"]
    on_student, on_teacher = sorted(run.terms, key=lambda term: term.source)
    assert (on_teacher.source, on_student.source) == ("teacher", "student") == run.corpus.writers
    found = [(term.divergence.order, term.amid.alpha, term.amid.lam, term.amid.detach_student) for term in run.terms]
    assert sorted(found) == [("pr", -1.0, 0.1, False), ("qr", -1.0, 0.9, True)]
    assert run.objective.reduction == "sequence_mean"
    assert (run.corpus.temperature, run.corpus.top_p) == (0.8, 0.95)


def test_minillm_is_a_policy_gradient_and_the_reverse_divergence_at_its_tokens(methods):
    single_step, policy_gradient = methods["minillm"].terms
    assert isinstance(single_step, DivergenceTermCfg)
    assert (single_step.divergence.name, single_step.divergence.order, single_step.has_assistant) == ("kl", "rp", False)
    assert policy_gradient == PolicyGradientTermCfg(1.0, clip_ratio=0.2)
    of_the_repository = {"teacher_share": 0.2, "discount": 0.95, "reward_scale": 0.5, "reward_clip": 100.0, "passes": 4}
    assert {name: getattr(methods["minillm"].strategy, name) for name in of_the_repository} == of_the_repository


def test_methods_of_one_table_differ_in_nothing_but_objective_data_and_pretraining_loss(methods):
    """A fair start: pair, budget, seed and evaluation are those of the defaults."""
    for name, run in methods.items():
        for node in ("pair", "data", "plain_text", "train", "evaluation", "compat", "seed"):
            assert getattr(run, node) == getattr(methods["sft"], node), (name, node)
