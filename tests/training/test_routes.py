"""Terms that are taken over the responses of one writer, each with a mean of its own; DistiLLM-2 by its own formula."""

from dataclasses import replace

import pytest
import torch
from stepping import VOCAB, module_of

from amid.core import CrossEntropy, DivergenceTerm, Objective, constant, kl
from amid.data.batch import IGNORE_INDEX, SOURCES, collate
from amid.sweep.compose import run_of_overrides
from amid.training.objective import objective_of
from amid.training.routes import objectives_by_source


def batch(lengths, sources):
    generator = torch.Generator().manual_seed(1)
    rows = [tuple(torch.randint(VOCAB, (n,), generator=generator).tolist() for n in (3, length)) for length in lengths]
    return collate(rows, example_ids=range(len(rows)), pad_id=0, source=sources)


def gradient_of(module):
    return torch.cat([weight.grad.flatten().double() for weight in module.student.parameters()])


def distillm2(module, rows):
    """Ko et al. 2025 with b = 1: the mean over sequences of their token means, in float64 on whole logits."""
    student, teacher = module.student, module._teacher[0]
    parts = {"teacher": [], "student": []}
    for i, length in enumerate(rows.attention_mask.sum(dim=1).tolist()):
        ids, labelled = rows.input_ids[i : i + 1, :length], rows.labelled[i, :length]
        q = student(input_ids=ids).logits[0, labelled].double().softmax(-1)
        p = teacher(input_ids=ids).logits[0, labelled].double().softmax(-1).detach()
        source = SOURCES[int(rows.source[i])]
        if source == "teacher":
            value = (p * (p.log() - (0.1 * p + 0.9 * q).log())).sum(-1)
        else:
            value = (q * (q.log() - (0.9 * p + 0.1 * q.detach()).log())).sum(-1)
        parts[source].append(value.mean())
    return sum(torch.stack(values).mean() for values in parts.values() if values)


@pytest.mark.parametrize("micro_batch_size", [None, 1, 2, 3])
@pytest.mark.parametrize(
    "sources", [("teacher", "student") * 2, ("teacher", "student", "student", "student"), ("student",) * 4], ids=str
)
def test_distillm2_gives_the_loss_and_the_gradient_of_its_own_formula(micro_batch_size, sources):
    run = run_of_overrides(["method=distillm2"])
    objective = objective_of(run.terms, run.compat)
    writers = tuple(term.source for term in run.terms)
    options = {"micro_batch_size": micro_batch_size, "reduction": "sequence_mean"}
    module, rows = module_of(objective, options=options, sources=writers), batch((9, 2, 1, 5), sources)
    total = module._accumulate_all(rows)
    found = gradient_of(module)
    module.student.zero_grad()
    expected = distillm2(module, rows)
    expected.backward()
    assert total.loss == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(found, gradient_of(module), rtol=1e-3, atol=2e-6)
    assert total.num_tokens == 17
    assert total.weight == pytest.approx(len(set(sources)))


def test_a_term_of_all_responses_stands_beside_one_of_a_writers():
    """Labels of gold responses, a divergence on everything."""
    divergence = DivergenceTerm(kl, "pr", None, constant(value=0.5))
    objective, rows = Objective((CrossEntropy(), divergence)), batch((4, 2), ("gold", "fresh"))
    both = module_of(objective, sources=("gold", None))
    total = both._accumulate_all(rows)
    alone = []
    for term, part in ((CrossEntropy(), rows.written_by("gold")), (divergence, rows)):
        module = module_of(Objective((term,)))
        alone.append((module._accumulate_all(part), gradient_of(module)))
    assert total.loss == pytest.approx(sum(parts.loss for parts, _ in alone), rel=1e-6)
    torch.testing.assert_close(gradient_of(both), sum(gradient for _, gradient in alone), rtol=1e-5, atol=1e-7)


def test_without_a_writer_a_batch_has_one_row_that_says_nothing():
    rows = batch((4, 2), ("teacher", "replayed"))
    assert rows.written_by("student").example_ids.tolist() == [1], "what is replayed is the student's"
    assert rows.written_by("student").input_ids.shape[1] == 4, "cut to its own width: three of the prompt, one response"
    none = rows.written_by("gold")
    assert (len(none), int(none.labelled.sum())) == (1, 0)
    assert bool((rows.labels[0] != IGNORE_INDEX).any()), "the batch itself is as it was"
    whole = replace(rows, source=torch.full_like(rows.source, SOURCES.index("student")))
    torch.testing.assert_close(whole.written_by("student").input_ids, rows.input_ids)


def test_as_many_sources_as_terms():
    with pytest.raises(ValueError, match="zip"):
        objectives_by_source(Objective((CrossEntropy(),)), ("gold", "student"))
