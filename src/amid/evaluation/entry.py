"""Evaluation of an entry of the store in two steps, each from what is on disk: prompts to JSONL, JSONL to scores."""

from __future__ import annotations

import logging

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.digests.seals import DamagedError
from amid.evaluation.protocol import Protocol
from amid.evaluation.responses import Generated, generate_missing
from amid.evaluation.scores import score_generations
from amid.metrics import METRICS
from amid.ranks import ALONE, Ranks
from amid.store import Entry, Score, Store
from amid.store.scores import read_per_example

log = logging.getLogger(__name__)


def evaluate_entry(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    protocol: Protocol,
    *,
    entry: Entry,
    store: Store,
    batch_size: int,
    ranks: Ranks = ALONE,
    known_as: str | None = None,
) -> Generated:
    """What had to be generated; afterwards the store has every score of the protocol's sets, values per example too.

    ranks, known_as: as `generate_missing` has them.
    """
    folder = store.generations_folder(entry)
    generated = generate_missing(
        model,
        tokenizer,
        protocol,
        entry_id=entry.id,
        folder=folder,
        batch_size=batch_size,
        check=store.guard(entry),
        ranks=ranks,
        known_as=known_as,
    )
    for each in protocol.sets.values():
        assert each.data is not None
        store.write_texts(each.digest, each.data.questions, each.data.references)
    # Without a group: from before values per example were kept
    known = {
        score.score_id for score in store.read([entry]) if score.group_id and _has_per_example(store, entry, score)
    }
    scored = score_generations(protocol, entry_id=entry.id, folder=folder, known=known)
    store.write(entry, [score for score, _ in scored], [values for _, values in scored if values is not None])
    return generated


def _has_per_example(store: Store, entry: Entry, score: Score) -> bool:
    """Whether all is there that the score is the mean of; a damaged file is reported, and is not."""
    known = METRICS.get(score.metric)  # of a user's own nothing is certain
    if known is None or known.per_example is None:
        return True
    try:
        return read_per_example(store.folder(entry), score.score_id) is not None
    except DamagedError as err:
        log.warning("%s", err)
        return False
