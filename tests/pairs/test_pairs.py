"""Pairs: the trained tokenizer, smaller copies of a model, one tokenizer for two models, and the states of the head."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from amid.config import ArchCfg
from amid.data.batch import collate
from amid.errors import RequestError
from amid.pairs import (
    EOS,
    check_one_tokenizer,
    hidden_states,
    keep_layers,
    load_model,
    load_tokenizer,
    model_from_scratch,
    num_non_embedding_parameters,
    shared_vocab_size,
    train_tokenizer,
)

TEXTS = ["the cat sat on the mat", "the cat ate the rat", "a rat on a mat"] * 5
VOCAB_SIZE = 40


def build(kind, *, layers=4, tied=True):
    """A tiny model with random weights of some size."""
    torch.manual_seed(0)
    common = {
        "vocab_size": VOCAB_SIZE,
        "initializer_range": 0.2,
        "tie_word_embeddings": tied,
        "eos_token_id": 0,
        "bos_token_id": 0,
    }
    if kind == "gpt2":
        config = GPT2Config(n_layer=layers, n_embd=16, n_head=2, n_positions=32, **common)
        return GPT2LMHeadModel(config).eval()
    common |= {"num_hidden_layers": layers, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    common |= {"num_key_value_heads": 1, "max_position_embeddings": 32}
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**common)).eval()
    return Qwen2ForCausalLM(Qwen2Config(**common)).eval()


KINDS = {"gpt2": "transformer.h.", "llama": "model.layers.", "qwen2": "model.layers."}


@pytest.mark.parametrize("text", ["the cat", " two  spaces\n\tand tab ", "ünïcödé 日本 🙂", "", "a\r\n"])
def test_every_text_comes_back_from_its_tokens(text):
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_training_a_tokenizer_is_deterministic_and_depends_on_the_texts():
    first, again = (train_tokenizer(TEXTS, vocab_size=290) for _ in range(2))
    assert first.get_vocab() == again.get_vocab()
    assert train_tokenizer(["xyz " * 9], vocab_size=290).get_vocab() != first.get_vocab()


def test_a_trained_tokenizer_knows_all_bytes_merges_words_and_has_the_asked_size():
    tokenizer = train_tokenizer(TEXTS, vocab_size=270)
    assert len(tokenizer) == 270
    assert len(tokenizer("the", add_special_tokens=False)["input_ids"]) < 3
    assert tokenizer.eos_token == tokenizer.pad_token == EOS
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == tokenizer.get_vocab()[EOS]


def test_a_model_from_scratch_is_a_function_of_its_seed_alone():
    arch = ArchCfg(layers=1, width=8, heads=2, positions=16)
    weights = []
    for noise, seed in ((1, 3), (2, 3), (1, 4)):
        torch.manual_seed(noise)
        model = model_from_scratch(arch, vocab_size=20, eos_id=0, seed=seed)
        weights.append(model.transformer.wte.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_building_a_model_moves_no_random_state():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = model_from_scratch(ArchCfg(layers=1, width=8, heads=2, positions=16), vocab_size=20, eos_id=0, seed=0)
    keep_layers(model, [0])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_kept_layers_have_the_weights_of_the_named_ones_and_all_else_is_copied(kind):
    model = build(kind)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    smaller = keep_layers(model, [0, 3])
    prefix = KINDS[kind]
    found = smaller.state_dict()
    for key, value in found.items():
        if key.startswith(prefix):
            index, rest = key.removeprefix(prefix).split(".", 1)
            key = f"{prefix}{[0, 3][int(index)]}.{rest}"
        assert torch.equal(value, before[key]), key
    assert smaller.config.num_hidden_layers == 2
    assert {key.removeprefix(prefix).split(".")[0] for key in found if key.startswith(prefix)} == {"0", "1"}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_a_smaller_model_runs_generates_and_shares_no_memory_with_the_larger(kind, tied):
    model = build(kind, tied=tied)
    smaller = keep_layers(model, [1, 2]).eval()
    ids = torch.tensor([[1, 2, 3]])
    assert torch.isfinite(smaller(ids).logits).all()
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}
    assert smaller.generate(ids, **options).shape[1] > 3
    cached, uncached = (smaller.generate(ids, use_cache=flag, **options) for flag in (True, False))
    assert torch.equal(cached, uncached)  # layer numbers of the cache start at 0 again
    assert (smaller.get_output_embeddings().weight is smaller.get_input_embeddings().weight) == tied
    larger_memory = {weight.data_ptr() for weight in model.parameters()}
    assert larger_memory.isdisjoint(weight.data_ptr() for weight in smaller.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_keeping_all_layers_changes_no_output(kind):
    model = build(kind)
    ids = torch.tensor([[1, 2, 3, 4]])
    assert torch.equal(keep_layers(model, range(4)).eval()(ids).logits, model(ids).logits)


def test_a_smaller_model_survives_saving_and_loading(tmp_path):
    smaller = keep_layers(build("qwen2"), [0, 2]).eval()
    smaller.save_pretrained(tmp_path)
    ids = torch.tensor([[1, 2, 3]])
    again = load_model(str(tmp_path), revision=None, cache=tmp_path).eval()
    assert torch.equal(again(ids).logits, smaller(ids).logits)


def test_a_layer_the_model_does_not_have_is_refused_with_its_range():
    with pytest.raises(RequestError, match="pair.keep_layers names layer 4, but the model has layers 0 to 3"):
        keep_layers(build("gpt2"), [0, 4])


@pytest.fixture(scope="module")
def cats():
    return train_tokenizer(TEXTS, vocab_size=280)


def test_equal_tokenizers_pass(cats):
    for policy in ("strict", "shared_prefix"):
        check_one_tokenizer(cats, train_tokenizer(TEXTS, vocab_size=280), names=("a", "b"), vocab_policy=policy)


@pytest.mark.parametrize("policy", ["strict", "shared_prefix"])
def test_tokenizers_with_other_ids_are_refused_with_both_names(cats, policy):
    other = train_tokenizer(["xyz zyx " * 20], vocab_size=280)
    with pytest.raises(RequestError, match="teacher 'big' .*student 'small' .*id 25[0-9] is"):
        check_one_tokenizer(cats, other, names=("big", "small"), vocab_policy=policy)


@pytest.mark.parametrize("policy", ["strict", "shared_prefix"])
def test_tokenizers_with_another_eos_are_refused_with_both_names(cats, policy):
    other = train_tokenizer(TEXTS, vocab_size=280)
    other.eos_token = "a"
    with pytest.raises(RequestError, match="end-of-sequence token of teacher 'big' .*'small'"):
        check_one_tokenizer(cats, other, names=("big", "small"), vocab_policy=policy)


def test_extra_ids_at_the_end_need_the_shared_prefix_policy(cats):
    longer = train_tokenizer(TEXTS, vocab_size=280)
    longer.add_tokens(["<extra>"])
    for teacher, student in ((cats, longer), (longer, cats)):
        check_one_tokenizer(teacher, student, names=("a", "b"), vocab_policy="shared_prefix")
        with pytest.raises(RequestError, match="None.*vocab_policy=shared_prefix|shared_prefix"):
            check_one_tokenizer(teacher, student, names=("a", "b"), vocab_policy="strict")


def test_a_tokenizer_that_cannot_be_loaded_is_one_line(tmp_path):
    with pytest.raises(RequestError) as caught:
        load_tokenizer(str(tmp_path), revision=None, cache=tmp_path)
    assert f"no tokenizer for model '{tmp_path}'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_heads_of_different_width_share_the_tokens_of_the_tokenizer(cats):
    arch = ArchCfg(layers=1, width=8, heads=2, positions=16)

    def model(vocab_size):
        return model_from_scratch(arch, vocab_size=vocab_size, eos_id=0, seed=0)

    size = len(cats)
    assert shared_vocab_size(model(size + 8), model(size + 3), cats) == size
    assert shared_vocab_size(model(size), model(size + 3), cats) == size
    assert shared_vocab_size(model(size + 8), model(size + 8), cats) == size + 8


@pytest.mark.parametrize("kind", KINDS)
def test_states_without_mask_equal_the_full_forward_with_mask_on_labelled_positions(kind):
    model = build(kind)
    rows = [((1, 2, 3), (4, 5, 0)), ((6,), (7, 0)), ((8, 9), (10, 11, 12, 13, 0))]
    batch = collate(rows, example_ids=[0, 1, 2], pad_id=0)
    with torch.no_grad():
        logits = model.get_output_embeddings()(hidden_states(model, batch.input_ids))
        expected = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask.long()).logits
    # The padded width differs from row to row, so kernels may add in another order: float32 rounding.
    torch.testing.assert_close(logits[batch.labelled], expected[batch.labelled], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("layers", "width"), [(1, 8), (2, 16), (3, 32)])
def test_the_size_of_a_gpt2_is_its_closed_form(layers, width):
    arch = ArchCfg(layers=layers, width=width, heads=2, positions=16)
    model = model_from_scratch(arch, vocab_size=50, eos_id=0, seed=0)
    # Per block: attention 4 d^2 + 4 d, MLP 8 d^2 + 5 d, two norms 4 d; one final norm 2 d.
    assert num_non_embedding_parameters(model) == 12 * layers * width**2 + 13 * layers * width + 2 * width


def test_an_untied_head_is_no_part_of_the_size():
    assert num_non_embedding_parameters(build("gpt2", tied=True)) == num_non_embedding_parameters(
        build("gpt2", tied=False)
    )
