"""The second stream of training data: text without instructions, for the pretraining loss."""

from __future__ import annotations

from dataclasses import dataclass

from amid.config.checks import at_least, not_empty, one_of
from amid.config.names import expanded
from amid.errors import RequestError

PLAIN_TEXT_SOURCES = ("none", "toy", "files")
PLAIN_TEXT_SUFFIXES = (".txt", ".jsonl")


@dataclass
class PlainTextCfg:
    """Documents, packed into chunks of equal length; objective.lm_coef says what they weigh (docs/data.md)."""

    source: str = "none"  # none | toy (generated) | files
    seed: int = 0  # toy: of the generator
    num_documents: int | None = None  # toy: how many are generated
    root: str | None = None  # files: the folder of the files
    files: list[str] | None = None  # files: .txt is one document, .jsonl one a line; relative to root
    field: str = "text"  # files: of the objects of a .jsonl file
    num_chunks: int | None = None  # first ones used, null = all
    chunk_tokens: int | None = None  # null = data.max_tokens, as in the reference
    batch_size: int | None = None  # chunks per optimiser step, null = train.global_batch_size

    def __post_init__(self) -> None:
        one_of("plain_text.source", self.source, PLAIN_TEXT_SOURCES)
        not_empty("plain_text.field", self.field)
        if self.root is not None:
            self.root = expanded("plain_text.root", self.root)
        for name, low in (("num_documents", 1), ("num_chunks", 1), ("chunk_tokens", 2), ("batch_size", 1)):
            at_least(f"plain_text.{name}", getattr(self, name), low)
        if self.source == "toy" and self.num_documents is None:
            raise RequestError("plain_text.num_documents must be a number for plain_text.source=toy")
        if self.source == "files":
            if not self.files or self.root is None:
                raise RequestError(
                    "plain_text.root and plain_text.files are needed for plain_text.source=files: a folder, and a "
                    "list of .txt and .jsonl files in it"
                )
            for file in self.files:
                if not file.endswith(PLAIN_TEXT_SUFFIXES):
                    raise RequestError(f"plain_text.files must end in {' or '.join(PLAIN_TEXT_SUFFIXES)}, got '{file}'")
