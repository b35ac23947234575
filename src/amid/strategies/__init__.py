"""Strategies: which batch to train on (the paper's student-generated outputs)."""

from amid.strategies.adaptive import AdaptiveOffPolicy
from amid.strategies.base import STUDENT_LOG_PROB, TEACHER_LOG_PROB, Draws, Gather, Generate, Policy, Strategy
from amid.strategies.build import strategy_of
from amid.strategies.fixed import Fixed
from amid.strategies.mixed import Mixed
from amid.strategies.policy_gradient import Advantages, RolloutPasses
from amid.strategies.replay import ReplayBuffer

__all__ = [
    "STUDENT_LOG_PROB",
    "TEACHER_LOG_PROB",
    "AdaptiveOffPolicy",
    "Advantages",
    "Draws",
    "Fixed",
    "Gather",
    "Generate",
    "Mixed",
    "Policy",
    "ReplayBuffer",
    "RolloutPasses",
    "Strategy",
    "strategy_of",
]
