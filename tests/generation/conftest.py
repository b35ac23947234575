"""Tiny causal language models with random weights, and prompts of mixed length for them."""

import random

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

VOCAB_SIZE = 64
EOS = 0


def build_gpt2():
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2, n_embd=32, n_head=4, vocab_size=VOCAB_SIZE, n_positions=128, initializer_range=0.3,
        bos_token_id=EOS, eos_token_id=EOS, tie_word_embeddings=False,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        model.lm_head.weight[EOS] *= 2  # greedy responses then end at very different lengths
    return model.eval()


def build_llama():
    torch.manual_seed(3)
    config = LlamaConfig(
        num_hidden_layers=2, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
        vocab_size=VOCAB_SIZE, max_position_embeddings=128, initializer_range=0.3, bos_token_id=EOS, eos_token_id=EOS,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


BUILDERS = {"gpt2": build_gpt2, "llama": build_llama}


@pytest.fixture
def two_models():
    return [build() for build in BUILDERS.values()]


@pytest.fixture(params=list(BUILDERS))
def model(request):
    return BUILDERS[request.param]()


@pytest.fixture
def gpt2():
    return build_gpt2()


@pytest.fixture
def prompts():
    rng = random.Random(0)
    return [[rng.randrange(VOCAB_SIZE) for _ in range(rng.randint(1, 60))] for _ in range(50)]


@pytest.fixture
def keys(prompts):
    return [(7, "dolly", index) for index in range(len(prompts))]
