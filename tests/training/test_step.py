"""One step's sums, without a trainer: equal for every division into micro-batches and ranks."""

import pytest
import torch
from stepping import VOCAB, model, module_of

from amid.core import CrossEntropy, DivergenceTerm, Objective, OverlapAdaptive, TaidAdaptive, constant, kl, signal_means
from amid.data.batch import IGNORE_INDEX, collate
from amid.data.plain_text import plain_batch
from amid.pairs import Pair
from amid.training.optimisation import Optimisation
from amid.training.step import DistillModule, PlainTextLoss

TAID = DivergenceTerm(kl, "rq", constant(value=1.0), TaidAdaptive(), detach_student=True)
OVERLAP = DivergenceTerm(kl, "pr", OverlapAdaptive(), constant(value=0.1))


def batch(lengths):
    """Rows with so many labelled tokens each; 0 gives a row without any."""
    generator = torch.Generator().manual_seed(1)
    sequences = [
        (
            torch.randint(VOCAB, (3,), generator=generator).tolist(),
            torch.randint(VOCAB, (n,), generator=generator).tolist(),
        )
        for n in (max(length, 1) for length in lengths)
    ]
    made = collate(sequences, example_ids=range(len(lengths)), pad_id=0)
    for row, length in enumerate(lengths):
        if length == 0:
            made.labels[row] = IGNORE_INDEX
    return made


def truth(module, rows):
    """Mean over the labelled tokens, from whole logits."""
    with torch.no_grad():
        p, q = (
            one(input_ids=rows.input_ids).logits[rows.labelled].double().softmax(-1)
            for one in (module._teacher[0], module.student)
        )
    if "overlap" in module._objective.signals:
        return torch.minimum(p, q).sum(-1).mean().item()
    r = (0.4 * p.log() + 0.6 * q.log()).softmax(-1)
    return -(r * q.log()).sum(-1).mean().item()


@pytest.mark.parametrize("term", [TAID, OVERLAP], ids=["taid", "overlap"])
@pytest.mark.parametrize("micro_batch_size", [None, 1, 2, 3])
@pytest.mark.parametrize("lengths", [(9, 1, 2, 5), (9, 0, 0, 2, 1)], ids=str)
def test_a_schedules_signal_is_the_token_mean_of_the_step_in_whatever_micro_batches(term, micro_batch_size, lengths):
    module, rows = module_of(Objective((term,)), options={"micro_batch_size": micro_batch_size}), batch(lengths)
    (name,) = module._objective.measured_signals
    total = module._summed_over_ranks(module._accumulate(rows, module._objective))
    assert signal_means(total.signals)[name] == pytest.approx(truth(module, rows), rel=1e-5)
    assert total.num_tokens == sum(lengths)
    assert total.surviving_weight == pytest.approx(1.0)


@pytest.mark.parametrize("term", [TAID, OVERLAP], ids=["taid", "overlap"])
@pytest.mark.parametrize("lengths", [((9, 1), (2, 5)), ((9, 3), (0, 0))], ids=str)
def test_a_schedules_signal_is_the_token_mean_of_all_ranks(term, lengths, monkeypatch):
    modules, rows = [module_of(Objective((term,))) for _ in lengths], [batch(one) for one in lengths]
    rows[1].input_ids.add_(7).remainder_(VOCAB)
    parts = [module._accumulate(own, module._objective) for module, own in zip(modules, rows, strict=True)]
    (name,) = modules[0]._objective.measured_signals
    assert list(parts[0].signals) == list(parts[1].signals), "ranks exchange the same numbers"
    for pair, own in zip(parts, rows, strict=True):
        assert pair.signals[name][1] == int(own.labelled.sum())
    means = [truth(modules[0], own) if own.labelled.any() else 0.0 for own in rows]
    counts = [int(own.labelled.sum()) for own in rows]
    expected = sum(mean * count for mean, count in zip(means, counts, strict=True)) / sum(counts)
    # What the exchange does: adds the rows of numbers.
    sent = [[x for pair in part.signals.values() for x in pair] for part in parts]
    summed = [a + b for a, b in zip(*sent, strict=True)]
    assert signal_means({name: summed})[name] == pytest.approx(expected, rel=1e-5)


def gradient_of(module):
    return torch.cat([weight.grad.flatten().double() for weight in module.student.parameters()])


@pytest.mark.parametrize("micro_batch_size", [None, 1, 2])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_pretraining_loss_is_its_coefficient_times_its_own_formula(micro_batch_size, share):
    chunks = torch.randint(VOCAB, (3, 9), generator=torch.Generator().manual_seed(5))
    terms = (CrossEntropy(weight=1.0 - share), DivergenceTerm(kl, "pr", None, constant(value=0.5), weight=share))
    plain = PlainTextLoss(lambda step: plain_batch(chunks, indices=range(3)), Objective(terms), 0.3)
    module = module_of(Objective((TAID,)), options={"micro_batch_size": micro_batch_size}, plain_text=plain)
    rows = batch((4, 2))
    module._accumulate(rows, module._objective)
    before = gradient_of(module)
    parts = module._add_plain_text(0)
    added = gradient_of(module) - before

    module.student.zero_grad()
    logits = [one(input_ids=chunks[:, :-1]).logits.double() for one in (module.student, module._teacher[0])]
    log_q, p = logits[0].log_softmax(-1), logits[1].detach().softmax(-1)
    labels = -log_q.gather(-1, chunks[:, 1:, None]).mean()
    soft = (p * (p.log() - log_q)).sum(-1).mean()
    expected = 0.3 * ((1.0 - share) * labels + share * soft)
    expected.backward()
    assert parts.loss == pytest.approx(expected.item(), rel=1e-5)
    assert parts.num_tokens == 24
    torch.testing.assert_close(added, gradient_of(module), rtol=1e-3, atol=2e-6)  # a difference of float32 sums


def test_without_a_pretraining_loss_nothing_is_added():
    module = module_of(Objective((TAID,)))
    assert module._add_plain_text(0).num_tokens == 0
    assert all(weight.grad is None for weight in module.student.parameters())


def test_a_pretraining_loss_with_soft_targets_needs_a_teacher():
    soft = Objective((DivergenceTerm(kl, "pr", None, constant(value=0.5)),))
    pair = Pair(None, model(1, 8), tokenizer=None, vocab_size=VOCAB)
    with pytest.raises(ValueError, match="reads a teacher"):
        DistillModule(
            pair,
            Objective((CrossEntropy(),)),
            Optimisation(total_steps=1, lr=1e-3),
            plain_text=PlainTextLoss(lambda step: batch((1,)), soft, 1.0),
        )


def test_the_counts_of_a_round_are_in_the_checkpoint():
    module, checkpoint = module_of(Objective((OVERLAP,))), {}
    module._epoch_positions, module._epoch_nonfinite = 40, 7
    module.on_save_checkpoint(checkpoint)
    resumed = module_of(Objective((OVERLAP,)))
    resumed.on_load_checkpoint(checkpoint)
    assert (resumed._epoch_positions, resumed._epoch_nonfinite) == (40, 7)
