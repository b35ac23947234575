from pathlib import Path

import pytest
import torch
import yaml
from transformers import GPT2Config, GPT2LMHeadModel

from amid import AmidLoss
from amid.core import NAMED_DIVERGENCES, Head, ab, dense_objective, tv

ROOT = Path(__file__).resolve().parents[2]


def batch(*, width=12, teacher_width=12):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(2, 5, 6, generator=generator).requires_grad_()
    teacher = torch.randn(2, 5, 8, generator=generator)
    student_head = torch.nn.Linear(6, width)
    teacher_head = torch.nn.Linear(8, teacher_width, bias=False)
    labels = torch.randint(10, (2, 5), generator=generator)
    labels[0, :2] = -100
    return student, teacher, student_head, teacher_head, labels


def expected(amid_loss, student, teacher, student_head, teacher_head, labels, vocab_size=12):
    mask = labels != -100
    count = int(mask.sum())
    return dense_objective(
        student_head(student)[mask],
        teacher_head(teacher)[mask],
        amid_loss.objective,
        labels=labels[mask],
        token_weights=torch.full((count,), 1 / count),
        vocab_size=vocab_size,
    ).loss


@pytest.mark.parametrize("settings", [{}, {"divergence": "kl", "alpha": None}, {"cross_entropy_weight": 0.5}])
def test_logits_and_hidden_states_give_the_mean_over_labelled_tokens(settings):
    student, teacher, student_head, teacher_head, labels = batch()
    amid_loss = AmidLoss(**settings)
    true = expected(amid_loss, student, teacher, student_head, teacher_head, labels)
    from_logits = amid_loss(student_head(student), teacher_head(teacher), labels)
    from_hidden = amid_loss(student, teacher, labels, student_head=student_head, teacher_head=teacher_head)
    torch.testing.assert_close(from_logits, true)
    torch.testing.assert_close(from_hidden, true)
    gradients = [torch.autograd.grad(x, student_head.weight)[0] for x in (true, from_logits, from_hidden)]
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(gradients[2], gradients[0], atol=1e-6, rtol=1e-4)


def test_shifted_labels_score_each_position_by_the_next_token():
    student, teacher, student_head, teacher_head, labels = batch()
    z, t = student_head(student), teacher_head(teacher)
    ids = torch.cat([torch.zeros(2, 1, dtype=torch.int64), labels], dim=1)
    padded = [torch.cat([x, torch.full((2, 1, 12), 9.0)], dim=1) for x in (z, t)]
    settings = {"cross_entropy_weight": 1.0}
    torch.testing.assert_close(
        AmidLoss(shift_labels=True, **settings)(*padded, ids), AmidLoss(**settings)(z, t, labels)
    )


def test_micro_batches_with_the_global_count_add_up_to_the_whole():
    student, teacher, student_head, teacher_head, labels = batch()
    z, t = student_head(student), teacher_head(teacher)
    amid_loss = AmidLoss()
    count = int((labels != -100).sum())
    parts = [amid_loss(z[i : i + 1], t[i : i + 1], labels[i : i + 1], num_labelled=count) for i in range(2)]
    torch.testing.assert_close(parts[0] + parts[1], amid_loss(z, t, labels))


def test_a_batch_without_labels_gives_zero_and_zero_gradient():
    student, teacher, student_head, teacher_head, labels = batch()
    loss = AmidLoss()(student_head(student), teacher_head(teacher), torch.full_like(labels, -100))
    loss.backward()
    assert loss.item() == 0
    assert student.grad.abs().max() == 0


def test_different_widths_need_the_shared_vocabulary():
    student, teacher, student_head, teacher_head, labels = batch(width=12, teacher_width=15)
    amid_loss = AmidLoss()
    heads = {"student_head": student_head, "teacher_head": Head(teacher_head.weight)}
    with pytest.raises(ValueError, match="the student scores 12 tokens, the teacher 15; pass vocab_size"):
        amid_loss(student, teacher, labels, **heads)
    true = expected(amid_loss, student, teacher, student_head, teacher_head, labels, vocab_size=10)
    torch.testing.assert_close(amid_loss(student, teacher, labels, **heads, vocab_size=10), true)


def test_bad_calls_are_refused():
    student, teacher, student_head, _, labels = batch()
    with pytest.raises(ValueError, match="pass both heads"):
        AmidLoss()(student, teacher, labels, student_head=student_head)
    with pytest.raises(ValueError, match="must be labels' shape"):
        AmidLoss()(student[:1], teacher, labels)
    with pytest.raises(ValueError, match="divergence 'rkll' unknown; did you mean 'rkl'.*chi2.*hellinger.*rkl"):
        AmidLoss(divergence="rkll")


def test_every_name_of_the_command_line_has_its_function_order_and_parameters_in_amid_loss():
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "conf" / "divergence").glob("*.yaml")}
    assert set(files) == set(NAMED_DIVERGENCES)
    for name, file in files.items():
        named = NAMED_DIVERGENCES[name]
        given = {key: value for key, value in file["params"].items() if value is not None}
        assert (named.function, named.order, dict(named.params)) == (file["name"], file["order"], given), name


@pytest.mark.parametrize("name", sorted(NAMED_DIVERGENCES))
def test_amid_loss_takes_every_name_of_the_command_line(name):
    student, teacher, student_head, teacher_head, labels = batch()
    # Some take their weights from the teacher and go without an assistant.
    amid_loss = AmidLoss(divergence=name, alpha=None if name in ("akl", "bdkd", "csd") else -5.0)
    loss = amid_loss(student_head(student), teacher_head(teacher), labels)
    torch.testing.assert_close(loss, expected(amid_loss, student, teacher, student_head, teacher_head, labels))


def test_rkl_is_kl_with_its_arguments_exchanged_and_refuses_an_order_beside_it():
    student, teacher, student_head, teacher_head, labels = batch()
    z, t = student_head(student), teacher_head(teacher)
    values = [AmidLoss(divergence="kl", order=order)(z, t, labels) for order in ("pr", "rp")]
    torch.testing.assert_close(AmidLoss(divergence="rkl")(z, t, labels), values[1])
    assert abs(values[0] - values[1]) > 1e-4
    for order in ("pr", "rp"):
        text = f"divergence 'rkl' is 'kl' with order 'rp', its letters exchanged; order '{order}' beside it"
        with pytest.raises(ValueError, match=f"{text} could mean either way round: use 'kl' with the order you mean"):
            AmidLoss(divergence="rkl", order=order)


def test_parameters_given_to_a_name_replace_its_own_one_by_one():
    log = torch.tensor([[0.0, 1.0, 2.0]]).log_softmax(-1), torch.tensor([[1.0, 0.5, 0.0]]).log_softmax(-1)
    (term,) = AmidLoss(divergence_params={"ab_alpha": 0.5}).objective.terms
    torch.testing.assert_close(term.divergence(*log), ab(*log, ab_alpha=0.5, ab_beta=0.7))
    (term,) = AmidLoss(divergence="f_divergence", divergence_params={"generator": "tv"}).objective.terms
    torch.testing.assert_close(term.divergence(*log), tv(*log))


def test_a_function_of_ones_own_is_passed_itself():
    def renyi(log_left, log_right, *, renyi_order):
        mixed = renyi_order * log_left + (1.0 - renyi_order) * log_right
        return torch.logsumexp(mixed, dim=-1) / (renyi_order - 1.0)

    student, teacher, student_head, teacher_head, labels = batch()
    amid_loss = AmidLoss(divergence=renyi, divergence_params={"renyi_order": 0.5}, order="rq")
    assert amid_loss.objective.terms[0].name == "renyi_rq"
    loss = amid_loss(student, teacher, labels, student_head=student_head, teacher_head=teacher_head)
    torch.testing.assert_close(loss, expected(amid_loss, student, teacher, student_head, teacher_head, labels))
    with pytest.raises(ValueError, match=r"divergence 'renyi' does not accept the parameters \['order'\]"):
        AmidLoss(divergence=renyi, divergence_params={"order": 0.5})


def test_dense_and_fused_training_agree_over_ten_steps():
    def make(seed, width):
        torch.manual_seed(seed)
        config = GPT2Config(vocab_size=97, n_positions=16, n_embd=width, n_layer=1, n_head=2)
        return GPT2LMHeadModel(config).eval()

    teacher, amid_loss = make(0, 32).requires_grad_(False), AmidLoss(alpha=-5.0)
    curves = []
    for fused in (False, True):
        student, losses = make(1, 16), []
        optimiser = torch.optim.AdamW(student.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(2)
        for _ in range(10):
            tokens = torch.randint(97, (4, 13), generator=generator)
            inputs, labels = tokens[:, :-1], tokens[:, 1:].clone()
            labels[:, :3] = -100
            hidden, taught = student.transformer(inputs)[0], teacher.transformer(inputs)[0]
            heads = student.lm_head, teacher.lm_head
            if fused:
                loss = amid_loss(hidden, taught, labels, student_head=heads[0], teacher_head=heads[1])
            else:
                loss = expected(amid_loss, hidden, taught, *heads, labels, vocab_size=97)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        curves.append(losses)
    # Adam divides by small second moments, so float32 differences of 1e-7 grow to about 1e-5 in ten steps.
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
