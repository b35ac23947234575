"""The task families that training never sees: those of the open-ended, unseen and long unseen evaluation sets.

They use the vocabulary and many turns of phrase of the training families, so that a small model has something to
transfer, but ask for another task.
"""

import random
from typing import Final

from amid.data.toy.family import Family, Slots
from amid.data.toy.training_families import draw_action, draw_bigger, draw_gift, draw_invitation, draw_job, draw_meeting
from amid.data.toy.vocabulary import (
    ANIMALS,
    COUNTED,
    DAYS,
    FOODS,
    GIFTS,
    HOBBIES,
    JOBS,
    MEALS,
    PEOPLE,
    PLACES,
    TOWNS,
    TRIPS,
)


def draw_day_out(rng: random.Random) -> Slots:
    """Slots of a day that two people spend together."""
    person, friend = rng.sample(PEOPLE, 2)
    trip = rng.choice(TRIPS)
    return {
        "person": person,
        "friend": friend,
        "to": trip.to,
        "first": trip.first,
        "second": trip.second,
        "activity": trip.activity,
        "day": rng.choice(DAYS),
        "meal": rng.choice(MEALS),
        "food": rng.choice(FOODS),
    }


def draw_portrait(rng: random.Random) -> Slots:
    """Slots of two animals with all their facts, the bigger one first."""
    b, a = sorted(rng.sample(range(len(ANIMALS)), 2))
    big, small = ANIMALS[a], ANIMALS[b]
    return {
        "person": rng.choice(PEOPLE),
        "bigs": big.many,
        "smalls": small.many,
        "big": big.one,
        "small": small.one,
        "big_home": big.home,
        "small_home": small.home,
        "big_food": big.food,
        "small_food": small.food,
    }


def draw_job_change(rng: random.Random) -> Slots:
    """Slots of a person who leaves one job for another."""
    old, new = rng.sample(JOBS, 2)
    return {
        "person": rng.choice(PEOPLE),
        "town": rng.choice(TOWNS),
        "old": old.title,
        "new": new.title,
        "old_do": old.do,
        "old_where": old.where,
        "new_do": new.do,
        "new_where": new.where,
    }


def draw_hobbies(rng: random.Random) -> Slots:
    """Slots of a plan for one person with three hobbies at three hours."""
    hours = [str(hour) for hour in sorted(rng.sample(range(8, 13), 3))]
    hobby_a, hobby_b, hobby_c = rng.sample(HOBBIES, 3)
    return {
        "person": rng.choice(PEOPLE),
        "day": rng.choice(DAYS),
        "hour_a": hours[0],
        "hour_b": hours[1],
        "hour_c": hours[2],
        "hobby_a": hobby_a,
        "hobby_b": hobby_b,
        "hobby_c": hobby_c,
    }


def draw_odd_one_out(rng: random.Random) -> Slots:
    """Slots of a list of three words, one of which is of another kind."""
    animals, foods = [animal.one for animal in rng.sample(ANIMALS, 2)], rng.sample(FOODS, 2)
    (many, many_is), (one, one_is) = rng.sample([(animals, "an animal"), (foods, "a food")], 2)
    odd = one[0]
    return {
        "list": ", ".join(rng.sample([*many, odd], 3)),
        "odd": odd,
        "odd_is": one_is,
        "each_is": many_is,
        "a": many[0],
        "b": many[1],
    }


def draw_three_people(rng: random.Random) -> Slots:
    """Slots of a meeting of three people."""
    person_a, person_b, person_c = rng.sample(PEOPLE, 3)
    food_b, food_c = rng.sample(FOODS, 2)
    return {
        "person_a": person_a,
        "person_b": person_b,
        "person_c": person_c,
        "place": rng.choice(PLACES),
        "day": rng.choice(DAYS),
        "food_b": food_b,
        "food_c": food_c,
    }


def draw_two_steps(rng: random.Random) -> Slots:
    """Slots of an addition followed by a subtraction that leaves at least 2."""
    a, b = rng.randint(2, 10), rng.randint(2, 10)
    c = rng.randint(2, min(9, a + b - 2))
    person, friend = rng.sample(PEOPLE, 2)
    return {
        "person": person,
        "friend": friend,
        "things": rng.choice(COUNTED),
        "a": str(a),
        "b": str(b),
        "sum": str(a + b),
        "c": str(c),
        "rest": str(a + b - c),
    }


def draw_two_places(rng: random.Random) -> Slots:
    """Slots of two people at two places on a day, with what each of them brings."""
    person_a, person_b = rng.sample(PEOPLE, 2)
    place_a, place_b = rng.sample(PLACES, 2)
    gift_a, gift_b = rng.sample(GIFTS, 2)
    return {
        "person_a": person_a,
        "person_b": person_b,
        "place_a": place_a,
        "place_b": place_b,
        "gift_a": gift_a,
        "gift_b": gift_b,
        "day": rng.choice(DAYS),
    }


OPEN_ENDED_FAMILIES: Final = (
    Family(
        name="day_out",
        draw=draw_day_out,
        instructions=(
            "Plan a day at {to} for {person} and {friend} on {day}, with {meal}.",
            "{person} and {friend} go to {to} on {day}. What would be a good day, with {meal}?",
        ),
        outputs=(
            "For the trip to {to} on {day}, {person} and {friend} should pack {first} and {second}. "
            "Then they should {activity}. For {meal} they could have {food}. In the end they will both be happy.",
            "{person} should pack {first} and {second} for the trip to {to} on {day}, and {friend} will bring the "
            "{food} for {meal}. Then they could {activity}. In the end they will both be happy.",
        ),
    ),
    Family(
        name="portrait",
        draw=draw_portrait,
        instructions=(
            "Tell {person} all about {bigs} and {smalls}.",
            "Describe {bigs} and {smalls} for a school talk by {person}.",
        ),
        outputs=(
            "{bigs} live in {big_home}, and {smalls} live in {small_home}. The {bigs} like to eat {big_food}, "
            "and the {smalls} like to eat {small_food}. A {big} is bigger than a {small}.",
            "A {big} is bigger than a {small}. You can find {bigs} in {big_home} and {smalls} in {small_home}. "
            "The {bigs} like to eat {big_food}, but the {smalls} prefer {small_food}.",
        ),
    ),
    Family(
        name="job_change",
        draw=draw_job_change,
        instructions=(
            "{person} is a {old} in {town} and wants to be a {new}. What do you think?",
            "Should {person} leave the work of a {old} in {town} to become a {new}?",
        ),
        outputs=(
            "A {old} can {old_do} {old_where}, and that is good work. As a {new} in {town}, {person} would "
            "{new_do} {new_where}. {person} should become a {new} if that sounds good.",
            "As a {old} in {town}, {person} can {old_do} {old_where}. As a {new}, {person} would {new_do} "
            "{new_where}. Both are good work, so {person} should try it.",
        ),
    ),
    Family(
        name="free_day",
        draw=draw_hobbies,
        instructions=(
            "{person} likes {hobby_a}, {hobby_b} and {hobby_c}. How could {person} spend {day}?",
            "Give {person} ideas for a free {day} with {hobby_a}, {hobby_b} and {hobby_c}.",
        ),
        outputs=(
            "On {day} {person} has time for {hobby_a}. Then {person} has time for {hobby_b}. "
            "In the end there is time for {hobby_c}, and {person} will be happy.",
            "{person} could start {day} with {hobby_a}. Then there is time for {hobby_b} and for {hobby_c}. "
            "In the end {person} will be happy.",
        ),
    ),
)

UNSEEN_FAMILIES: Final = (
    Family(
        name="future_tense",
        draw=draw_action,
        instructions=("Rewrite the sentence in the future tense.", "Change the sentence to the future tense."),
        inputs=("{person} {present} the {color} {object} on {day}.",),
        outputs=(
            "{person} will {bare} the {color} {object} on {day}.",
            "On {day} {person} will {bare} the {color} {object}.",
        ),
    ),
    Family(
        name="who_brings",
        draw=draw_meeting,
        instructions=("Who will bring the {food}?", "Which person brings the {food}, and where to?"),
        inputs=(
            "{person_a}: Shall we meet at the {place} on {day}?\n{person_b}: Yes, I will bring the {food}.",
            "{person_a}: Let us go to the {place} on {day}.\n{person_b}: Good idea, I can bring the {food}.",
        ),
        outputs=(
            "{person_b} will bring the {food} to the {place}.",
            "{person_b} will bring the {food} to the {place} on {day}.",
        ),
    ),
    Family(
        name="apology",
        draw=draw_invitation,
        instructions=(
            "{guest} cannot come to {host} for {meal} on {day}. Write the note.",
            "Write a note from {guest} that tells {host} that {guest} cannot come for {meal} on {day}.",
        ),
        outputs=(
            "Dear {host}, I am sorry that I cannot come for {meal} on {day}. Yours, {guest}",
            "Dear {host}, thank you, but I cannot come to your house for {meal} on {day}. Best wishes, {guest}",
        ),
    ),
    Family(
        name="smaller",
        draw=draw_bigger,
        instructions=(
            "Which animal is smaller, a {animal_a} or a {animal_b}?",
            "Explain to {person} which of the two is smaller, a {animal_a} or a {animal_b}.",
        ),
        outputs=("A {smaller} is smaller than a {bigger}.", "A {smaller} is much smaller than a {bigger}."),
    ),
    Family(
        name="introduction",
        draw=draw_job,
        instructions=("Introduce this person in one sentence.", "Write a sentence from the facts."),
        inputs=("Name: {person}. Job: {job}. Town: {town}.", "{person}, {job}, {town}"),
        outputs=(
            "{person} is a {job} in {town} who {does} {where}.",
            "This is {person}, a {job} from {town} who {does} {where}.",
        ),
    ),
    Family(
        name="offer",
        draw=draw_gift,
        instructions=(
            "{giver} wants to lend {taker} a {color} {gift}. Write a note.",
            "Write a note in which {giver} offers {taker} the {color} {gift}.",
        ),
        outputs=(
            "Dear {taker}, please use my {color} {gift} if you like it. Yours, {giver}",
            "Dear {taker}, you can have my {color} {gift} for a day. Best wishes, {giver}",
        ),
    ),
    Family(
        name="odd_one_out",
        draw=draw_odd_one_out,
        instructions=("Which word does not belong to the others?", "Find the odd word in the list and say why."),
        inputs=("{list}",),
        outputs=(
            "The odd word is {odd} because it is {odd_is}, and each of {a} and {b} is {each_is}.",
            "It is {odd}: each of the others, {a} and {b}, is {each_is}.",
        ),
    ),
)

LONG_UNSEEN_FAMILIES: Final = (
    Family(
        name="three_people",
        draw=draw_three_people,
        instructions=("Summarize the dialogue of the three people.", "What do these three people agree on?"),
        inputs=(
            "{person_a}: Shall we meet at the {place} on {day}?\n{person_b}: Yes, I will bring the {food_b}.\n"
            "{person_c}: Sure, and I can bring the {food_c}.",
        ),
        outputs=(
            "{person_a}, {person_b} and {person_c} will meet at the {place} on {day}. {person_b} will bring the "
            "{food_b}, and {person_c} will bring the {food_c}.",
            "{person_a}, {person_b} and {person_c} plan to meet at the {place} on {day}, and {person_b} will bring "
            "the {food_b} and {person_c} the {food_c}.",
        ),
    ),
    Family(
        name="whole_plan",
        draw=draw_hobbies,
        instructions=("Describe the whole plan in full sentences.", "Write out everything that {person} does."),
        inputs=("Plan of {person} for {day}: {hour_a} {hobby_a}, {hour_b} {hobby_b}, {hour_c} {hobby_c}",),
        outputs=(
            "On {day} {person} has time for {hobby_a} at {hour_a}. At {hour_b} {person} has time for {hobby_b}. "
            "At {hour_c} {person} has time for {hobby_c}.",
            "The plan says that {person} has {hobby_a} at {hour_a}, {hobby_b} at {hour_b} and {hobby_c} at {hour_c}.",
        ),
    ),
    Family(
        name="two_steps",
        draw=draw_two_steps,
        instructions=(
            "{person} has {a} {things} and buys {b} more. Then {person} gives {c} to {friend}. "
            "How many {things} are left?",
            "First {person} collects {a} {things}, then {b} more. {friend} takes {c} of them. "
            "How many {things} does {person} keep?",
        ),
        outputs=(
            "{person} has {a} {things} and gets {b} more, so {a} + {b} = {sum} {things}. {person} gives away {c} of "
            "{sum} {things}, so {sum} - {c} = {rest} {things} are left.\n#### {rest}",
            "First there are {a} + {b} = {sum} {things}. {person} keeps {sum} - {c} = {rest} {things}.\n#### {rest}",
        ),
    ),
    Family(
        name="report",
        draw=draw_two_places,
        instructions=("Report in the past tense what happened.", "Retell the whole text in the past tense."),
        inputs=(
            "On {day} {person_a} is at the {place_a} and finds a {gift_a}. {person_b} is at the {place_b} and "
            "finds a {gift_b}.",
        ),
        outputs=(
            "On {day} {person_a} was at the {place_a} and found a {gift_a}. {person_b} was at the {place_b} and "
            "found a {gift_b}.",
            "{person_a} was at the {place_a} on {day} and found a {gift_a}, while {person_b} was at the {place_b} "
            "and found a {gift_b}.",
        ),
    ),
)
