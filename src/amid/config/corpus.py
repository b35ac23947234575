"""Who writes the responses that a cell trains on: the data, or once, before the training, a model of the pair."""

from __future__ import annotations

from dataclasses import dataclass

from amid.config.checks import at_least, check_top_p, one_of
from amid.errors import RequestError

WRITERS = ("gold", "teacher", "student")


@dataclass
class CorpusCfg:
    """The responses of the training records; prompts, and the validation records, stay those of the data.

    A response has at most data.max_tokens - data.max_prompt_tokens tokens, as what is written while training.
    """

    writer: str = "gold"  # gold (the data's own) | teacher | student (as every cell starts)
    beside: str | None = None  # a second response to every prompt, by another of these; null = none
    temperature: float = 1.0  # 0 = greedy
    top_p: float = 1.0
    top_k: int = 0  # 0 = off
    seed: int = 10  # of the text, apart from every training generator

    def __post_init__(self) -> None:
        one_of("corpus.writer", self.writer, WRITERS)
        if self.beside is not None:
            one_of("corpus.beside", self.beside, WRITERS)
            if self.beside == self.writer:
                raise RequestError(f"corpus.beside={self.beside} is corpus.writer too: two responses need two writers")
        for name in ("temperature", "top_k", "seed"):
            at_least(f"corpus.{name}", getattr(self, name), 0)
        check_top_p("corpus.top_p", self.top_p)

    @property
    def is_written(self) -> bool:
        """Whether a model writes a part of it."""
        return bool({"teacher", "student"} & set(self.writers))

    @property
    def writers(self) -> tuple[str, ...]:
        """Who wrote the responses of a prompt, in the order in which they are trained on."""
        return (self.writer,) if self.beside is None else (self.writer, self.beside)
