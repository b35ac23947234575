"""Plain text: documents to chunks of equal length, and the chunks of every optimiser step.

Legend: C chunks, L tokens of a chunk, B batch.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from amid.config import PlainTextCfg
from amid.data.batch import SOURCES, Batch
from amid.data.encoding import encode
from amid.data.plain_documents import plain_documents
from amid.data.tokenise import eos_id
from amid.errors import RequestError

log = logging.getLogger(__name__)
DOCUMENTS_AT_ONCE = 64  # tokenised together


def chunks_of(
    plain: PlainTextCfg,
    tokenizer: PreTrainedTokenizerBase,
    *,
    chunk_tokens: int,
    vocab_size: int,
    num_needed: int | None = None,
) -> Tensor:
    """The documents as chunks [C, L] int64 of exactly `chunk_tokens` tokens below `vocab_size`, in order.

    Runs of newlines are one newline; every document ends with EOS; documents follow each other without a gap; the
    incomplete last chunk is dropped, and so is a chunk with a token that a model of the pair lacks (logged).
    num_needed: stop at so many, where no more are looked for.
    Raises RequestError for a document that cannot be read.
    Source: reference tools/process_data_pretrain.py.
    """
    limit = plain.num_chunks if num_needed is None else num_needed
    chunks = [torch.empty(0, chunk_tokens, dtype=torch.int64)]
    held: list[int] = []
    num_found = num_lacking = 0
    for documents in _grouped(plain_documents(plain)):
        texts = [re.sub(r"\n{2,}", "\n", text).strip("\n") for text in documents]
        for row in encode(tokenizer, [text for text in texts if text]):
            held += [*row, eos_id(tokenizer)]
        whole = len(held) // chunk_tokens * chunk_tokens
        made = torch.tensor(held[:whole], dtype=torch.int64).view(-1, chunk_tokens)
        held = held[whole:]
        usable = made[(made < vocab_size).all(dim=1)]
        chunks.append(usable)
        num_found += len(usable)
        num_lacking += len(made) - len(usable)
        if limit is not None and num_found >= limit:
            break
    if num_lacking:
        log.info("plain text: %d chunks dropped for a token that a model of the pair lacks", num_lacking)
    return torch.cat(chunks)[:limit]


def check_enough_chunks(plain: PlainTextCfg, chunks: Tensor, *, batch_size: int) -> None:
    """Raises RequestError unless the chunks fill one batch, and are as many as were asked for."""
    if len(chunks) < (needed := max(batch_size, plain.num_chunks or 0)):
        key = "plain_text.num_chunks" if needed > batch_size else "plain_text.batch_size"
        raise RequestError(
            f"{key}={needed} needs as many chunks of {chunks.shape[1]} tokens, the plain text fills {len(chunks)}; "
            "give more text, or a smaller plain_text.chunk_tokens or plain_text.batch_size"
        )


class PlainBatches:
    """One rank's batch of plain text of every optimiser step, as a function of (seed, step, rank) alone.

    chunks: [C, L]. Every pass over them is in a new order; the incomplete last batch of a pass is dropped. A step takes
    `batch_size` chunks, of which each of `world_size` ranks gets an equal share.
    """

    def __init__(self, chunks: Tensor, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self._chunks = chunks
        self._batch_size = batch_size
        self._seed = seed
        self._rank, self._world_size = rank, world_size
        self._epoch, self._order = -1, list[int]()

    def __call__(self, step: int) -> Batch:
        """This rank's batch of the given optimiser step, counted from 0."""
        epoch, position = divmod(step, len(self._chunks) // self._batch_size)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, list(range(len(self._chunks)))
            random.Random(f"{self._seed}/plain_text/{epoch}").shuffle(self._order)
        start = position * self._batch_size
        chosen = self._order[start : start + self._batch_size][self._rank :: self._world_size]
        return plain_batch(self._chunks[chosen], indices=chosen)


def plain_batch(chunks: Tensor, *, indices: Sequence[int]) -> Batch:
    """A batch of chunks [B, L]: every token but the first is the label of the one before, so T = L - 1.

    indices: of the chunks, the batch's example ids.
    """
    return Batch(
        input_ids=chunks[:, :-1],
        attention_mask=torch.ones_like(chunks[:, :-1], dtype=torch.bool),
        labels=chunks[:, 1:],
        prompt_ids=chunks[:, :1],
        prompt_mask=torch.ones_like(chunks[:, :1], dtype=torch.bool),
        example_ids=torch.tensor(indices, dtype=torch.int64),
        source=torch.full((len(chunks),), SOURCES.index("gold"), dtype=torch.int64),
    )


def _grouped(documents: Iterator[str]) -> Iterator[list[str]]:
    """The documents, so many at a time that a tokenizer can use its threads."""
    group: list[str] = []
    for document in documents:
        group.append(document)
        if len(group) == DOCUMENTS_AT_ONCE:
            yield group
            group = []
    if group:
        yield group
