"""The stage `tokenizer`: a byte-level BPE tokenizer trained on the data, for a pair from scratch."""

from __future__ import annotations

import logging
from pathlib import Path

from amid.cells.stage import Stage
from amid.data.prompt import TEMPLATE_PIECES
from amid.data.splits import training_records
from amid.data.tokenise import tokenizer_texts
from amid.pairs import train_tokenizer
from amid.stages.stages import Stages
from amid.store.claims import Claim

log = logging.getLogger(__name__)


def build(stages: Stages, stage: Stage, folder: Path, claim: Claim) -> None:
    """Trains the tokenizer and writes it into the folder."""
    vocab_size = stages.materials.pair.tokenizer_vocab_size
    assert vocab_size is not None
    records, _ = training_records(stages.materials.data)
    tokenizer = train_tokenizer(tokenizer_texts(records), vocab_size=vocab_size, whole_tokens=TEMPLATE_PIECES)
    tokenizer.save_pretrained(folder)
    log.info("tokenizer: byte-level BPE of %d tokens from %d records", len(tokenizer), len(records))
