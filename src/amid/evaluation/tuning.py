"""The temperature that validation chooses for one model, from the scores that are in the store. No torch here.

The validation records are those that selected the weights (`train.validation.num_examples` of the data's validation
part), answered once at every candidate; no evaluation set is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable

from amid.evaluation.protocol import Protocol
from amid.store import Score

CHOSEN_BY = "rouge_l"


def chosen_temperature(protocol: Protocol, entry_id: str, scores: Iterable[Score]) -> float | None:
    """The candidate with the highest validation ROUGE-L; of equals the highest, which is nearest to sampling at 1.

    None if there are no candidates, or as long as one of them has no score.
    """
    if not protocol.temperatures or protocol.validation is None:
        return None
    by_id = {score.generation_id: score.value for score in scores if score.metric == CHOSEN_BY}
    found = [(by_id.get(protocol.validation_id(entry_id, each)), each) for each in protocol.temperatures]
    known = [(value, temperature) for value, temperature in found if value is not None]
    return max(known)[1] if len(known) == len(found) else None


def tuned(protocol: Protocol, entry_id: str, scores: Iterable[Score]) -> Protocol:
    """The protocol with every sampled set at the chosen temperature too; as it is until one is chosen."""
    temperature = chosen_temperature(protocol, entry_id, scores)
    return protocol if temperature is None else protocol.at(temperature)


def missing_temperatures(protocol: Protocol, entry_id: str, scores: Iterable[Score]) -> list[float]:
    """The candidates that the model has not been validated at in the present version of the metric."""
    known = {score.score_id for score in scores}
    return [each for each in protocol.temperatures if protocol.tuning_score_id(entry_id, each) not in known]
