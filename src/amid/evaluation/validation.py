"""A model on the validation records: ROUGE-L of its responses, and the loss of the gold ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.data.batch import Batch
from amid.data.tokenise import Example
from amid.evaluation.protocol import VALIDATION, Protocol
from amid.evaluation.responses import response_texts
from amid.evaluation.scores import score_of
from amid.evaluation.writer import Job, Writer
from amid.generation.decoding import Decoding
from amid.generation.engine import eos_ids_of
from amid.metrics import METRICS, VALIDATION_METRICS
from amid.metrics.rouge import rouge_l
from amid.ranks import ALONE, Ranks
from amid.store import Score


def validation_rouge_l(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    decoding: Decoding,
    seed: int,
    batch_size: int,
    max_tokens: int,
    chat: bool = False,
    end_ids: Collection[int] = (),
    ranks: Ranks = ALONE,
    known_as: str | None = None,
) -> float:
    """ROUGE-L of one response per validation example, drawn from generators of their own; ranks share the work.

    chat: the prompts are chats, so that a token which ends the model's turn ends a response. end_ids: others that do.
    known_as: None where every rank calls this; else the other ranks' name for the model, and rank 0 alone calls it.
    """
    write = Writer(model, tokenizer, batch_size=batch_size, ranks=ranks)
    completions = write(
        Job(
            prompts=tuple(tuple(example.prompt_ids) for example in examples),
            keys=tuple((seed, VALIDATION, example.index) for example in examples),
            places=tuple(range(len(examples))),
            decoding=decoding,
            max_length=max_tokens,
            other_eos_ids=frozenset({*eos_ids_of(model), *end_ids} if chat else ()),
            model=known_as,
        )
    )
    texts = response_texts(tokenizer, completions, stop=decoding.stop, end_ids=end_ids)
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


def tuning_score(protocol: Protocol, *, entry_id: str, temperature: float, rouge: float, num_samples: int) -> Score:
    """The Score on the validation records at one of the temperatures that validation chooses from."""
    assert protocol.validation is not None
    return score_of(
        entry_id,
        protocol.validation_name(temperature),
        protocol.validation_id(entry_id, temperature),
        int(protocol.validation["seed"]),
        METRICS["rouge_l"].name,
        METRICS["rouge_l"].signature,
        num_samples,
        rouge,
    )


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
        score_of(entry_id, VALIDATION, generation_id, decode_seed, metric.name, metric.signature, num_samples, value)
        for metric, value, decode_seed in found
    ]
