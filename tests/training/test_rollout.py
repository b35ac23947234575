"""Text written while training, and how it is labelled: empty, endless, at the limits, with pad equal to EOS."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from amid.data.batch import IGNORE_INDEX, SOURCES, Batch, collate, collate_unshifted
from amid.generation.decoding import Decoding
from amid.generation.speculative import Interleaving
from amid.pairs import Pair
from amid.strategies import STUDENT_LOG_PROB, TEACHER_LOG_PROB
from amid.training.rollout import Rollout

EOS, VOCAB, LIMIT = 0, 31, 12


def model(*, favourite: int | None = None, seed: int = 1) -> GPT2LMHeadModel:
    """A small model; with `favourite` it writes nothing but this token."""
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=1, n_embd=8, n_head=2, n_positions=32, vocab_size=VOCAB, bos_token_id=EOS, eos_token_id=EOS
    )
    found = GPT2LMHeadModel(config).eval()
    if favourite is not None:
        found.config.tie_word_embeddings = False
        found.lm_head = torch.nn.Linear(8, VOCAB)
        with torch.no_grad():
            found.lm_head.weight.zero_()
            found.lm_head.bias.fill_(-1e4)
            found.lm_head.bias[favourite] = 0.0
    return found


def rollout(student: GPT2LMHeadModel, **changed: Any) -> Rollout:
    decoding = Decoding(max_new_tokens=6)
    options = {
        "decoding": decoding,
        "interleaving": Interleaving(decoding, decoding, num_proposed=3, accept_top_k=VOCAB),
        "seed": 4,
        "eos_id": EOS,
        "batch_size": 8,
        "max_tokens": LIMIT,
        "unshifted_labels": False,
    }
    pair = Pair(teacher=model(seed=2), student=student, tokenizer=None, vocab_size=VOCAB)  # type: ignore[arg-type]
    return Rollout(pair, **{**options, **changed})


def gold(*prompts: tuple[int, ...]) -> Batch:
    return collate([(prompt, (1, EOS)) for prompt in prompts], example_ids=list(range(len(prompts))), pad_id=EOS)


def labels(batch: Batch) -> list[list[int]]:
    """The labels of each row that count."""
    return [row[mask].tolist() for row, mask in zip(batch.labels, batch.labelled, strict=True)]


@pytest.mark.parametrize("policy", ["student", "speculative"])
def test_a_response_that_ends_at_once_is_labelled_with_its_eos(policy: str) -> None:
    written = rollout(model(favourite=EOS))(gold((5, 6), (7,)), policy=policy, step=0)
    assert labels(written) == [[EOS], [EOS]]
    assert written.attention_mask.sum(dim=1).tolist() == [2, 1]


@pytest.mark.parametrize("policy", ["student", "speculative"])
def test_a_response_that_never_ends_is_cut_and_has_no_eos(policy: str) -> None:
    roll = rollout(model(favourite=9))
    assert labels(roll(gold((5, 6)), policy=policy, step=0)) == [[9] * 6]
    measures = roll.measures(seconds=1.0)
    assert measures["strategy/generation_ended_share"] == 0.0
    assert measures["strategy/generation_response_tokens"] == 6.0


@pytest.mark.parametrize("policy", ["student", "speculative"])
def test_a_prompt_at_the_length_limit_gets_an_empty_response_without_a_label(policy: str) -> None:
    full, short = tuple(range(1, LIMIT + 1)), (3,)
    written = rollout(model(favourite=9))(gold(full, short), policy=policy, step=0)
    assert labels(written) == [[], [9] * 6]
    assert written.prompts() == [list(full), list(short)]


def test_a_prompt_one_below_the_limit_gets_one_token() -> None:
    written = rollout(model(favourite=9))(gold(tuple(range(1, LIMIT))), policy="student", step=0)
    assert labels(written) == [[9]]


@pytest.mark.parametrize("policy", ["student", "speculative"])
def test_a_prompt_of_special_tokens_only_is_a_prompt_like_any_other(policy: str) -> None:
    written = rollout(model(favourite=9))(gold((EOS, EOS, EOS)), policy=policy, step=0)
    assert written.prompts() == [[EOS, EOS, EOS]]
    assert labels(written) == [[9] * 6]


def test_eos_in_prompt_and_response_counts_although_it_is_the_padding_too() -> None:
    batch = collate([((EOS, 5), (6, EOS)), ((5,), (EOS,))], example_ids=[0, 1], pad_id=EOS, source="fresh")
    assert batch.attention_mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.labels.tolist() == [[IGNORE_INDEX, 6, EOS], [EOS, IGNORE_INDEX, IGNORE_INDEX]]


def test_a_text_depends_on_seed_step_and_example_and_not_on_its_batch() -> None:
    roll = rollout(model())
    prompts = ((5, 6), (7,), (8, 9, 10))
    together = labels(roll(gold(*prompts), policy="student", step=3))
    order = [2, 0, 1]
    shuffled = collate([(prompts[i], (1, EOS)) for i in order], example_ids=order, pad_id=EOS)
    apart = labels(rollout(model(), batch_size=1)(shuffled, policy="student", step=3))
    assert [apart[order.index(i)] for i in range(3)] == together
    assert labels(roll(gold(*prompts), policy="student", step=4)) != together
    assert labels(rollout(model(), seed=5)(gold(*prompts), policy="student", step=3)) != together


def test_the_references_labels_skip_the_first_token_and_train_the_prediction_after_the_last() -> None:
    batch = collate_unshifted([((1, 2), (3, 4)), ((5,), ())], example_ids=[0, 1], pad_id=EOS, source="fresh")
    assert batch.input_ids.tolist() == [[1, 2, 3, 4], [5, EOS, EOS, EOS]]
    assert batch.labels.tolist() == [[IGNORE_INDEX, IGNORE_INDEX, 3, 4], [IGNORE_INDEX] * 4]


def test_the_references_labels_never_hold_eos() -> None:
    written = rollout(model(favourite=EOS), unshifted_labels=True)(gold((5, 6)), policy="student", step=0)
    assert labels(written) == [[]]
    assert SOURCES[int(written.source[0])] == "fresh"


@pytest.mark.parametrize("policy", ["student", "speculative"])
def test_a_student_writes_no_token_that_the_teacher_lacks(policy: str) -> None:
    roll = rollout(model(favourite=VOCAB - 1))
    roll._pair = dataclasses.replace(roll._pair, vocab_size=VOCAB - 1)
    written = roll(gold((5, 6), (7,)), policy=policy, step=0)
    assert int(written.input_ids.max()) < VOCAB - 1
    assert int(written.labels.max()) < VOCAB - 1


class Letters:
    """A tokenizer as far as stop strings ask for one: token 1 is A, token 2 is B, ...; EOS is nothing."""

    @staticmethod
    def decode(ids: list[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(chr(ord("@") + token) for token in ids if token != EOS)


@pytest.mark.parametrize("policy", ["student", "speculative"])
def test_a_response_ends_at_a_stop_string_whose_last_token_is_labelled(policy: str) -> None:
    decoding = Decoding(max_new_tokens=6, stop=("II",))
    both = Interleaving(decoding, Decoding(max_new_tokens=6), num_proposed=3, accept_top_k=VOCAB)
    roll = rollout(model(favourite=9), decoding=decoding, interleaving=both)
    roll._pair = dataclasses.replace(roll._pair, tokenizer=Letters())
    assert labels(roll(gold((5, 6), (7,)), policy=policy, step=0)) == [[9, 9], [9, 9]]
    assert roll.measures(seconds=1.0)["strategy/generation_ended_share"] == 1.0


@pytest.mark.parametrize("policy", ["student", "speculative"])
@pytest.mark.parametrize(("chat", "expected"), [(True, [[9]]), (False, [[9] * 6])])
def test_in_a_chat_the_end_of_a_turn_ends_a_response(policy: str, chat: bool, expected: list[list[int]]) -> None:
    student = model(favourite=9)
    assert student.generation_config is not None
    student.generation_config.eos_token_id = [EOS, 9]
    assert labels(rollout(student, chat=chat)(gold((5, 6)), policy=policy, step=0)) == expected


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_mixture_keeps_what_both_models_say_of_every_token_it_wrote(batch_size: int) -> None:
    student, prompts = model(), gold((5, 6), (7,), (8, 9, 10))
    roll = rollout(student, teacher_share=0.4, batch_size=batch_size)
    teacher = roll._pair.teacher
    assert teacher is not None
    for weight in (*student.parameters(), *teacher.parameters()):
        weight.data.mul_(8.0)  # else both are nearly uniform, and say the same
    student.train()
    written = roll(prompts, policy="mixture", step=0)
    assert student.training, "it goes on training"
    for name, each in ((TEACHER_LOG_PROB, teacher), (STUDENT_LOG_PROB, student.eval())):
        with torch.no_grad():
            whole = each(input_ids=written.input_ids).logits.log_softmax(-1)
        expected = whole.gather(-1, written.labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(written.inputs[name], expected.masked_fill(~written.labelled, 0.0))
    assert labels(rollout(student)(prompts, policy="student", step=0)) != labels(written)


def test_a_prompt_that_is_asked_twice_is_answered_twice() -> None:
    twice = dataclasses.replace(gold((5, 6), (5, 6), (7,)), example_ids=torch.tensor([4, 4, 5]))
    first, second, _ = labels(rollout(model())(twice, policy="student", step=0))
    alone = dataclasses.replace(gold((5, 6)), example_ids=torch.tensor([4]))
    assert first == labels(rollout(model())(alone, policy="student", step=0))[0], "the first as if it were alone"
    assert second != first
