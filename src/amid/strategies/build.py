"""From options to a strategy."""

from __future__ import annotations

from typing import cast

from amid.config import StrategyCfg
from amid.ranks import Ranks
from amid.strategies.adaptive import AdaptiveOffPolicy, Reference, ReplayRatio
from amid.strategies.base import Draws, Strategy
from amid.strategies.fixed import Fixed
from amid.strategies.mixed import Mixed
from amid.strategies.replay import ReplayBuffer


def strategy_of(options: StrategyCfg, *, seed: int, pad_id: int, ranks: Ranks, rank_local_coin: bool) -> Strategy:
    """The strategy that the options name, as new, for one rank. rank_local_coin: see `Draws`."""
    if options.name == "fixed":
        return Fixed()
    draws = Draws(seed=seed, rank=ranks.rank, num_ranks=ranks.size, rank_local_coin=rank_local_coin)
    if options.name == "speculative":
        return Mixed(student_probability=1.0, policy="speculative", buffer=None, draws=draws)
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
