"""How every kind of stage is built: the registry. What names a kind is in `amid.cells.stage`."""

from __future__ import annotations

from amid.stages import corpus, student_init, teacher, tokenizer
from amid.stages.fine_tuned import fine_tuned
from amid.stages.stages import Builder

BUILDERS: dict[str, Builder] = {
    "tokenizer": Builder(tokenizer.build),
    "teacher": fine_tuned("teacher", teacher.start),
    "student_init": fine_tuned("student", student_init.start),
    "corpus": Builder(corpus.build),
}
