"""The results folder: where it lies, who may write, and what is in it. No torch here."""

from amid.store.layout import Entry
from amid.store.scores import PerExample, Score
from amid.store.status import State
from amid.store.store import Store

__all__ = ["Entry", "PerExample", "Score", "State", "Store"]
