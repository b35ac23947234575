"""What an entry scores: its validation, how it agrees with its teacher, and its answers to the evaluation sets."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from transformers import PreTrainedModel

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.config import Role
from amid.data.loader import validation_batches
from amid.data.tokenise import Example, eos_id
from amid.evaluation.agreement import agreement, agreement_scores
from amid.evaluation.entry import evaluate_entry
from amid.evaluation.protocol import Protocol
from amid.evaluation.tuning import missing_temperatures, tuned
from amid.evaluation.validation import tuning_score, validation_loss, validation_scores
from amid.metrics import TEACHER_METRICS, VALIDATION_METRICS
from amid.stages.following import name_among_ranks
from amid.stages.stages import Stages
from amid.store import Entry, Score
from amid.training.devices import device_of
from amid.training.fit import validator
from amid.training.plan import TrainingPlan

log = logging.getLogger(__name__)
VALIDATION_BATCH_SIZE = 4  # examples at most whose logits are held at once when a finished model is validated


class EntryEvaluation:
    """Evaluates the student of a cell and the models of its stages, each as its own role reads and writes.

    plan: of the cell's training, whose validation selected the weights; protocol: what is asked of all of them.
    """

    def __init__(self, stages: Stages, cell: Cell, *, protocol: Protocol, plan: TrainingPlan) -> None:
        self._stages = stages
        self._cell = cell
        self._protocol = protocol
        self._plan = plan
        self._store = stages.store
        self._resources = stages.materials.resources

    def __call__(self, entry: Entry, model: PreTrainedModel) -> list[Score]:
        """Its scores under the protocol, of which only the missing ones are computed. The model is the entry's own."""
        model = model.to(device_of(self._resources.accelerator, self._stages.ranks))  # type: ignore[arg-type]  # transformers wraps nn.Module.to without its types
        validation_id = self._protocol.validation_id(entry.id)
        expected = self._protocol.expected(entry.id)
        known = [score for score in self._store.read([entry]) if score.score_id in expected]
        if len([score for score in known if score.generation_id == validation_id]) < 1 + len(VALIDATION_METRICS):
            self._store.write(entry, self._validation_scores(entry, model))
        compared = self._protocol.comparison_id(entry.id)
        if len([score for score in known if score.generation_id == compared]) < len(TEACHER_METRICS):
            self._store.write(entry, self._agreement_scores(entry, model))
        for temperature in missing_temperatures(self._protocol, entry.id, self._store.read([entry])):
            self._store.write(entry, [self._tuning_score(entry, model, temperature)])
        protocol = tuned(self._protocol, entry.id, self._store.read([entry]))
        expected = protocol.expected(entry.id)
        evaluate_entry(
            model,
            self._stages.tokenizer(_role_of(entry)),
            protocol,
            entry=entry,
            store=self._store,
            batch_size=self._resources.generation_batch_size,
            ranks=self._stages.ranks,
            known_as=name_among_ranks(self._cell, entry.id),
        )
        return [score for score in self._store.read([entry]) if score.score_id in expected]

    def _validation_scores(self, entry: Entry, model: PreTrainedModel) -> list[Score]:
        dev = self._dev(entry, model)
        pad_id = eos_id(self._stages.tokenizer(_role_of(entry)))
        batches = validation_batches(dev, batch_size=self._compared_at_once, pad_id=pad_id)
        return validation_scores(
            self._protocol,
            entry_id=entry.id,
            rouge=self._validation_rouge_l(entry, model, dev),
            loss=validation_loss(model, batches),
            num_samples=len(dev),
        )

    def _tuning_score(self, entry: Entry, model: PreTrainedModel, temperature: float) -> Score:
        dev = self._dev(entry, model)
        rouge = self._validation_rouge_l(entry, model, dev, temperature)
        log.info("%s  validation at temperature %g: ROUGE-L %.2f", entry.id, temperature, rouge)
        return tuning_score(
            self._protocol, entry_id=entry.id, temperature=temperature, rouge=rouge, num_samples=len(dev)
        )

    def _dev(self, entry: Entry, model: PreTrainedModel) -> Sequence[Example]:
        role = _role_of(entry)
        dev = self._stages.tokenised.dev(role, self._stages.vocab_size(role, model))
        return dev[: self._plan.train.validation.num_examples]

    def _validation_rouge_l(
        self, entry: Entry, model: PreTrainedModel, dev: Sequence[Example], temperature: float | None = None
    ) -> float:
        rouge_l_of = validator(
            self._plan,
            self._resources,
            self._stages.tokenizer(_role_of(entry)),
            dev,
            ranks=self._stages.ranks,
            known_as=name_among_ranks(self._cell, entry.id),
            temperature=temperature,
        )
        return rouge_l_of(model)

    def _agreement_scores(self, entry: Entry, model: PreTrainedModel) -> list[Score]:
        """The model beside its teacher, on text as the teacher reads it; a teacher is compared with itself."""
        stages, role = self._stages, _role_of(entry)
        teacher = model if role == "teacher" else stages.model("teacher")
        sizes = [stages.vocab_size("teacher", teacher), stages.vocab_size(role, model)]
        dev = stages.tokenised.dev("teacher", min(sizes))[: self._plan.train.validation.num_examples]
        pad_id = eos_id(stages.tokenizer("teacher"))
        batches = validation_batches(dev, batch_size=self._compared_at_once, pad_id=pad_id)
        found = agreement(teacher, model, batches, vocab_size=min(sizes))
        return agreement_scores(self._protocol, entry_id=entry.id, found=found, num_samples=len(dev))

    @property
    def _compared_at_once(self) -> int:
        return min(VALIDATION_BATCH_SIZE, self._resources.micro_batch_size or VALIDATION_BATCH_SIZE)


def _role_of(entry: Entry) -> Role:
    """Whose tokenizer reads for an entry and writes its texts."""
    return (entry.evaluated_as if isinstance(entry, Stage) else None) or "student"
