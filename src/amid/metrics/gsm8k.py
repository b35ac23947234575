"""GSM8K accuracy: the number after "####", compared exactly."""

from __future__ import annotations

import re
from fractions import Fraction
from math import fsum

from amid.metrics.metric import Predictions, References, check_paired

MARKER = "####"

OFFICIAL_TOLERANCE = Fraction(1, 10_000)  # 1e-4 in SKD's grader (1e-3 in CSD's copy)

# Model text may hold a number of any length; Python refuses to convert thousands of digits, and no answer needs them.
_MAX_CHARACTERS = 100
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)|[+-]?[0-9]+ ?/ ?[0-9]+")


def gsm8k_accuracy(predictions: Predictions, references: References, *, official_grader: bool = False) -> float:
    """The share of correct answers, in [0, 100].

    Arguments and errors as in `gsm8k_accuracy_per_example`.
    """
    return fsum(gsm8k_accuracy_per_example(predictions, references, official_grader=official_grader)) / len(predictions)


def gsm8k_accuracy_per_example(
    predictions: Predictions, references: References, *, official_grader: bool = False
) -> list[float]:
    """100 for each prediction with the answer of one of its references, else 0.

    references: the data set's solutions, which end in "#### number".
    official_grader: accept also a relative error of 1e-4, an answer off by a factor of 100 (percent), and equal text
        apart from case and white space. The original then compares symbolically, by an evaluator that can run code;
        ours stops at fractions.
    Raises ValueError if a reference holds no number after "####", the two sequences differ in length or are empty, or
    an example has no reference.

    Source: SKD eval_gsm.py and grader.py; the strict rule is this project's.
    """
    check_paired(predictions, references)
    same = _same_answer_leniently if official_grader else _same_number
    correct = []
    for prediction, gold_answers in zip(predictions, gold_answers_of(references), strict=True):
        answer = extract_answer(prediction)
        correct.append(answer is not None and any(same(answer, gold) for gold in gold_answers))
    return [100.0 if hit else 0.0 for hit in correct]


def gold_answers_of(references: References) -> list[list[str]]:
    """The answers of each example's references. Raises ValueError if a reference holds no number after "####"."""
    return [
        [_gold_answer(reference, index) for reference in alternatives] for index, alternatives in enumerate(references)
    ]


def extract_answer(text: str) -> str | None:
    """The text between the first "####" and the end of its line, stripped; None if there is no "####"."""
    _, marker, rest = text.partition(MARKER)
    return rest.split("\n", maxsplit=1)[0].strip() if marker else None


def parse_number(answer: str) -> Fraction | None:
    """The exact value of an answer that is one number, else None.

    Removed first: "," "$" "%" and one trailing period. A number is then an integer, a decimal or a fraction a/b, with
    an optional sign. Words, units, mixed numbers, exponents and more than 100 characters are no number.
    """
    cleaned = re.sub("[,$%]", "", answer).strip().removesuffix(".").strip()
    if len(cleaned) > _MAX_CHARACTERS or not _NUMBER.fullmatch(cleaned):
        return None
    numerator, _, denominator = cleaned.partition("/")
    if denominator and int(denominator) == 0:
        return None
    return Fraction(numerator.strip()) / (int(denominator) if denominator else 1)


def _gold_answer(reference: str, index: int) -> str:
    answer = extract_answer(reference)
    if answer is None or parse_number(answer) is None:
        raise ValueError(
            f"references[{index}] must end in '{MARKER} number', got {reference[-40:]!r}; "
            "pass the solutions of the data set unchanged"
        )
    return answer


def _same_number(answer: str, gold: str) -> bool:
    value = parse_number(answer)
    return value is not None and value == parse_number(gold)


def _same_answer_leniently(answer: str, gold: str) -> bool:
    if "".join(answer.lower().split()) == "".join(gold.lower().split()):
        return True
    value, target = parse_number(answer), parse_number(gold)
    if value is None or target is None:
        return False
    return any(
        abs(value - candidate) <= OFFICIAL_TOLERANCE * max(abs(value), abs(candidate))
        for candidate in (target, target / 100, target * 100)
    )
