"""From options to a strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from amid.config import StrategyCfg
from amid.data.batch import Batch
from amid.ranks import Ranks
from amid.strategies.adaptive import AdaptiveOffPolicy, Reference, ReplayRatio
from amid.strategies.base import Draws, Strategy
from amid.strategies.fixed import Fixed
from amid.strategies.mixed import Mixed
from amid.strategies.policy_gradient import Advantages, RolloutPasses
from amid.strategies.replay import ReplayBuffer


def strategy_of(
    options: StrategyCfg,
    *,
    seed: int,
    pad_id: int,
    ranks: Ranks,
    rank_local_coin: bool,
    batch_size: int,
    batch_of_step: Callable[[int], Batch],
) -> Strategy:
    """The strategy that the options name, as new, for one rank.

    rank_local_coin: see `Draws`. batch_size: prompts of a step, of all ranks. batch_of_step: as in `DistillModule`.
    """
    if options.name == "fixed":
        return Fixed()
    draws = Draws(seed=seed, rank=ranks.rank, num_ranks=ranks.size, rank_local_coin=rank_local_coin)
    if options.name == "speculative":
        return Mixed(student_probability=1.0, policy="speculative", buffer=None, draws=draws)
    if options.name == "policy_gradient":
        assert options.passes is not None and options.teacher_share is not None
        assert options.discount is not None and options.reward_scale is not None and options.reward_clip is not None
        return RolloutPasses(
            advantages=Advantages(
                teacher_share=options.teacher_share,
                discount=options.discount,
                reward_scale=options.reward_scale,
                reward_clip=options.reward_clip,
                immediate_reward=options.immediate_reward is not False,
                length_normalised=options.length_normalised is not False,
                whitened=options.whitened is not False,
            ),
            num_batches=options.num_collected_batches(batch_size),
            passes=options.passes,
            batch_of_step=batch_of_step,
            draws=draws,
            pad_id=pad_id,
            gather=ranks.gather,
        )
    buffer = None
    if options.remembers:
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
