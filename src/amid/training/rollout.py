"""Rollouts: the responses a strategy asks for while training, labelled as a batch to train on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from transformers import PreTrainedModel

from amid.config import TrainerCfg
from amid.data.batch import Batch, collate, collate_unshifted
from amid.data.conversations import end_ids
from amid.data.prompt import asking_of
from amid.data.tokenise import decoder, eos_id
from amid.generation.decoding import Completion, Decoding
from amid.generation.engine import Mixture, eos_ids_of, generate
from amid.generation.randomness import Key
from amid.generation.speculative import Interleaving, generate_speculative
from amid.pairs import Pair
from amid.store.measures import CLOCK
from amid.strategies import STUDENT_LOG_PROB, TEACHER_LOG_PROB, Policy
from amid.training.plan import TrainingPlan
from amid.training.scoring import label_log_probs


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

    decoding: of the policies `student` and `mixture`. interleaving: of the policy `speculative`, None elsewhere.
    teacher_share: of the teacher in the policy `mixture`.
    max_tokens: most tokens of prompt and response. unshifted_labels: label as the reference does (collate_unshifted).
    chat: a response also ends with the tokens that end a turn of its writers, as where chats are evaluated. end_ids:
    other tokens that end one.
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
        teacher_share: float = 0.0,
        chat: bool = False,
        end_ids: Collection[int] = (),
    ) -> None:
        self._pair = pair
        self._decoding = decoding
        self._interleaving = interleaving
        self._seed = seed
        self._eos_id = eos_id
        self._batch_size = batch_size
        self._max_tokens = max_tokens
        self._unshifted_labels = unshifted_labels
        self._teacher_share = teacher_share
        self._chat = chat
        self._end_ids = frozenset(end_ids)
        self._tally = _Tally()
        self.last = Writing()

    def __call__(self, batch: Batch, *, policy: Policy, step: int) -> Batch:
        """The batch's prompts with new responses, on the batch's device."""
        start = time.perf_counter()
        prompts, example_ids = batch.prompts(), batch.example_ids.tolist()
        keys: list[Key] = [(self._seed, "rollout", step, *example) for example in _told_apart(example_ids)]
        completions = self._write(policy, prompts, keys)
        written = self._labelled(prompts, completions, example_ids).to(batch.input_ids.device)
        if policy == "mixture":
            written = self._scored(written)
        self.last = Writing(
            num_tokens=sum(len(completion.token_ids) for completion in completions),
            seconds=time.perf_counter() - start,
        )
        tally = self._tally
        tally.seconds += self.last.seconds
        tally.num_responses += len(completions)
        tally.num_tokens += self.last.num_tokens
        tally.num_ended += sum(completion.ended or completion.stopped for completion in completions)
        return written

    def state_dict(self) -> dict[str, Any]:
        """What was written since the last report."""
        return asdict(self._tally)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on counting from there."""
        self._tally = _Tally(**state)

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

    def _write(self, policy: Policy, prompts: Sequence[Sequence[int]], keys: Sequence[Key]) -> list[Completion]:
        student, teacher = self._pair.student, self._pair.teacher
        writers = [student] if policy == "student" or teacher is None else [student, teacher]
        eos_ids = {eos_id for each in writers for eos_id in eos_ids_of(each)} if self._chat else set()
        eos_ids |= self._end_ids
        if policy != "speculative":
            share = self._teacher_share if policy == "mixture" else 0.0
            return generate(
                student,
                prompts,
                keys=keys,
                decoding=self._decoding,
                eos_id=self._eos_id,
                batch_size=self._batch_size,
                max_length=self._max_tokens,
                vocab_size=self._pair.vocab_size,  # a token that the teacher lacks could not be judged by it
                mixed_with=Mixture(teacher, share) if teacher is not None and share > 0.0 else None,
                other_eos_ids=eos_ids,
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
            other_eos_ids=eos_ids,
            decode=decoder(self._pair.tokenizer),
        )

    def _scored(self, batch: Batch) -> Batch:
        """The batch with the log-probabilities of its labels, by student and teacher."""
        student, teacher = self._pair.student, self._pair.teacher
        assert teacher is not None, "rewards are the teacher's"
        scores = {
            name: label_log_probs(model, batch, vocab_size=self._pair.vocab_size, batch_size=self._batch_size)
            for name, model in ((STUDENT_LOG_PROB, student), (TEACHER_LOG_PROB, teacher))
        }
        return replace(batch, inputs=scores)

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


def _told_apart(example_ids: Sequence[int]) -> list[tuple[int, ...]]:
    """Each id, with its number among its equals from the second on."""
    seen: Counter[int] = Counter()
    parts: list[tuple[int, ...]] = []
    for example_id in example_ids:
        parts.append((example_id, seen[example_id]) if seen[example_id] else (example_id,))
        seen[example_id] += 1
    return parts


def rollout_of(plan: TrainingPlan, pair: Pair, resources: TrainerCfg) -> Rollout:
    """The rollout that a plan's strategy asks for."""
    options, data = plan.strategy, plan.data
    # As many new tokens as the longest prompt leaves room for, as in the reference
    max_new_tokens = data.max_tokens - data.max_prompt_tokens
    if options.name == "policy_gradient":
        # The distribution itself: its log-probabilities are kept
        student = Decoding(max_new_tokens=max_new_tokens, stop=tuple(data.stop))
    else:
        assert options.temperature is not None and options.top_p is not None and options.top_k is not None
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
        unshifted_labels=plan.compat.sgo_label_offset and options.name != "policy_gradient",
        teacher_share=options.teacher_share or 0.0,
        chat=data.prompt == "chat",
        end_ids=end_ids(pair.tokenizer, asking_of(data)),
    )
