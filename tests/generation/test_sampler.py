import random

import pytest
import torch
from transformers.generation.logits_process import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from amid.generation.decoding import Decoding
from amid.generation.sampler import History, Sampler


def history(tokens, decoding, *, num_response_tokens=0):
    row = History(tokens[: len(tokens) - num_response_tokens], key=(0, "x"), decoding=decoding, budget=100)
    for token in tokens[len(tokens) - num_response_tokens :]:
        row.append(token)
    return row


class Drawn(History):
    """A history whose next uniform number is given."""

    def __init__(self, uniform):
        super().__init__([1], key=(0,), decoding=Decoding(max_new_tokens=1), budget=1)
        self.given = uniform

    def uniform(self):
        return self.given


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_banned_tokens_are_those_of_the_library_on_each_unpadded_row(size):
    decoding = Decoding(max_new_tokens=9, no_repeat_ngram_size=size)
    rng = random.Random(size)
    texts = [[rng.randrange(3) for _ in range(rng.randint(1, 40))] for _ in range(60)]
    rows = [history(text, decoding, num_response_tokens=len(text) // 2) for text in texts]
    logits = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    reference = NoRepeatNGramLogitsProcessor(size)
    expected = torch.cat([reference(torch.tensor([t]), logits[i : i + 1].clone()) for i, t in enumerate(texts)])
    assert torch.isinf(expected).any()
    torch.testing.assert_close(Sampler(decoding).scores(logits, rows), expected, rtol=0, atol=0)


def test_the_penalty_is_that_of_the_library_on_each_unpadded_row():
    decoding = Decoding(max_new_tokens=9, repetition_penalty=1.3)
    rng = random.Random(0)
    texts = [[rng.randrange(30) for _ in range(rng.randint(1, 20))] for _ in range(20)]
    logits = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    reference = RepetitionPenaltyLogitsProcessor(1.3)
    expected = torch.cat([reference(torch.tensor([t]), logits[i : i + 1].clone()) for i, t in enumerate(texts)])
    scores = Sampler(decoding).scores(logits, [history(text, decoding) for text in texts])
    torch.testing.assert_close(scores, expected, rtol=0, atol=0)


def test_controls_apply_in_the_order_of_the_library():
    decoding = Decoding(
        max_new_tokens=9, temperature=0.7, top_k=20, top_p=0.8, repetition_penalty=1.5, no_repeat_ngram_size=2
    )
    rng = random.Random(1)
    texts = [[rng.randrange(40) for _ in range(60)] for _ in range(20)]
    logits = 3 * torch.randn(20, 40, generator=torch.Generator().manual_seed(1))
    processors = [
        RepetitionPenaltyLogitsProcessor(1.5),
        NoRepeatNGramLogitsProcessor(2),
        TemperatureLogitsWarper(0.7),
        TopKLogitsWarper(20),
        TopPLogitsWarper(0.8),
    ]
    expected = logits.clone()
    for processor in processors:
        expected = processor(torch.tensor(texts), expected)
    scores = Sampler(decoding).scores(logits, [history(text, decoding) for text in texts])
    torch.testing.assert_close(scores, expected, rtol=0, atol=0)


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_top_p_keeps_the_smallest_set_of_likeliest_tokens_that_reaches_the_mass(top_p):
    logits = 2 * torch.randn(30, 50, generator=torch.Generator().manual_seed(2))
    rows = [Drawn(0.5) for _ in range(30)]
    kept = Sampler(Decoding(max_new_tokens=1, top_p=top_p)).scores(logits, rows) > -torch.inf
    for probabilities, row_kept in zip(logits.double().softmax(-1), kept, strict=True):
        mass, expected = 0.0, set()
        for token in probabilities.argsort(descending=True).tolist():
            expected.add(token)
            mass += float(probabilities[token])
            if mass >= top_p:
                break
        assert set(row_kept.nonzero()[:, 0].tolist()) == expected


def test_top_k_keeps_the_k_likeliest_tokens():
    logits = torch.randn(30, 50, generator=torch.Generator().manual_seed(2))
    kept = Sampler(Decoding(max_new_tokens=1, top_k=7)).scores(logits, [Drawn(0.5)] * 30) > -torch.inf
    for scores, row_kept in zip(logits, kept, strict=True):
        assert set(row_kept.nonzero()[:, 0].tolist()) == set(scores.argsort(descending=True)[:7].tolist())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_token_is_the_one_whose_interval_of_the_cumulative_distribution_holds_the_number(temperature):
    logits = torch.tensor([[0.3, -1.0, 2.0, 0.0]])
    edges = (logits[0].double() / temperature).softmax(-1).cumsum(-1).tolist()
    sampler = Sampler(Decoding(max_new_tokens=1, temperature=temperature))
    for token in range(4):
        low = edges[token - 1] if token else 0.0
        for uniform in (low + 1e-6, edges[token] - 1e-6):  # float32 exp is good to about 1e-7
            assert sampler.next_tokens(logits, [Drawn(uniform)]) == [token]


def test_a_token_of_probability_zero_is_never_drawn_at_either_end():
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf, -200.0]])
    sampler = Sampler(Decoding(max_new_tokens=1))
    assert sampler.next_tokens(logits, [Drawn(0.0)]) == [1]
    assert sampler.next_tokens(logits, [Drawn(1 - 2**-53)]) == [2]


def test_greedy_ties_go_to_the_lowest_id():
    sampler = Sampler(Decoding(max_new_tokens=1, temperature=0))
    logits = torch.full((2, 1000), -1.0)
    logits[0, [17, 400, 999]] = 5.0
    assert sampler.next_tokens(logits, [Drawn(0.9)] * 2) == [17, 0]


def test_the_logits_are_left_as_they_are():
    decoding = Decoding(max_new_tokens=5, repetition_penalty=2.0, no_repeat_ngram_size=1, top_k=2, temperature=0.5)
    logits = torch.randn(1, 10, generator=torch.Generator().manual_seed(0))
    before = logits.clone()
    Sampler(decoding).next_tokens(logits, [history([1, 2, 3], decoding)])
    torch.testing.assert_close(logits, before, rtol=0, atol=0)


@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_not_finite_are_refused_with_the_key(temperature):
    decoding = Decoding(max_new_tokens=1, temperature=temperature)
    logits = torch.zeros(1, 4)
    logits[0, 2] = torch.nan
    with pytest.raises(ValueError, match=r"key \(0, 'x'\): its largest score is nan.*diverged"):
        Sampler(decoding).next_tokens(logits, [history([1], decoding)])


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_vocabulary_banned_to_the_last_token_is_refused(temperature):
    decoding = Decoding(max_new_tokens=1, temperature=temperature, no_repeat_ngram_size=1)
    with pytest.raises(ValueError, match="largest score is -inf.*no_repeat_ngram_size"):
        Sampler(decoding).next_tokens(torch.zeros(1, 3), [history([0, 1, 2], decoding)])
