"""What the cells of a pair share: tokenizer, tokenised data, teacher and initial student; loaded when first needed."""

from __future__ import annotations

import logging
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from amid.artifacts import ensure_stage, write_model
from amid.cell import Cell, Stage
from amid.config import SCRATCH, TEACHER, RunCfg, SftCfg, TrainCfg, ValidationCfg
from amid.core import CrossEntropy, Objective
from amid.data.prompt import TEMPLATE_PIECES
from amid.data.records import training_records
from amid.data.tokenise import Example, eos_id, tokenise_records
from amid.errors import RequestError
from amid.fitting import fit_student
from amid.pairs import (
    Pair,
    keep_layers,
    load_model,
    load_tokenizer,
    model_from_scratch,
    num_non_embedding_parameters,
    train_tokenizer,
)
from amid.ranks import Ranks
from amid.store import Store
from amid.store.claims import Claim

log = logging.getLogger(__name__)


class Stages:
    """The stages of one cell; rank 0 builds what is missing, the other ranks join in its trainings (`take_part`)."""

    def __init__(self, run: RunCfg, cell: Cell, store: Store, ranks: Ranks) -> None:
        self._run = run
        self._cell = cell
        self._store = store
        self._ranks = ranks
        self._cache = Path(run.paths.cache)
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._examples: tuple[list[Example], list[Example]] | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The pair's one tokenizer; trained on the data for a teacher from scratch."""
        if self._tokenizer is None:
            stage = self._cell.tokenizer
            if stage is None:
                pair = self._run.pair
                self._tokenizer = load_tokenizer(pair.teacher, revision=pair.teacher_revision, cache=self._cache)
            else:
                self.ensure(stage)
                self._tokenizer = PreTrainedTokenizerFast.from_pretrained(self._store.model_folder(stage))
        return self._tokenizer

    @property
    def examples(self) -> tuple[list[Example], list[Example]]:
        """Tokenised training and validation examples."""
        if self._examples is None:
            data = self._run.data
            train, dev = (
                tokenise_records(
                    records,
                    self.tokenizer,
                    max_prompt_tokens=data.max_prompt_tokens,
                    max_tokens=data.max_tokens,
                    truncate_prompt=data.truncate_prompt,
                )
                for records in training_records(data)
            )
            if not dev:
                raise RequestError(f"no validation record has a prompt within {data.max_prompt_tokens} tokens")
            self._examples = train, dev
        return self._examples

    def teacher(self) -> PreTrainedModel:
        """The teacher p, fine-tuned as the pair says."""
        self.ensure(self._cell.teacher)
        return self._model(self._cell.teacher)

    def initial_student(self) -> PreTrainedModel:
        """The student q as every cell of the pair starts."""
        self.ensure(self._cell.student_init)
        return self._model(self._cell.student_init)

    def ensure(self, stage: Stage) -> None:
        """None; the stage is built afterwards, by whomever. Ranks other than 0 rely on rank 0 for that."""
        if self._ranks.leads:
            builders = {
                "tokenizer": self._build_tokenizer,
                "teacher": self._build_teacher,
                "student_init": self._build_student,
            }
            ensure_stage(self._store, stage, builders[stage.kind])

    def take_part(self, kind: str) -> None:
        """None; a following rank's share in the training of the stage that rank 0 has announced."""
        pair = self._run.pair
        if kind == "teacher":
            self._fine_tune(self._teacher_to_train(), pair.teacher_sft, self._cell.teacher)
        else:
            self._fine_tune(self._student_to_train(), pair.student_sft, self._cell.student_init)

    def _model(self, stage: Stage) -> PreTrainedModel:
        folder = self._store.model_folder(stage)
        if (folder / "config.json").is_file():
            return load_model(str(folder), revision=None, cache=self._cache)
        pair = self._run.pair  # used as it is: only its identity is in the store
        role = "teacher" if stage.kind == "teacher" else "student"
        return load_model(getattr(pair, role), revision=getattr(pair, f"{role}_revision"), cache=self._cache)

    def _build_tokenizer(self, folder: Path, claim: Claim) -> None:
        vocab_size = self._run.pair.tokenizer_vocab_size
        assert vocab_size is not None
        records, _ = training_records(self._run.data)
        texts = [f"{record.instruction}\n{record.input}\n{record.outputs[0]}" for record in records]
        tokenizer = train_tokenizer(texts, vocab_size=vocab_size, whole_tokens=TEMPLATE_PIECES)
        tokenizer.save_pretrained(folder)
        log.info("tokenizer: byte-level BPE of %d tokens from %d records", len(tokenizer), len(records))

    def _build_teacher(self, folder: Path, claim: Claim) -> None:
        pair = self._run.pair
        if pair.teacher != SCRATCH and pair.teacher_sft.epochs == 0:
            return
        model = self._teacher_to_train()
        self._fine_tune(model, pair.teacher_sft, self._cell.teacher)
        write_model(model, self.tokenizer, folder)

    def _teacher_to_train(self) -> PreTrainedModel:
        pair = self._run.pair
        if pair.teacher == SCRATCH:
            return self._from_scratch("teacher")
        return load_model(pair.teacher, revision=pair.teacher_revision, cache=self._cache)

    def _build_student(self, folder: Path, claim: Claim) -> None:
        pair = self._run.pair
        if pair.student not in (SCRATCH, TEACHER) and pair.student_sft.epochs == 0 and pair.keep_layers is None:
            return
        model = self._student_to_train()
        self._fine_tune(model, pair.student_sft, self._cell.student_init)
        write_model(model, self.tokenizer, folder)

    def _student_to_train(self) -> PreTrainedModel:
        pair = self._run.pair
        if pair.student == SCRATCH:
            model = self._from_scratch("student")
        elif pair.student == TEACHER:
            model = self.teacher()
        else:
            model = load_model(pair.student, revision=pair.student_revision, cache=self._cache)
        return model if pair.keep_layers is None else keep_layers(model, pair.keep_layers)

    def _from_scratch(self, role: str) -> PreTrainedModel:
        pair = self._run.pair
        arch, sft = getattr(pair, f"{role}_arch"), getattr(pair, f"{role}_sft")
        return model_from_scratch(arch, vocab_size=len(self.tokenizer), eos_id=eos_id(self.tokenizer), seed=sft.seed)

    def _fine_tune(self, model: PreTrainedModel, sft: SftCfg, stage: Stage) -> None:
        """Fine-tune on the gold responses; the model holds the weights of the lowest validation loss afterwards."""
        if sft.epochs == 0:
            return
        examples, dev = self.examples
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
            Pair(teacher=None, student=model, tokenizer=self.tokenizer, vocab_size=int(model.config.vocab_size)),
            examples,
            dev,
            run=self._run,
            objective=Objective(terms=(CrossEntropy(weight=1.0),)),
            train=TrainCfg(
                epochs=sft.epochs,
                max_steps=sft.max_steps,
                global_batch_size=sft.global_batch_size,
                lr=sft.lr,
                warmup_steps=sft.warmup_steps,
                weight_decay=sft.weight_decay,
                precision=self._run.train.precision,
                validation=ValidationCfg(select="loss", num_examples=sft.num_validation),
            ),
            seed=sft.seed,
            as_stage=True,
            ranks=self._ranks,
            checkpoints=self._store.checkpoints_folder(stage),
            journal=self._store.journal_path(stage),
            mirrors=(),
            label=name,
            check=self._store.guard(stage),
        )
