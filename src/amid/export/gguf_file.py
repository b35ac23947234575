"""model.gguf: a model of the Llama or GPT-2 shape in one file, with its tokenizer, as llama.cpp lays it out.

Nothing is taken on trust: what was written is read back by transformers and compared (`check_gguf`).
Source: llama.cpp, convert_hf_to_gguf.py (names, permutation, transposition); the names are the package's own map.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from amid.errors import RequestError, RunError
from amid.export.gguf_tokenizer import add_tokenizer, check_tokenizer
from amid.pairs.loading import loading

if TYPE_CHECKING:
    from gguf import GGUFWriter

FILE = "model.gguf"
FAMILIES = ("llama", "gpt2")
GPT2_POSITIONS = 1024  # what transformers expects of any GPT-2 in this format, which has no field for them
# Of logits that are read back, in float32: other kernels, and a rotation computed from a theta of 32 bits.
LOGITS_ATOL = 1e-3
NUM_TRIED = 16  # tokens


def check_family(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises RequestError for a model that the format, as transformers reads it, cannot hold."""
    try:
        import gguf  # noqa: F401
    except ModuleNotFoundError:
        raise RequestError("--gguf needs the package gguf: pip install 'amid-lab[export]'") from None
    config: Any = model.config
    family = str(config.model_type)
    if family not in FAMILIES:
        raise RequestError(f"--gguf writes models of the shapes of Llama and GPT-2, this one is {family}; leave it out")
    problem = _llama_problem(config) if family == "llama" else _gpt2_problem(config)
    if problem is not None:
        raise RequestError(f"--gguf cannot hold this {family}: {problem}; leave it out")
    check_tokenizer(tokenizer)


def write_gguf(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path, *, name: str, half: bool
) -> None:
    """Writes the model; half: matrices as float16, everything of one dimension stays float32."""
    import gguf

    config: Any = model.config
    arch = gguf.MODEL_ARCH.LLAMA if config.model_type == "llama" else gguf.MODEL_ARCH.GPT2
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    if config.model_type == "llama":
        _add_llama(writer, config)
    else:
        _add_gpt2(writer, config)
    add_tokenizer(writer, tokenizer, vocab_size=config.vocab_size)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for hf_name, weight in _tensors(model):
        stem, _, suffix = hf_name.rpartition(".")
        mapped = names.get_name(stem)
        assert mapped is not None, f"{hf_name} has no name in the format"
        writer.add_tensor(f"{mapped}.{suffix}", _array(weight, half=half))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_gguf(model: PreTrainedModel, folder: Path) -> None:
    """Raises RunError unless transformers reads the folder's file back as this model, in float32: the same logits."""
    # Its progress bar asks nobody whether it may be shown
    with loading(f"{FILE} cannot be read back"), contextlib.redirect_stderr(io.StringIO()):
        again: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
    ids = torch.arange(NUM_TRIED).remainder(int(model.config.vocab_size))[None]
    with torch.no_grad():
        due, found = (each.eval()(ids).logits for each in (model.float(), again))
    if due.shape != found.shape or not torch.allclose(due, found, atol=LOGITS_ATOL, rtol=LOGITS_ATOL):
        raise RunError(f"{FILE}, read back by transformers, is another model than the one written; please report it")


def _llama_problem(config: Any) -> str | None:
    rope = dict(getattr(config, "rope_parameters", None) or {})
    if rope.get("rope_type", "default") != "default":
        return f"its rotary positions are scaled ({rope['rope_type']}), which transformers does not read back"
    for name in ("attention_bias", "mlp_bias"):
        if getattr(config, name, False):
            return f"it has biases ({name})"
    if config.hidden_act not in ("silu", "swish"):
        return f"its activation is {config.hidden_act}"
    return None


def _gpt2_problem(config: Any) -> str | None:
    if config.n_positions > GPT2_POSITIONS:
        return f"it has {config.n_positions} positions, and transformers reads back {GPT2_POSITIONS}"
    if config.n_inner not in (None, 4 * config.n_embd):
        return f"its n_inner is {config.n_inner}, not 4 times its width"
    if config.activation_function not in ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"):
        return f"its activation is {config.activation_function}"
    if config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights:
        return "its attention is scaled otherwise"
    return None


def _add_llama(writer: GGUFWriter, config: Any) -> None:
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head_dim)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_vocab_size(config.vocab_size)


def _add_gpt2(writer: GGUFWriter, config: Any) -> None:
    writer.add_context_length(GPT2_POSITIONS)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _tensors(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Name in transformers, and weight in the layout of the format."""
    config: Any = model.config
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        if config.model_type == "llama":
            yield name, _llama_weight(name, weight, config)
        else:
            yield name, _gpt2_weight(name, weight)


def _llama_weight(name: str, weight: Tensor, config: Any) -> Tensor:
    """Rows of query and key that rotate together stand side by side, not half a head apart."""
    num_heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, heads in num_heads.items():
        if name.endswith(f"{part}.weight"):
            halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
            return halves.swapaxes(1, 2).reshape(weight.shape)
    return weight


def _gpt2_weight(name: str, weight: Tensor) -> Tensor:
    """Conv1D holds [in, out], a matrix of the format [out, in]; positions it never learned are zeros."""
    if name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        return weight.T
    if name.endswith("wpe.weight"):
        return torch.nn.functional.pad(weight, (0, 0, 0, GPT2_POSITIONS - weight.shape[0]))
    return weight


def _array(weight: Tensor, *, half: bool) -> npt.NDArray[Any]:
    dtype = torch.float16 if half and weight.dim() > 1 else torch.float32
    return np.ascontiguousarray(weight.detach().to(dtype).cpu().numpy())
