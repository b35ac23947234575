"""The plain text of the toy corpus: short stories and descriptions of its world, without instructions."""

import random
from collections.abc import Callable, Iterator
from typing import Final

from amid.data.toy.family import fill
from amid.data.toy.vocabulary import (
    ANIMALS,
    CAPITALS,
    COLORS,
    DAYS,
    FOODS,
    GIFTS,
    HOBBIES,
    JOBS,
    MEALS,
    OBJECTS,
    PEOPLE,
    PLACES,
    REVIEWED,
    TOWNS,
    TRIPS,
    VEGETABLES,
    VERBS,
    WEATHER,
)

# Raise it whenever the text of some seed changes: it is part of the identity of everything trained on it.
PLAIN_TEXT_VERSION: Final = 1

_OPENINGS: Final = (
    "{person} lives in {town} and {does} {where}.",
    "In {town} there is a {color} house near the {place}, where {person} lives.",
    "It was {day} and {weather}, and {person} walked to the {place} in {town}.",
    "Everybody in {town} knows {person}, who {does} {where}.",
)
_EVENTS: Final = (
    "On {day} {person} met {friend} at the {place}.",
    "They shared some {food} and talked about {hobby}.",
    "{friend} {past} the {object}, while {person} {past_b} a {color} {object_b}.",
    "For {meal} they ate {food} with a {vegetable}.",
    "After {meal} {person} gave {friend} a {color} {gift}.",
    "The next morning it was {weather}, so they took {first} and {second}.",
    "Then they went to {trip} to {activity}.",
    "{friend} likes {hobby} more than anything else.",
    "The {reviewed} at the {place} was better than the one in {town}.",
    "{person} came from {country} and often spoke of {capital}, its capital.",
    "Near the {place} they saw some {animals}, which eat {animal_food} and live in {home}.",
    "{person} wanted to {do} as well, but there was no time for it.",
)
_ENDINGS: Final = (
    "In the evening everyone went home.",
    "{person} remembered that {day} for a long time.",
    "It was a good day for {person} and {friend}.",
    "And so they decided to meet again on {other_day}.",
)


def toy_documents(*, seed: int, num: int) -> Iterator[str]:
    """So many documents of one to three paragraphs; the same on every machine, and more of them start alike."""
    rng = random.Random(f"toy-plain-{PLAIN_TEXT_VERSION}-{seed}")
    for _ in range(num):
        yield "\n".join(_paragraph(rng) for _ in range(rng.randint(1, 3)))


def _paragraph(rng: random.Random) -> str:
    slots = {name: draw(rng) for name, draw in _DRAWS.items()}
    slots |= dict(zip(("person", "friend"), rng.sample(PEOPLE, 2), strict=True))
    slots |= dict(zip(("day", "other_day"), rng.sample(DAYS, 2), strict=True))
    slots |= dict(zip(("object", "object_b"), rng.sample(OBJECTS, 2), strict=True))
    slots |= dict(zip(("past", "past_b"), (verb.past for verb in rng.sample(VERBS, 2)), strict=True))
    slots |= dict(zip(("country", "capital"), rng.choice(CAPITALS), strict=True))
    job, animal, weather, trip = rng.choice(JOBS), rng.choice(ANIMALS), rng.choice(WEATHER), rng.choice(TRIPS)
    slots |= {"does": job.does, "do": job.do, "where": job.where}
    slots |= {"animals": animal.many, "animal_food": animal.food, "home": animal.home}
    slots |= {"weather": weather.now, "first": weather.first, "second": weather.second}
    slots |= {"trip": trip.to, "activity": trip.activity}
    events = rng.sample(_EVENTS, rng.randint(2, 5))
    sentences = [rng.choice(_OPENINGS), *events, rng.choice(_ENDINGS)]
    return " ".join(fill(sentence, slots) for sentence in sentences)


def _one_of(words: tuple[str, ...]) -> Callable[[random.Random], str]:
    return lambda rng: rng.choice(words)


_DRAWS: Final = {
    "town": _one_of(TOWNS),
    "place": _one_of(PLACES),
    "color": _one_of(COLORS),
    "food": _one_of(FOODS),
    "gift": _one_of(GIFTS),
    "hobby": _one_of(HOBBIES),
    "meal": _one_of(MEALS),
    "reviewed": _one_of(REVIEWED),
    "vegetable": _one_of(VEGETABLES),
}
