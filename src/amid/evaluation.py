"""Evaluation in two steps, each from what is on disk: prompts to JSONL, then JSONL to scores."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.cell import ID_DIGITS
from amid.data.prompt import render_prompt
from amid.data.tokenise import Example, encode, eos_id
from amid.errors import RunError
from amid.fingerprint import value_digest
from amid.generation import Decoding, generate
from amid.metrics import METRICS
from amid.metrics.rouge import rouge_l
from amid.metrics.self_bleu import SIGNATURE as SELF_BLEU_SIGNATURE
from amid.metrics.self_bleu import self_bleu_per_prompt
from amid.protocol import VALIDATION, Protocol
from amid.store import Score, drop_torn_line, read_json_lines

log = logging.getLogger(__name__)
# Rows generated between two writes: what a kill costs at most.
ROWS_PER_WRITE = 1024


@dataclass(frozen=True)
class _Row:
    """One response to be generated."""

    set_name: str
    decode_seed: int
    index: int
    prompt_ids: tuple[int, ...]


def generate_missing(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    protocol: Protocol,
    *,
    checkpoint_id: str,
    folder: Path,
    batch_size: int,
    max_tokens: int,
) -> int:
    """How many responses were generated: those of the protocol that are not yet in the folder's JSONL files.

    Each row is one object: index, response, num_tokens, ended. Prompts over the protocol's limit are cut to it, as in
    the reference's evaluation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = list(_missing_rows(tokenizer, protocol, checkpoint_id=checkpoint_id, folder=folder))
    # Greedy decoding and per-example randomness make rows independent, so all sets and seeds share batches.
    for start in range(0, len(missing), ROWS_PER_WRITE):
        rows = missing[start : start + ROWS_PER_WRITE]
        completions = generate(
            model,
            [row.prompt_ids for row in rows],
            keys=[(row.decode_seed, row.set_name, row.index) for row in rows],
            decoding=_decoding(protocol),
            eos_id=eos_id(tokenizer),
            batch_size=batch_size,
            max_length=max_tokens,
        )
        texts = tokenizer.batch_decode(
            [list(completion.token_ids) for completion in completions], skip_special_tokens=True
        )
        lines: dict[Path, list[str]] = {}
        for row, completion, text in zip(rows, completions, texts, strict=True):
            path = folder / f"{protocol.generation_id(checkpoint_id, row.set_name, row.decode_seed)}.jsonl"
            item = {
                "index": row.index,
                "response": _clean(text),
                "num_tokens": len(completion.token_ids),
                "ended": completion.ended,
            }
            lines.setdefault(path, []).append(json.dumps(item))
        for path, new in lines.items():
            with path.open("a") as stream:
                stream.write("".join(f"{line}\n" for line in new))
    return len(missing)


def score_generations(protocol: Protocol, *, entry_id: str, folder: Path) -> list[Score]:
    """Every score of the protocol, from the JSONL files of the folder and the references of the records."""
    scores = []
    for set_name, records in protocol.records.items():
        references = [list(record.outputs) for record in records]
        by_seed = []
        for decode_seed in protocol.decode_seeds:
            generation_id = protocol.generation_id(entry_id, set_name, decode_seed)
            responses = read_responses(folder / f"{generation_id}.jsonl", num_rows=len(records))
            by_seed.append(responses)
            for name in protocol.metrics:
                metric = METRICS[name]
                value = metric.score(responses, references)
                scores.append(
                    _score(
                        entry_id, set_name, generation_id, decode_seed, name, metric.signature, value, len(responses)
                    )
                )
        if "self_bleu" in protocol.metrics and len(by_seed) > 1:
            groups = [list(group) for group in zip(*by_seed, strict=True)]
            pooled_id = protocol.pooled_id(entry_id, set_name)
            signature = f"{SELF_BLEU_SIGNATURE}|per_prompt"
            value = self_bleu_per_prompt(groups)
            scores.append(_score(entry_id, set_name, pooled_id, None, "self_bleu", signature, value, len(groups)))
    return scores


def validation_rouge_l(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    decoding: Decoding,
    seed: int,
    batch_size: int,
    max_tokens: int,
) -> float:
    """ROUGE-L of one response per validation example, drawn from generators of their own."""
    completions = generate(
        model,
        [example.prompt_ids for example in examples],
        keys=[(seed, VALIDATION, example.index) for example in examples],
        decoding=decoding,
        eos_id=eos_id(tokenizer),
        batch_size=batch_size,
        max_length=max_tokens,
    )
    texts = tokenizer.batch_decode([list(completion.token_ids) for completion in completions], skip_special_tokens=True)
    return rouge_l([_clean(text) for text in texts], [list(example.references) for example in examples])


def validation_score(protocol: Protocol, *, entry_id: str, value: float, num_samples: int) -> Score:
    """The Score of the validation that selected an entry's weights."""
    generation_id, metric = protocol.validation_id(entry_id), METRICS["rouge_l"]
    seed = int(protocol.validation["seed"])
    return _score(entry_id, VALIDATION, generation_id, seed, metric.name, metric.signature, value, num_samples)


def read_responses(path: Path, *, num_rows: int) -> list[str]:
    """The responses of one generation file in the order of the prompts. Raises RunError if rows are missing."""
    rows = {row["index"]: row["response"] for row in read_json_lines(path)}
    if len(rows) != num_rows:
        raise RunError(f"{path} holds {len(rows)} of {num_rows} responses; run task=evaluate again to add the others")
    return [rows[index] for index in range(num_rows)]


def _missing_rows(
    tokenizer: PreTrainedTokenizerBase, protocol: Protocol, *, checkpoint_id: str, folder: Path
) -> Iterator[_Row]:
    for set_name, records in protocol.records.items():
        prompts = encode(tokenizer, [render_prompt(record) for record in records])
        num_cut = sum(len(prompt) > protocol.max_prompt_tokens for prompt in prompts)
        if num_cut:
            log.info(
                "%s: %d of %d prompts cut to %d tokens", set_name, num_cut, len(prompts), protocol.max_prompt_tokens
            )
        for decode_seed in protocol.decode_seeds:
            path = folder / f"{protocol.generation_id(checkpoint_id, set_name, decode_seed)}.jsonl"
            drop_torn_line(path)
            done = {row["index"] for row in read_json_lines(path)}
            for index, prompt in enumerate(prompts):
                if index not in done:
                    yield _Row(set_name, decode_seed, index, tuple(prompt[: protocol.max_prompt_tokens]))


def _decoding(protocol: Protocol) -> Decoding:
    values = protocol.decoding
    return Decoding(
        max_new_tokens=int(values["max_new_tokens"]),
        temperature=float(values["temperature"]),
        top_k=int(values["top_k"]),
        top_p=float(values["top_p"]),
        no_repeat_ngram_size=int(values["no_repeat_ngram_size"]),
    )


def _clean(text: str) -> str:
    """The response text that is scored. Source: reference evaluate_main.py."""
    return text.split("<|endoftext|>")[0].replace("<n>", "\n").strip()


def _score(
    entry_id: str,
    set_name: str,
    generation_id: str,
    decode_seed: int | None,
    metric: str,
    signature: str,
    value: float,
    num_samples: int,
) -> Score:
    return Score(
        entry_id=entry_id,
        eval_set=set_name,
        generation_id=generation_id,
        score_id=value_digest([generation_id, metric, signature], digits=ID_DIGITS),
        decode_seed=decode_seed,
        metric=metric,
        value=value,
        num_samples=num_samples,
    )
