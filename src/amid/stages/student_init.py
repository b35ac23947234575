"""The stage `student_init`: the student as every cell of the pair starts."""

from __future__ import annotations

from transformers import PreTrainedModel

from amid.config import SCRATCH, TEACHER
from amid.pairs import keep_layers
from amid.stages.fine_tuned import from_scratch
from amid.stages.stages import Stages


def start(stages: Stages) -> PreTrainedModel:
    """The student before its fine-tuning: from scratch, a copy of the teacher or a published model, perhaps cut."""
    pair = stages.materials.pair
    if pair.student == SCRATCH:
        model = from_scratch(stages, "student")
    elif pair.student == TEACHER:
        model = stages.whole_teacher()
    else:
        model = stages.original("student", dtype=stages.dtype_of("student"))
    if pair.keep_layers is not None:
        model = keep_layers(model, pair.keep_layers, name=pair.student)
    model = model.to(stages.dtype_of("student"))  # type: ignore[arg-type]  # untyped in transformers
    return stages.ending(model, "student")
