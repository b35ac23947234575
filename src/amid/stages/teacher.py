"""The stage `teacher`: from scratch or from a published model, fine-tuned on the data."""

from __future__ import annotations

from transformers import PreTrainedModel

from amid.config import SCRATCH
from amid.stages.fine_tuned import from_scratch
from amid.stages.stages import Stages


def start(stages: Stages) -> PreTrainedModel:
    """The teacher before its fine-tuning."""
    if stages.materials.pair.teacher == SCRATCH:
        return from_scratch(stages, "teacher")
    return stages.ending(stages.original("teacher"), "teacher")
