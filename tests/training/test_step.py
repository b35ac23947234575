"""One step's sums, without a trainer: equal for every division into micro-batches and ranks."""

from types import SimpleNamespace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from amid.core import DivergenceTerm, Objective, OverlapAdaptive, TaidAdaptive, constant, kl, signal_means
from amid.data.batch import IGNORE_INDEX, collate
from amid.pairs import Pair
from amid.training.optimisation import Optimisation
from amid.training.step import DistillModule, StepOptions

VOCAB = 50
TAID = DivergenceTerm(kl, "rq", constant(value=1.0), TaidAdaptive(), detach_student=True)
OVERLAP = DivergenceTerm(kl, "pr", OverlapAdaptive(), constant(value=0.1))


def model(seed, width):
    torch.manual_seed(seed)
    made = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_positions=32, n_embd=width, n_layer=1, n_head=2))
    for weight in made.parameters():
        weight.data.mul_(6.0)
    return made.eval()


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


def module_of(term, *, micro_batch_size=None):
    module = DistillModule(
        Pair(model(0, 16), model(1, 8), tokenizer=None, vocab_size=VOCAB),
        Objective((term,)),
        Optimisation(total_steps=1, lr=1e-3),
        options=StepOptions(micro_batch_size=micro_batch_size),
    )
    module._trainer = SimpleNamespace(world_size=1, strategy=None)
    module.manual_backward = lambda loss: loss.backward()
    module.on_fit_start()
    module.student.eval()
    return module


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
    module, rows = module_of(term, micro_batch_size=micro_batch_size), batch(lengths)
    (name,) = module._objective.measured_signals
    total = module._summed_over_ranks(module._accumulate(rows))
    assert signal_means(total.signals)[name] == pytest.approx(truth(module, rows), rel=1e-5)
    assert total.num_tokens == sum(lengths)
    assert total.surviving_weight == pytest.approx(1.0)


@pytest.mark.parametrize("term", [TAID, OVERLAP], ids=["taid", "overlap"])
@pytest.mark.parametrize("lengths", [((9, 1), (2, 5)), ((9, 3), (0, 0))], ids=str)
def test_a_schedules_signal_is_the_token_mean_of_all_ranks(term, lengths, monkeypatch):
    modules, rows = [module_of(term) for _ in lengths], [batch(one) for one in lengths]
    rows[1].input_ids.add_(7).remainder_(VOCAB)
    parts = [module._accumulate(own) for module, own in zip(modules, rows, strict=True)]
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


def test_the_counts_of_a_round_are_in_the_checkpoint():
    module, checkpoint = module_of(OVERLAP), {}
    module._epoch_positions, module._epoch_nonfinite = 40, 7
    module.on_save_checkpoint(checkpoint)
    resumed = module_of(OVERLAP)
    resumed.on_load_checkpoint(checkpoint)
    assert (resumed._epoch_positions, resumed._epoch_nonfinite) == (40, 7)
