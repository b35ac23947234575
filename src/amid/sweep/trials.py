"""Trials: what can only be found out with the libraries at hand, tried once before anything trains.

Weights that are not the model's own or not finite, text that the two models of a pair read differently or cannot read
at all, an accelerator that is not there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from transformers import PreTrainedTokenizerBase

from amid.config import ROLES, SCRATCH, TEACHER, Role, RunCfg
from amid.data.plain_text import check_enough_chunks, chunks_of
from amid.data.prompt import TEMPLATE_PIECES, asking_of
from amid.data.records import Record
from amid.data.splits import drawn, training_records
from amid.data.tokenise import check_enough, record_texts, tokenizer_texts
from amid.errors import RequestError
from amid.evaluation.prompts import check_sets
from amid.evaluation.protocol import set_protocols
from amid.model_folders.folder import check_full_attention, check_layers, check_positions
from amid.model_folders.tokenizer import check_fits
from amid.pairs import (
    Sizes,
    check_one_tokenizer,
    keep_layers,
    load_model,
    load_sizes,
    load_tokenizer,
    load_tokenizers,
    num_ids,
    shared_ids,
    train_tokenizer,
)
from amid.pairs.tokenizers import largest_ordinary
from amid.ranks import place

RECORDS_COMPARED = 64  # first training records that both tokenizers must split alike


def try_accelerator(name: str, *, num_devices: int) -> None:
    """Raises RequestError for an accelerator that this machine does not have, or not so often.

    num_devices: that train a cell together, perhaps on several machines.
    """
    there = {each for each, known in AcceleratorRegistry.items() if known["accelerator"].is_available()}
    gpu = next((each for each in ("cuda", "mps") if each in there), None)
    if name not in there | {"auto"} and (name != "gpu" or gpu is None):
        valid = ["auto", *sorted(there), *(["gpu"] if gpu else [])]
        raise RequestError(f"trainer.accelerator={name} is not on this machine; valid here: {', '.join(valid)}")
    chosen = gpu if name in ("auto", "gpu") else name
    num_here = place(os.environ, slurm=num_devices > 1).per_node
    if chosen == "cuda" and num_here > (count := AcceleratorRegistry["cuda"]["accelerator"].auto_device_count()):
        raise RequestError(f"trainer.devices={num_devices} needs {num_here} GPUs on this machine, which has {count}")


def try_pair(
    run: RunCfg, *, batches: Mapping[str, tuple[int, int | None]], tokenizer_folder: Path | None, with_weights: bool
) -> None:
    """Raises RequestError for models, tokenizers and texts that do not go together.

    batches: setting -> records that an optimiser step takes, and how many records it takes them from (None = all).
    tokenizer_folder: of the tokenizer that was trained for this pair; None if it is not trained yet.
    with_weights: load every model too, as the run would.
    """
    records, dev = training_records(run.data)
    tokenizers = tokenizers_of(run, records, tokenizer_folder)
    sizes: dict[Role, Sizes] = {role: sizes_of_role(run, role, tokenizers[role]) for role in ROLES}
    for role in ROLES:
        name = _source(run, role)
        check_fits(largest_ordinary(tokenizers[role]), vocab_size=sizes[role].vocab_size, name=name)
        needed_by = f"data.max_tokens={run.data.max_tokens}"
        check_positions(sizes[role].num_positions, num_tokens=run.data.max_tokens, needed_by=needed_by, name=name)
        if run.strategy.name == "speculative":
            check_full_attention(has_sliding_windows=sizes[role].has_sliding_windows, name=name)
    shared = shared_ids([each.vocab_size for each in sizes.values()], tokenizers.values())
    needs = [
        ([records[i] for i in drawn(len(records), number, seed=run.data.split_seed)], f"{key}={size}", size)
        for key, (size, number) in batches.items()
    ]
    for part, needed_by, num_needed in [*needs, (dev, "validation", 1)]:
        check_enough(
            part,
            tokenizers["teacher"],
            max_prompt_tokens=run.data.max_prompt_tokens,
            max_tokens=run.data.max_tokens,
            truncate_prompt=run.data.truncate_prompt,
            vocab_size=shared,
            num_needed=num_needed,
            needed_by=needed_by,
            asking=asking_of(run.data),
        )
    _try_plain_text(run, tokenizers["teacher"], vocab_size=shared)
    _try_sets(run, tokenizers, sizes)
    if with_weights:
        _try_models(run)


def tokenizers_of(run: RunCfg, records: Sequence[Record], folder: Path | None) -> dict[Role, PreTrainedTokenizerBase]:
    """The tokenizers of a pair, which read the first records alike; trained on all, where the pair's own is not there.

    folder: of the tokenizer that was trained for it. Raises RequestError for two that are not one.
    """
    pair = run.pair
    if pair.tokenizer_vocab_size is None:
        teacher, student = load_tokenizers(pair, cache=Path(run.paths.cache))
        first, asking = records[:RECORDS_COMPARED], asking_of(run.data)
        texts, others = (record_texts(first, tokenizer, asking=asking) for tokenizer in (teacher, student))
        if texts != others:
            way_out = "data.chat_template=NAME" if asking.in_turns else "data.prompt=alpaca data.template=null"
            raise RequestError(
                f"teacher '{pair.teacher}' and student '{pair.student}' put a chat into different templates, and "
                "distillation reads one text with both: give the student's folder the teacher's chat template, or take "
                f"it away, or set {way_out}"
            )
        check_one_tokenizer(
            teacher,
            student,
            names=(pair.teacher, pair.student),
            vocab_policy=pair.vocab_policy,
            texts=[f"{prompt}{response}" for prompt, response in texts],
        )
        return {"teacher": teacher, "student": student}
    if folder is not None:
        with contextlib.suppress(RequestError):  # damaged: the run itself says so, with the remedy
            saved = load_tokenizer(str(folder), revision=None, cache=Path(run.paths.cache))
            return {"teacher": saved, "student": saved}
    trained = train_tokenizer(
        tokenizer_texts(records), vocab_size=pair.tokenizer_vocab_size, whole_tokens=TEMPLATE_PIECES
    )
    return {"teacher": trained, "student": trained}


def sizes_of_role(run: RunCfg, role: Role, tokenizer: PreTrainedTokenizerBase) -> Sizes:
    """The sizes of a model before layers are taken out of it; raises RequestError for layers that it does not have."""
    pair, source = run.pair, _source(run, role)
    arch = getattr(pair, f"{role if getattr(pair, role) != TEACHER else 'teacher'}_arch")
    if source == SCRATCH:
        sizes = Sizes(vocab_size=num_ids(tokenizer), num_positions=arch.positions, num_layers=arch.layers)
    else:
        sizes = load_sizes(source, revision=_revision(run, role), cache=Path(run.paths.cache))
    if role == "student" and pair.keep_layers is not None:
        check_layers(pair.keep_layers, num_layers=sizes.num_layers, name=source)
    return sizes


def _source(run: RunCfg, role: Role) -> str:
    """The reference that a role's model is made of."""
    named: str = getattr(run.pair, role)
    return run.pair.teacher if named == TEACHER else named


def _revision(run: RunCfg, role: Role) -> str | None:
    revision: str | None = getattr(run.pair, f"{'teacher' if run.pair.student == TEACHER else role}_revision")
    return revision


def _try_plain_text(run: RunCfg, tokenizer: PreTrainedTokenizerBase, *, vocab_size: int) -> None:
    """Raises RequestError for plain text that does not fill a batch; tokenises no more than it must."""
    plain, batch_size = run.plain_text, run.plain_text_batch_size
    if batch_size == 0:
        return
    chunks = chunks_of(
        plain,
        tokenizer,
        chunk_tokens=plain.chunk_tokens or run.data.max_tokens,
        vocab_size=vocab_size,
        num_needed=max(batch_size, plain.num_chunks or 0),
    )
    check_enough_chunks(plain, chunks, batch_size=batch_size)


def _try_sets(run: RunCfg, tokenizers: Mapping[Role, PreTrainedTokenizerBase], sizes: Mapping[Role, Sizes]) -> None:
    """Raises RequestError for an evaluation set that a model of the pair cannot read, or lacks room to answer."""
    alike = tokenizers["teacher"] is tokenizers["student"] and sizes["teacher"] == sizes["student"]
    sets = set_protocols(run.data, run.evaluation)
    for role in ROLES[:1] if alike else ROLES:
        check_sets(sets, tokenizers[role], sizes[role])


def _try_models(run: RunCfg) -> None:
    """Loads what the run would load, one model at a time."""
    tried: set[tuple[str, str | None]] = set()
    for role in ROLES:
        source, revision = _source(run, role), _revision(run, role)
        cut = run.pair.keep_layers if role == "student" else None
        if source == SCRATCH or ((source, revision) in tried and cut is None):
            continue
        trained = role == "student" or run.pair.teacher_sft.epochs > 0
        dtype = torch.float32 if trained else getattr(torch, run.pair.teacher_dtype)
        model = load_model(source, revision=revision, cache=Path(run.paths.cache), dtype=dtype)
        if cut is not None:
            keep_layers(model, cut, name=source)
        tried.add((source, revision))
