"""From a configuration to a fitted student: the parts of one training, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.config import CompatCfg, DataCfg, RunCfg, SftCfg, StrategyCfg, TrainCfg, TrainerCfg, ValidationCfg
from amid.core import Objective
from amid.data.loader import StepBatches, validation_batches
from amid.data.tokenise import Example, eos_id
from amid.evaluation.entry import validation_rouge_l
from amid.generation.decoding import Decoding
from amid.generation.speculative import Interleaving
from amid.pairs import Pair
from amid.ranks import ALONE, Ranks
from amid.strategies import AdaptiveOffPolicy, Draws, Fixed, Mixed, ReplayBuffer, Strategy
from amid.strategies.adaptive import Reference, ReplayRatio
from amid.training.checkpoints import best_weights
from amid.training.fit import FitResult, fit, plan_steps
from amid.training.mirrors import Mirror
from amid.training.rollout import Rollout
from amid.training.step import DistillModule, Optimisation, Reduction
from amid.training.tracking import Journal


@dataclass(frozen=True)
class TrainingPlan:
    """What decides the weights of one training, of a cell or of a stage, besides its models, data and objective.

    num_train: first training records used, None = all. validates_text: also measure the ROUGE-L of written responses.
    """

    train: TrainCfg
    seed: int
    num_train: int | None
    reduction: Reduction
    strategy: StrategyCfg
    compat: CompatCfg
    data: DataCfg
    validates_text: bool


def plan_of_cell(run: RunCfg) -> TrainingPlan:
    """The training of a cell."""
    return TrainingPlan(
        train=run.train,
        seed=run.seed,
        num_train=run.data.num_train,
        reduction="micro_batch_mean" if run.compat.micro_batch_mean else cast(Reduction, run.objective.reduction),
        strategy=run.strategy,
        compat=run.compat,
        data=run.data,
        validates_text=True,
    )


def plan_of_stage(sft: SftCfg, data: DataCfg) -> TrainingPlan:
    """The fine-tuning of a stage: on the data, by the paper's rules, whatever the cell that asks for it says."""
    return TrainingPlan(
        train=sft.train_cfg(),
        seed=sft.seed,
        num_train=sft.num_train,
        reduction=cast(Reduction, sft.reduction),
        strategy=StrategyCfg(name="fixed"),
        compat=CompatCfg(),
        data=data,
        validates_text=sft.validation.select == "rouge_l",
    )


def fit_student(
    pair: Pair,
    examples: Sequence[Example],
    dev: Sequence[Example],
    *,
    plan: TrainingPlan,
    objective: Objective,
    resources: TrainerCfg,
    ranks: Ranks,
    checkpoints: Path,
    journal: Path,
    mirrors: Sequence[Mirror],
    label: str,
    check: Callable[[], None],
) -> FitResult:
    """Trains the pair's student, which holds the best weights afterwards; collective over ranks.

    examples: those the plan trains on. resources: where and how, never what.
    journal: file of every logged number, from which `mirrors` are fed. check: called before every write; raises if
    another process owns the folder.
    """
    train, validation, pad_id = plan.train, plan.train.validation, eos_id(pair.tokenizer)
    dev = dev[: validation.num_examples]
    steps = plan_steps(
        len(examples),
        batch_size=train.global_batch_size,
        epochs=train.epochs,
        max_steps=train.max_steps,
        every_steps=validation.every_steps,
    )
    strategy: Strategy = strategy_of(plan, pad_id=pad_id, ranks=ranks)
    generates = not isinstance(strategy, Fixed)
    module = DistillModule(
        pair,
        batch_of_step=StepBatches(
            examples,
            batch_size=train.global_batch_size,
            seed=plan.seed,
            pad_id=pad_id,
            rank=ranks.rank,
            world_size=ranks.size,
            bucket_by_length=train.bucket_by_length,
        ),
        objective=objective,
        strategy=strategy,
        rollout=_rollout(plan, pair, resources, eos=pad_id) if generates else None,
        keep_teacher_states=resources.keep_teacher_states and remembers(plan.strategy),
        optimisation=Optimisation(
            total_steps=steps.total_steps,
            lr=train.lr,
            lr_final=train.lr_final,
            warmup_steps=train.warmup_steps,
            weight_decay=train.weight_decay,
            grad_clip=train.grad_clip,
            max_nonfinite_share=train.max_nonfinite_share,
        ),
        reduction=plan.reduction,
        micro_batch_size=resources.micro_batch_size,
        log_every_steps=resources.log_every_steps,
        seed=plan.seed,
        ranks=ranks,
        validation_batch_mean=plan.compat.validation_batch_mean,
        validation_rouge_l=validator(plan, resources, pair.tokenizer, dev, ranks=ranks)
        if plan.validates_text
        else None,
    )
    batch_size = min(resources.micro_batch_size or train.global_batch_size, train.global_batch_size)
    batches = validation_batches(dev[ranks.rank :: ranks.size], batch_size=batch_size, pad_id=pad_id)
    checkpoints.mkdir(parents=True, exist_ok=True)
    result = fit(
        module,
        batches,
        plan=steps,
        select=cast(Literal["rouge_l", "loss"], validation.select),
        precision=train.precision,
        trainer_cfg=resources,
        checkpoints=checkpoints,
        loggers=[Journal(journal, mirrors, check=check)] if ranks.leads else [],
        label=label,
        ranks=ranks,
        validate_first=strategy.wants_initial_loss,
        check=check,
    )
    module.load_state_dict(best_weights(checkpoints))
    return result


def validator(
    plan: TrainingPlan,
    resources: TrainerCfg,
    tokenizer: PreTrainedTokenizerBase,
    dev: Sequence[Example],
    *,
    ranks: Ranks = ALONE,
) -> Callable[[PreTrainedModel], float]:
    """The function from a student to its validation ROUGE-L; collective over the ranks given."""
    validation: ValidationCfg = plan.train.validation

    def rouge_l_of(model: PreTrainedModel) -> float:
        return validation_rouge_l(
            model,
            tokenizer,
            dev,
            decoding=Decoding(max_new_tokens=validation.max_new_tokens, temperature=validation.temperature),
            seed=validation.seed,
            batch_size=resources.generation_batch_size,
            max_tokens=plan.data.max_tokens,
            ranks=ranks,
        )

    return rouge_l_of


def reads_teacher(run: RunCfg, objective: Objective) -> bool:
    """True if training needs the teacher: for its objective, or to write text with it."""
    return run.strategy.name == "speculative" or objective.needs_teacher


def remembers(options: StrategyCfg) -> bool:
    """True if the strategy replays from a buffer."""
    return options.capacity is not None and options.use_buffer is not False


def strategy_of(plan: TrainingPlan, *, pad_id: int, ranks: Ranks) -> Strategy:
    """The strategy of a plan, as new, for one rank."""
    options = plan.strategy
    if options.name == "fixed":
        return Fixed()
    local_coin = plan.compat.sgo_rank_local_coin
    draws = Draws(seed=plan.seed, rank=ranks.rank, num_ranks=ranks.size, rank_local_coin=local_coin)
    if options.name == "speculative":
        return Mixed(student_probability=1.0, policy="speculative", buffer=None, draws=draws)
    buffer = None
    if remembers(options):
        assert options.capacity is not None
        gather = ranks.gather if options.buffer_scope == "global" else None
        buffer = ReplayBuffer(capacity=options.capacity, pad_id=pad_id, draws=draws, gather=gather)
    if options.name == "adaptive_off_policy":
        assert options.init_threshold is not None and options.loss_eps is not None and buffer is not None
        return AdaptiveOffPolicy(
            init_threshold=options.init_threshold,
            loss_eps=options.loss_eps,
            replay_ratio=cast(ReplayRatio, options.replay_ratio),
            reference=cast(Reference, options.reference),
            buffer=buffer,
            draws=draws,
        )
    probability = 1.0 if options.name == "on_policy" else options.student_probability
    assert probability is not None
    return Mixed(student_probability=probability, policy="student", buffer=buffer, draws=draws)


def _rollout(plan: TrainingPlan, pair: Pair, resources: TrainerCfg, *, eos: int) -> Rollout:
    options, data = plan.strategy, plan.data
    assert options.temperature is not None and options.top_p is not None and options.top_k is not None
    # As many new tokens as the longest prompt leaves room for, as in the reference
    max_new_tokens = data.max_tokens - data.max_prompt_tokens
    student = Decoding(
        max_new_tokens=max_new_tokens, temperature=options.temperature, top_p=options.top_p, top_k=options.top_k
    )
    interleaving = None
    if options.name == "speculative":
        assert options.teacher_temperature is not None and options.teacher_top_p is not None
        assert options.num_proposed is not None and options.accept_top_k is not None
        interleaving = Interleaving(
            student=student,
            teacher=Decoding(
                max_new_tokens=max_new_tokens, temperature=options.teacher_temperature, top_p=options.teacher_top_p
            ),
            num_proposed=options.num_proposed,
            accept_top_k=options.accept_top_k,
            fresh_test=plan.compat.skd_fresh_test,
        )
    return Rollout(
        pair,
        decoding=student,
        interleaving=interleaving,
        seed=plan.seed,
        eos_id=eos,
        batch_size=resources.generation_batch_size,
        max_tokens=data.max_tokens,
        unshifted_labels=plan.compat.sgo_label_offset,
    )
