"""What a rank that follows writes with: the models of a cell, which rank 0 names when it has prompts to share out."""

from __future__ import annotations

from transformers import PreTrainedModel

from amid.cells.cell import Cell
from amid.config import Role
from amid.evaluation.writer import Job, Writer
from amid.stages.stages import Stages
from amid.training.devices import device_of

CELL = "cell"  # what the ranks call a cell and its student; stages go by their role


class Following:
    """The model that this rank last wrote with; another is loaded when rank 0 first asks for it."""

    def __init__(self, stages: Stages, cell: Cell) -> None:
        self._stages = stages
        self._cell = cell
        self._held: tuple[str, Writer] | None = None

    def answer(self, job: Job) -> None:
        """Writes this rank's part of a job of rank 0."""
        assert job.model is not None
        if self._held is None or self._held[0] != job.model:
            self.drop()  # its memory is needed
            if job.model == CELL:
                self.hold(CELL, self._stages.finished_student(self._cell))
            else:
                self.hold(job.model, self._stages.model(job.model))
        assert self._held is not None
        self._held[1].together(job)

    def hold(self, name: str, model: PreTrainedModel) -> None:
        """Takes a model that this rank has already, such as the student it has trained with the others."""
        resources, ranks = self._stages.materials.resources, self._stages.ranks
        role: Role = "student" if name == CELL else self._cell.stages[name].evaluated_as or "student"
        model = model.to(device_of(resources.accelerator, ranks))  # type: ignore[arg-type]  # transformers wraps nn.Module.to without its types
        tokenizer = self._stages.tokenizer(role)
        self._held = (name, Writer(model, tokenizer, batch_size=resources.generation_batch_size, ranks=ranks))

    def drop(self) -> None:
        """Forgets the model."""
        self._held = None


def name_among_ranks(cell: Cell, entry_id: str) -> str:
    """What the ranks call the model of an entry: the cell, or the role of one of its stages."""
    return next((role for role, stage in cell.stages.items() if stage.id == entry_id), CELL)
