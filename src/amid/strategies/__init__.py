"""Strategies: which batch to train on (the paper's student-generated outputs)."""

from amid.strategies.base import Generate, Strategy
from amid.strategies.fixed import Fixed

__all__ = ["Fixed", "Generate", "Strategy"]
