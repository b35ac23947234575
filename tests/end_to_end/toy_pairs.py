"""The named pairs at toy size: their own configuration and tokenizer classes, random weights, unequal sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from small import ROOT
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaTokenizer,
    GPT2Config,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Tokenizer,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

NUM_TOKENS = 400
POSITIONS = 512
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message.role }}\n{{ message.content }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
RECORDS = [
    {
        "instruction": f"How much is {n} and {n + 1}?",
        "input": "",
        "output": f"{n} + {n + 1} = {2 * n + 1} #### {2 * n + 1}",
    }
    for n in range(24)
]


def text_of(record: dict[str, str]) -> str:
    return f"{record['instruction']} {record['output']}"


def trained(tokenizer_class: type, **special: Any) -> Any:
    """A tokenizer of the class, its algorithm and special tokens, with a vocabulary of our own."""
    tokenizer = tokenizer_class(**special.pop("init", {}))
    texts = [text_of(record) for record in RECORDS] * 2
    return tokenizer.train_new_from_iterator(texts, NUM_TOKENS, show_progress=False, **special)


def gpt2_tokenizer() -> Any:
    return trained(GPT2Tokenizer)


def llama2_tokenizer() -> Any:
    return trained(LlamaTokenizer)


def qwen_tokenizer() -> Any:
    tokenizer = trained(Qwen2Tokenizer, new_special_tokens=["<|im_start|>", "<|im_end|>"])
    return ending(tokenizer, "<|im_end|>", CHATML)


def smollm2_tokenizer() -> Any:
    tokenizer = trained(GPT2Tokenizer, new_special_tokens=["<|im_start|>", "<|im_end|>"])
    return ending(tokenizer, "<|im_end|>", CHATML)


def llama3_tokenizer() -> Any:
    tokens = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    trained_one = trained(GPT2Tokenizer, new_special_tokens=tokens)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained_one.backend_tokenizer, bos_token="<|begin_of_text|>")
    return ending(tokenizer, "<|eot_id|>", LLAMA3)


def gemma_tokenizer() -> Any:
    tokenizer = trained(GemmaTokenizer, new_special_tokens=["<start_of_turn>", "<end_of_turn>"])
    tokenizer.chat_template = GEMMA
    return tokenizer


def gemma3_tokenizer() -> Any:
    """With the token of an image behind all others, which the model that reads text alone does not know."""
    tokenizer = gemma_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    return tokenizer


def ending(tokenizer: Any, eos: str, template: str) -> Any:
    tokenizer.eos_token = eos
    tokenizer.pad_token = eos
    tokenizer.chat_template = template
    return tokenizer


SHAPE = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}


def gpt2(width: int, rows: int) -> PretrainedConfig:
    return GPT2Config(vocab_size=rows, n_positions=POSITIONS, n_embd=width, n_layer=2, n_head=2)


def decoder(config: type[PretrainedConfig], **more: Any) -> Callable[[int, int], PretrainedConfig]:
    return lambda width, rows: config(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=2 * width,
        max_position_embeddings=POSITIONS,
        **{**SHAPE, **more},
    )


def gemma3_with_vision(width: int, rows: int) -> PretrainedConfig:
    text = decoder(Gemma3TextConfig, sliding_window=16, layer_types=["sliding_attention", "full_attention"])
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Gemma3Config(
        text_config=text(width, rows).to_dict(),
        vision_config={**vision, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=NUM_TOKENS + 2,
    )


@dataclass(frozen=True)
class ToyPair:
    """rows: of the heads of teacher and student beyond the tokenizer's tokens; negative where tokens have no row."""

    tokenizer: Callable[[], Any]
    teacher: Callable[[int, int], PretrainedConfig]
    student: Callable[[int, int], PretrainedConfig]
    rows: tuple[int, int] = (0, 0)


LLAMA = decoder(LlamaConfig)
LLAMA_TIED = decoder(LlamaConfig, tie_word_embeddings=True)
GPT2 = ToyPair(gpt2_tokenizer, gpt2, gpt2)
SMOLLM2 = ToyPair(smollm2_tokenizer, LLAMA_TIED, LLAMA_TIED)
TOY_PAIRS = {
    "gpt2_xl_to_base": GPT2,
    "gpt2_xl_to_medium": GPT2,
    "gpt2_xl_to_large": GPT2,
    "openllama2_7b_to_3b": ToyPair(llama2_tokenizer, LLAMA, LLAMA),
    "gemma_7b_to_2b": ToyPair(gemma_tokenizer, decoder(GemmaConfig), decoder(GemmaConfig)),
    # 152064 and 151936 rows for 151646 tokens and those added
    "qwen2_7b_to_0.5b": ToyPair(
        qwen_tokenizer,
        decoder(Qwen2Config, tie_word_embeddings=False),
        decoder(Qwen2Config, tie_word_embeddings=True),
        (13, 5),
    ),
    # 151936 rows in both
    "qwen3_8b_to_0.6b": ToyPair(
        qwen_tokenizer,
        decoder(Qwen3Config, tie_word_embeddings=False),
        decoder(Qwen3Config, tie_word_embeddings=True),
        (5, 5),
    ),
    "llama3.2_3b_to_1b": ToyPair(llama3_tokenizer, LLAMA_TIED, LLAMA_TIED),
    # 262208 rows with vision, 262144 without, for 262145 tokens
    "gemma3_4b_to_1b": ToyPair(
        gemma3_tokenizer,
        gemma3_with_vision,
        decoder(Gemma3TextConfig, sliding_window=16, layer_types=["sliding_attention", "full_attention"]),
        (63, -1),
    ),
    "smollm2_1.7b_to_360m": SMOLLM2,
    "smollm2_1.7b_to_135m": SMOLLM2,
}


def named_pairs() -> list[str]:
    """The pairs that name two models of the hub."""
    found = []
    for path in sorted((ROOT / "conf" / "pair").glob("*.yaml")):
        values = yaml.safe_load(path.read_text())
        if "/" in str(values.get("student")):
            found.append(path.stem)
    return found


def write_pair(pair: ToyPair, folder: Path) -> tuple[Path, Path]:
    """Folders of a teacher and a student as a hub would hold them."""
    tokenizer = pair.tokenizer()
    for seed, (name, make, width) in enumerate((("teacher", pair.teacher, 32), ("student", pair.student, 16))):
        torch.manual_seed(seed)
        config = make(width, len(tokenizer) + pair.rows[seed])
        for each in {id(config): config, id(config.get_text_config()): config.get_text_config()}.values():
            each.eos_token_id, each.bos_token_id = tokenizer.eos_token_id, tokenizer.bos_token_id
            each.pad_token_id = tokenizer.pad_token_id
        composite = config.get_text_config() is not config
        model = (AutoModelForImageTextToText if composite else AutoModelForCausalLM).from_config(config)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder / "teacher", folder / "student"


def write_data(folder: Path) -> Path:
    """A folder of records, and where GSM8K's test set is looked for."""
    (folder / "gsm8k").mkdir(parents=True)
    for name, records in (("train", RECORDS[:16]), ("dev", RECORDS[16:20]), ("test", RECORDS[20:])):
        text = "".join(f"{json.dumps(record)}\n" for record in records)
        for path in (folder / f"{name}.jsonl", folder / "gsm8k" / f"{name}.jsonl"):
            path.write_text(text)
    return folder


def toy_overrides(name: str, folder: Path) -> list[str]:
    """What makes a named pair a toy; its pair, train and data nodes are otherwise its own."""
    pair = TOY_PAIRS[name]
    teacher, student = write_pair(pair, folder / name)
    task = bool(pair.tokenizer().chat_template)
    sft = "{{epochs: {}, max_steps: 2, global_batch_size: 2, validation: {{max_new_tokens: 4, select: loss}}}}"
    values = yaml.safe_load((ROOT / "conf" / "pair" / f"{name}.yaml").read_text())
    for base in values.get("defaults", []):
        values = {**yaml.safe_load((ROOT / "conf" / "pair" / f"{base}.yaml").read_text()), **values}
    stages = [f"pair.{role}_sft={sft.format(1)}" for role in ("teacher", "student") if f"{role}_sft" in values]
    data = "gsm8k" if task else "dolly"
    return [
        f"pair={name}",
        f"data={data}",
        f"pair.teacher={teacher}",
        f"pair.student={student}",
        f"data.root={folder}/gsm8k" if task else f"data.root={folder}",
        f"evaluation={data}" if task else "evaluation=jsonl",
        "data.num_train=null" if task else "data.num_dev=null",
        *(["data.split_seed=null"] if task else []),
        *stages,
        "data.max_prompt_tokens=200",
        "data.max_tokens=300",
        "train.epochs=1",
        "train.max_steps=2",
        "train.global_batch_size=4",
        "train.validation={every_steps: 2, max_new_tokens: 4, select: loss}",
        "strategy=on_policy",
        "evaluation.max_new_tokens=4",
        "evaluation.decode_seeds=[10]",
        "logger=none",
        f"paths.results={folder}/results",
        f"paths.cache={folder}/cache",
    ]
