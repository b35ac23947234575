import random

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from amid.generation.decoding import Completion, Decoding
from amid.generation.engine import Mixture, generate
from amid.generation.randomness import uniforms_of

EOS = 0
GREEDY = Decoding(max_new_tokens=30, temperature=0)


def reference(model, prompts, *, max_new_tokens=30, **options):
    """Greedy responses of `model.generate` for these prompts as one left-padded batch, each cut after its EOS."""
    width = max(map(len, prompts))
    output = model.generate(
        input_ids=torch.tensor([[EOS] * (width - len(prompt)) + prompt for prompt in prompts]),
        attention_mask=torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=EOS,
        pad_token_id=EOS,
        **options,
    )
    completions = []
    for row in output[:, width:].tolist():
        ended = EOS in row
        completions.append(Completion(tuple(row[: row.index(EOS) + 1] if ended else row), ended))
    return completions


def favour(model, token, bonus):
    """Add `bonus` to one token's logit at every position."""
    shift = torch.zeros(model.config.vocab_size)
    shift[token] = bonus
    model.lm_head.register_forward_hook(lambda module, inputs, logits: logits + shift)


# What is generated


@pytest.mark.parametrize("no_repeat_ngram_size", [0, 3])
def test_greedy_responses_are_those_of_model_generate_with_left_padding(model, prompts, keys, no_repeat_ngram_size):
    decoding = Decoding(max_new_tokens=30, temperature=0, no_repeat_ngram_size=no_repeat_ngram_size)
    ours = generate(model, prompts, keys=keys, decoding=decoding, eos_id=EOS, batch_size=16)
    assert ours == reference(model, prompts, no_repeat_ngram_size=no_repeat_ngram_size)
    assert len({len(completion.token_ids) for completion in ours}) > 5  # rows leave at different steps


@pytest.mark.long
@pytest.mark.parametrize(
    "decoding",
    [
        GREEDY,
        Decoding(max_new_tokens=40),
        Decoding(max_new_tokens=40, no_repeat_ngram_size=2),
        Decoding(max_new_tokens=40, temperature=0.8, top_k=20, top_p=0.9, repetition_penalty=1.2),
    ],
)
def test_batch_sizes_1_7_and_32_give_identical_tokens(model, prompts, keys, decoding):
    one, seven, many = (
        generate(model, prompts, keys=keys, decoding=decoding, eos_id=EOS, batch_size=size) for size in (1, 7, 32)
    )
    assert one == seven == many
    assert len({len(completion.token_ids) for completion in one}) > 5  # rows leave and enter at different steps


def test_order_and_company_of_a_prompt_do_not_change_its_text(model, prompts, keys):
    decoding = Decoding(max_new_tokens=30)
    whole = generate(model, prompts, keys=keys, decoding=decoding, eos_id=EOS, batch_size=8)
    order = random.Random(1).sample(range(len(prompts)), k=20)
    part = generate(
        model, [prompts[i] for i in order], keys=[keys[i] for i in order], decoding=decoding, eos_id=EOS, batch_size=8
    )
    assert part == [whole[i] for i in order]


def test_a_lower_limit_gives_a_prefix_of_the_same_text(model, prompts, keys):
    short, long = (
        generate(model, prompts, keys=keys, decoding=Decoding(max_new_tokens=n), eos_id=EOS, batch_size=8)
        for n in (6, 30)
    )
    assert [c.token_ids for c in short] == [c.token_ids[:6] for c in long]


def test_another_seed_gives_other_texts(gpt2, prompts):
    texts = [
        generate(
            gpt2,
            prompts,
            keys=[(seed, "dolly", i) for i in range(len(prompts))],
            decoding=Decoding(max_new_tokens=10),
            eos_id=EOS,
            batch_size=32,
        )
        for seed in (10, 20)
    ]
    assert sum(a == b for a, b in zip(*texts, strict=True)) < len(prompts) / 4  # a few end at once under both seeds


def test_first_and_second_tokens_are_distributed_as_the_softmax_says():
    torch.manual_seed(0)
    config = LlamaConfig(
        num_hidden_layers=1, hidden_size=16, num_attention_heads=2, intermediate_size=16, vocab_size=8,
        max_position_embeddings=32, initializer_range=0.2, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    prompt, temperature, num_draws = [3, 1, 4], 1.2, 20_000
    completions = generate(
        model,
        [prompt] * num_draws,
        keys=[(10, "dolly", index) for index in range(num_draws)],
        decoding=Decoding(max_new_tokens=2, temperature=temperature),
        eos_id=99,  # never produced
        batch_size=2000,
    )
    counts = np.zeros((8, 8))
    for completion in completions:
        counts[completion.token_ids] += 1
    with torch.no_grad():
        first = (model(torch.tensor([prompt])).logits[0, -1].double() / temperature).softmax(-1)
        both = (model(torch.tensor([[*prompt, t] for t in range(8)])).logits[:, -1].double() / temperature).softmax(-1)
    expected = (first[:, None] * both).numpy() * num_draws
    assert stats.chisquare(counts.sum(1), expected.sum(1)).pvalue > 1e-3
    assert expected.min() > 5  # so that chi-square holds
    assert stats.chisquare(counts.ravel(), expected.ravel() * counts.sum() / expected.sum()).pvalue > 1e-3


def test_a_sliding_window_model_gives_the_responses_of_model_generate(prompts, keys):
    torch.manual_seed(1)
    config = MistralConfig(
        num_hidden_layers=2, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
        vocab_size=64, max_position_embeddings=128, initializer_range=0.3, sliding_window=8, bos_token_id=EOS,
        eos_token_id=EOS,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    ours = generate(model, prompts[:15], keys=keys[:15], decoding=GREEDY, eos_id=EOS, batch_size=4)
    assert ours == [reference(model, [prompt])[0] for prompt in prompts[:15]]


def test_eager_attention_gives_the_same_responses(model, prompts, keys):
    expected = generate(model, prompts, keys=keys, decoding=GREEDY, eos_id=EOS, batch_size=8)
    model.set_attn_implementation("eager")
    assert generate(model, prompts, keys=keys, decoding=GREEDY, eos_id=EOS, batch_size=8) == expected


def test_a_lora_wrapper_gives_the_responses_of_its_merged_model(prompts, keys):
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    config = LlamaConfig(
        num_hidden_layers=2, hidden_size=32, num_attention_heads=4, intermediate_size=64, vocab_size=64,
        max_position_embeddings=128, initializer_range=0.3,
    )  # fmt: skip
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(LlamaForCausalLM(config), lora).eval()
    ours = generate(wrapped, prompts, keys=keys, decoding=GREEDY, eos_id=EOS, batch_size=8)
    assert ours == reference(wrapped.merge_and_unload(), prompts)


# Edge cases


def test_an_empty_prompt_list_gives_an_empty_list(model):
    assert generate(model, [], keys=[], decoding=GREEDY, eos_id=EOS, batch_size=4) == []


def test_prompts_of_only_special_tokens_are_read_like_any_other(model, prompts):
    special = [[EOS], [EOS, EOS], [EOS] * 9]
    mixed = [special[0], prompts[0], special[1], prompts[1], special[2]]
    ours = generate(model, mixed, keys=[(0, i) for i in range(5)], decoding=GREEDY, eos_id=EOS, batch_size=5)
    assert ours == [reference(model, [prompt])[0] for prompt in mixed]


def test_padding_with_eos_hides_no_eos_of_a_prompt(model):
    texts = [[5, EOS, 9], [EOS, 5, 9], [5, 9], [5, 9, EOS], [*range(40)]]
    ours = generate(model, texts, keys=[(0, i) for i in range(5)], decoding=GREEDY, eos_id=EOS, batch_size=5)
    assert ours == [reference(model, [text])[0] for text in texts]


def test_responses_that_never_end_stop_at_the_limit(model, prompts, keys):
    favour(model, EOS, -100.0)
    for completion in generate(model, prompts, keys=keys, decoding=Decoding(17), eos_id=EOS, batch_size=8):
        assert len(completion.token_ids) == 17
        assert not completion.ended


def test_an_immediate_eos_is_an_ended_response_of_one_token(model, prompts, keys):
    favour(model, EOS, 100.0)
    completions = generate(model, prompts, keys=keys, decoding=Decoding(17), eos_id=EOS, batch_size=8)
    assert completions == [Completion((EOS,), ended=True)] * len(prompts)


def test_an_eos_as_last_allowed_token_counts_as_ended(model, prompts, keys):
    favour(model, EOS, 100.0)
    completions = generate(model, prompts, keys=keys, decoding=Decoding(1), eos_id=EOS, batch_size=8)
    assert completions == [Completion((EOS,), ended=True)] * len(prompts)


def test_max_length_counts_prompt_and_response(model):
    favour(model, EOS, -100.0)
    texts = [[5] * length for length in (3, 18, 19, 20, 21, 50)]
    completions = generate(
        model, texts, keys=[(0, i) for i in range(6)], decoding=GREEDY, eos_id=EOS, batch_size=4, max_length=20
    )
    assert [len(c.token_ids) for c in completions] == [17, 2, 1, 0, 0, 0]
    assert not any(c.ended for c in completions)


def test_prompts_without_room_never_reach_the_model(gpt2):
    too_long = [[5] * 500] * 3  # more than the model has positions
    completions = generate(gpt2, too_long, keys=[(0,)] * 3, decoding=GREEDY, eos_id=EOS, batch_size=2, max_length=128)
    assert completions == [Completion((), ended=False)] * 3


def test_a_response_may_fill_the_last_position_of_the_model(gpt2):
    favour(gpt2, EOS, -100.0)
    prompt = [5] * 98
    (completion,) = generate(gpt2, [prompt], keys=[(0,)], decoding=GREEDY, eos_id=EOS, batch_size=1)
    assert len(completion.token_ids) == 30  # 98 + 30 = 128 positions


# What it costs


def test_no_prompt_is_padded_by_more_than_a_third_of_a_row(gpt2, prompts, keys):
    masks = []

    def record(module, args, kwargs):
        if kwargs["input_ids"].shape[1] > 1:
            masks.append(kwargs["attention_mask"])

    gpt2.register_forward_pre_hook(record, with_kwargs=True)
    generate(gpt2, prompts, keys=keys, decoding=GREEDY, eos_id=EOS, batch_size=32)
    assert sum(int(mask.sum()) for mask in masks) == sum(len(prompt) for prompt in prompts if len(prompt) > 1)
    assert all(bool((mask.float().mean(1) >= 2 / 3).all()) for mask in masks)


def test_ended_rows_are_not_computed(gpt2, prompts, keys):
    rows = []
    gpt2.register_forward_pre_hook(lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True)
    completions = generate(gpt2, prompts, keys=keys, decoding=GREEDY, eos_id=EOS, batch_size=16)
    assert sum(rows) == sum(len(completion.token_ids) for completion in completions)


# What is left as it was


def test_a_model_in_train_mode_generates_in_eval_mode_and_is_restored_module_by_module(gpt2, prompts, keys):
    expected = generate(gpt2, prompts, keys=keys, decoding=GREEDY, eos_id=EOS, batch_size=8)
    gpt2.train()
    gpt2.transformer.h[1].eval()  # a frozen part
    modes = [module.training for module in gpt2.modules()]
    assert generate(gpt2, prompts, keys=keys, decoding=GREEDY, eos_id=EOS, batch_size=8) == expected  # no dropout
    assert [module.training for module in gpt2.modules()] == modes


def test_train_mode_is_restored_after_an_error(gpt2):
    gpt2.train()
    with torch.no_grad():
        gpt2.lm_head.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="diverged"):
        generate(gpt2, [[1, 2]], keys=[(0,)], decoding=GREEDY, eos_id=EOS, batch_size=1)
    assert all(module.training for module in gpt2.modules())
    assert torch.is_grad_enabled()


def test_the_global_random_state_is_neither_read_nor_changed(gpt2, prompts, keys):
    decoding = Decoding(max_new_tokens=10)
    texts = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
        texts.append(generate(gpt2, prompts, keys=keys, decoding=decoding, eos_id=EOS, batch_size=8))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
        assert random.getstate() == before[2]
    assert texts[0] == texts[1]


def test_generating_inside_a_callers_autocast_leaves_its_gradients(model):
    batch = torch.tensor([[1, 2, 3, 4]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        generate(model, [[1, 2]], keys=[(0,)], decoding=GREEDY, eos_id=EOS, batch_size=1, amp_dtype=torch.bfloat16)
        loss = model(input_ids=batch, labels=batch).loss
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.dim() > 1)


def test_a_callers_autocast_does_not_change_the_texts(model, prompts, keys):
    decoding = Decoding(max_new_tokens=30)
    outside = generate(model, prompts, keys=keys, decoding=decoding, eos_id=EOS, batch_size=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert generate(model, prompts, keys=keys, decoding=decoding, eos_id=EOS, batch_size=8) == outside


def test_autocast_is_used_when_asked_for(model):
    types = set()
    model.lm_head.register_forward_hook(lambda module, inputs, logits: types.add(logits.dtype))
    for amp_dtype in (torch.bfloat16, None):
        generate(model, [[1, 2]], keys=[(0,)], decoding=GREEDY, eos_id=EOS, batch_size=1, amp_dtype=amp_dtype)
    assert types == {torch.bfloat16, torch.float32}


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": [[1], []]}, r"prompt 1 \(key \(1,\)\) has no token"),
        ({"keys": [(0,)]}, "one key per prompt, got 1 keys for 2 prompts"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"max_length": 0}, "max_length must be at least 1, or None for no limit, got 0"),
        (
            {"prompts": [[1], [1] * 99]},
            "may reach 129 tokens, the model has 128 positions; set max_length to 128 or less",
        ),
    ],
)
def test_bad_input_is_refused_with_value_and_fix(gpt2, change, message):
    arguments = {"prompts": [[1], [2]], "keys": [(0,), (1,)], "batch_size": 2} | change
    with pytest.raises(ValueError, match=message):
        generate(gpt2, **arguments, decoding=GREEDY, eos_id=EOS)


def test_a_model_with_recurrent_layers_is_refused(gpt2):
    gpt2.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ValueError, match="supports attention layers only, the model has linear_attention"):
        generate(gpt2, [[1]], keys=[(0,)], decoding=GREEDY, eos_id=EOS, batch_size=1)


@pytest.mark.parametrize("decoding", [GREEDY, Decoding(max_new_tokens=30)])
def test_no_token_from_the_shared_vocabulary_on_is_written_however_likely(model, prompts, keys, decoding):
    shared = model.config.vocab_size - 10
    favour(model, shared + 3, 50.0)
    options = {"keys": keys, "decoding": decoding, "eos_id": EOS, "batch_size": 16}
    written = generate(model, prompts, vocab_size=shared, **options)
    assert max(token for completion in written for token in completion.token_ids) < shared
    assert {token for each in generate(model, prompts, **options) for token in each.token_ids} == {shared + 3}


def test_a_limit_at_the_whole_vocabulary_changes_no_text(model, prompts, keys):
    options = {"keys": keys, "decoding": Decoding(max_new_tokens=30), "eos_id": EOS, "batch_size": 16}
    limited = generate(model, prompts, vocab_size=model.config.vocab_size, **options)
    assert limited == generate(model, prompts, **options)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_every_token_of_a_mixture_is_drawn_from_the_mixed_distribution(two_models, prompts, batch_size):
    """Each token again by hand: both models on the text so far, mixed as probabilities, inverted at the uniform."""
    models, share = two_models, 0.3
    keys = [("mixture", index) for index in range(len(prompts))]
    decoding = Decoding(max_new_tokens=7)
    options = {"keys": keys, "decoding": decoding, "eos_id": EOS, "batch_size": batch_size}
    found = generate(models[0], prompts, mixed_with=Mixture(models[1], share), **options)
    for prompt, key, completion in zip(prompts, keys, found, strict=True):
        tokens = list(prompt)
        for token, uniform in zip(completion.token_ids, uniforms_of(key, count=7), strict=False):
            with torch.no_grad():
                q, p = (model(torch.tensor([tokens])).logits[0, -1].double().softmax(-1) for model in models)
            cumulative = (share * p + (1 - share) * q).cumsum(-1)
            assert token == int(torch.searchsorted(cumulative, torch.tensor(uniform), right=True))
            tokens.append(token)
    alone = generate(models[1], prompts, **options)
    assert generate(models[0], prompts, mixed_with=Mixture(models[1], 1.0), **options) == alone
    assert found != alone
    assert found != generate(models[0], prompts, **options)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(two_models, share):
    with pytest.raises(ValueError, match="share of a mixture must lie in"):
        Mixture(two_models[0], share)
