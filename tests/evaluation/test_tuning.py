"""The temperature that validation chooses, and what a model is asked at it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from amid.config import ValidationCfg
from amid.evaluation.protocol import Protocol, SetProtocol, protocol_from_manifest, protocol_of
from amid.evaluation.summary import summary_of
from amid.evaluation.tuning import chosen_temperature, missing_temperatures, tuned
from amid.evaluation.validation import tuning_score
from amid.generation.decoding import Decoding
from amid.store import Score

ENTRY = "c" * 12
DECODING = Decoding(max_new_tokens=8, top_p=0.9, no_repeat_ngram_size=6)
TASK = SetProtocol("t", "alpaca", 100, Decoding(max_new_tokens=8, temperature=0.0), (10,), "rouge_l", ("rouge_l",))
DOLLY = SetProtocol("d", "alpaca", 100, DECODING, (10, 20), "rouge_l", ("rouge_l", "self_bleu"))


def made(*temperatures: float, sets: dict[str, SetProtocol] | None = None) -> Protocol:
    sets = {"dolly": DOLLY, "task": TASK} if sets is None else sets
    return protocol_of(sets, ValidationCfg(), {"source": "toy"}, temperatures=temperatures)


def validated(protocol: Protocol, values: dict[float, float]) -> list[Score]:
    return [
        tuning_score(protocol, entry_id=ENTRY, temperature=temperature, rouge=value, num_samples=4)
        for temperature, value in values.items()
    ]


def scored(protocol: Protocol, name: str, value: float) -> list[Score]:
    return [
        Score(ENTRY, name, protocol.generation_id(ENTRY, name, seed), f"{name}{seed}", seed, "rouge_l", value, 4)
        for seed in protocol.sets[name].decode_seeds
    ]


def test_the_best_on_validation_is_chosen_whatever_the_evaluation_sets_say() -> None:
    protocol = made(0.0, 0.3, 1.0)
    on_sets = [
        *scored(protocol.at(0.0), "dolly_greedy", 99.0),
        *scored(protocol.at(0.3), "dolly_t0.3", 1.0),
        *scored(protocol, "dolly", 50.0),
    ]
    assert chosen_temperature(protocol, ENTRY, [*on_sets, *validated(protocol, {0.0: 5.0, 0.3: 7.0, 1.0: 6.0})]) == 0.3


def test_of_equals_the_highest_temperature_is_chosen() -> None:
    protocol = made(0.3, 0.6, 1.0)
    assert chosen_temperature(protocol, ENTRY, validated(protocol, {0.6: 7.0, 0.3: 7.0, 1.0: 6.0})) == 0.6


def test_nothing_is_chosen_before_every_candidate_is_validated() -> None:
    protocol = made(0.3, 0.6, 1.0)
    some = validated(protocol, {0.3: 7.0, 1.0: 6.0})
    assert chosen_temperature(protocol, ENTRY, some) is None
    assert tuned(protocol, ENTRY, some) == protocol
    assert missing_temperatures(protocol, ENTRY, some) == [0.6]
    assert chosen_temperature(made(), ENTRY, some) is None


def test_scores_of_another_model_are_not_looked_at() -> None:
    protocol = made(0.3, 1.0)
    assert chosen_temperature(protocol, "d" * 12, validated(protocol, {0.3: 7.0, 1.0: 6.0})) is None


@pytest.mark.parametrize(
    ("temperature", "name", "seeds"),
    [(0.3, "dolly_t0.3", (10, 20)), (0.0, "dolly_greedy", (10,)), (1.0, "dolly", (10, 20))],
)
def test_a_sampled_set_is_asked_at_the_chosen_temperature(
    temperature: float, name: str, seeds: tuple[int, ...]
) -> None:
    protocol = made(0.0, 0.3, 1.0)
    values = {0.0: 1.0, 0.3: 1.0, 1.0: 1.0, temperature: 2.0}
    found = tuned(protocol, ENTRY, validated(protocol, values))
    assert list(found.sets) == list(dict.fromkeys(["dolly", "task", name])), "a greedy set stays alone"
    each = found.sets[name]
    assert (each.decoding.temperature, each.decode_seeds) == (temperature, seeds)
    assert each.decoding.no_repeat_ngram_size == 6
    assert each.decoding.top_p == (1.0 if temperature == 0.0 else 0.9)
    assert protocol.expected(ENTRY) <= found.expected(ENTRY)


def test_greedy_texts_are_those_of_the_greedy_twin() -> None:
    protocol = made(0.0, 1.0)
    twin = replace(protocol, sets=protocol.at(0.0).sets)  # as evaluation.also_greedy=true makes it
    found = tuned(twin, ENTRY, validated(twin, {0.0: 2.0, 1.0: 1.0}))
    assert found == twin


def test_what_a_model_is_validated_at_already_is_not_validated_again() -> None:
    protocol = made(0.3, 1.0)
    assert protocol.validation_id(ENTRY, 1.0) == protocol.validation_id(ENTRY)
    assert [protocol.validation_name(each) for each in (0.0, 0.3, 1.0)] == [
        *("validation_greedy", "validation_t0.3", "validation")
    ]
    assert len(protocol.expected(ENTRY)) == len(made().expected(ENTRY)) + 1


def test_without_a_choice_everything_is_named_as_before_there_was_one() -> None:
    alone, both = made(), made(1.0, 0.3)
    assert "temperatures" not in alone.manifest()
    assert both.temperatures == (0.3, 1.0), "in whichever order they are given"
    assert protocol_from_manifest(json.loads(json.dumps(both.manifest()))) == both
    assert both.generation_id(ENTRY, "dolly", 10) == alone.generation_id(ENTRY, "dolly", 10)
    assert both.validation_id(ENTRY) == alone.validation_id(ENTRY)


def test_where_no_set_is_sampled_there_is_nothing_to_choose() -> None:
    assert made(0.3, 1.0, sets={"task": TASK}).temperatures == ()


def test_the_line_about_a_model_names_the_chosen_temperature_and_leaves_out_the_candidates() -> None:
    protocol = made(0.3, 1.0, sets={"dolly": DOLLY})
    scores = validated(protocol, {0.3: 7.0, 1.0: 6.0})
    scores += [*scored(protocol, "dolly", 20.0), *scored(protocol.at(0.3), "dolly_t0.3", 30.0)]
    assert summary_of(scores, protocol) == "ROUGE-L dolly 20.0  dolly_t0.3 30.0  validation 6.0"
