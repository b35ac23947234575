"""From prompts to responses on disk: what is missing is generated, batch by batch, in any number of attempts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.evaluation.prompts import answer_ends, check_prompts, cut_prompts, prompt_ids
from amid.evaluation.protocol import Protocol, SetProtocol
from amid.evaluation.writer import Job, Writer
from amid.generation.decoding import Completion, Decoding
from amid.generation.engine import eos_ids_of
from amid.generation.stopping import cut_at_stop
from amid.pairs.sizes import sizes_of
from amid.ranks import ALONE, Ranks
from amid.store.generations import commit_rows, complete_commit, read_rows, rows_path

log = logging.getLogger(__name__)

# Batches generated between two writes: what a kill costs at most.
BATCHES_PER_WRITE = 4


@dataclass(frozen=True)
class Generated:
    """How many responses were generated, and what that took."""

    num_responses: int = 0
    num_tokens: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        rate = self.num_tokens / self.seconds if self.seconds else 0.0
        return f"{self.num_responses} responses, {self.num_tokens} tokens in {self.seconds:.0f} s ({rate:.0f} tokens/s)"


@dataclass(frozen=True)
class _Row:
    """One response to be generated."""

    set_name: str
    decode_seed: int
    index: int
    prompt_ids: tuple[int, ...]
    generation_id: str


def generate_missing(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    protocol: Protocol,
    *,
    entry_id: str,
    folder: Path,
    batch_size: int,
    check: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
    known_as: str | None = None,
) -> Generated:
    """What was generated: the responses of the protocol that are not yet in the folder's JSONL files.

    Each row is one object: index, response, num_tokens, ended (by EOS), and stopped (by a stop string) where there are
    stop strings. Prompts over a set's limit are cut to it, as in the reference's evaluation. The model stays as it is:
    the precision bf16-true is a copy's.
    Which rows share a batch is a function of the protocol, the batch size and the number of ranks, not of what is
    there: a run that was killed anywhere ends with the bytes of an undisturbed one. A damaged row is one that is not
    there.
    check: called before each write; raises if another process owns the folder.
    ranks: this is rank 0 of them, which shares the prompts out and writes; known_as: the others' name for the model.
    Raises RequestError for a prompt beyond the model's positions, or a chat without a chat template.
    """
    folder.mkdir(parents=True, exist_ok=True)
    complete_commit(folder, check=check)
    total = Generated()
    write = Writer(model, tokenizer, batch_size=batch_size, ranks=ranks)
    # Greedy decoding and per-example randomness make rows independent: sets and seeds of equal decoding share batches.
    for names in _sets_of_equal_decoding(protocol):
        each = protocol.sets[names[0]]
        rows = _rows(model, tokenizer, protocol, names, entry_id=entry_id)
        done = {
            (generation_id, item["index"])
            for generation_id in {row.generation_id for row in rows}
            for item in read_rows(rows_path(folder, generation_id))
        }
        num_missing = sum((row.generation_id, row.index) not in done for row in rows)
        chunk = BATCHES_PER_WRITE * batch_size * ranks.size
        num_generated = 0
        for start in range(0, len(rows), chunk):
            asked = enumerate(rows[start : start + chunk])
            missing = {place: row for place, row in asked if (row.generation_id, row.index) not in done}
            if not missing:
                continue
            before = time.perf_counter()
            completions = write(_job(model, tokenizer, missing, each, known_as=known_as))
            commit_rows(folder, _lines(tokenizer, list(missing.values()), completions, each), check=check)
            total = Generated(
                total.num_responses + len(missing),
                total.num_tokens + sum(len(completion.token_ids) for completion in completions),
                total.seconds + time.perf_counter() - before,
            )
            num_generated += len(missing)
            if num_missing > chunk:
                log.info("%s: %d of %d responses; so far %s", ", ".join(names), num_generated, num_missing, total)
    return total


def response_texts(
    tokenizer: PreTrainedTokenizerBase,
    completions: Sequence[Completion],
    *,
    stop: Sequence[str] = (),
    end_ids: Collection[int] = (),
) -> list[str]:
    """The response texts that are scored. Source: reference evaluate_main.py.

    end_ids: tokens that are left out at the end of a response; special ones are everywhere.
    """
    rows = [list(completion.token_ids) for completion in completions]
    rows = [row[:-1] if row and row[-1] in end_ids else row for row in rows]
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    cut = [cut_at_stop(text, stop) for text in texts]
    return [text.split("<|endoftext|>")[0].replace("<n>", "\n").strip() for text in cut]


def _sets_of_equal_decoding(protocol: Protocol) -> list[list[str]]:
    groups: dict[tuple[str, str, Decoding], list[str]] = {}
    for name, each in protocol.sets.items():
        groups.setdefault((each.prompt, each.precision, each.decoding), []).append(name)
    return list(groups.values())


def _rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    protocol: Protocol,
    names: Sequence[str],
    *,
    entry_id: str,
) -> list[_Row]:
    rows = []
    sizes = sizes_of(model.config)
    for name in names:
        each = protocol.sets[name]
        prompts = prompt_ids(tokenizer, each, set_name=name)
        longest_prompt = each.max_prompt_tokens
        num_cut = 0 if longest_prompt is None else sum(len(prompt) > longest_prompt for prompt in prompts)
        if num_cut:
            log.info("%s: %d of %d prompts cut to %d tokens", name, num_cut, len(prompts), longest_prompt)
        prompts = cut_prompts(prompts, each)
        check_prompts(prompts, each, set_name=name, sizes=sizes)
        for seed in each.decode_seeds:
            generation_id = protocol.generation_id(entry_id, name, seed)
            rows += [_Row(name, seed, index, tuple(prompt), generation_id) for index, prompt in enumerate(prompts)]
    return rows


def _job(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Mapping[int, _Row],
    each: SetProtocol,
    *,
    known_as: str | None,
) -> Job:
    """What the ranks are told of the rows, which come by their place among those that are written together."""
    # A chat may end its turn with another token than the one texts end with; instruction prompts end as in training
    ends = {*eos_ids_of(model), *answer_ends(tokenizer, each)} if each.prompt == "chat" else ()
    return Job(
        prompts=tuple(row.prompt_ids for row in rows.values()),
        keys=tuple((row.decode_seed, row.set_name, row.index) for row in rows.values()),
        places=tuple(rows),
        decoding=each.decoding,
        precision=each.precision,
        other_eos_ids=frozenset(ends),
        model=known_as,
    )


def _lines(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[_Row],
    completions: Sequence[Completion],
    each: SetProtocol,
) -> dict[str, list[dict[str, Any]]]:
    """Generation id -> the new rows of its file."""
    lines: dict[str, list[dict[str, Any]]] = {}
    stop = each.decoding.stop
    texts = response_texts(tokenizer, completions, stop=stop, end_ids=answer_ends(tokenizer, each))
    for row, completion, text in zip(rows, completions, texts, strict=True):
        item = {
            "index": row.index,
            "response": text,
            "num_tokens": len(completion.token_ids),
            "ended": completion.ended,
        }
        if stop:
            item["stopped"] = completion.stopped
        lines.setdefault(row.generation_id, []).append(item)
    return lines
