"""The evaluation protocol: which prompts, decoding and seeds; it names every file of generations. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from amid.cell import ID_DIGITS
from amid.config import RunCfg
from amid.data.prompt import PROMPT_VERSION, render_prompt
from amid.data.records import Record, evaluation_records
from amid.fingerprint import value_digest

VALIDATION = "validation"  # the set name of the score that selected the weights


@dataclass(frozen=True)
class Protocol:
    """What a model is evaluated on; two protocols that would give the same texts name the same generations.

    set_digests: set name -> digest of its prompts and references. decoding: the fields of generation.Decoding.
    validation: what names the responses that selected the weights.
    """

    set_digests: Mapping[str, str]
    decode_seeds: tuple[int, ...]
    decoding: Mapping[str, float]
    max_prompt_tokens: int
    metrics: tuple[str, ...]
    validation: Mapping[str, Any]
    records: Mapping[str, Sequence[Record]] = field(compare=False, repr=False, default_factory=dict)

    def generation_id(self, checkpoint_id: str, set_name: str, decode_seed: int) -> str:
        """Id (12 hex digits) of the texts of one checkpoint on one set with one seed."""
        return value_digest(
            {
                "checkpoint": checkpoint_id,
                "set": self.set_digests[set_name],
                "set_name": set_name,  # part of every response's random key
                "prompt_version": PROMPT_VERSION,
                "max_prompt_tokens": self.max_prompt_tokens,
                "decoding": dict(self.decoding),
                "decode_seed": decode_seed,
            },
            digits=ID_DIGITS,
        )

    def validation_id(self, checkpoint_id: str) -> str:
        """Id of the validation responses of one checkpoint."""
        return value_digest({"checkpoint": checkpoint_id, VALIDATION: dict(self.validation)}, digits=ID_DIGITS)

    def pooled_id(self, checkpoint_id: str, set_name: str) -> str:
        """Id of the texts of all decode seeds on one set."""
        return value_digest(
            [self.generation_id(checkpoint_id, set_name, seed) for seed in self.decode_seeds], digits=ID_DIGITS
        )

    def expected(self, checkpoint_id: str) -> set[tuple[str, str]]:
        """The (generation id, metric) of every score that a fully evaluated checkpoint has."""
        validation = {(self.validation_id(checkpoint_id), "rouge_l")}
        single = {
            (self.generation_id(checkpoint_id, name, seed), metric)
            for name in self.set_digests
            for seed in self.decode_seeds
            for metric in self.metrics
        }
        return (
            validation
            | single
            | {
                (self.pooled_id(checkpoint_id, name), "self_bleu")
                for name in self.set_digests
                if "self_bleu" in self.metrics and len(self.decode_seeds) > 1
            }
        )

    def manifest(self) -> dict[str, Any]:
        """The protocol as plain data, without the records."""
        values = asdict(self)
        del values["records"]
        return values


def protocol_of(run: RunCfg, data_identity: Mapping[str, Any]) -> Protocol:
    """The protocol of a checked configuration, whose data have the given identity (`cell.values["data"]`).

    Reads the evaluation sets; raises RequestError as they do.
    """
    evaluation, validation = run.evaluation, run.train.validation
    records = evaluation_records(run.data, evaluation.sets, limit=evaluation.num_prompts)
    return Protocol(
        set_digests={name: _digest(items) for name, items in records.items()},
        decode_seeds=tuple(evaluation.decode_seeds),
        decoding={
            "max_new_tokens": evaluation.max_new_tokens,
            "temperature": evaluation.temperature,
            "top_k": evaluation.top_k,
            "top_p": evaluation.top_p,
            "no_repeat_ngram_size": evaluation.no_repeat_ngram_size,
        },
        max_prompt_tokens=run.data.max_prompt_tokens,
        metrics=tuple(evaluation.metrics),
        validation={
            "data": dict(data_identity),
            "num_examples": validation.num_examples,
            "max_new_tokens": validation.max_new_tokens,
            "temperature": validation.temperature,
            "seed": validation.seed,
        },
        records=records,
    )


def protocol_from_manifest(manifest: Mapping[str, Any]) -> Protocol:
    """The protocol that `Protocol.manifest` described, without its records."""
    return Protocol(
        **{
            **manifest,
            "decode_seeds": tuple(manifest["decode_seeds"]),
            "metrics": tuple(manifest["metrics"]),
        }
    )


def _digest(records: Sequence[Record]) -> str:
    return value_digest([[render_prompt(record), list(record.outputs)] for record in records])
