"""From a configuration to a fitted student: the parts of one training, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.config import RunCfg, TrainCfg, ValidationCfg
from amid.core import Objective
from amid.data.loader import StepBatches, validation_batches
from amid.data.tokenise import Example, eos_id
from amid.evaluation import validation_rouge_l
from amid.generation import Decoding, Interleaving
from amid.mirrors import Mirror
from amid.module import DistillModule, Optimisation, Reduction
from amid.objectives import objective_of
from amid.pairs import Pair
from amid.ranks import ALONE, Ranks
from amid.rollout import Rollout
from amid.strategies import AdaptiveOffPolicy, Draws, Fixed, Mixed, ReplayBuffer, Strategy
from amid.strategies.adaptive import Reference, ReplayRatio
from amid.tracking import Journal
from amid.training import FitResult, fit, plan_steps


def fit_student(
    pair: Pair,
    examples: Sequence[Example],
    dev: Sequence[Example],
    *,
    run: RunCfg,
    objective: Objective,
    train: TrainCfg,
    seed: int,
    as_stage: bool,
    ranks: Ranks,
    checkpoints: Path,
    journal: Path,
    mirrors: Sequence[Mirror],
    label: str,
) -> FitResult:
    """Trains the pair's student, which holds the best weights afterwards; collective over ranks.

    run: supplies what a stage and a cell have in common (strategy, trainer, compat). as_stage: whatever the strategy,
    train on the data, and validate by the loss alone.
    journal: file of every logged number, from which `mirrors` are fed.
    """
    validation, trainer_cfg, pad_id = train.validation, run.trainer, eos_id(pair.tokenizer)
    dev = dev[: validation.num_examples]
    plan = plan_steps(
        len(examples),
        batch_size=train.global_batch_size,
        epochs=train.epochs,
        max_steps=train.max_steps,
        every_steps=validation.every_steps,
    )
    strategy: Strategy = Fixed() if as_stage else strategy_of(run, seed=seed, pad_id=pad_id, ranks=ranks)
    generates = not isinstance(strategy, Fixed)
    module = DistillModule(
        pair,
        batch_of_step=StepBatches(
            examples,
            batch_size=train.global_batch_size,
            seed=seed,
            pad_id=pad_id,
            rank=ranks.rank,
            world_size=ranks.size,
        ),
        objective=objective,
        strategy=strategy,
        rollout=_rollout(run, pair, seed=seed, eos=pad_id) if generates else None,
        keep_teacher_states=trainer_cfg.keep_teacher_states and remembers(run),
        optimisation=Optimisation(
            total_steps=plan.total_steps,
            lr=train.lr,
            lr_final=train.lr_final,
            warmup_steps=train.warmup_steps,
            weight_decay=train.weight_decay,
            grad_clip=train.grad_clip,
            max_nonfinite_share=train.max_nonfinite_share,
        ),
        reduction="micro_batch_mean" if run.compat.micro_batch_mean else cast(Reduction, run.objective.reduction),
        micro_batch_size=trainer_cfg.micro_batch_size,
        log_every_steps=trainer_cfg.log_every_steps,
        seed=seed,
        ranks=ranks,
        validation_batch_mean=run.compat.validation_batch_mean,
        validation_rouge_l=None if as_stage else validator(run, pair.tokenizer, dev, ranks=ranks),
    )
    batch_size = trainer_cfg.micro_batch_size or train.global_batch_size
    batches = validation_batches(dev[ranks.rank :: ranks.size], batch_size=batch_size, pad_id=pad_id)
    checkpoints.mkdir(parents=True, exist_ok=True)
    result = fit(
        module,
        batches,
        plan=plan,
        select=cast(Literal["rouge_l", "loss"], validation.select),
        precision=train.precision,
        trainer_cfg=trainer_cfg,
        checkpoints=checkpoints,
        loggers=[Journal(journal, mirrors)] if ranks.leads else [],
        label=label,
        ranks=ranks,
        validate_first=strategy.wants_initial_loss,
    )
    best = torch.load(result.best_path, map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(best)
    return result


def validator(
    run: RunCfg, tokenizer: PreTrainedTokenizerBase, dev: Sequence[Example], *, ranks: Ranks = ALONE
) -> Callable[[PreTrainedModel], float]:
    """The function from a student to its validation ROUGE-L; collective over the ranks given."""
    validation: ValidationCfg = run.train.validation

    def rouge_l_of(model: PreTrainedModel) -> float:
        return validation_rouge_l(
            model,
            tokenizer,
            dev,
            decoding=Decoding(max_new_tokens=validation.max_new_tokens, temperature=validation.temperature),
            seed=validation.seed,
            batch_size=run.trainer.generation_batch_size,
            max_tokens=run.data.max_tokens,
            ranks=ranks,
        )

    return rouge_l_of


def reads_teacher(run: RunCfg) -> bool:
    """True if training needs the teacher: for its objective, or to write text with it."""
    return run.strategy.name == "speculative" or objective_of(run).needs_teacher


def remembers(run: RunCfg) -> bool:
    """True if the strategy replays from a buffer."""
    return run.strategy.capacity is not None and run.strategy.use_buffer is not False


def strategy_of(run: RunCfg, *, seed: int, pad_id: int, ranks: Ranks) -> Strategy:
    """The strategy of a configuration, as new, for one rank."""
    options = run.strategy
    if options.name == "fixed":
        return Fixed()
    draws = Draws(seed=seed, rank=ranks.rank, num_ranks=ranks.size, rank_local_coin=run.compat.sgo_rank_local_coin)
    if options.name == "speculative":
        return Mixed(student_probability=1.0, policy="speculative", buffer=None, draws=draws)
    buffer = None
    if remembers(run):
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


def _rollout(run: RunCfg, pair: Pair, *, seed: int, eos: int) -> Rollout:
    options, data = run.strategy, run.data
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
            fresh_test=run.compat.skd_fresh_test,
        )
    return Rollout(
        pair,
        decoding=student,
        interleaving=interleaving,
        seed=seed,
        eos_id=eos,
        batch_size=run.trainer.generation_batch_size,
        max_tokens=data.max_tokens,
        unshifted_labels=run.compat.sgo_label_offset,
    )
