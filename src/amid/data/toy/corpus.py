"""The records of the toy corpus: a train and a dev split and five evaluation sets, all drawn from one seed."""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from amid.data.toy.family import Family, draw_output, draw_prompt
from amid.data.toy.held_out_families import LONG_UNSEEN_FAMILIES, OPEN_ENDED_FAMILIES, UNSEEN_FAMILIES
from amid.data.toy.training_families import TRAINING_FAMILIES

# Raise it whenever the records of some seed change: it is part of the identity of everything trained on them.
TOY_VERSION: Final = 1

# The roles of the paper's Dolly, Self-Instruct, Vicuna, Super-NI and UnNI, in this order.
EVAL_SETS: Final = ("in_distribution", "paraphrased", "open_ended", "unseen_families", "long_unseen")

_HELD_OUT: Final[Mapping[str, tuple[Family, ...]]] = {
    "open_ended": OPEN_ENDED_FAMILIES,
    "unseen_families": UNSEEN_FAMILIES,
    "long_unseen": LONG_UNSEEN_FAMILIES,
}

# Every prompt belongs to one share, whatever the seed and the sizes: two of ten to dev and to the evaluation.
Share = Literal["train", "dev", "eval"]
_SHARES: Final[tuple[Share, ...]] = ("dev", "eval", *("train",) * 8)

# Beyond it, more than one record in seven repeats another, and the smallest families repeat theirs dozens of times.
MAX_TRAIN: Final = 100_000

# A family with fewer prompts than asked for would be drawn from forever; see `_draw_record`.
_MAX_DRAWS: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class ToyRecord:
    """One record in the Dolly schema; `category` is the name of its task family, `input` may be empty."""

    id: str
    instruction: str
    input: str
    output: str
    category: str


@dataclass(frozen=True, kw_only=True)
class ToyCorpus:
    """The splits of one toy corpus; `evaluation` has one entry per name in EVAL_SETS, in that order."""

    train: tuple[ToyRecord, ...]
    dev: tuple[ToyRecord, ...]
    evaluation: Mapping[str, tuple[ToyRecord, ...]]


def toy_corpus(*, seed: int, num_train: int, num_dev: int, num_eval: int) -> ToyCorpus:
    """The toy corpus of a seed; the same arguments give the same records on every machine and Python process.

    num_train, num_dev: records in the train and the dev split.
    num_eval: records in each of the five evaluation sets.
    Every split takes its families in turn, so that all are equally frequent. A larger split starts with the smaller
    one, and the size of one split does not move another. No prompt (instruction and input) of dev or of an evaluation
    set occurs in train, for any two seeds; within dev and each evaluation set prompts differ. Train may repeat a
    prompt with another wording of the answer.
    Raises ValueError if a number is below 1 or larger than what exists: the prompts of dev or of an evaluation set, or
    MAX_TRAIN training records.

    Roles of the evaluation sets: paper App. B.2, in the order of EVAL_SETS.
    """
    for name, number in (("num_train", num_train), ("num_dev", num_dev), ("num_eval", num_eval)):
        if number < 1:
            raise ValueError(f"data.{name} must be at least 1, got {number}; the toy corpus has no empty split")
    if num_train > MAX_TRAIN:
        raise ValueError(f"data.num_train must be at most {MAX_TRAIN} for the toy corpus, got {num_train}")
    evaluation = {
        "in_distribution": _split("in_distribution", TRAINING_FAMILIES, "eval", seed=seed, num=num_eval),
        "paraphrased": _split("paraphrased", TRAINING_FAMILIES, "eval", seed=seed, num=num_eval, paraphrased=True),
    }
    for name, families in _HELD_OUT.items():
        evaluation[name] = _split(name, families, "eval", seed=seed, num=num_eval)
    return ToyCorpus(
        train=_split("train", TRAINING_FAMILIES, "train", seed=seed, num=num_train),
        dev=_split("dev", TRAINING_FAMILIES, "dev", seed=seed, num=num_dev),
        evaluation=evaluation,
    )


def _split(
    name: str, families: Sequence[Family], share: Share, *, seed: int, num: int, paraphrased: bool = False
) -> tuple[ToyRecord, ...]:
    """The records of one split, numbered from 0."""
    # A text seed is hashed with SHA-512 by `random`, never with the salted `hash`.
    rng = random.Random(f"toy-{TOY_VERSION}-{name}-{seed}")
    taken: set[tuple[str, str]] = set()
    records = []
    for index, family in zip(range(num), _in_turn(families, rng), strict=False):
        record = _draw_record(f"{name}-{index:05d}", family, share, taken, paraphrased=paraphrased, rng=rng)
        if record is None:
            key = {"train": "data.num_train", "dev": "data.num_dev"}.get(name, "data.num_eval")
            raise ValueError(
                f"{key}={num} is more than the toy corpus has: {name} of seed {seed} ends after {index} records, "
                f"where the task family '{family.name}' has no further prompt"
            )
        if share != "train":
            taken.add((record.instruction, record.input))
        records.append(record)
    return tuple(records)


def _in_turn(families: Sequence[Family], rng: random.Random) -> Iterator[Family]:
    """All families again and again without end, each round in a new order."""
    while True:
        yield from rng.sample(families, len(families))


def _draw_record(
    record_id: str,
    family: Family,
    share: Share,
    taken: set[tuple[str, str]],
    *,
    paraphrased: bool,
    rng: random.Random,
) -> ToyRecord | None:
    """A record of the family whose prompt belongs to the share and is not taken; None if no more are found."""
    for _ in range(_MAX_DRAWS):
        slots = family.draw(rng)
        instruction, text = draw_prompt(family, slots, paraphrased=paraphrased, rng=rng)
        if (instruction, text) not in taken and share_of(instruction, text) == share:
            output = draw_output(family, slots, rng=rng)
            return ToyRecord(id=record_id, instruction=instruction, input=text, output=output, category=family.name)
    return None


def share_of(instruction: str, text: str) -> Share:
    """The share that a prompt belongs to, by the digest of its instruction and input."""
    digest = hashlib.sha256(f"{instruction}\n{text}".encode()).digest()
    return _SHARES[digest[0] % len(_SHARES)]
