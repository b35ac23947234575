"""Families of language models, each as a small random model of its own configuration class, and what becomes of them.

make families      # writes docs/families.md
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from folders import small_tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from amid.core import Objective, chunked_objective_from_logits, linear_objective
from amid.core.dense import dense_objective
from amid.errors import RequestError
from amid.generation.decoding import Decoding
from amid.generation.engine import generate
from amid.pairs import hidden_states, load_model, output_head

DOCS = Path(__file__).resolve().parents[1] / "docs" / "families.md"
TOKENS, POSITIONS, NEW_TOKENS = 24, 192, 4
VOCAB_SIZE = len(small_tokenizer())
ENDS: dict[str, Any] = {"vocab_size": VOCAB_SIZE, "eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 0}
SIZES: dict[str, Any] = {
    **{"initializer_range": 0.2, "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2},
    **{"intermediate_size": 24, "max_position_embeddings": POSITIONS},
}
PLAIN = {**ENDS, **SIZES}
GROUPED = {**PLAIN, "num_key_value_heads": 1}
WITH_HEADS = {**GROUPED, "head_dim": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
GPT = {**ENDS, "initializer_range": 0.2, "n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": POSITIONS}


@dataclass(frozen=True)
class Family:
    """A family of models. config: of a small one, by the names of its own class, given by name too."""

    config: str
    sizes: Mapping[str, Any]
    encodes: bool = False  # an encoder with a decoder

    def model(self, *, seed: int = 0) -> PreTrainedModel:
        """A model with random weights, large enough that its logits differ."""
        config = getattr(transformers, self.config)(**self.sizes)
        made_by = transformers.AutoModelForSeq2SeqLM if self.encodes else AutoModelForCausalLM
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return made_by.from_config(config)


MAIN = ("gpt2", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "qwen3_moe", "bert")
FAMILIES: dict[str, Family] = {
    "gpt2": Family("GPT2Config", GPT),
    "gpt_neo": Family(
        "GPTNeoConfig",
        {**ENDS, "initializer_range": 0.2, "num_layers": 2, "hidden_size": 16, "num_heads": 2}
        | {"max_position_embeddings": POSITIONS, "attention_types": [[["global", "local"], 1]], "window_size": 64},
    ),
    "gpt_neox": Family("GPTNeoXConfig", PLAIN),
    "gptj": Family("GPTJConfig", {**GPT, "rotary_dim": 4}),
    "codegen": Family("CodeGenConfig", {**GPT, "rotary_dim": 4, "n_ctx": POSITIONS, "n_head": 4}),
    "gpt_bigcode": Family("GPTBigCodeConfig", GPT),
    "opt": Family(
        "OPTConfig",
        {**ENDS, "init_std": 0.2, "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "ffn_dim": 24}
        | {"max_position_embeddings": POSITIONS, "word_embed_proj_dim": 16},
    ),
    "bloom": Family("BloomConfig", {**ENDS, "initializer_range": 0.2, "hidden_size": 16, "n_layer": 2, "n_head": 2}),
    "mpt": Family(
        "MptConfig",
        {**ENDS, "initializer_range": 0.2, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": POSITIONS},
    ),
    "falcon": Family("FalconConfig", PLAIN),
    "llama": Family("LlamaConfig", GROUPED),
    "mistral": Family("MistralConfig", {**GROUPED, "sliding_window": 16}),
    "ministral": Family("MinistralConfig", {**WITH_HEADS, "sliding_window": 16}),
    "qwen2": Family("Qwen2Config", GROUPED),
    "qwen3": Family("Qwen3Config", WITH_HEADS),
    "gemma": Family("GemmaConfig", WITH_HEADS),
    "gemma2": Family("Gemma2Config", {**WITH_HEADS, "sliding_window": 16}),
    "gemma3_text": Family("Gemma3TextConfig", {**WITH_HEADS, "sliding_window": 16}),
    "gemma3": Family(
        "Gemma3Config",
        {
            "text_config": {**WITH_HEADS, "sliding_window": 16},
            "vision_config": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "image_size": 28}
            | {"num_attention_heads": 2, "patch_size": 14},
        },
    ),
    "phi": Family("PhiConfig", PLAIN),
    "phi3": Family("Phi3Config", GROUPED),
    "granite": Family("GraniteConfig", {**GROUPED, "logits_scaling": 4.0, "embedding_multiplier": 2.0}),
    "olmo": Family("OlmoConfig", GROUPED),
    "olmo2": Family("Olmo2Config", GROUPED),
    "olmo3": Family("Olmo3Config", {**GROUPED, "sliding_window": 16}),
    "stablelm": Family("StableLmConfig", GROUPED),
    "starcoder2": Family("Starcoder2Config", {**GROUPED, "embedding_dropout": 0.0, "residual_dropout": 0.0}),
    "cohere": Family("CohereConfig", {**GROUPED, "logit_scale": 0.25}),
    "cohere2": Family("Cohere2Config", {**GROUPED, "sliding_window": 16}),
    "smollm3": Family("SmolLM3Config", GROUPED),
    "glm": Family("GlmConfig", {**WITH_HEADS, "pad_token_id": 0}),
    "glm4": Family("Glm4Config", {**WITH_HEADS, "pad_token_id": 0}),
    "exaone4": Family("Exaone4Config", {**GROUPED, "sliding_window": 16}),
    "ernie4_5": Family("Ernie4_5Config", WITH_HEADS),
    "seed_oss": Family("SeedOssConfig", WITH_HEADS),
    "apertus": Family("ApertusConfig", GROUPED),
    "arcee": Family("ArceeConfig", GROUPED),
    "helium": Family("HeliumConfig", WITH_HEADS),
    "nemotron": Family("NemotronConfig", WITH_HEADS),
    "persimmon": Family("PersimmonConfig", PLAIN),
    "xglm": Family(
        "XGLMConfig",
        {**ENDS, "init_std": 0.2, "d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 24}
        | {"max_position_embeddings": POSITIONS},
    ),
    "biogpt": Family("BioGptConfig", PLAIN),
    "openai-gpt": Family("OpenAIGPTConfig", {**GPT}),
    "mixtral": Family("MixtralConfig", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2_moe": Family("Qwen2MoeConfig", {**GROUPED, **EXPERTS, "shared_expert_intermediate_size": 12}),
    "qwen3_moe": Family("Qwen3MoeConfig", {**WITH_HEADS, **EXPERTS}),
    "olmoe": Family("OlmoeConfig", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    "granitemoe": Family("GraniteMoeConfig", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "phimoe": Family("PhimoeConfig", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt_oss": Family(
        "GptOssConfig", {**WITH_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 16}
    ),
    "deepseek_v3": Family(
        "DeepseekV3Config",
        {**PLAIN, "num_key_value_heads": 2, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2}
        | {"topk_group": 1, "moe_intermediate_size": 12, "n_shared_experts": 1, "kv_lora_rank": 8, "q_lora_rank": 8}
        | {"qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8, "first_k_dense_replace": 1},
    ),
    "minicpm3": Family(
        "MiniCPM3Config",
        {**PLAIN, "num_key_value_heads": 2, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4}
        | {"qk_nope_head_dim": 4, "v_head_dim": 8, "dim_model_base": 4},
    ),
    "hyperclovax": Family("HyperCLOVAXConfig", {**WITH_HEADS, "logits_scaling": 4.0}),
    "vaultgemma": Family("VaultGemmaConfig", {**WITH_HEADS, "sliding_window": 16}),
    "gemma4_text": Family(
        "Gemma4TextConfig",
        {**WITH_HEADS, "sliding_window": 16, "vocab_size_per_layer_input": VOCAB_SIZE, "global_head_dim": 8}
        | {"hidden_size_per_layer_input": 4, "final_logit_softcapping": 30.0},
    ),
    "jais2": Family("Jais2Config", WITH_HEADS),
    "internlm3": Family("InternLM3Config", WITH_HEADS),
    "nanochat": Family("NanoChatConfig", GROUPED),
    "diffllama": Family("DiffLlamaConfig", {**PLAIN, "num_key_value_heads": 2}),
    "doge": Family("DogeConfig", GROUPED),
    "jetmoe": Family("JetMoeConfig", {**GROUPED, "kv_channels": 8, "num_local_experts": 4}),
    "afmoe": Family("AfmoeConfig", {**WITH_HEADS, **EXPERTS, "sliding_window": 16}),
    "ernie4_5_moe": Family(
        "Ernie4_5_MoeConfig", {**GROUPED, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 12}
    ),
    "glm4_moe": Family("Glm4MoeConfig", {**WITH_HEADS, **EXPERTS, "n_routed_experts": 4, "first_k_dense_replace": 1}),
    "hunyuan_v1_dense": Family("HunYuanDenseV1Config", WITH_HEADS),
    "modernbert-decoder": Family(
        "ModernBertDecoderConfig",
        {**PLAIN, "cls_token_id": 0, "sep_token_id": 0, "initializer_cutoff_factor": 2.0, "local_attention": 16},
    ),
    "ctrl": Family("CTRLConfig", {**GPT, "dff": 24}),
    "xlnet": Family("XLNetConfig", {**ENDS, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24}),
    "minimax": Family("MiniMaxConfig", {**WITH_HEADS, "num_local_experts": 4}),
    "llama4_text": Family(
        "Llama4TextConfig",
        {**WITH_HEADS, "num_local_experts": 4, "intermediate_size_mlp": 24, "attention_chunk_size": 16},
    ),
    "flex_olmo": Family("FlexOlmoConfig", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    "bert": Family("BertConfig", PLAIN),
    "t5": Family(
        "T5Config", {"vocab_size": VOCAB_SIZE, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2}, encodes=True
    ),
    "bart": Family(
        "BartConfig",
        {"vocab_size": VOCAB_SIZE, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16}
        | {"decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
        encodes=True,
    ),
    "mamba": Family(
        "MambaConfig", {**ENDS, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "time_step_rank": 4}
    ),
    "rwkv": Family("RwkvConfig", {**ENDS, "hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16}),
    "recurrent_gemma": Family("RecurrentGemmaConfig", {**GROUPED, "lru_width": 16, "attention_window_size": 16}),
    "qwen3_next": Family("Qwen3NextConfig", {**WITH_HEADS, **EXPERTS, "shared_expert_intermediate_size": 12}),
    "lfm2": Family("Lfm2Config", {**GROUPED, "full_attn_idxs": [1]}),
}


@dataclass(frozen=True)
class Outcome:
    """What becomes of a family. trains: fused, by logits, or no. head: what is particular to it; why it is refused."""

    trains: str
    head: str
    experts: bool = False

    def row(self, name: str) -> str:
        """The family's row in the table."""
        return f"| `{name}` | {self.trains} | {self.head} | {'yes' if self.experts else ''} |"


def folder_of(name: str, root: Path) -> Path:
    """A folder with a small model of the family and its tokenizer."""
    FAMILIES[name].model().save_pretrained(root / name)
    small_tokenizer().save_pretrained(root / name)
    return root / name


def load(folder: Path) -> PreTrainedModel:
    """The model of a folder, by our loader."""
    return load_model(str(folder), revision=None, cache=folder)


def outcome_of(folder: Path) -> Outcome:
    """What becomes of the model of a folder."""
    try:
        model = load(folder)
    except RequestError as err:
        why = re.sub(r"^model '[^']*' (\([^)]*\) )?", "", str(err))
        return Outcome("no", re.split(r"; (?:valid|only)|: \w+Error", why)[0])
    head = output_head(model)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    said = ["tied"] if tied else []
    if head is not None:
        said += ["bias"] if head.bias is not None else []
        said += [f"scale {head.scale:g}"] if head.scale != 1.0 else []
        said += [f"softcap {head.softcap:g}"] if head.softcap is not None else []
    experts = any(".experts." in key for key, _ in model.named_parameters())
    return Outcome("by logits" if head is None else "fused", ", ".join(said), experts)


def inputs(seed: int) -> Tensor:
    """[2, T] token ids, without one that ends a text."""
    return torch.randint(1, VOCAB_SIZE, (2, TOKENS), generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Step:
    """Loss and gradients of the student's weights, by name."""

    loss: float
    gradients: Mapping[str, Tensor]


def steps(student: PreTrainedModel, teacher: PreTrainedModel, objective: Objective) -> tuple[Step, Step]:
    """A step as it is taken in training, and by the definition, from the models' own logits."""
    ids = inputs(1)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, :5] = False
    labels = ids.roll(-1, 1)[mask]
    known: dict[str, Any] = {"labels": labels, "token_weights": torch.full(labels.shape, 1 / len(labels))}
    teacher.eval().requires_grad_(False)
    student.train().requires_grad_(True)
    heads = output_head(student), output_head(teacher)

    def logits(model: PreTrainedModel) -> Tensor:
        torch.manual_seed(3)  # of dropout
        with torch.set_grad_enabled(model is student):
            return model(input_ids=ids, use_cache=False).logits[mask]

    def states(model: PreTrainedModel) -> Tensor:
        torch.manual_seed(3)
        with torch.set_grad_enabled(model is student):
            return hidden_states(model, ids)[mask]

    def step(loss: Tensor) -> Step:
        student.zero_grad()
        loss.backward()
        return Step(loss.item(), {n: w.grad.clone() for n, w in student.named_parameters() if w.grad is not None})

    known["vocab_size"] = VOCAB_SIZE
    defined = step(dense_objective(logits(student), logits(teacher), objective, **known).loss)
    if heads[0] is None or heads[1] is None:
        parts = chunked_objective_from_logits(logits(student), logits(teacher), objective, **known)
    else:
        parts = linear_objective(states(student), heads[0], states(teacher), heads[1], objective, **known)
    return step(parts.loss), defined


def greedy(model: PreTrainedModel) -> list[list[int]]:
    """Four tokens to two prompts of different length, by our generation."""
    found = generate(
        model,
        prompts(),
        keys=[(0, "family", index) for index in range(2)],
        decoding=Decoding(max_new_tokens=NEW_TOKENS, temperature=0),
        eos_id=0,
        batch_size=2,
    )
    return [list(each.token_ids) for each in found]


def greedy_of_transformers(model: PreTrainedModel) -> list[list[int]]:
    """The same by the library's, a prompt at a time."""
    found = []
    for prompt in prompts():
        ids = torch.tensor([prompt])
        with torch.no_grad():
            written = model.eval().generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=NEW_TOKENS,
                eos_token_id=0,
                pad_token_id=0,
            )
        found.append(written[0, len(prompt) :].tolist())
    return found


def prompts() -> list[list[int]]:
    """Two of different length."""
    ids = inputs(2)
    return [ids[0].tolist(), ids[1, :7].tolist()]


HEADING = """# Families of models

Written by `make families`, and checked by `tests/pairs/test_families.py`: each family as a small random model of its
own configuration class, saved, and loaded by our own loader with transformers {version}. "fused": the loss is taken of
hidden states and the output head, so that `[tokens, vocabulary]` is never held; "by logits": its head is no linear
layer on the hidden states, and logits are held whole. Either way loss and gradients equal those of the definition, as
teacher and as student, and four greedy tokens equal those of `generate`. A family that is not listed is tried in the
same way when it is loaded: whether it reads from left to right, can be decoded with a cache, and what its head is.

Experts are routed by each token alone. As students they train without the loss that balances them.

| family | trains | head, or why it is refused | experts |
|---|---|---|---|
"""


def table() -> str:
    """The table of all families."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    version = ".".join(transformers.__version__.split(".")[:2])
    with tempfile.TemporaryDirectory() as root:
        rows = [outcome_of(folder_of(name, Path(root))).row(name) for name in FAMILIES]
    return HEADING.format(version=version) + "\n".join(rows) + "\n"


@cache
def documented() -> Mapping[str, str]:
    """Family -> its row in the documentation."""
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    return {line.split("`")[1]: line for line in rows}


if __name__ == "__main__":
    sys.stdout.write(table())
