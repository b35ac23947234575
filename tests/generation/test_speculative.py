"""Interleaved sampling against a loop without cache or batch, and against `generate` where the two must agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from amid.generation.decoding import Decoding
from amid.generation.engine import generate
from amid.generation.sampler import History, Sampler
from amid.generation.speculative import Interleaving, generate_speculative

VOCAB, EOS = 61, 0
STUDENT = Decoding(max_new_tokens=17, temperature=0.9, top_p=0.9)
TEACHER = Decoding(max_new_tokens=17, temperature=0.7, top_p=0.8)


def gpt2(seed: int, **changed: int) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 64, "vocab_size": VOCAB, **changed}
    model = GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=0.6, bos_token_id=EOS, eos_token_id=EOS))
    return model.eval()


def llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=VOCAB,
        max_position_embeddings=64,
        initializer_range=0.6,
        pad_token_id=EOS,
    )
    return LlamaForCausalLM(config).eval()


PROMPTS = [[5, 6, 7, 8], [9], [3, EOS, 4], [11, 12], [EOS], [7] * 20, [13, 14, 15]]
KEYS = [(1, "test", index) for index in range(len(PROMPTS))]


def interleaving(**changed: object) -> Interleaving:
    return dataclasses.replace(Interleaving(STUDENT, TEACHER, num_proposed=5, accept_top_k=6), **changed)


def written(student: torch.nn.Module, teacher: torch.nn.Module, how: Interleaving, *, batch_size: int = 4) -> list:
    return generate_speculative(
        student,
        teacher,
        PROMPTS,
        keys=KEYS,
        interleaving=how,
        eos_id=EOS,
        vocab_size=VOCAB,
        batch_size=batch_size,
    )


@torch.no_grad()
def plainly(student: torch.nn.Module, teacher: torch.nn.Module, prompt: list[int], key: tuple, how: Interleaving):
    """One row, every pass over the whole text, as the algorithm is written down."""
    longest = how.student.max_new_tokens
    streams = {
        name: History(prompt, key=(*key, name), decoding=decoding, budget=longest + how.num_proposed)
        for name, decoding in (("student", how.student), ("teacher", how.teacher), ("tester", how.student))
    }
    samplers = {name: Sampler(how.teacher if name == "teacher" else how.student) for name in streams}

    def draw(name: str, model: torch.nn.Module, text: list[int]) -> int:
        history = streams[name]
        history.tokens[:] = text
        return samplers[name].next_tokens(model(torch.tensor([text])).logits[:, -1], [history])[0]

    text = list(prompt)
    while len(text) - len(prompt) < longest:
        proposal, tested = list(text), []
        for _ in range(how.num_proposed):
            token = draw("student", student, proposal)
            tested.append(draw("tester", student, proposal) if how.fresh_test else token)
            proposal.append(token)
        for place, token in enumerate(tested):
            before = proposal[: len(text)]
            likely = teacher(torch.tensor([before])).logits[0, -1].topk(how.accept_top_k).indices.tolist()
            accepted = token in likely
            text = [*before, proposal[len(text)] if accepted else draw("teacher", teacher, before)]
            if text[-1] == EOS:
                return tuple(text[len(prompt) :]), True
            if not accepted or place == how.num_proposed - 1 or len(text) - len(prompt) == longest:
                break
    return tuple(text[len(prompt) :]), False


@pytest.mark.parametrize("family", [gpt2, llama])
@pytest.mark.parametrize("changed", [{}, {"accept_top_k": 1}, {"num_proposed": 1}, {"fresh_test": True}])
def test_the_text_is_that_of_the_algorithm_without_cache_or_batch(family, changed) -> None:
    student, teacher = family(9), family(10)
    how = interleaving(**changed)
    expected = [plainly(student, teacher, p, k, how) for p, k in zip(PROMPTS, KEYS, strict=True)]
    assert [(c.token_ids, c.ended) for c in written(student, teacher, how)] == expected
    assert {ended for _, ended in expected} == {True, False}, "the prompts cover both ways to end"


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_the_text_does_not_depend_on_the_batch(batch_size: int) -> None:
    student, teacher = gpt2(1), gpt2(2)
    assert written(student, teacher, interleaving(), batch_size=batch_size) == written(student, teacher, interleaving())


def test_a_teacher_that_accepts_everything_leaves_the_students_own_sample() -> None:
    student, teacher = gpt2(1), gpt2(2)
    alone = generate(
        student,
        PROMPTS,
        keys=[(*key, "student") for key in KEYS],
        decoding=STUDENT,
        eos_id=EOS,
        batch_size=4,
    )
    assert written(student, teacher, interleaving(accept_top_k=VOCAB)) == alone


def test_a_teacher_that_accepts_only_its_own_choice_and_is_greedy_writes_the_text_itself() -> None:
    student, teacher = gpt2(1), gpt2(2)
    greedy = dataclasses.replace(TEACHER, temperature=0.0, top_p=1.0)
    alone = generate(teacher, PROMPTS, keys=KEYS, decoding=greedy, eos_id=EOS, batch_size=4)
    assert written(student, teacher, interleaving(accept_top_k=1, teacher=greedy)) == alone


def test_testing_a_fresh_draw_writes_another_text_than_testing_the_proposed_token() -> None:
    student, teacher = gpt2(1), gpt2(2)
    how = interleaving(accept_top_k=20)
    assert written(student, teacher, how) != written(student, teacher, dataclasses.replace(how, fresh_test=True))


def test_no_token_lies_beyond_the_shared_vocabulary_of_two_widths() -> None:
    student, teacher = gpt2(1, vocab_size=VOCAB + 30), gpt2(2, vocab_size=VOCAB + 9)
    for completion in written(student, teacher, interleaving()):
        assert max(completion.token_ids) < VOCAB


def test_a_text_fills_the_models_last_position_and_no_more() -> None:
    student, teacher = gpt2(1, n_positions=24), gpt2(2, n_positions=24)
    completions = generate_speculative(
        student,
        teacher,
        [[5] * 21, [6] * 24, [7] * 7],
        keys=KEYS[:3],
        interleaving=interleaving(),
        eos_id=EOS,
        vocab_size=VOCAB,
        batch_size=3,
        max_length=24,
    )
    assert len(completions[0].token_ids) <= 3
    assert completions[1].token_ids == () and not completions[1].ended
    assert len(completions[2].token_ids) <= 17


def test_a_sliding_window_is_refused() -> None:
    student, teacher = gpt2(1), gpt2(2)
    teacher.config.layer_types = ["sliding_attention", "full_attention"]
    with pytest.raises(ValueError, match="sliding windows"):
        written(student, teacher, interleaving())


def test_modes_are_restored_and_the_global_random_state_is_untouched() -> None:
    student, teacher = gpt2(1).train(), gpt2(2)
    before = torch.get_rng_state()
    written(student, teacher, interleaving())
    assert student.training and not teacher.training
    assert torch.equal(before, torch.get_rng_state())


def spelled(ids: Sequence[int]) -> str:
    """Tokens as letters, for stop strings; EOS is nothing, as special tokens are."""
    return "".join(chr(ord("A") + token) for token in ids if token != EOS)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("length", [1, 2])
def test_a_text_ends_with_the_token_that_completes_a_stop_string_and_is_the_same_until_there(
    batch_size: int, length: int
) -> None:
    student, teacher = gpt2(9), gpt2(10)
    free = written(student, teacher, interleaving())
    stop = spelled(free[0].token_ids[3 : 3 + length])
    how = interleaving(student=dataclasses.replace(STUDENT, stop=(stop,)))
    stopped = generate_speculative(
        student,
        teacher,
        PROMPTS,
        keys=KEYS,
        interleaving=how,
        eos_id=EOS,
        vocab_size=VOCAB,
        batch_size=batch_size,
        decode=spelled,
    )
    for before, after in zip(free, stopped, strict=True):
        place = spelled(before.token_ids).find(stop)
        expected = before.token_ids if place < 0 else before.token_ids[: place + length]
        assert after.token_ids == expected
        assert after.stopped == (place >= 0)
    assert stopped[0].stopped


def test_a_text_ends_with_any_token_that_ends_one() -> None:
    student, teacher = gpt2(9), gpt2(10)
    free = written(student, teacher, interleaving())
    other = free[0].token_ids[3]
    ended = generate_speculative(
        student,
        teacher,
        PROMPTS,
        keys=KEYS,
        interleaving=interleaving(),
        eos_id=EOS,
        vocab_size=VOCAB,
        batch_size=4,
        other_eos_ids=[other],
    )
    assert ended[0].ended and ended[0].token_ids == free[0].token_ids[: free[0].token_ids.index(other) + 1]


def test_the_teacher_has_no_stop_strings_of_its_own_and_they_need_a_decoder() -> None:
    with pytest.raises(ValueError, match=r"the student's \[\]; got of the teacher \['x'\]"):
        interleaving(teacher=dataclasses.replace(TEACHER, stop=("x",)))
    with pytest.raises(ValueError, match="needs `decode`"):
        written(gpt2(1), gpt2(2), interleaving(student=dataclasses.replace(STUDENT, stop=("x",))))
