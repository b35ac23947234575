"""LoRA: what is added, what trains, what is kept, and what a merged model says."""

import copy

import peft
import pytest
import torch

from amid.config import LoraCfg
from amid.errors import RequestError
from amid.pairs import add_lora, has_lora, hidden_states, load_lora, merge_lora, output_head
from amid.pairs.lora import save_lora

LORA = LoraCfg(rank=3, alpha=6, dropout=0.0)
IDS = torch.arange(5, 17).reshape(2, 6)


@pytest.fixture
def with_lora(tiny_model):
    """The tiny model with factors as they are after some training."""
    made = copy.deepcopy(tiny_model)
    add_lora(made, LORA, seed=1)
    generator = torch.Generator().manual_seed(2)
    for weight in made.parameters():
        if weight.requires_grad:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.1
    return made.eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_at_first_nothing_is_said_differently_and_the_factors_alone_train(tiny_model):
    before, added = logits(tiny_model), copy.deepcopy(tiny_model)
    add_lora(added, LORA, seed=1)
    assert torch.equal(logits(added), before)
    trained = {name: weight.numel() for name, weight in added.named_parameters() if weight.requires_grad}
    # GPT-2's c_attn: width 32 to 96, in both layers
    assert sum(trained.values()) == 2 * 3 * (32 + 96)
    assert all("lora_" in name for name in trained)


def test_the_factors_are_a_function_of_the_seed_and_leave_the_random_state_alone(tiny_model):
    state, factors = torch.get_rng_state(), []
    for seed in (1, 1, 2):
        added = copy.deepcopy(tiny_model)
        add_lora(added, LORA, seed=seed)
        factors.append(torch.cat([weight.flatten() for weight in added.parameters() if weight.requires_grad]))
    assert torch.equal(factors[0], factors[1])
    assert not torch.equal(factors[0], factors[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_folder_of_factors_gives_the_model_back(tiny_model, with_lora, tmp_path):
    save_lora(with_lora, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    again = copy.deepcopy(tiny_model)
    load_lora(again, tmp_path)
    assert not torch.equal(logits(tiny_model), logits(with_lora))
    assert torch.equal(logits(again.eval()), logits(with_lora))
    assert {n for n, w in again.named_parameters() if w.requires_grad} == {
        n for n, w in with_lora.named_parameters() if w.requires_grad
    }


def test_peft_reads_the_folder_too(tiny_model, with_lora, tmp_path):
    save_lora(with_lora, tmp_path)
    read = peft.PeftModel.from_pretrained(copy.deepcopy(tiny_model), tmp_path)
    assert torch.equal(read(input_ids=IDS).logits, logits(with_lora))


def test_factors_of_another_shape_are_refused(tiny_model, with_lora, tmp_path):
    save_lora(with_lora, tmp_path)
    other = copy.deepcopy(tiny_model)
    add_lora(other, LoraCfg(rank=2, alpha=6, dropout=0.0), seed=1)
    (tmp_path / "other").mkdir()
    save_lora(other, tmp_path / "other")
    (tmp_path / "adapter_model.safetensors").write_bytes(
        (tmp_path / "other" / "adapter_model.safetensors").read_bytes()
    )
    with pytest.raises(RequestError, match="of another model"):
        load_lora(copy.deepcopy(tiny_model), tmp_path)


def test_a_merged_model_says_the_same_with_weights_alone(tiny_model, with_lora):
    expected = logits(with_lora)
    merge_lora(with_lora)
    assert not has_lora(with_lora)
    assert set(with_lora.state_dict()) == set(tiny_model.state_dict())
    assert all(weight.requires_grad for weight in with_lora.parameters())
    torch.testing.assert_close(logits(with_lora), expected, atol=1e-4, rtol=1e-5)


def test_factors_are_float32_whatever_the_weights_are(tiny_model):
    rounded = copy.deepcopy(tiny_model).to(torch.bfloat16)
    add_lora(rounded, LORA, seed=1)
    kinds = {weight.requires_grad: weight.dtype for weight in rounded.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    assert torch.isfinite(logits(rounded)).all()


def test_modules_that_a_model_lacks_are_refused_with_those_it_has(tiny_model):
    with pytest.raises(RequestError, match="lora.targets may name: c_attn, c_fc, c_proj, lm_head"):
        add_lora(tiny_model, LoraCfg(targets=["q_proj"]), seed=1)


def test_a_head_with_factors_is_data_too_unless_it_draws(tiny_model):
    plain = copy.deepcopy(tiny_model)
    plain.config.tie_word_embeddings = False
    add_lora(plain, LoraCfg(rank=3, alpha=6, dropout=0.0, targets=["lm_head"]), seed=1)
    plain.get_output_embeddings().lora_B["default"].weight.data.normal_()
    head = output_head(plain)
    assert head is not None
    assert head.lora is not None
    assert not head.weight.requires_grad
    torch.testing.assert_close(head.logits(hidden_states(plain, IDS)), plain(input_ids=IDS).logits)
    drawing = copy.deepcopy(tiny_model)
    add_lora(drawing, LoraCfg(rank=3, dropout=0.1, targets=["lm_head"]), seed=1)
    assert output_head(drawing) is None
