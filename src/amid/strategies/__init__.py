"""Strategies: which batch to train on (the paper's student-generated outputs)."""

from amid.strategies.adaptive import AdaptiveOffPolicy
from amid.strategies.base import Draws, Gather, Generate, Policy, Strategy
from amid.strategies.build import strategy_of
from amid.strategies.fixed import Fixed
from amid.strategies.mixed import Mixed
from amid.strategies.replay import ReplayBuffer

__all__ = [
    "AdaptiveOffPolicy",
    "Draws",
    "Fixed",
    "Gather",
    "Generate",
    "Mixed",
    "Policy",
    "ReplayBuffer",
    "Strategy",
    "strategy_of",
]
