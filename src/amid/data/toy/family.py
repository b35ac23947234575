"""The form of one task family: slots drawn at random, put into templates for instruction, input and output."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Slots = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of task.

    draw: random generator -> the words that fill the slots of all templates of one record.
    instructions: wordings used in training, dev and the in-distribution set.
    paraphrases: wordings used in the paraphrased set only; empty for a family that is held out of training.
    inputs: wordings of the input; ("",) means that the family has none.
    outputs: acceptable wordings of the answer, the likelier first (see `draw_output`).
    """

    name: str
    draw: Callable[[random.Random], Slots]
    instructions: tuple[str, ...]
    outputs: tuple[str, ...]
    paraphrases: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("",)


def draw_prompt(family: Family, slots: Slots, *, paraphrased: bool, rng: random.Random) -> tuple[str, str]:
    """Instruction and input of one record, in a wording drawn uniformly."""
    wordings = family.paraphrases if paraphrased else family.instructions
    return fill(rng.choice(wordings), slots), fill(rng.choice(family.inputs), slots)


def draw_output(family: Family, slots: Slots, *, rng: random.Random) -> str:
    """Answer of one record, in the wording of rank k with a probability proportional to 1 / k.

    The unequal weights give a teacher trained on the corpus a mode and a tail over the acceptable answers.
    """
    weights = [1.0 / rank for rank in range(1, len(family.outputs) + 1)]
    return fill(rng.choices(family.outputs, weights=weights)[0], slots)


def fill(template: str, slots: Slots) -> str:
    """The template with its slots filled and its first letter in upper case."""
    text = template.format_map(slots)
    return text[:1].upper() + text[1:]
