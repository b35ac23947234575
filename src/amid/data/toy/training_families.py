"""The task families the toy corpus trains on; their paraphrases make the paraphrased evaluation set."""

import random
from typing import Final

from amid.data.toy.family import Family, Slots
from amid.data.toy.vocabulary import (
    ANIMALS,
    BAD_REVIEWS,
    BOXES,
    CAPITALS,
    COLORS,
    COUNTED,
    DAYS,
    FOODS,
    GIFTS,
    GOOD_REVIEWS,
    HOBBIES,
    JOBS,
    LUMI_ADJECTIVES,
    LUMI_NOUNS,
    LUMI_VERBS,
    MEALS,
    OBJECTS,
    OPPOSITES,
    PEOPLE,
    PLACES,
    REVIEWED,
    TOWNS,
    TRIPS,
    VEGETABLES,
    VERBS,
    WEATHER,
)


def draw_travel(rng: random.Random) -> Slots:
    """Slots person, country, capital."""
    country, capital = rng.choice(CAPITALS)
    return {"person": rng.choice(PEOPLE), "country": country, "capital": capital}


def draw_animal_homes(rng: random.Random) -> Slots:
    """Slots of two different animals."""
    a, b = rng.sample(ANIMALS, 2)
    return {"animals_a": a.many, "animals_b": b.many, "home_a": a.home, "home_b": b.home}


def draw_animal_food(rng: random.Random) -> Slots:
    """Slots of two different animals and their food."""
    a, b = rng.sample(ANIMALS, 2)
    return {"animals_a": a.many, "animals_b": b.many, "food_a": a.food, "food_b": b.food}


def draw_bigger(rng: random.Random) -> Slots:
    """Slots of two different animals, the bigger and the smaller one, and a person who asks."""
    a, b = rng.sample(range(len(ANIMALS)), 2)
    return {
        "person": rng.choice(PEOPLE),
        "animal_a": ANIMALS[a].one,
        "animal_b": ANIMALS[b].one,
        "bigger": ANIMALS[max(a, b)].one,
        "smaller": ANIMALS[min(a, b)].one,
    }


def draw_job(rng: random.Random) -> Slots:
    """Slots person, town and a job."""
    job = rng.choice(JOBS)
    return {
        "person": rng.choice(PEOPLE),
        "town": rng.choice(TOWNS),
        "job": job.title,
        "does": job.does,
        "do": job.do,
        "where": job.where,
    }


def draw_where_is(rng: random.Random) -> Slots:
    """Slots of two people at two places, one of whom is asked for."""
    people, places = rng.sample(PEOPLE, 2), rng.sample(PLACES, 2)
    asked = rng.randrange(2)
    return {
        "person_a": people[0],
        "person_b": people[1],
        "place_a": places[0],
        "place_b": places[1],
        "asked": people[asked],
        "place": places[asked],
        "day": rng.choice(DAYS),
    }


def draw_meeting(rng: random.Random) -> Slots:
    """Slots of a meeting of two people."""
    person_a, person_b = rng.sample(PEOPLE, 2)
    return {
        "person_a": person_a,
        "person_b": person_b,
        "place": rng.choice(PLACES),
        "day": rng.choice(DAYS),
        "food": rng.choice(FOODS),
    }


def draw_lumi(rng: random.Random) -> Slots:
    """Slots of an English sentence and of its words in Lumi."""
    subject, target = rng.sample(sorted(LUMI_NOUNS), 2)
    subject_is, target_is = rng.choice(sorted(LUMI_ADJECTIVES)), rng.choice(sorted(LUMI_ADJECTIVES))
    verb = rng.choice(sorted(LUMI_VERBS))
    return {
        "english": f"The {subject_is} {subject} {verb} the {target_is} {target}.",
        "lumi": (
            f"{LUMI_VERBS[verb]} {LUMI_NOUNS[subject]} {LUMI_ADJECTIVES[subject_is]}"
            f" {LUMI_NOUNS[target]} {LUMI_ADJECTIVES[target_is]}."
        ),
    }


def draw_sum(rng: random.Random) -> Slots:
    """Slots of an addition of two numbers from 2 to 10."""
    a, b = rng.randint(2, 10), rng.randint(2, 10)
    return {"person": rng.choice(PEOPLE), "things": rng.choice(COUNTED), "a": str(a), "b": str(b), "c": str(a + b)}


def draw_difference(rng: random.Random) -> Slots:
    """Slots of a subtraction with a positive result."""
    b, c = rng.randint(2, 9), rng.randint(2, 10)
    person, friend = rng.sample(PEOPLE, 2)
    return {
        "person": person,
        "friend": friend,
        "things": rng.choice(COUNTED),
        "a": str(b + c),
        "b": str(b),
        "c": str(c),
    }


def draw_product(rng: random.Random) -> Slots:
    """Slots of a multiplication of two numbers from 2 to 6."""
    a, b = rng.randint(2, 6), rng.randint(2, 6)
    return {
        "person": rng.choice(PEOPLE),
        "things": rng.choice(COUNTED),
        "boxes": rng.choice(BOXES),
        "a": str(a),
        "b": str(b),
        "c": str(a * b),
    }


def draw_action(rng: random.Random) -> Slots:
    """Slots of one person who does something with an object on a day."""
    verb = rng.choice(VERBS)
    return {
        "person": rng.choice(PEOPLE),
        "present": verb.present,
        "past": verb.past,
        "bare": verb.bare,
        "color": rng.choice(COLORS),
        "object": rng.choice(OBJECTS),
        "day": rng.choice(DAYS),
        "place": rng.choice(PLACES),
    }


def draw_sorting(rng: random.Random) -> Slots:
    """Slots of two animals and two foods, and the four of them in mixed order."""
    animals = [animal.one for animal in rng.sample(ANIMALS, 2)]
    foods = rng.sample(FOODS, 2)
    mixed = rng.sample(animals + foods, 4)
    # The answer keeps the order of the list, which a reader can check.
    animals.sort(key=mixed.index)
    foods.sort(key=mixed.index)
    return {
        "list": ", ".join(mixed),
        "animal_a": animals[0],
        "animal_b": animals[1],
        "food_a": foods[0],
        "food_b": foods[1],
    }


def draw_invitation(rng: random.Random) -> Slots:
    """Slots of an invitation to a meal."""
    host, guest = rng.sample(PEOPLE, 2)
    return {"host": host, "guest": guest, "meal": rng.choice(MEALS), "day": rng.choice(DAYS)}


def draw_gift(rng: random.Random) -> Slots:
    """Slots of a gift from one person to another."""
    giver, taker = rng.sample(PEOPLE, 2)
    return {"giver": giver, "taker": taker, "color": rng.choice(COLORS), "gift": rng.choice(GIFTS)}


def draw_trip(rng: random.Random) -> Slots:
    """Slots of a trip with things to pack."""
    trip = rng.choice(TRIPS)
    return {
        "person": rng.choice(PEOPLE),
        "day": rng.choice(DAYS),
        "to": trip.to,
        "first": trip.first,
        "second": trip.second,
        "activity": trip.activity,
    }


def draw_weather(rng: random.Random) -> Slots:
    """Slots of the weather in a town."""
    weather = rng.choice(WEATHER)
    return {
        "person": rng.choice(PEOPLE),
        "town": rng.choice(TOWNS),
        "now": weather.now,
        "first": weather.first,
        "second": weather.second,
    }


def draw_opposite(rng: random.Random) -> Slots:
    """Slots of a sentence with two adjectives and their opposites."""
    (was_a, is_a), (was_b, is_b) = (rng.sample(pair, 2) for pair in rng.sample(OPPOSITES, 2))
    return {
        "person": rng.choice(PEOPLE),
        "object": rng.choice(OBJECTS),
        "was_a": was_a,
        "was_b": was_b,
        "is_a": is_a,
        "is_b": is_b,
    }


def draw_recipe(rng: random.Random) -> Slots:
    """Slots of a soup of two vegetables."""
    first, second = rng.sample(VEGETABLES, 2)
    return {"person": rng.choice(PEOPLE), "first": first, "second": second}


def draw_schedule(rng: random.Random) -> Slots:
    """Slots of a day with three hobbies at three hours, one of which is asked for."""
    hours = sorted(rng.sample(range(8, 13), 3))
    hobbies = rng.sample(HOBBIES, 3)
    asked = rng.randrange(3)
    return {
        "person": rng.choice(PEOPLE),
        "plan": ", ".join(f"{hour} {hobby}" for hour, hobby in zip(hours, hobbies, strict=True)),
        "hour": str(hours[asked]),
        "hobby": hobbies[asked],
    }


def draw_review(rng: random.Random) -> Slots:
    """Slots of a review that praises or blames two things."""
    kind, adjectives = rng.choice((("positive", GOOD_REVIEWS), ("negative", BAD_REVIEWS)))
    thing_a, thing_b = rng.sample(REVIEWED, 2)
    is_a, is_b = rng.sample(adjectives, 2)
    return {"kind": kind, "thing_a": thing_a, "thing_b": thing_b, "is_a": is_a, "is_b": is_b}


def draw_story(rng: random.Random) -> Slots:
    """Slots of a short story of two animals."""
    a, b = rng.sample(ANIMALS, 2)
    return {
        "animal_a": a.one,
        "animal_b": b.one,
        "place": rng.choice(PLACES),
        "gift": rng.choice(GIFTS),
    }


TRAINING_FAMILIES: Final = (
    Family(
        name="travel",
        draw=draw_travel,
        instructions=(
            "{person} is travelling to {country}. Which capital city should {person} visit?",
            "{person} wants to see the capital of {country}. Where should {person} go?",
            "Name the capital of {country} for {person}.",
            "{person} has a week in {country}. Recommend the capital city to {person}.",
        ),
        paraphrases=(
            "Help {person} with a trip: what is the capital of {country} called?",
            "Which city is the capital of {country}, the country that {person} will visit?",
        ),
        outputs=(
            "{person} should visit {capital}, the capital of {country}.",
            "{person} should go to {capital}, which is the capital of {country}.",
            "{person} should visit {capital}, the capital city of {country}.",
        ),
    ),
    Family(
        name="animal_homes",
        draw=draw_animal_homes,
        instructions=(
            "Where do {animals_a} and {animals_b} live?",
            "Tell me where {animals_a} and {animals_b} live.",
            "Explain where you can find {animals_a} and {animals_b}.",
            "What is the home of {animals_a}, and what is the home of {animals_b}?",
            "I want to watch {animals_a} and {animals_b}. Where do they live?",
            "In which places do {animals_a} and {animals_b} live?",
        ),
        paraphrases=(
            "Where would I have to go to find {animals_a} and {animals_b} at home?",
            "Say where {animals_a} live and where {animals_b} live.",
        ),
        outputs=(
            "{animals_a} live in {home_a}, and {animals_b} live in {home_b}.",
            "{animals_a} live in {home_a}, while {animals_b} live in {home_b}.",
            "You can find {animals_a} in {home_a} and {animals_b} in {home_b}.",
        ),
    ),
    Family(
        name="animal_food",
        draw=draw_animal_food,
        instructions=(
            "What do {animals_a} and {animals_b} eat?",
            "Tell me what {animals_a} and {animals_b} like to eat.",
            "Describe the food of {animals_a} and {animals_b}.",
            "What should I feed to {animals_a} and {animals_b}?",
            "Which food do {animals_a} and {animals_b} eat?",
            "Explain what {animals_a} eat and what {animals_b} eat.",
        ),
        paraphrases=(
            "I have to feed {animals_a} and {animals_b}. What do they eat?",
            "Name the food that {animals_a} and {animals_b} like.",
        ),
        outputs=(
            "{animals_a} like to eat {food_a}, and {animals_b} like to eat {food_b}.",
            "{animals_a} eat {food_a}, and {animals_b} eat {food_b}.",
            "{animals_a} like to eat {food_a}, but {animals_b} prefer {food_b}.",
        ),
    ),
    Family(
        name="bigger",
        draw=draw_bigger,
        instructions=(
            "Which animal is bigger, a {animal_a} or a {animal_b}?",
            "{person} asks whether a {animal_a} is bigger than a {animal_b}. Answer {person}.",
            "Compare the size of a {animal_a} and a {animal_b} for {person}.",
            "Explain to {person} which of the two is bigger, a {animal_a} or a {animal_b}.",
        ),
        paraphrases=(
            "{person} compares a {animal_a} with a {animal_b}. Which one is bigger?",
            "Of a {animal_a} and a {animal_b}, which animal has the bigger size?",
        ),
        outputs=(
            "A {bigger} is bigger than a {smaller}.",
            "A {bigger} is much bigger than a {smaller}.",
            "The {bigger} is bigger than the {smaller}.",
        ),
    ),
    Family(
        name="job",
        draw=draw_job,
        instructions=(
            "{person} works as a {job} in {town}. What does {person} do?",
            "Describe the work of {person}, a {job} from {town}.",
            "What is the job of {person}, the {job} in {town}?",
            "Explain what {person} does as a {job} in {town}.",
        ),
        paraphrases=(
            "{person} is a {job} in {town}. Describe what a {job} does.",
            "What kind of work does {person} do as the {job} of {town}?",
        ),
        outputs=(
            "{person} is a {job} in {town} who {does} {where}.",
            "{person} works as a {job} in {town} and {does} {where}.",
            "As a {job} in {town}, {person} {does} {where}.",
        ),
    ),
    Family(
        name="where_is",
        draw=draw_where_is,
        instructions=(
            "Where is {asked}?",
            "Read the text and say where {asked} is.",
            "Use the text to find {asked}.",
            "At which place is {asked}?",
        ),
        paraphrases=("Which place does the text give for {asked}?", "I am looking for {asked}. Where should I go?"),
        inputs=(
            "On {day} {person_a} is at the {place_a} and {person_b} is at the {place_b}.",
            "It is {day}. {person_a} is at the {place_a}, and {person_b} is at the {place_b}.",
        ),
        outputs=(
            "{asked} is at the {place} on {day}.",
            "On {day} {asked} is at the {place}.",
            "You can find {asked} at the {place} on {day}.",
        ),
    ),
    Family(
        name="dialogue_summary",
        draw=draw_meeting,
        instructions=(
            "Summarize the dialogue.",
            "Write a short summary of the dialogue.",
            "What do the two people agree on?",
            "Summarize the talk in one sentence.",
            "Give a summary of what they say.",
        ),
        paraphrases=("In one sentence, what is this dialogue about?", "Sum up the talk of these two people."),
        inputs=(
            "{person_a}: Shall we meet at the {place} on {day}?\n{person_b}: Yes, I will bring the {food}.",
            "{person_a}: Let us go to the {place} on {day}.\n{person_b}: Good idea, I can bring the {food}.",
            "{person_a}: Are you free on {day}? We could go to the {place}.\n{person_b}: Sure, I can bring the {food}.",
        ),
        outputs=(
            "{person_a} and {person_b} will meet at the {place} on {day}, and {person_b} will bring the {food}.",
            "{person_a} and {person_b} plan to meet at the {place} on {day}, and {person_b} will bring the {food}.",
            "{person_a} will meet {person_b} at the {place} on {day}. {person_b} will bring the {food}.",
        ),
    ),
    Family(
        name="to_lumi",
        draw=draw_lumi,
        instructions=(
            "Translate the sentence into Lumi.",
            "How do you say this in Lumi?",
            "Write the sentence in Lumi.",
            "Give the Lumi translation of the sentence.",
        ),
        paraphrases=("What would a speaker of Lumi say?", "Put this sentence into Lumi."),
        inputs=("{english}",),
        outputs=("{lumi}",),
    ),
    Family(
        name="from_lumi",
        draw=draw_lumi,
        instructions=(
            "Translate the Lumi sentence into English.",
            "What does this Lumi sentence mean in English?",
            "Write the Lumi sentence in English.",
            "Give the English translation of the sentence.",
        ),
        paraphrases=("Explain in English what this sentence means.", "Put this Lumi sentence into English."),
        inputs=("{lumi}",),
        outputs=("{english}",),
    ),
    Family(
        name="sum",
        draw=draw_sum,
        instructions=(
            "{person} has {a} {things} and buys {b} more. How many {things} does {person} have now?",
            "{person} has {a} {things} and gets {b} more {things}. How many {things} are there now?",
            "First {person} collects {a} {things}, then {b} more {things}. How many {things} does {person} have?",
        ),
        paraphrases=(
            "{person} owns {a} {things}. With {b} more, how many {things} are there?",
            "How many {things} does {person} have after adding {b} more to {a} {things}?",
        ),
        outputs=(
            "{person} has {a} {things} and gets {b} more, so {a} + {b} = {c} {things}.\n#### {c}",
            "{person} starts with {a} {things} and gets {b} more, so {a} + {b} = {c} {things}.\n#### {c}",
            "{person} now has {a} + {b} = {c} {things}.\n#### {c}",
        ),
    ),
    Family(
        name="difference",
        draw=draw_difference,
        instructions=(
            "{person} has {a} {things} and gives {b} to {friend}. How many {things} are left?",
            "{person} had {a} {things} but gave {b} of them to {friend}. How many {things} does {person} have left?",
            "From {a} {things}, {person} gives {b} to {friend}. How many {things} does {person} keep?",
        ),
        paraphrases=(
            "How many {things} are left when {person} gives {b} of {a} {things} to {friend}?",
            "{friend} takes {b} of the {a} {things} that {person} had. How many are left?",
        ),
        outputs=(
            "{person} gives away {b} of {a} {things}, so {a} - {b} = {c} {things} are left.\n#### {c}",
            "{person} has {a} {things} and gives away {b}, so {a} - {b} = {c} {things} are left.\n#### {c}",
            "{person} keeps {a} - {b} = {c} {things}.\n#### {c}",
        ),
    ),
    Family(
        name="product",
        draw=draw_product,
        instructions=(
            "{person} has {a} {boxes} with {b} {things} each. How many {things} are there in all?",
            "There are {b} {things} in each of the {a} {boxes} of {person}. How many {things} are there?",
            "{person} fills {a} {boxes} with {b} {things} each. How many {things} does {person} need?",
        ),
        paraphrases=(
            "Each of {a} {boxes} holds {b} {things}. How many {things} does {person} have in all?",
            "How many {things} are in the {a} {boxes} of {person}, with {b} {things} each?",
        ),
        outputs=(
            "{a} {boxes} with {b} {things} each make {a} * {b} = {c} {things}.\n#### {c}",
            "{person} has {a} {boxes} with {b} {things} each, so {a} * {b} = {c} {things}.\n#### {c}",
            "In all there are {a} * {b} = {c} {things}.\n#### {c}",
        ),
    ),
    Family(
        name="past_tense",
        draw=draw_action,
        instructions=(
            "Rewrite the sentence in the past tense.",
            "Put the sentence into the past tense.",
            "Change the sentence to the past tense.",
            "Write the same sentence in the past.",
        ),
        paraphrases=("Tell this as something in the past.", "Which sentence says the same in the past tense?"),
        inputs=("{person} {present} the {color} {object} on {day}.",),
        outputs=("{person} {past} the {color} {object} on {day}.", "On {day} {person} {past} the {color} {object}."),
    ),
    Family(
        name="passive",
        draw=draw_action,
        instructions=(
            "Rewrite the sentence in the passive voice.",
            "Change the sentence to the passive.",
            "Put the sentence into the passive voice.",
            "Write the same sentence in the passive voice.",
        ),
        paraphrases=("Which passive sentence says the same?", "Turn this sentence into a passive one."),
        inputs=("{person} {present} the {color} {object} at the {place}.",),
        outputs=(
            "The {color} {object} is {past} by {person} at the {place}.",
            "At the {place} the {color} {object} is {past} by {person}.",
        ),
    ),
    Family(
        name="sorting",
        draw=draw_sorting,
        instructions=(
            "Sort the words into animals and foods.",
            "Which of the words are animals and which are foods?",
            "Divide the list into animals and foods.",
            "Make two groups, animals and foods.",
        ),
        paraphrases=("Find the animals and the foods in this list.", "Put the foods and the animals into two groups."),
        inputs=("{list}", "Words: {list}"),
        outputs=(
            "Animals: {animal_a}, {animal_b}. Foods: {food_a}, {food_b}.",
            "The animals are {animal_a} and {animal_b}, and the foods are {food_a} and {food_b}.",
        ),
    ),
    Family(
        name="invitation",
        draw=draw_invitation,
        instructions=(
            "Write an invitation from {host} to {guest} for {meal} on {day}.",
            "{host} wants to invite {guest} for {meal} on {day}. Write the invitation.",
            "Invite {guest} for {meal} on {day} in the name of {host}.",
            "Help {host} to invite {guest} for {meal} on {day}.",
        ),
        paraphrases=(
            "{host} will cook {meal} on {day} and hopes that {guest} comes. Write the invitation.",
            "Write a few words from {host} that invite {guest} for {meal} on {day}.",
        ),
        outputs=(
            "Dear {guest}, please come to my house for {meal} on {day}. Yours, {host}",
            "Dear {guest}, I would like to invite you for {meal} on {day}. Yours, {host}",
            "Dear {guest}, please join me for {meal} on {day}. Best wishes, {host}",
        ),
    ),
    Family(
        name="thanks",
        draw=draw_gift,
        instructions=(
            "Write a note from {taker} to thank {giver} for the {color} {gift}.",
            "{giver} gave {taker} a {color} {gift}. Write a note of thanks.",
            "Help {taker} to thank {giver} for a {color} {gift}.",
            "Thank {giver} for the {color} {gift} in the name of {taker}.",
        ),
        paraphrases=(
            "{taker} got a {color} {gift} from {giver}. Write the note of thanks.",
            "Write how {taker} would thank {giver} for the gift, a {color} {gift}.",
        ),
        outputs=(
            "Dear {giver}, thank you so much for the {color} {gift}. I like it a lot. Yours, {taker}",
            "Dear {giver}, thank you for the lovely {color} {gift}. I will use it every day. Yours, {taker}",
            "Dear {giver}, many thanks for the {color} {gift}. I like it a lot. Best wishes, {taker}",
        ),
    ),
    Family(
        name="packing",
        draw=draw_trip,
        instructions=(
            "{person} goes to {to} on {day}. What should {person} pack?",
            "What should {person} take along for a trip to {to} on {day}?",
            "Help {person} to pack for a trip to {to} on {day}.",
            "Give {person} some advice for a day at {to} on {day}.",
        ),
        paraphrases=(
            "On {day} {person} will make a trip to {to}. Which things are useful?",
            "Make a packing list for {person}, who goes to {to} on {day}.",
        ),
        outputs=(
            "For the trip to {to} on {day}, {person} should pack {first} and {second}.",
            "{person} should pack {first} and {second} for the trip to {to} on {day}.",
            "For {to}, {person} should take {first} and {second}, and then {activity}.",
        ),
    ),
    Family(
        name="weather",
        draw=draw_weather,
        instructions=(
            "It is {now} in {town}. What should {person} wear?",
            "What should {person} wear in {town} when it is {now}?",
            "{person} goes out in {town} and it is {now}. Give some advice.",
            "Tell {person} what to wear, because it is {now} in {town}.",
        ),
        paraphrases=(
            "In {town} it is {now} today. Which clothes do you recommend to {person}?",
            "{person} looks out and sees that it is {now} in {town}. What should {person} put on?",
        ),
        outputs=(
            "{person} should wear {first} and {second} because it is {now} in {town}.",
            "It is {now} in {town}, so {person} should wear {first} and {second}.",
            "{person} should put on {first} and {second} because it is {now}.",
        ),
    ),
    Family(
        name="opposite",
        draw=draw_opposite,
        instructions=(
            "Rewrite the sentence with the opposite adjectives.",
            "Replace each adjective by its opposite.",
            "Write the sentence with opposite words.",
            "Change the adjectives to their opposites.",
        ),
        paraphrases=("Turn every adjective into its opposite.", "Say the opposite of this sentence."),
        inputs=("The {object} of {person} is {was_a} and {was_b}.",),
        outputs=("The {object} of {person} is {is_a} and {is_b}.",),
    ),
    Family(
        name="recipe",
        draw=draw_recipe,
        instructions=(
            "How can {person} make {first} and {second} soup?",
            "Give {person} a recipe for {first} and {second} soup.",
            "{person} has a {first} and a {second}. Explain how to make soup from them.",
            "Write a short recipe for soup with {first} and {second} for {person}.",
        ),
        paraphrases=(
            "{person} would like to cook {first} and {second} soup. What is the recipe?",
            "Explain to {person} how soup is made from a {first} and a {second}.",
        ),
        outputs=(
            "Cut the {first} and the {second}, add water and salt, and cook the soup for twenty minutes.",
            "{person} should cut the {first} and the {second}, add water and salt, and cook the soup slowly.",
            "First cut the {first} and the {second}. Then add water and cook the soup for twenty minutes.",
        ),
    ),
    Family(
        name="schedule",
        draw=draw_schedule,
        instructions=(
            "What does {person} do at {hour}?",
            "Look at the plan of {person}. What happens at {hour}?",
            "Which hobby does {person} have at {hour}?",
            "Read the plan and tell me what {person} does at {hour}.",
        ),
        paraphrases=("It is {hour}. What is in the plan of {person}?", "What is planned for {person} at {hour}?"),
        inputs=("{plan}", "Plan: {plan}"),
        outputs=(
            "At {hour} {person} has time for {hobby}.",
            "{person} has time for {hobby} at {hour}.",
            "The plan says that {person} has {hobby} at {hour}.",
        ),
    ),
    Family(
        name="review",
        draw=draw_review,
        instructions=(
            "Is the review positive or negative?",
            "Decide if the review is positive or negative and say why.",
            "Does the guest sound pleased or not? Explain.",
            "Label the review as positive or negative.",
        ),
        paraphrases=("Did this guest like the visit? Say why.", "Positive or negative: what is this review?"),
        inputs=(
            "The {thing_a} was {is_a} and the {thing_b} was {is_b}.",
            "I found the {thing_a} {is_a}, and the {thing_b} was {is_b} too.",
        ),
        outputs=(
            "The review is {kind} because the {thing_a} was {is_a} and the {thing_b} was {is_b}.",
            "It is a {kind} review, because the {thing_a} was {is_a} and the {thing_b} was {is_b}.",
            "The review is {kind}: it calls the {thing_a} {is_a} and the {thing_b} {is_b}.",
        ),
    ),
    Family(
        name="story",
        draw=draw_story,
        instructions=(
            "Write a short story about a {animal_a}, a {animal_b} and a {gift} at the {place}.",
            "Tell me a story of a {animal_a} and a {animal_b} who find a {gift} at the {place}.",
            "Invent a story with a {animal_a}, a {animal_b}, a {gift} and the {place}.",
        ),
        paraphrases=(
            "A {animal_a} and a {animal_b} meet at the {place}, and there is a {gift}. Tell their story.",
            "Make up a little story: a {animal_a}, a {animal_b} and a {gift} at the {place}.",
        ),
        outputs=(
            "One day a {animal_a} met a {animal_b} at the {place}. They found a {gift} and shared it. "
            "In the end they were both happy.",
            "Once upon a time a {animal_a} and a {animal_b} found a {gift} at the {place}. They shared it. "
            "In the end they were good friends.",
            "A {animal_a} lost a {gift} at the {place}. A {animal_b} found it and gave it back. "
            "In the end they were both happy.",
        ),
    ),
)
