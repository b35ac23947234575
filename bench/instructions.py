"""Instruction-like text for the benchmarks: questions about a few everyday subjects, answered in plain English.

Written for this repository, so that a benchmark on a real model needs no data beside the model.
"""

from __future__ import annotations

import random

TEMPLATE = "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"

# Subject -> what an encyclopedia for children might say about it.
NOTES = {
    "tides": (
        "The sea rises and falls twice on most days because the moon pulls on the water. On the side of the Earth that "
        "faces the moon the pull is a little stronger, on the far side a little weaker, and the ocean bulges at both. "
        "As the planet turns, a harbour passes through each bulge and sees high water about every twelve hours and "
        "twenty-five minutes. When the sun and the moon pull in one line the difference is largest; sailors call this "
        "a spring tide, although it has nothing to do with the season."
    ),
    "bread": (
        "Bread needs flour, water, salt and time. Yeast eats the sugar in the flour and gives off gas, and the gluten, "
        "a net of protein that forms when dough is kneaded, holds the bubbles in place. A slow rise in a cool kitchen "
        "gives more flavour than a quick one near the stove. In the oven the gas expands, the starch sets, and the "
        "crust turns brown above one hundred and forty degrees. Let the loaf cool on a rack before you cut it, or the "
        "crumb will be gummy."
    ),
    "bicycles": (
        "A bicycle turns about nine tenths of the rider's effort into motion, which no other vehicle can match. The "
        "chain carries force from the pedals to the rear wheel, and the gears let the legs keep a steady rhythm uphill "
        "and downhill. It stays upright because a small turn of the handlebar moves the wheels back under the weight. "
        "Once a month, clean the chain, put one drop of oil on every link, and check that the brake pads still have "
        "some rubber left."
    ),
    "volcanoes": (
        "A volcano is an opening through which molten rock, ash and gas escape from below the crust. Thin, runny lava "
        "flows far and builds broad shields like those of Hawaii. Thick lava plugs the vent until the pressure bursts "
        "it, and such eruptions can throw ash thirty kilometres high. Warnings include small earthquakes, swelling "
        "ground and a change in the gases. The soil around old volcanoes is rich, so people keep coming back to farm "
        "there in spite of the danger."
    ),
    "honey": (
        "To make one spoon of honey a dozen bees work for their whole lives. A forager sucks nectar from flowers into "
        "a second stomach, and in the hive others pass it from mouth to mouth until enzymes have split its sugar. They "
        "spread it in the comb and fan it with their wings until most of the water is gone, then close each cell with "
        "wax. Honey keeps for years because it is too dry and too sour for germs. Its colour and taste depend on the "
        "flowers."
    ),
    "bridges": (
        "Every bridge has to carry two loads: its own weight and whatever crosses it. A beam bridge simply bends a "
        "little and passes the load to its piers. An arch turns the load into a push against the banks, which is why "
        "Roman arches of bare stone still stand. A suspension bridge hangs its deck from cables in tension and can "
        "span more than two kilometres. Engineers add joints, because steel grows longer in summer, and test models in "
        "wind tunnels so that gusts cannot set the deck swinging."
    ),
    "chess": (
        "Chess is played by two people on sixty-four squares. Each side begins with eight pawns, two rooks, two "
        "knights, two bishops, a queen and a king, and the aim is to trap the other king so that it cannot escape. "
        "Beginners do well to move a centre pawn first, bring out knights and bishops early, castle, and only then "
        "attack. Before every move it helps to ask what the opponent threatens. There are more possible games than "
        "atoms in the visible universe."
    ),
    "vaccines": (
        "A vaccine shows the immune system a harmless piece of a germ, or a weakened form of it, so that the body can "
        "learn to recognise the real one. White blood cells make antibodies that fit it, and some of them stay for "
        "years as memory cells. If the germ arrives later, the answer comes within hours instead of days. When enough "
        "people are protected, the disease finds too few hosts to spread, and even those who cannot be vaccinated are "
        "safer. A sore arm or a short fever is common and passes."
    ),
    "glass": (
        "Glass is made by melting sand with soda and lime at about fifteen hundred degrees. Soda lowers the melting "
        "point, and lime keeps the result from dissolving in water. Window panes are floated on a bath of liquid tin, "
        "which makes both faces flat without polishing. A pinch of iron gives a green tint, cobalt a deep blue. If hot "
        "glass cools too fast, stresses stay inside it and it may shatter days later, so it spends hours in a cooling "
        "oven called a lehr."
    ),
    "maps": (
        "No flat map can show the whole round Earth without distortion, just as an orange peel cannot be pressed flat "
        "without tearing. Some maps keep angles right, which helps sailors, but make Greenland look as large as "
        "Africa. Others keep areas right and bend the shapes. A good map states its scale, where north is, and what "
        "its colours mean. Hikers read the brown contour lines: where they lie close together the slope is steep, "
        "where they spread apart the ground is gentle."
    ),
    "savings": (
        "A household budget starts with a list of what comes in and what goes out every month. Rent, food and "
        "transport come first, then a fixed sum that moves to a savings account on payday, before it can be spent. "
        "Three months of expenses in reserve turn most emergencies into inconveniences. Interest works in both "
        "directions: money saved grows by itself, and money owed grows as well, so the debt with the highest rate "
        "should be paid back first."
    ),
    "gardens": (
        "A small vegetable garden needs sun for six hours a day, loose soil and regular water. Start with beans, "
        "lettuce, radishes and tomatoes, which forgive mistakes. Dig in compost in spring, sow in rows so that weeds "
        "are easy to see, and cover the soil with straw in summer to keep it moist. Plant something different in each "
        "bed every year, because pests that live in the ground starve when their favourite root is gone. Water in the "
        "morning, at the base of the plants."
    ),
    "sleep": (
        "Adults need between seven and nine hours of sleep. During the night the brain passes through light sleep, "
        "deep sleep and dreams in turns of about ninety minutes. Deep sleep repairs the body, and dreaming seems to "
        "sort the memories of the day. Bright screens late in the evening tell the brain that it is still noon and "
        "push sleep away. A dark, cool room, the same bedtime every day, and no coffee after lunch help more than most "
        "pills."
    ),
    "trains": (
        "Steel wheels on steel rails roll with very little friction, so one engine can pull a hundred wagons. The "
        "price is a long way to stop: a fast train needs more than three kilometres. Signals therefore divide the line "
        "into blocks, and only one train may be in a block at a time. Modern trains draw current from a wire and send "
        "some of it back when they brake. The wheels are slightly conical, which steers them gently back to the middle "
        "of the track."
    ),
    "computers": (
        "A computer follows instructions one after another, very quickly and without understanding them. The processor "
        "reads a number from memory, adds it or compares it, and writes the result back, some billions of times a "
        "second. Programs are written in languages that people can read and translated into the few operations the "
        "machine knows. When a program fails, the cause is nearly always a case its author did not think of, which is "
        "why careful people test with empty, huge and absurd inputs."
    ),
    "storms": (
        "Thunderstorms grow on warm, moist afternoons when air near the ground is much warmer than the air above. It "
        "rises, its vapour condenses, and the heat set free lifts it further. Ice crystals rub against each other "
        "inside the cloud and separate electric charge until a spark jumps to the ground. Light reaches us at once, "
        "sound needs about three seconds for a kilometre, so counting tells how far away the storm is. A car or a "
        "house is safe; a lonely tree is not."
    ),
}
TASKS = (
    "Explain {subject} to a curious ten-year-old.",
    "Write a short article about {subject} for a school magazine.",
    "What should everybody know about {subject}? Answer in full sentences.",
    "Summarise what the text says about {subject}, then add what it leaves out about {other}.",
    "I am giving a talk about {subject} tomorrow. Draft it, and end with a remark about {other}.",
)


def questions_and_answers(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Pairs of a prompt (in SmolLM2's chat form) and a response of about three paragraphs."""
    rng = random.Random(seed)
    subjects = list(NOTES)
    pairs = []
    for index in range(count):
        subject, other, third, context = rng.sample(subjects, 4)
        task = TASKS[index % len(TASKS)].format(subject=subject, other=other)
        # Two of three prompts quote a text, as instruction data do.
        prompt = f"{NOTES[context]}\n\n{NOTES[subject]}\n\n{task}" if index % 3 else task
        response = "\n\n".join(NOTES[name] for name in (subject, other, third))
        pairs.append((TEMPLATE.format(prompt=prompt), f"{response}<|im_end|>"))
    return pairs
