"""Stages that are models: fine-tuned on the gold responses, if the pair says so, and then kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from amid.cells.stage import Stage, keeps_model
from amid.config import Role
from amid.data.tokenise import eos_id
from amid.pairs import (
    Pair,
    add_lora,
    has_lora,
    head_size,
    merge_lora,
    model_from_scratch,
    num_ids,
    num_non_embedding_parameters,
)
from amid.stages.ensure import write_model
from amid.stages.stages import Builder, Stages
from amid.store.claims import Claim
from amid.training.fit import fit_student
from amid.training.plan import TrainingPlace, plan_of_stage

log = logging.getLogger(__name__)


def fine_tuned(role: Role, start: Callable[[Stages], PreTrainedModel]) -> Builder:
    """The builder of a model of one role. start: the model before its fine-tuning, as the pair describes it."""

    def build(stages: Stages, stage: Stage, folder: Path, claim: Claim) -> None:
        if keeps_model(stage.kind, stage.values):
            model = trained(stages, stage)
            if role == "teacher":
                model = _merged(model, stages.dtype_of(role))
            learnt = "sft" in stage.values
            write_model(model, stages.written_as(model, role) if learnt else stages.tokenizer(role), folder)

    def trained(stages: Stages, stage: Stage) -> PreTrainedModel:
        model = start(stages)
        pair = stages.materials.pair
        lora, sft = getattr(pair, f"{role}_lora"), getattr(pair, f"{role}_sft")
        if lora.rank and sft.epochs > 0:
            add_lora(model, lora, seed=sft.seed)
        _fine_tune(model, stages, stage, role=role)
        return model

    return Builder(build, take_part=trained, start=start)


def from_scratch(stages: Stages, role: Role) -> PreTrainedModel:
    """A model of the pair's architecture for a role, with random weights."""
    pair, tokenizer = stages.materials.pair, stages.tokenizer(role)
    arch, sft = getattr(pair, f"{role}_arch"), getattr(pair, f"{role}_sft")
    return model_from_scratch(arch, vocab_size=num_ids(tokenizer), eos_id=eos_id(tokenizer), seed=sft.seed)


def _merged(teacher: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The teacher as cells read it: one set of weights, of the dtype."""
    if has_lora(teacher):
        merge_lora(teacher)
    teacher.to(dtype)  # type: ignore[arg-type]  # transformers wraps nn.Module.to without its types
    return teacher


def _fine_tune(model: PreTrainedModel, stages: Stages, stage: Stage, *, role: Role) -> None:
    """Fine-tunes on the gold responses; the model holds the weights of the best validation afterwards."""
    sft, store = getattr(stages.materials.pair, f"{role}_sft"), stages.store
    if sft.epochs == 0:
        return
    plan, vocab_size = plan_of_stage(sft, stages.materials.data), stages.vocab_size(role, model)
    log.info(
        "%s: fine-tuning %.2f M parameters (%.2f M without embeddings) for %d epochs",
        stage.title,
        model.num_parameters() / 1e6,
        num_non_embedding_parameters(model) / 1e6,
        sft.epochs,
    )
    if stages.ranks.leads:
        stages.ranks.broadcast(stage.kind)
    fit_student(
        Pair(teacher=None, student=model, tokenizer=stages.tokenizer(role), vocab_size=head_size(model)),
        stages.tokenised.examples(role, vocab_size, num_train=plan.num_train),
        stages.tokenised.dev(role, vocab_size),
        plan=plan,
        place=TrainingPlace(
            resources=stages.materials.resources,
            checkpoints=store.checkpoints_folder(stage),
            journal=store.journal_path(stage),
            label=stage.title,
            ranks=stages.ranks,
            check=store.guard(stage),
        ),
    )
