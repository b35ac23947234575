"""Shapes and what a gradient keeps, counted from a configuration, beside the models themselves."""

import json

import pytest
import torch
import transformers as hf
from folders import save_folder

from amid.config import LoraCfg
from amid.errors import RequestError
from amid.memory.parts import Model, arithmetic, kept
from amid.memory.phases import factors
from amid.memory.shapes import shape_of
from amid.model_folders import check_model
from amid.pairs import add_lora, hidden_states

SIZES = {"vocab_size": 512, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 6}
SIZES |= {"intermediate_size": 256, "max_position_embeddings": 256, "eos_token_id": 0, "bos_token_id": 0}
GROUPED = {**SIZES, "num_key_value_heads": 2, "pad_token_id": 0}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
GPT2 = {"vocab_size": 512, "n_embd": 96, "n_layer": 4, "n_head": 6, "n_positions": 256, "eos_token_id": 0}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
CONFIGS = {
    "gpt2": hf.GPT2Config(**GPT2, **NO_DROPOUT, bos_token_id=0),
    "llama": hf.LlamaConfig(**GROUPED),
    "llama, tied": hf.LlamaConfig(**GROUPED, tie_word_embeddings=True),
    "qwen3": hf.Qwen3Config(**GROUPED, head_dim=16),
    "gemma2": hf.Gemma2Config(**GROUPED, head_dim=16),
    "gemma3": hf.Gemma3TextConfig(**GROUPED, head_dim=16, sliding_window=64),
    "gpt_neox": hf.GPTNeoXConfig(**SIZES),
    "phi3": hf.Phi3Config(**GROUPED),
    "olmo2": hf.Olmo2Config(**GROUPED),
    "mixtral": hf.MixtralConfig(**GROUPED, num_local_experts=4),
    "qwen3_moe": hf.Qwen3MoeConfig(**GROUPED, **EXPERTS, head_dim=16),
    "cohere": hf.CohereConfig(**GROUPED),
}
ROWS, LENGTH = 2, 128


def model_and_shape(name):
    config = CONFIGS[name]
    torch.manual_seed(0)
    return hf.AutoModelForCausalLM.from_config(config), shape_of(json.loads(config.to_json_string()), name=name)


def bytes_kept(model, *, mixed=False):
    """Bytes of what autograd keeps of a forward pass, but for the weights."""
    weights = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    found = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids = torch.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) % 512
    model.train()
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed),
    ):
        states = hidden_states(model, ids)
    assert states.requires_grad
    return sum(num_bytes for num_bytes, _ in found.values())


def estimated(model, *, mixed=False, recomputed=False):
    numbers = arithmetic(4, mixed=mixed)
    return kept(model, numbers, tokens=ROWS * LENGTH, length=LENGTH, recomputed=recomputed)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_parameters_are_those_of_the_model(name):
    model, shape = model_and_shape(name)
    assert shape.num_parameters == pytest.approx(model.num_parameters(), rel=0.015)  # biases are not counted
    assert shape.tied == bool(model.config.tie_word_embeddings)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_gradient_keeps_is_what_autograd_keeps(name):
    model, shape = model_and_shape(name)
    assert estimated(Model(shape, 4, trains=True)) == pytest.approx(bytes_kept(model), rel=0.15)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3", "gemma3", "gpt_neox"])
def test_autocast_keeps_products_in_16_bits_and_a_copy_of_the_weights(name):
    model, shape = model_and_shape(name)
    expected = estimated(Model(shape, 4, trains=True), mixed=True) + 2 * shape.num_parameters
    assert expected == pytest.approx(bytes_kept(model, mixed=True), rel=0.15)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_with_low_rank_factors_less_is_kept(name):
    model, shape = model_and_shape(name)
    add_lora(model, LoraCfg(rank=4, dropout=0.1), seed=1)
    targets = ["c_attn"] if name == "gpt2" else None
    added = factors(shape, rank=4, targets=targets)
    assert added == sum(each.numel() for each in model.parameters() if each.requires_grad)
    found = estimated(Model(shape, 4, trains=True, lora_rank=4, added=added))
    assert found == pytest.approx(bytes_kept(model), rel=0.15)


def test_recomputed_layers_keep_their_inputs_and_one_of_them_its_insides():
    model, shape = model_and_shape("llama")
    whole = Model(shape, 4, trains=True)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    insides = ROWS * LENGTH * (estimated(whole) // (ROWS * LENGTH) - 3 * 96 * 4) // shape.num_layers
    assert estimated(whole, recomputed=True) == pytest.approx(bytes_kept(model) + insides, rel=0.1)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "llama_tied", "gemma3_text"])
def test_of_a_whole_folder_the_weights_in_its_files_are_counted(kind, tmp_path):
    folder = save_folder(tmp_path / kind, kind)
    found, _ = check_model(str(folder), None)
    config = json.loads((folder / "config.json").read_text())
    shape = shape_of(config, name=kind, tensors=found.tensors)
    model = hf.AutoModelForCausalLM.from_pretrained(folder)
    assert shape.num_parameters == model.num_parameters()
    assert shape.cut(1).num_parameters == model.num_parameters() - shape.per_layer


def test_a_configuration_without_sizes_is_one_line():
    with pytest.raises(RequestError, match="model 'x': its config.json does not say its sizes"):
        shape_of({"model_type": "llama", "vocab_size": 5}, name="x")
