"""Every family of the table in docs/families.md: what it says is what happens."""

import copy

import pytest
import torch
from families import FAMILIES, MAIN, documented, folder_of, greedy, greedy_of_transformers, load, outcome_of, steps
from folders import small_tokenizer

from amid.cells.model_reference import has_dropout
from amid.core import Head
from amid.pairs import check_one_tokenizer, output_head
from amid.training.objective import objective_of

CASES = [name if name in MAIN else pytest.param(name, marks=pytest.mark.long) for name in FAMILIES]


@pytest.fixture
def objective(run):
    return objective_of(run.terms, run.compat)


def assert_equal(step, defined):
    assert step.loss == pytest.approx(defined.loss, rel=1e-5)  # float32
    assert set(step.gradients) == set(defined.gradients)
    for name, gradient in step.gradients.items():
        expected = defined.gradients[name]
        # A bias of keys has no gradient but rounding
        assert torch.allclose(gradient, expected, atol=1e-4 * float(expected.abs().max()) + 1e-7), name


def test_the_table_has_every_family_once():
    assert list(documented()) == list(FAMILIES)
    assert set(MAIN) <= set(FAMILIES)


@pytest.mark.parametrize("name", CASES)
def test_a_family_does_what_its_row_says(name, tmp_path, objective):
    folder = folder_of(name, tmp_path)
    found = outcome_of(folder)
    assert found.row(name) == documented()[name]
    if found.trains == "no":
        return
    model, other = load(folder), FAMILIES["llama"].model(seed=9)
    assert greedy(model) == greedy_of_transformers(model)
    step, defined = steps(model, other, objective)
    assert defined.loss > 0.1
    assert_equal(step, defined)
    unread = (
        "expert_bias",
        "correction_bias",
        "vision",
        "multi_modal",
    )  # set by other means; of another part of the model
    weights = {key for key, _ in model.named_parameters() if not any(part in key for part in unread)}
    assert set(step.gradients) == weights
    assert_equal(*steps(copy.deepcopy(other), model, objective))


def test_a_family_whose_logits_are_multiplied_by_their_scale_has_a_head_too(tmp_path):
    head = output_head(load(folder_of("hyperclovax", tmp_path)))
    assert isinstance(head, Head)
    assert head.scale == 4.0


def test_noise_on_a_router_is_drawn_as_dropout_is(tmp_path):
    assert not has_dropout(str(folder_of("mixtral", tmp_path)), None)
    noisy = folder_of("phimoe", tmp_path)
    assert has_dropout(str(noisy), None)


def test_a_teacher_and_a_student_of_two_families_with_one_tokenizer_distil(run, tmp_path, objective):
    tokenizer = small_tokenizer()
    check_one_tokenizer(tokenizer, copy.deepcopy(tokenizer), names=("teacher", "student"), vocab_policy="strict")
    teacher, student = load(folder_of("qwen3_moe", tmp_path)), load(folder_of("gpt2", tmp_path))
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        step, defined = steps(student, teacher, objective)
        assert step.loss == pytest.approx(defined.loss, rel=1e-4)
        losses.append(step.loss)
        optimiser.step()
    assert losses[-1] < 0.8 * losses[0]
