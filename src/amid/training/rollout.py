"""Rollouts: the responses a strategy asks for while training, labelled as a batch to train on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from amid.config import TrainerCfg
from amid.data.batch import Batch, collate, collate_unshifted
from amid.data.tokenise import decoder, eos_id
from amid.generation.decoding import Completion, Decoding
from amid.generation.engine import eos_ids_of, generate
from amid.generation.speculative import Interleaving, generate_speculative
from amid.pairs import Pair
from amid.store.measures import CLOCK
from amid.strategies import Policy
from amid.training.plan import TrainingPlan


@dataclass(frozen=True)
class Writing:
    """One rollout: tokens written, and the seconds that took."""

    num_tokens: int = 0
    seconds: float = 0.0


@dataclass
class _Tally:
    """Sums over the rollouts since the last report."""

    num_responses: int = 0
    num_tokens: int = 0
    num_ended: int = 0
    seconds: float = 0.0


class Rollout:
    """Writes responses to the prompts of a batch; a text depends on (seed, step, example) and the weights only.

    decoding: of the policy `student`. interleaving: of the policy `speculative`, or None where none is asked for.
    max_tokens: most tokens of prompt and response. unshifted_labels: label as the reference does (collate_unshifted).
    chat: a response also ends with the tokens that end a turn of its writers, as where chats are evaluated.
    last: the latest rollout.
    """

    def __init__(
        self,
        pair: Pair,
        *,
        decoding: Decoding,
        interleaving: Interleaving | None,
        seed: int,
        eos_id: int,
        batch_size: int,
        max_tokens: int,
        unshifted_labels: bool,
        chat: bool = False,
    ) -> None:
        self._pair = pair
        self._decoding = decoding
        self._interleaving = interleaving
        self._seed = seed
        self._eos_id = eos_id
        self._batch_size = batch_size
        self._max_tokens = max_tokens
        self._unshifted_labels = unshifted_labels
        self._chat = chat
        self._tally = _Tally()
        self.last = Writing()

    def __call__(self, batch: Batch, *, policy: Policy, step: int) -> Batch:
        """The batch's prompts with new responses, on the batch's device."""
        start = time.perf_counter()
        prompts, example_ids = batch.prompts(), batch.example_ids.tolist()
        keys = [(self._seed, "rollout", step, example_id) for example_id in example_ids]
        completions = self._write(policy, prompts, keys)
        self.last = Writing(
            num_tokens=sum(len(completion.token_ids) for completion in completions),
            seconds=time.perf_counter() - start,
        )
        tally = self._tally
        tally.seconds += self.last.seconds
        tally.num_responses += len(completions)
        tally.num_tokens += self.last.num_tokens
        tally.num_ended += sum(completion.ended or completion.stopped for completion in completions)
        return self._labelled(prompts, completions, example_ids).to(batch.input_ids.device)

    def measures(self, *, seconds: float) -> dict[str, float]:
        """Numbers by full name since the last call, which was `seconds` ago; empty if nothing was written."""
        tally, self._tally = self._tally, _Tally()
        if not tally.num_responses:
            return {}
        return {
            f"{CLOCK}generation_tokens_per_s": tally.num_tokens / max(1e-9, tally.seconds),
            f"{CLOCK}generation_time_share": tally.seconds / max(1e-9, seconds),
            "strategy/generation_response_tokens": tally.num_tokens / tally.num_responses,
            "strategy/generation_ended_share": tally.num_ended / tally.num_responses,
        }

    def _write(
        self, policy: Policy, prompts: Sequence[Sequence[int]], keys: Sequence[tuple[int | str, ...]]
    ) -> list[Completion]:
        student, teacher = self._pair.student, self._pair.teacher
        if policy == "student":
            return generate(
                student,
                prompts,
                keys=keys,
                decoding=self._decoding,
                eos_id=self._eos_id,
                batch_size=self._batch_size,
                max_length=self._max_tokens,
                vocab_size=self._pair.vocab_size,  # a token that the teacher lacks could not be judged by it
                other_eos_ids=eos_ids_of(student) if self._chat else (),
                decode=decoder(self._pair.tokenizer),
            )
        assert isinstance(teacher, PreTrainedModel)
        assert self._interleaving is not None
        return generate_speculative(
            student,
            teacher,
            prompts,
            keys=keys,
            interleaving=self._interleaving,
            eos_id=self._eos_id,
            vocab_size=self._pair.vocab_size,
            batch_size=self._batch_size,
            max_length=self._max_tokens,
            other_eos_ids={*eos_ids_of(student), *eos_ids_of(teacher)} if self._chat else (),
            decode=decoder(self._pair.tokenizer),
        )

    def _labelled(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Completion], example_ids: Sequence[int]
    ) -> Batch:
        responses = [completion.token_ids for completion in completions]
        if self._unshifted_labels:
            spoken = [tuple(token for token in response if token != self._eos_id) for response in responses]
            rows = list(zip(prompts, spoken, strict=True))
            return collate_unshifted(rows, example_ids=example_ids, pad_id=self._eos_id, source="fresh")
        rows = list(zip(prompts, responses, strict=True))
        return collate(rows, example_ids=example_ids, pad_id=self._eos_id, source="fresh")


def rollout_of(plan: TrainingPlan, pair: Pair, resources: TrainerCfg) -> Rollout:
    """The rollout that a plan's strategy asks for."""
    options, data = plan.strategy, plan.data
    assert options.temperature is not None and options.top_p is not None and options.top_k is not None
    # As many new tokens as the longest prompt leaves room for, as in the reference
    max_new_tokens = data.max_tokens - data.max_prompt_tokens
    student = Decoding(
        max_new_tokens=max_new_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        stop=tuple(data.stop),
    )
    interleaving = None
    if options.name == "speculative":
        assert options.teacher_temperature is not None and options.teacher_top_p is not None
        assert options.num_proposed is not None and options.accept_top_k is not None
        interleaving = Interleaving(
            student=student,
            teacher=Decoding(
                max_new_tokens=max_new_tokens, temperature=options.teacher_temperature, top_p=options.teacher_top_p
            ),
            num_proposed=options.num_proposed,
            accept_top_k=options.accept_top_k,
            fresh_test=plan.compat.skd_fresh_test,
        )
    return Rollout(
        pair,
        decoding=student,
        interleaving=interleaving,
        seed=plan.seed,
        eos_id=eos_id(pair.tokenizer),
        batch_size=resources.generation_batch_size,
        max_tokens=data.max_tokens,
        unshifted_labels=plan.compat.sgo_label_offset,
        chat=data.prompt == "chat",
    )
