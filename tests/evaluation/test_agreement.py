"""A student beside its teacher on held-out tokens: closed forms, and what names the numbers."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from amid.data.batch import collate
from amid.evaluation.agreement import Agreement, agreement, agreement_scores
from amid.evaluation.protocol import Protocol

VOCAB = 7


class Table(nn.Module):
    """A model whose logits depend on the last token alone."""

    def __init__(self, seed, width=VOCAB):
        super().__init__()
        self.table = nn.Parameter(2.0 * torch.randn(VOCAB, width, generator=torch.Generator().manual_seed(seed)))

    def forward(self, input_ids, use_cache):
        assert not use_cache
        return SimpleNamespace(logits=self.table[input_ids])


def batches(*lengths):
    return [
        collate([([1, 2], [3 + index % 4] * length)], example_ids=[index], pad_id=0)
        for index, length in enumerate(lengths)
    ]


def test_the_mean_is_over_tokens_and_that_of_the_formula():
    teacher, student = Table(0), Table(1)
    found = agreement(teacher, student, batches(3, 1, 5), vocab_size=VOCAB)
    kls, equal = [], []
    for batch in batches(3, 1, 5):
        for token in batch.input_ids[batch.labelled].tolist():
            p, q = (model.table[token].detach().double().softmax(-1) for model in (teacher, student))
            kls.append(float((p * (p / q).log()).sum()))
            equal.append(int(p.argmax()) == int(q.argmax()))
    assert len(kls) == 9
    assert found.kl == pytest.approx(sum(kls) / 9, rel=1e-5)
    assert found.top1 == pytest.approx(100 * sum(equal) / 9)
    assert found.kl > 0.1


def test_a_teacher_agrees_with_itself():
    teacher = Table(0)
    assert agreement(teacher, copy.deepcopy(teacher), batches(4), vocab_size=VOCAB) == Agreement(kl=0.0, top1=100.0)


def test_a_wider_head_is_compared_on_what_both_have_and_zero_mass_adds_nothing():
    teacher, student = Table(0), Table(1, width=VOCAB + 3)
    with torch.no_grad():
        teacher.table[:, 0] = -torch.inf
    found = agreement(teacher, student, batches(6), vocab_size=VOCAB)
    assert 0.0 < found.kl < 100.0


def test_both_models_are_in_eval_mode():
    teacher, student = Table(0).train(), Table(1).train()
    agreement(teacher, student, batches(1), vocab_size=VOCAB)
    assert not teacher.training
    assert not student.training


def test_the_numbers_are_named_by_model_teacher_and_text_and_not_by_how_validation_texts_are_written():
    protocol = Protocol(sets={}, validation={"data": {"a": 1}, "num_examples": 4, "seed": 10}, teacher="t" * 12)
    compared = protocol.comparison_id("c" * 12)
    assert replace(protocol, validation={**protocol.validation, "seed": 11}).comparison_id("c" * 12) == compared
    others = (
        replace(protocol, teacher="u" * 12).comparison_id("c" * 12),
        replace(protocol, validation={**protocol.validation, "num_examples": 5}).comparison_id("c" * 12),
        protocol.comparison_id("d" * 12),
        protocol.validation_id("c" * 12),
    )
    assert compared not in others
    scores = agreement_scores(protocol, entry_id="c" * 12, found=Agreement(0.5, 80.0), num_samples=4)
    assert {score.metric: score.value for score in scores} == {"teacher_kl": 0.5, "teacher_top1": 80.0}
    assert {score.score_id for score in scores} <= protocol.expected("c" * 12)
    assert len(protocol.expected("c" * 12)) == len(replace(protocol, teacher=None).expected("c" * 12)) + 2
