"""The stages of one cell: built by whoever comes first, and what they hold, loaded when it is first needed.

How a kind is built is in a file of its own (`amid.stages.builders` lists them).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.cells.stage import Stage, keeps_model
from amid.config import CorpusCfg, DataCfg, PairCfg, Role, TrainerCfg
from amid.data.conversations import end_ids
from amid.data.prompt import asking_of
from amid.data.tokenise import eos_id
from amid.digests.seals import check_folder
from amid.errors import RequestError, RunError
from amid.pairs import (
    add_lora,
    also_end_texts_with,
    end_texts_with,
    head_size,
    load_lora,
    load_model,
    load_tokenizer,
    load_tokenizers,
    num_ids,
    quantise,
)
from amid.ranks import Ranks
from amid.stages.ensure import ensure_stage
from amid.stages.tokenised import TokenisedData
from amid.store import Entry, Store
from amid.store.claims import Claim

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Materials:
    """What stages are made of: the pair, its data, who writes, where models are cached, how to run what makes them."""

    pair: PairCfg
    data: DataCfg
    corpus: CorpusCfg
    cache: Path
    resources: TrainerCfg


@dataclass(frozen=True)
class Builder:
    """How a kind of stage is made.

    build: fills the folder it is given, on rank 0 alone. take_part: what the other ranks do in a training that rank 0
    announces by the stage's role; None for a kind that trains nothing. start: the model before its fine-tuning; None
    for what is no model.
    """

    build: Callable[[Stages, Stage, Path, Claim], None]
    take_part: Callable[[Stages, Stage], object] | None = None
    start: Callable[[Stages], PreTrainedModel] | None = None


class Stages:
    """The stages of one cell by role; rank 0 builds what is missing, the other ranks join in its trainings."""

    def __init__(
        self,
        stages: Mapping[str, Stage],
        materials: Materials,
        *,
        builders: Mapping[str, Builder],
        store: Store,
        ranks: Ranks,
    ) -> None:
        self.materials = materials
        self.store = store
        self.ranks = ranks
        self._stages = stages
        self._builders = builders
        self._said = False  # how the teacher is quantised
        self._tokenizers: dict[Role, PreTrainedTokenizerBase] = {}
        strict = materials.pair.vocab_policy == "strict"
        self.tokenised = TokenisedData(materials.data, self.tokenizer, one_vocabulary=strict)

    def ensure(self, role: str) -> Stage:
        """The stage, built now if it is not there, by whomever. Ranks other than 0 rely on rank 0 for that."""
        stage = self._stages[role]
        if self.ranks.leads:
            build = self._builders[stage.kind].build
            ensure_stage(self.store, stage, lambda folder, claim: build(self, stage, folder, claim))
        return stage

    def id_of(self, role: str) -> str:
        """Id of the stage in this role."""
        return self._stages[role].id

    def take_part(self, role: str) -> None:
        """Takes a following rank's share in the training of the stage that rank 0 has announced."""
        stage = self._stages[role]
        take_part = self._builders[stage.kind].take_part
        assert take_part is not None, f"{stage.kind} was announced, but trains nothing"
        take_part(self, stage)

    def tokenizer(self, role: Role) -> PreTrainedTokenizerBase:
        """The tokenizer of the teacher or the student: the same, or one that gives shared tokens the same ids.

        Trained on the data for a teacher from scratch.
        """
        if not self._tokenizers:
            if "tokenizer" in self._stages:
                teacher = student = own_tokenizer(self.store, self.ensure("tokenizer"), cache=self.materials.cache)
            else:
                teacher, student = load_tokenizers(self.materials.pair, cache=self.materials.cache)
            self._tokenizers = {"teacher": teacher, "student": student}
        return self._tokenizers[role]

    def vocab_size(self, role: Role, model: PreTrainedModel) -> int:
        """How many of the first token ids the teacher or student has: of its own tokenizer, where the two differ."""
        sizes = {num_ids(self.tokenizer("teacher")), num_ids(self.tokenizer("student"))}
        own = num_ids(self.tokenizer(role))
        return head_size(model) if len(sizes) == 1 else min(head_size(model), own)

    def model(self, role: str) -> PreTrainedModel:
        """The model of a stage: the teacher p, fine-tuned as the pair says, or the student q as every cell starts.

        A student with LoRA has its factors, which alone train: those of its stage, or untrained ones.
        """
        stage, pair = self.ensure(role), self.materials.pair
        if stage.evaluated_as == "student" and pair.student_lora.rank:
            if "sft" in stage.values:
                return self.finished_student(stage)
            model = self._stored(stage)
            add_lora(model, pair.student_lora, seed=pair.student_sft.seed)
            return model
        model = self._stored(stage)
        if stage.evaluated_as == "teacher" and pair.teacher_quantisation is not None:
            found = quantise(model, pair.teacher_quantisation)
            if not self._said:
                log.info("teacher: %s weights in %s", pair.teacher_quantisation, found)
            self._said = True
        return model

    def whole_teacher(self) -> PreTrainedModel:
        """The teacher before any quantisation: what a student is a copy of."""
        return self._stored(self.ensure("teacher"))

    def finished_student(self, entry: Entry) -> PreTrainedModel:
        """The trained student of a finished cell or stage: where it has LoRA, the student it started as, with them."""
        if not self.materials.pair.student_lora.rank:
            return own_model(self.store, entry, cache=self.materials.cache)
        start = self._builders["student_init"].start
        assert start is not None
        model, folder = start(self), self.store.model_folder(entry)
        with _usable(self.store, entry):
            check_folder(folder, expected=self.store.status(entry).get("model"), remedy="put back what it held")
            load_lora(model, folder)
        self.written_as(model, "student")
        return model

    def written_as(self, model: PreTrainedModel, role: Role) -> PreTrainedTokenizerBase:
        """The tokenizer that a model is saved with once it has learnt the data, and so their chat template.

        The model names what ends a turn in it.
        """
        tokenizer, asking = self.tokenizer(role), asking_of(self.materials.data)
        also_end_texts_with(model, end_ids(tokenizer, asking))
        if asking.chat_template is None:
            return tokenizer
        own = copy.deepcopy(tokenizer)
        own.chat_template = asking.chat_template
        return own

    def _stored(self, stage: Stage) -> PreTrainedModel:
        """The whole model of a stage: its own, or the one that the pair names."""
        assert stage.evaluated_as is not None, f"{stage.kind} is no model"
        dtype = self.dtype_of(stage.evaluated_as)
        if keeps_model(stage.kind, stage.values):
            return own_model(self.store, stage, cache=self.materials.cache, dtype=dtype)
        model = self.original(stage.evaluated_as, dtype=dtype)  # used as it is: only its identity is in the store
        return self.ending(model, "student") if stage.evaluated_as == "student" else model

    def dtype_of(self, role: Role) -> torch.dtype:
        """The dtype of the weights of a teacher, once it is fine-tuned, or of those of a student that stay."""
        dtype = getattr(torch, getattr(self.materials.pair, f"{role}_dtype"))
        assert isinstance(dtype, torch.dtype)
        return dtype

    def original(self, role: Role, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
        """The model that the pair names for a role, as it was published."""
        pair, cache = self.materials.pair, self.materials.cache
        return load_model(getattr(pair, role), revision=getattr(pair, f"{role}_revision"), cache=cache, dtype=dtype)

    def ending(self, model: PreTrainedModel, role: Role) -> PreTrainedModel:
        """The model, which names the EOS that the pair chose, if it chose one."""
        if self.materials.pair.eos is not None:
            end_texts_with(model, eos_id(self.tokenizer(role)))
        return model


def own_model(store: Store, entry: Entry, *, cache: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The finished model of an entry, as it was published. Raises RunError, with the remedy, if it is of no use."""
    with _usable(store, entry):
        published = store.status(entry).get("model")
        return load_model(str(store.model_folder(entry)), revision=None, cache=cache, seal=published, dtype=dtype)


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
