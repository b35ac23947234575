"""What the cells of a pair share: tokenizer, tokenised data, teacher and initial student; loaded when first needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.cells.cell import Cell
from amid.cells.stage import Stage, keeps_model
from amid.config import SCRATCH, TEACHER, Role, RunCfg, SftCfg
from amid.core import CrossEntropy, Objective
from amid.data.prompt import TEMPLATE_PIECES
from amid.data.records import training_records
from amid.data.tokenise import Example, eos_id, tokenise_records, tokenizer_texts, within_vocabulary
from amid.errors import RequestError, RunError
from amid.pairs import (
    Pair,
    end_texts_with,
    head_size,
    keep_layers,
    load_model,
    load_tokenizer,
    load_tokenizers,
    model_from_scratch,
    num_ids,
    num_non_embedding_parameters,
    train_tokenizer,
)
from amid.ranks import Ranks
from amid.stages.ensure import ensure_stage, write_model
from amid.store import Entry, Store
from amid.store.claims import Claim
from amid.training.fitting import fit_student, plan_of_stage

log = logging.getLogger(__name__)
Part = Literal["train", "dev"]


class Stages:
    """The stages of one cell; rank 0 builds what is missing, the other ranks join in its trainings (`take_part`)."""

    def __init__(self, run: RunCfg, cell: Cell, store: Store, ranks: Ranks) -> None:
        self._run = run
        self._cell = cell
        self._store = store
        self._ranks = ranks
        self._cache = Path(run.paths.cache)
        self._tokenizers: dict[Role, PreTrainedTokenizerBase] = {}
        self._tokenised: dict[tuple[Role, Part, int | None], list[Example]] = {}
        self._usable: dict[tuple[Role, Part, int | None, int], list[Example]] = {}

    def tokenizer(self, role: Role) -> PreTrainedTokenizerBase:
        """The tokenizer of the teacher or the student: the same, or one that gives shared tokens the same ids.

        Trained on the data for a teacher from scratch.
        """
        if not self._tokenizers:
            stage = self._cell.stages.get("tokenizer")
            if stage is None:
                teacher, student = load_tokenizers(self._run.pair, cache=self._cache)
            else:
                self.ensure(stage)
                teacher = student = own_tokenizer(self._store, stage, cache=self._cache)
            self._tokenizers = {"teacher": teacher, "student": student}
        return self._tokenizers[role]

    def examples(self, role: Role, vocab_size: int, *, num_train: int | None) -> list[Example]:
        """Training examples of the first `num_train` records (None = all), of tokens below `vocab_size`.

        role: whose tokenizer reads them, the teacher's or the student's.
        """
        return self._usable_examples(role, "train", num_train, vocab_size)

    def dev(self, role: Role, vocab_size: int) -> list[Example]:
        """Validation examples, as `examples`. Raises RequestError if none is left."""
        dev = self._usable_examples(role, "dev", None, vocab_size)
        if not dev:
            limit = self._run.data.max_prompt_tokens
            raise RequestError(f"no validation record can be used within data.max_prompt_tokens={limit}")
        return dev

    def vocab_size(self, role: Role, model: PreTrainedModel) -> int:
        """How many of the first token ids the teacher or student has: of its own tokenizer, where the two differ."""
        sizes = {num_ids(self.tokenizer("teacher")), num_ids(self.tokenizer("student"))}
        own = num_ids(self.tokenizer(role))
        return head_size(model) if len(sizes) == 1 else min(head_size(model), own)

    def _usable_examples(self, role: Role, part: Part, number: int | None, vocab_size: int) -> list[Example]:
        key = (role, part, number, vocab_size)
        if key not in self._usable:
            self._usable[key] = within_vocabulary(self._tokenised_records(role, part, number), vocab_size)
        return self._usable[key]

    def _tokenised_records(self, role: Role, part: Part, number: int | None) -> list[Example]:
        other: Role = "student" if role == "teacher" else "teacher"
        tokenizer, found = self.tokenizer(role), self._tokenised
        # With one vocabulary both split text alike; with a part of it in common one of them lacks tokens.
        same = tokenizer is self.tokenizer(other) or self._run.pair.vocab_policy == "strict"
        if same and (other, part, number) in found:
            return found[other, part, number]
        if (role, part, number) not in found:
            data = self._run.data
            train, dev = training_records(data)
            found[role, part, number] = tokenise_records(
                (train if part == "train" else dev)[:number],
                tokenizer,
                max_prompt_tokens=data.max_prompt_tokens,
                max_tokens=data.max_tokens,
                truncate_prompt=data.truncate_prompt,
            )
        return found[role, part, number]

    def teacher(self) -> PreTrainedModel:
        """The teacher p, fine-tuned as the pair says."""
        self.ensure(self._cell.stages["teacher"])
        return self._model(self._cell.stages["teacher"])

    def initial_student(self) -> PreTrainedModel:
        """The student q as every cell of the pair starts."""
        self.ensure(self._cell.stages["student_init"])
        return self._model(self._cell.stages["student_init"])

    def ensure(self, stage: Stage) -> None:
        """The stage is built afterwards, by whomever. Ranks other than 0 rely on rank 0 for that."""
        if self._ranks.leads:
            builders = {
                "tokenizer": self._build_tokenizer,
                "teacher": self._build_teacher,
                "student_init": self._build_student,
            }
            ensure_stage(self._store, stage, builders[stage.kind])

    def take_part(self, kind: str) -> None:
        """Takes a following rank's share in the training of the stage that rank 0 has announced."""
        pair = self._run.pair
        if kind == "teacher":
            self._fine_tune(self._teacher_to_train(), pair.teacher_sft, self._cell.stages["teacher"])
        else:
            self._fine_tune(self._student_to_train(), pair.student_sft, self._cell.stages["student_init"])

    def _model(self, stage: Stage) -> PreTrainedModel:
        if keeps_model(stage.kind, stage.values):
            return own_model(self._store, stage, cache=self._cache)
        pair = self._run.pair  # used as it is: only its identity is in the store
        role: Role = "teacher" if stage.kind == "teacher" else "student"
        model = load_model(getattr(pair, role), revision=getattr(pair, f"{role}_revision"), cache=self._cache)
        return self._ending(model, role) if role == "student" else model

    def _ending(self, model: PreTrainedModel, role: Role) -> PreTrainedModel:
        """The model, which names the EOS that the pair chose, if it chose one."""
        if self._run.pair.eos is not None:
            end_texts_with(model, eos_id(self.tokenizer(role)))
        return model

    def _build_tokenizer(self, folder: Path, claim: Claim) -> None:
        vocab_size = self._run.pair.tokenizer_vocab_size
        assert vocab_size is not None
        records, _ = training_records(self._run.data)
        tokenizer = train_tokenizer(tokenizer_texts(records), vocab_size=vocab_size, whole_tokens=TEMPLATE_PIECES)
        tokenizer.save_pretrained(folder)
        log.info("tokenizer: byte-level BPE of %d tokens from %d records", len(tokenizer), len(records))

    def _build_teacher(self, folder: Path, claim: Claim) -> None:
        pair = self._run.pair
        if pair.teacher != SCRATCH and pair.teacher_sft.epochs == 0:
            return
        model = self._teacher_to_train()
        self._fine_tune(model, pair.teacher_sft, self._cell.stages["teacher"])
        write_model(model, self.tokenizer("teacher"), folder)

    def _teacher_to_train(self) -> PreTrainedModel:
        pair = self._run.pair
        if pair.teacher == SCRATCH:
            return self._from_scratch("teacher")
        model = load_model(pair.teacher, revision=pair.teacher_revision, cache=self._cache)
        return self._ending(model, "teacher")

    def _build_student(self, folder: Path, claim: Claim) -> None:
        pair = self._run.pair
        if pair.student not in (SCRATCH, TEACHER) and pair.student_sft.epochs == 0 and pair.keep_layers is None:
            return
        model = self._student_to_train()
        self._fine_tune(model, pair.student_sft, self._cell.stages["student_init"])
        write_model(model, self.tokenizer("student"), folder)

    def _student_to_train(self) -> PreTrainedModel:
        pair = self._run.pair
        if pair.student == SCRATCH:
            model = self._from_scratch("student")
        elif pair.student == TEACHER:
            model = self.teacher()
        else:
            model = load_model(pair.student, revision=pair.student_revision, cache=self._cache)
        if pair.keep_layers is not None:
            model = keep_layers(model, pair.keep_layers, name=pair.student)
        return self._ending(model, "student")

    def _from_scratch(self, role: Role) -> PreTrainedModel:
        pair, tokenizer = self._run.pair, self.tokenizer(role)
        arch, sft = getattr(pair, f"{role}_arch"), getattr(pair, f"{role}_sft")
        return model_from_scratch(arch, vocab_size=num_ids(tokenizer), eos_id=eos_id(tokenizer), seed=sft.seed)

    def _fine_tune(self, model: PreTrainedModel, sft: SftCfg, stage: Stage) -> None:
        """Fine-tune on the gold responses; the model holds the weights of the best validation afterwards."""
        if sft.epochs == 0:
            return
        role: Role = "teacher" if stage.kind == "teacher" else "student"
        plan, vocab_size = plan_of_stage(sft, self._run.data), self.vocab_size(role, model)
        name = stage.kind.replace("_", " ")
        log.info(
            "%s: fine-tuning %.2f M parameters (%.2f M without embeddings) for %d epochs",
            name,
            model.num_parameters() / 1e6,
            num_non_embedding_parameters(model) / 1e6,
            sft.epochs,
        )
        if self._ranks.leads:
            self._ranks.broadcast(stage.kind)
        fit_student(
            Pair(teacher=None, student=model, tokenizer=self.tokenizer(role), vocab_size=head_size(model)),
            self.examples(role, vocab_size, num_train=plan.num_train),
            self.dev(role, vocab_size),
            plan=plan,
            objective=Objective(terms=(CrossEntropy(weight=1.0),)),
            resources=self._run.trainer,
            ranks=self._ranks,
            checkpoints=self._store.checkpoints_folder(stage),
            journal=self._store.journal_path(stage),
            mirrors=(),
            label=name,
            check=self._store.guard(stage),
        )


def own_model(store: Store, entry: Entry, *, cache: Path) -> PreTrainedModel:
    """The finished model of an entry, as it was published. Raises RunError, with the remedy, if it is of no use."""
    with _usable(store, entry):
        published = store.status(entry).get("model")
        return load_model(str(store.model_folder(entry)), revision=None, cache=cache, seal=published)


def own_tokenizer(store: Store, entry: Entry, *, cache: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in the finished model folder of an entry. Raises RunError, with the remedy, if it is of no use."""
    with _usable(store, entry):
        return load_tokenizer(str(store.model_folder(entry)), revision=None, cache=cache)


@contextmanager
def _usable(store: Store, entry: Entry) -> Iterator[None]:
    """What is as it was written and yet of no use, such as a model that diverged, is our failure, not a bad request."""
    try:
        yield
    except RequestError as err:
        raise RunError(f"{err}; remove {store.folder(entry)} to have it made again") from err
