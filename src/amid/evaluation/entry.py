"""Evaluation in two steps, each from what is on disk: prompts to JSONL, then JSONL to scores."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.data.batch import Batch
from amid.data.evaluation_sets import EvaluationSet
from amid.data.prompt import no_chat_template
from amid.data.tokenise import Example, encode, eos_id
from amid.digests.seals import DamagedError
from amid.errors import RequestError, one_line
from amid.evaluation.own_metrics import metric_of
from amid.evaluation.protocol import VALIDATION, Protocol, SetProtocol, score_id
from amid.generation.decoding import Completion, Decoding
from amid.generation.engine import generate
from amid.generation.stopping import cut_at_stop
from amid.metrics import METRICS, SELF_BLEU_PER_PROMPT, VALIDATION_METRICS, Generations
from amid.metrics.rouge import rouge_l
from amid.metrics.self_bleu import self_bleu_per_prompt
from amid.pairs.sizes import Sizes, sizes_of
from amid.ranks import ALONE, Ranks
from amid.store import Entry, Examples, Score, Store
from amid.store.generations import commit_rows, complete_commit, read_rows, rows_path
from amid.store.scores import read_examples

log = logging.getLogger(__name__)
# Batches generated between two writes: what a kill costs at most.
BATCHES_PER_WRITE = 4
# For chat templates that name a date: with the day of the run, a resumed run would ask other questions.
CHAT_DATE = "26 Jul 2024"  # the one Llama 3.1's template falls back to


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


def evaluate_entry(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    protocol: Protocol,
    *,
    entry: Entry,
    store: Store,
    batch_size: int,
) -> Generated:
    """What had to be generated; afterwards every score of the protocol's sets is in the store, with its examples."""
    folder = store.generations_folder(entry)
    generated = generate_missing(
        model,
        tokenizer,
        protocol,
        entry_id=entry.id,
        folder=folder,
        batch_size=batch_size,
        check=store.guard(entry),
    )
    for each in protocol.sets.values():
        assert each.data is not None
        store.write_texts(each.digest, each.data.questions, each.data.references)
    # Without a group: from before examples were kept
    known = {score.score_id for score in store.read([entry]) if score.group_id and _has_examples(store, entry, score)}
    scored = score_generations(protocol, entry_id=entry.id, folder=folder, known=known)
    store.write(entry, [score for score, _ in scored], [examples for _, examples in scored if examples is not None])
    return generated


def generate_missing(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    protocol: Protocol,
    *,
    entry_id: str,
    folder: Path,
    batch_size: int,
    check: Callable[[], None] = lambda: None,
) -> Generated:
    """What was generated: the responses of the protocol that are not yet in the folder's JSONL files.

    Each row is one object: index, response, num_tokens, ended (by EOS), and stopped (by a stop string) where there are
    stop strings. Prompts over a set's limit are cut to it, as in the reference's evaluation. The model stays as it is:
    the precision bf16-true is a copy's.
    Which rows share a batch is a function of the protocol and the batch size, not of what is there: a run that was
    killed anywhere ends with the bytes of an undisturbed one. A damaged row is one that is not there.
    check: called before each write; raises if another process owns the folder.
    Raises RequestError for a prompt beyond the model's positions, or a chat without a chat template.
    """
    folder.mkdir(parents=True, exist_ok=True)
    complete_commit(folder, check=check)
    total = Generated()
    models = {"32-true": model, "bf16-mixed": model}
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
        chunk = BATCHES_PER_WRITE * batch_size
        num_generated = 0
        if num_missing and each.precision not in models:
            models[each.precision] = copy.deepcopy(model).to(torch.bfloat16)  # type: ignore[arg-type]  # untyped in transformers
        for start in range(0, len(rows), chunk):
            missing = [row for row in rows[start : start + chunk] if (row.generation_id, row.index) not in done]
            if not missing:
                continue
            before = time.perf_counter()
            completions = _generate(models[each.precision], tokenizer, missing, each, batch_size=batch_size)
            commit_rows(folder, _lines(tokenizer, missing, completions, stop=each.decoding.stop), check=check)
            total = Generated(
                total.num_responses + len(missing),
                total.num_tokens + sum(len(completion.token_ids) for completion in completions),
                total.seconds + time.perf_counter() - before,
            )
            num_generated += len(missing)
            if num_missing > chunk:
                log.info("%s: %d of %d responses; so far %s", ", ".join(names), num_generated, num_missing, total)
    return total


def score_generations(
    protocol: Protocol, *, entry_id: str, folder: Path, known: Collection[str] = ()
) -> list[tuple[Score, Examples | None]]:
    """Every score of the protocol's sets that is not known by its id, from the JSONL files of the folder.

    With each score come the values per example where the metric has them.
    """
    scored = []
    for set_name, each in protocol.sets.items():
        assert each.data is not None
        by_seed = []
        for decode_seed in each.decode_seeds:
            generation_id = protocol.generation_id(entry_id, set_name, decode_seed)
            rows = read_rows(rows_path(folder, generation_id), num_rows=len(each.data))
            by_seed.append([row["response"] for row in rows])
            generations = _generations(rows, each.data)
            for name in each.metrics:
                metric = metric_of(name)
                score = replace(
                    _score(entry_id, set_name, generation_id, decode_seed, name, metric.signature, len(rows)),
                    group_id=protocol.group_id(set_name),
                    main=name == each.metric,
                )
                if score.score_id not in known:
                    examples = None
                    if metric.per_example is not None:
                        values = tuple(metric.per_example(generations))
                        examples = Examples(score.score_id, each.digest, values)
                        value = math.fsum(values) / len(values)
                    else:
                        assert metric.score is not None
                        value = metric.score(generations)
                    scored.append((replace(score, value=value), examples))
        if "self_bleu" in each.metrics and len(by_seed) > 1:
            pooled_id = protocol.pooled_id(entry_id, set_name)
            groups = [list(group) for group in zip(*by_seed, strict=True)]
            score = replace(
                _score(entry_id, set_name, pooled_id, None, "self_bleu", SELF_BLEU_PER_PROMPT, len(groups)),
                group_id=protocol.group_id(set_name),
            )
            if score.score_id not in known:
                scored.append((replace(score, value=self_bleu_per_prompt(groups)), None))
    return scored


def validation_rouge_l(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    decoding: Decoding,
    seed: int,
    batch_size: int,
    max_tokens: int,
    ranks: Ranks = ALONE,
) -> float:
    """ROUGE-L of one response per validation example, drawn from generators of their own; ranks share the work."""
    own = examples[ranks.rank :: ranks.size]
    completions = generate(
        model,
        [example.prompt_ids for example in own],
        keys=[(seed, VALIDATION, example.index) for example in own],
        decoding=decoding,
        eos_id=eos_id(tokenizer),
        batch_size=batch_size,
        max_length=max_tokens,
    )
    texts = [""] * len(examples)
    for rank, part in enumerate(ranks.gather(_texts(tokenizer, completions))):
        texts[rank :: ranks.size] = part
    return rouge_l(texts, [list(example.references) for example in examples])


def validation_loss(model: PreTrainedModel, batches: Iterable[Batch]) -> float:
    """Mean cross-entropy, in nats, of the labelled tokens of the batches."""
    total, count = 0.0, 0
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for batch in batches:
            on_device = batch.to(device)
            # No attention mask: a causal decoder's position never sees the padding to its right.
            logits = model(input_ids=on_device.input_ids, use_cache=False).logits[on_device.labelled]
            labels = on_device.labels[on_device.labelled]
            total += float(nn.functional.cross_entropy(logits.float(), labels, reduction="sum"))
            count += labels.numel()
    model.train(was_training)
    return total / count


def validation_scores(protocol: Protocol, *, entry_id: str, rouge: float, loss: float, num_samples: int) -> list[Score]:
    """The Scores on the validation records: ROUGE-L, which selected a cell's weights, loss and perplexity."""
    assert protocol.validation is not None
    generation_id, seed = protocol.validation_id(entry_id), int(protocol.validation["seed"])
    found = (
        (METRICS["rouge_l"], rouge, seed),
        (VALIDATION_METRICS["loss"], loss, None),
        (VALIDATION_METRICS["perplexity"], math.exp(min(loss, 700.0)), None),  # exp(700) is finite
    )
    return [
        _score(entry_id, VALIDATION, generation_id, decode_seed, metric.name, metric.signature, num_samples, value)
        for metric, value, decode_seed in found
    ]


def read_responses(path: Path, *, num_rows: int) -> list[str]:
    """The responses of one generation file in the order of the prompts. Raises RunError if rows are missing."""
    return [row["response"] for row in read_rows(path, num_rows=num_rows)]


def _has_examples(store: Store, entry: Entry, score: Score) -> bool:
    """Whether all is there that the score is the mean of; a damaged file is reported, and is not."""
    known = METRICS.get(score.metric)  # of a user's own nothing is certain
    if known is None or known.per_example is None:
        return True
    try:
        return read_examples(store.folder(entry), score.score_id) is not None
    except DamagedError as err:
        log.warning("%s", err)
        return False


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
        prompts = [prompt[:longest_prompt] for prompt in prompts]
        check_prompts(prompts, each, set_name=name, sizes=sizes)
        for seed in each.decode_seeds:
            generation_id = protocol.generation_id(entry_id, name, seed)
            rows += [_Row(name, seed, index, tuple(prompt), generation_id) for index, prompt in enumerate(prompts)]
    return rows


def prompt_ids(tokenizer: PreTrainedTokenizerBase, each: SetProtocol, *, set_name: str) -> list[list[int]]:
    """Token ids of each prompt of a set, uncut. Raises RequestError for a chat that the tokenizer cannot render."""
    assert each.data is not None
    texts = each.data.prompts
    return encode(tokenizer, _chats(tokenizer, texts, set_name=set_name) if each.prompt == "chat" else texts)


def check_sets(sets: Mapping[str, SetProtocol], tokenizer: PreTrainedTokenizerBase, sizes: Sizes) -> None:
    """Raises RequestError unless a model of these sizes can read every set, and has room to answer it."""
    for name, each in sets.items():
        prompts = prompt_ids(tokenizer, each, set_name=name)
        check_prompts([prompt[: each.max_prompt_tokens] for prompt in prompts], each, set_name=name, sizes=sizes)


def check_prompts(prompts: Sequence[Sequence[int]], each: SetProtocol, *, set_name: str, sizes: Sizes) -> None:
    """Raises RequestError unless a model of these sizes can read the prompts, already cut, and answer them."""
    longest = max(map(len, prompts)) + each.decoding.max_new_tokens
    if sizes.num_positions is not None and longest > sizes.num_positions:
        raise RequestError(
            f"evaluation set '{set_name}' may need {longest} tokens, the model has {sizes.num_positions} positions; "
            f"lower evaluation.sets.{set_name}.max_prompt_tokens or .max_new_tokens"
        )
    for index, prompt in enumerate(prompts):
        if max(prompt, default=0) >= sizes.vocab_size:
            raise RequestError(
                f"evaluation set '{set_name}': prompt {index} holds token id {max(prompt)}, which the model lacks: it "
                f"knows {sizes.vocab_size} tokens"
            )


def _chats(tokenizer: PreTrainedTokenizerBase, turns: Sequence[str], *, set_name: str) -> list[str]:
    """Each user turn in the model's chat template, as text that is tokenised once: a BOS in it stays the only one."""
    if tokenizer.chat_template is None:
        raise no_chat_template(set_name)
    try:
        return [
            str(
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": turn}],
                    tokenize=False,
                    add_generation_prompt=True,
                    date_string=CHAT_DATE,
                )
            )
            for turn in turns
        ]
    except Exception as err:  # a template is a program of the model's authors, which raises what it likes
        raise RequestError(
            f"evaluation set '{set_name}': the model's chat template cannot render one user turn "
            f"({one_line(str(err))[:100]})"
        ) from err


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[_Row],
    each: SetProtocol,
    *,
    batch_size: int,
) -> list[Completion]:
    return generate(
        model,
        [row.prompt_ids for row in rows],
        keys=[(row.decode_seed, row.set_name, row.index) for row in rows],
        decoding=each.decoding,
        eos_id=eos_id(tokenizer),
        batch_size=batch_size,
        amp_dtype=torch.bfloat16 if each.precision == "bf16-mixed" else None,
        # A chat may end its turn with another token than the one texts end with; instruction prompts end as in training
        other_eos_ids=_all_eos_ids(model) if each.prompt == "chat" else (),
        decode=lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True)),
    )


def _all_eos_ids(model: PreTrainedModel) -> list[int]:
    ids = None if model.generation_config is None else model.generation_config.eos_token_id
    return [] if ids is None else [int(ids)] if isinstance(ids, int) else [int(id_) for id_ in ids]


def _lines(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[_Row],
    completions: Sequence[Completion],
    *,
    stop: Sequence[str],
) -> dict[str, list[dict[str, Any]]]:
    """Generation id -> the new rows of its file."""
    lines: dict[str, list[dict[str, Any]]] = {}
    texts = _texts(tokenizer, completions, stop=stop)
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


def _texts(
    tokenizer: PreTrainedTokenizerBase, completions: Sequence[Completion], *, stop: Sequence[str] = ()
) -> list[str]:
    """The response texts that are scored. Source: reference evaluate_main.py."""
    texts = tokenizer.batch_decode([list(completion.token_ids) for completion in completions], skip_special_tokens=True)
    cut = [cut_at_stop(text, stop) for text in texts]
    return [text.split("<|endoftext|>")[0].replace("<n>", "\n").strip() for text in cut]


def _generations(rows: Sequence[Mapping[str, Any]], texts: EvaluationSet) -> Generations:
    return Generations(
        predictions=[row["response"] for row in rows],
        references=[list(alternatives) for alternatives in texts.references],
        sources=list(texts.sources),
        ended=[bool(row["ended"]) for row in rows],
    )


def _score(
    entry_id: str,
    set_name: str,
    generation_id: str,
    decode_seed: int | None,
    metric: str,
    signature: str,
    num_samples: int,
    value: float = math.nan,
) -> Score:
    return Score(
        entry_id=entry_id,
        eval_set=set_name,
        generation_id=generation_id,
        score_id=score_id(generation_id, metric, signature),
        decode_seed=decode_seed,
        metric=metric,
        value=value,
        num_samples=num_samples,
    )
