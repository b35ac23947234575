"""Small model folders of several families, built from configurations without a download, and ways to damage them."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RwkvConfig,
    RwkvForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from amid.data.prompt import TEMPLATE_PIECES
from amid.pairs import train_tokenizer

LFS_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 123456\n"
NUM_POSITIONS = 192
DECODERS = ("gpt2", "llama", "llama_tied", "gemma3_text", "gemma3")
Damage = Callable[[Path], object]


@cache
def _trained(vocab_size: int) -> PreTrainedTokenizerBase:
    texts = [f"Say the number {i}. yes {i} no {i * 7} maybe the cat sat on the mat" for i in range(200)]
    return train_tokenizer(texts, vocab_size=vocab_size, whole_tokens=TEMPLATE_PIECES)


def small_tokenizer(vocab_size: int = 360) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer, free to be changed; it keeps the pieces of the prompt template whole."""
    return copy.deepcopy(_trained(vocab_size))


def small_model(kind: str, *, vocab_size: int, layers: int = 2, positions: int = NUM_POSITIONS) -> PreTrainedModel:
    """A model of a family with random weights, large enough that its logits differ."""
    ends: dict[str, Any] = {"vocab_size": vocab_size, "eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 0}
    common = {**ends, "initializer_range": 0.2, "num_hidden_layers": layers, "hidden_size": 16}
    common |= {"num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": positions}
    grouped = {**common, "num_key_value_heads": 1}
    gemma = {**grouped, "head_dim": 8, "sliding_window": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "gpt2":
            sizes = {"n_layer": layers, "n_embd": 16, "n_head": 2, "n_positions": positions}
            return GPT2LMHeadModel(GPT2Config(initializer_range=0.2, **sizes, **ends))
        if kind in ("llama", "llama_tied"):
            return LlamaForCausalLM(LlamaConfig(tie_word_embeddings=kind == "llama_tied", **grouped))
        if kind == "gemma3_text":
            return Gemma3ForCausalLM(Gemma3TextConfig(**gemma))
        if kind == "gemma3":
            # As many layers for pictures as for text, so that only their places tell them apart
            vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2}
            config = Gemma3Config(text_config=gemma, vision_config={**vision, "image_size": 28, "patch_size": 14})
            return Gemma3ForConditionalGeneration(config)
        if kind == "bert":
            return BertForMaskedLM(BertConfig(**common))
        if kind == "bert_as_decoder_head":
            return BertLMHeadModel(BertConfig(**common))
        if kind == "mamba":
            return MambaForCausalLM(MambaConfig(**ends, hidden_size=16, num_hidden_layers=layers, state_size=4))
        if kind == "rwkv":
            return RwkvForCausalLM(
                RwkvConfig(**ends, hidden_size=16, num_hidden_layers=layers, attention_hidden_size=16)
            )
        assert kind == "t5", kind
        return T5ForConditionalGeneration(T5Config(vocab_size=vocab_size, d_model=16, d_kv=8, d_ff=16, num_layers=2))


def save_folder(
    folder: Path,
    kind: str = "llama",
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    extra_rows: int = 0,
    **sizes: int,
) -> Path:
    """The folder, which holds a small model and its tokenizer. extra_rows: of the head, beyond the tokenizer."""
    tokenizer = tokenizer or small_tokenizer()
    model = small_model(kind, vocab_size=max(tokenizer.get_vocab().values()) + 1 + extra_rows, **sizes)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def damaged(folder: Path, damage: Damage) -> Path:
    """A copy of the folder beside it, with the damage done."""
    copied = folder.with_name(f"{folder.name}-damaged")
    shutil.copytree(folder, copied)
    damage(copied)
    return copied


def write(name: str, text: str) -> Damage:
    """A damage: the file holds this text."""
    return lambda folder: (folder / name).write_text(text)


def cut(name: str, length: int) -> Damage:
    """A damage: the file ends after so many bytes, or lacks so many at its end."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


def remove(*names: str) -> Damage:
    """A damage: the files are not there."""
    return lambda folder: [(folder / name).unlink() for name in names]


def configure(name: str = "config.json", **values: object) -> Damage:
    """A damage: the JSON file says something else; a value of ... is left out."""

    def damage(folder: Path) -> None:
        path = folder / name
        contents = {**json.loads(path.read_text()), **values}
        path.write_text(json.dumps({key: value for key, value in contents.items() if value is not ...}))

    return damage


def reweigh(change: Callable[[dict[str, torch.Tensor]], Mapping[str, torch.Tensor]]) -> Damage:
    """A damage: the safetensors file holds the tensors that the function makes of those it held."""

    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file(dict(change(load_file(path))), path, metadata={"format": "pt"})

    return damage


def without(part: str) -> Damage:
    """A damage: the weights whose names contain a text are missing."""
    return reweigh(lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name})


def pickled(folder: Path, contents: object = None) -> None:
    """The folder's weights are a PyTorch file of the given contents, or of the weights it had."""
    path = folder / "model.safetensors"
    torch.save(load_file(path) if contents is None else contents, folder / "pytorch_model.bin")
    path.unlink()


SIZE = len(small_tokenizer())
# How a model folder may be damaged, and what is said of it before anything is loaded.
DAMAGES: Mapping[str, tuple[Damage, str]] = {
    "config a list": (write("config.json", "[1]"), "config.json must hold a JSON object, got list"),
    "config empty": (write("config.json", ""), "config.json is empty"),
    "config torn": (cut("config.json", 50), "config.json is no JSON"),
    "config not text": (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe{}"), "config.json is no JSON"),
    "config nested": (write("config.json", "[" * 100_000), "config.json is no JSON"),
    "config a pointer": (write("config.json", LFS_POINTER), "config.json is a pointer file of git LFS"),
    "config missing": (remove("config.json"), "config.json does not exist"),
    "no model_type": (configure(model_type=...), "its config.json names no model_type"),
    "size a text": (configure(vocab_size="many"), "vocab_size in its config.json must be an integer, got 'many'"),
    "size zero": (configure(num_hidden_layers=0), "num_hidden_layers in its config.json must be at least 1, got 0"),
    "quantised": (configure(quantization_config={"quant_method": "gptq"}), "holds quantised weights"),
    "linear layers": (configure(layer_types=["linear_attention", "full_attention"]), "has linear_attention; only"),
    "an adapter": (write("adapter_config.json", "{}"), "holds an adapter (adapter_config.json)"),
    "generation a list": (write("generation_config.json", "[]"), "generation_config.json must hold a JSON object"),
    "weights a pointer": (write("model.safetensors", LFS_POINTER), "model.safetensors is a pointer file of git LFS"),
    "weights empty": (cut("model.safetensors", 0), "model.safetensors is empty"),
    "weights of 5 bytes": (cut("model.safetensors", 5), "model.safetensors is no whole safetensors file (5 bytes)"),
    "header torn": (cut("model.safetensors", 50), "model.safetensors is no whole safetensors file (50 bytes)"),
    "data torn": (cut("model.safetensors", -100), "model.safetensors is truncated: "),
    "weights text": (write("model.safetensors", "<html>404 not found</html>"), "is no whole safetensors file"),
    "weights missing": (remove("model.safetensors"), "holds no weights (model.safetensors or "),
    "head missing": (without("lm_head"), "the weights of its output head are missing; only model.embed_tokens.weight"),
    "layer missing": (without("layers.1."), "the weights of layer 1 (1 in all) are missing; its config.json counts 2"),
    "other vocabulary": (configure(vocab_size=SIZE - 9), f"has {SIZE} rows, vocab_size is {SIZE - 9}"),
    "pickle empty": (lambda folder: (pickled(folder), cut("pytorch_model.bin", 0)(folder)), "model.bin is empty"),
    "pickle torn": (lambda folder: (pickled(folder), cut("pytorch_model.bin", -300)(folder)), "bin is truncated"),
    "pickle a pointer": (
        lambda folder: (pickled(folder), write("pytorch_model.bin", LFS_POINTER)(folder)),
        "pytorch_model.bin is a pointer file of git LFS",
    ),
    "pickle a page": (
        lambda folder: (pickled(folder), write("pytorch_model.bin", "<html>")(folder)),
        "pytorch_model.bin is no PyTorch weight file",
    ),
    "tokenizer missing": (remove("tokenizer.json", "tokenizer_config.json"), "no tokenizer for model '"),
    "tokenizer torn": (cut("tokenizer.json", 200), "tokenizer.json is no JSON"),
    "tokenizer a list": (write("tokenizer.json", "[]"), "tokenizer.json must hold a JSON object, got list"),
    "tokenizer a pointer": (write("tokenizer.json", LFS_POINTER), "tokenizer.json is a pointer file of git LFS"),
    "tokenizer without a model": (write("tokenizer.json", "{}"), "is no tokenizer: its model.vocab must name tokens"),
    "tokenizer config a list": (write("tokenizer_config.json", "[]"), "tokenizer_config.json must hold a JSON object"),
    "no EOS": (configure("tokenizer_config.json", eos_token=...), "names no end-of-sequence token"),
    "EOS unknown": (
        configure("tokenizer_config.json", eos_token="<end>"),
        "ends texts with '<end>', which is no token of its vocabulary",
    ),
}
