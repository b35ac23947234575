"""Fitting a student: the parts of one training, put together as its plan says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.config import TrainerCfg, ValidationCfg
from amid.data.conversations import end_ids
from amid.data.loader import StepBatches, validation_batches
from amid.data.plain_text import PlainBatches
from amid.data.prompt import asking_of
from amid.data.tokenise import Example, eos_id
from amid.evaluation.validation import validation_rouge_l
from amid.generation.decoding import Decoding
from amid.pairs import Pair
from amid.ranks import ALONE, Ranks
from amid.strategies import Fixed, strategy_of
from amid.training.checkpoints import best_weights
from amid.training.optimisation import LrSchedule, Optimisation, StepOptions
from amid.training.plan import TrainingPlace, TrainingPlan, plan_steps
from amid.training.rollout import rollout_of
from amid.training.step import DistillModule, PlainTextLoss
from amid.training.trainer import FitResult, run_trainer


def fit_student(
    pair: Pair,
    examples: Sequence[Example],
    dev: Sequence[Example],
    chunks: Tensor | None = None,
    *,
    plan: TrainingPlan,
    place: TrainingPlace,
) -> FitResult:
    """Trains the pair's student, which holds the best weights afterwards; collective over ranks.

    examples: those the plan trains on. dev: the validation examples, of which the plan may use the first.
    chunks: [C, L] of plain text, where the plan has a pretraining loss.
    """
    train, validation, pad_id = plan.train, plan.train.validation, eos_id(pair.tokenizer)
    resources, ranks = place.resources, place.ranks
    dev = dev[: validation.num_examples]
    steps = plan_steps(len(examples), train)
    batch_of_step = StepBatches(
        examples,
        batch_size=train.global_batch_size,
        seed=plan.seed,
        pad_id=pad_id,
        rank=ranks.rank,
        world_size=ranks.size,
        bucket_by_length=train.bucket_by_length,
    )
    strategy = strategy_of(
        plan.strategy,
        seed=plan.seed,
        pad_id=pad_id,
        ranks=ranks,
        rank_local_coin=plan.compat.sgo_rank_local_coin,
        batch_size=train.global_batch_size,
        batch_of_step=batch_of_step,
    )
    module = DistillModule(
        pair,
        plan.objective,
        Optimisation(
            total_steps=steps.total_steps,
            lr=train.lr,
            lr_schedule=cast(LrSchedule, train.lr_schedule),
            lr_final=train.lr_final,
            warmup_steps=train.warmup_steps,
            betas=(train.betas[0], train.betas[1]),
            eps=train.eps,
            weight_decay=train.weight_decay,
            grad_clip=train.grad_clip,
            max_nonfinite_share=train.max_nonfinite_share,
        ),
        batch_of_step=batch_of_step,
        strategy=strategy,
        rollout=None if isinstance(strategy, Fixed) else rollout_of(plan, pair, resources),
        options=StepOptions(
            reduction=plan.reduction,
            micro_batch_size=resources.micro_batch_size,
            keep_teacher_states=resources.keep_teacher_states and plan.strategy.remembers,
            gradient_checkpointing=resources.gradient_checkpointing,
            log_every_steps=resources.log_every_steps,
            diagnostic_positions=resources.diagnostic_positions,
            validation_batch_mean=plan.compat.validation_batch_mean,
        ),
        seed=plan.seed,
        ranks=ranks,
        validation_rouge_l=validator(plan, resources, pair.tokenizer, dev, ranks=ranks)
        if plan.validates_text
        else None,
        plain_text=_plain_text(plan, chunks, ranks),
        sources=plan.sources,
    )
    batch_size = min(resources.micro_batch_size or train.global_batch_size, train.global_batch_size)
    place.checkpoints.mkdir(parents=True, exist_ok=True)
    result = run_trainer(
        module,
        validation_batches(dev[ranks.rank :: ranks.size], batch_size=batch_size, pad_id=pad_id),
        steps=steps,
        select=cast(Literal["rouge_l", "loss"], validation.select),
        precision=train.precision,
        place=place,
        validate_first=strategy.wants_initial_loss,
    )
    module.load_state_dict(best_weights(place.checkpoints))
    return result


def _plain_text(plan: TrainingPlan, chunks: Tensor | None, ranks: Ranks) -> PlainTextLoss | None:
    """What the module asks of the plan's pretraining loss at every step."""
    plain = plan.plain_text
    if plain is None:
        return None
    assert chunks is not None, "a pretraining loss needs plain text"
    batches = PlainBatches(chunks, batch_size=plain.batch_size, seed=plan.seed, rank=ranks.rank, world_size=ranks.size)
    return PlainTextLoss(batches, plain.objective, plain.coefficient)


def validator(
    plan: TrainingPlan,
    resources: TrainerCfg,
    tokenizer: PreTrainedTokenizerBase,
    dev: Sequence[Example],
    *,
    ranks: Ranks = ALONE,
    known_as: str | None = None,
    temperature: float | None = None,
) -> Callable[[PreTrainedModel], float]:
    """The function from a student to its validation ROUGE-L; collective over the ranks given.

    known_as: as `validation_rouge_l` has it. temperature: another one than the plan's, which None is.
    """
    validation: ValidationCfg = plan.train.validation
    answers_end_with = end_ids(tokenizer, asking_of(plan.data))

    def rouge_l_of(model: PreTrainedModel) -> float:
        return validation_rouge_l(
            model,
            tokenizer,
            dev,
            decoding=Decoding(
                max_new_tokens=validation.max_new_tokens,
                temperature=validation.temperature if temperature is None else temperature,
                stop=tuple(plan.data.stop),
            ),
            seed=validation.seed,
            batch_size=resources.generation_batch_size,
            max_tokens=plan.data.max_tokens,
            chat=plan.data.prompt == "chat",
            end_ids=answers_end_with,
            ranks=ranks,
            known_as=known_as,
        )

    return rouge_l_of
