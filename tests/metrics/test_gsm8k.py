from fractions import Fraction

import pytest

from amid.metrics.gsm8k import extract_answer, gsm8k_accuracy, parse_number

# (model text, gold number, correct under the strict rule, correct under the official leniency)
SHAPES = [
    # plain
    ("#### 18", "18", True, True),
    ("She sells 9 eggs.\n9 * 2 = <<9*2=18>>18\n#### 18", "18", True, True),
    ("####18", "18", True, True),
    ("####    18   ", "18", True, True),
    ("#### 18\nThe answer is 20.", "18", True, True),
    ("So #### 18", "18", True, True),
    ("#### 018", "18", True, True),
    ("#### +18", "18", True, True),
    ("#### 18.", "18", True, True),
    ("#### 18.0", "18", True, True),
    ("#### 18.00", "18", True, True),
    ("#### 0", "0", True, True),
    ("#### -0", "0", True, True),
    ("#### 17", "18", False, False),
    ("#### 180", "18", False, False),
    # thousands separators
    ("#### 1,000", "1000", True, True),
    ("#### 1000", "1,000", True, True),
    ("#### 1,234,567", "1234567", True, True),
    ("#### 1,234.50", "1234.5", True, True),
    ("#### 1 000", "1000", False, True),  # equal text apart from white space
    ("#### 1.000", "1000", False, False),  # the period is decimal
    # units
    ("#### $18", "18", True, True),
    ("#### $ 18", "18", True, True),
    ("#### 18$", "18", True, True),
    ("#### $1,800.00.", "1800", True, True),
    ("#### 18 dollars", "18", False, False),
    ("#### 18 eggs", "18", False, False),
    ("#### 18kg", "18", False, False),
    ("#### x = 18", "18", False, False),
    ("#### \\boxed{18}", "18", False, False),
    ("#### **18**", "18", False, False),
    ("#### \u20ac18", "18", False, False),
    # negative
    ("#### -5", "-5", True, True),
    ("#### -$5", "-5", True, True),
    ("#### $-5", "-5", True, True),
    ("#### -1,250", "-1250", True, True),
    ("#### 5", "-5", False, False),
    ("#### \u22125", "-5", False, False),  # the mathematical minus sign is another character
    # fractional
    ("#### 0.5", "0.5", True, True),
    ("#### .5", "0.5", True, True),
    ("#### 5.", "5", True, True),
    ("#### 1/2", "0.5", True, True),
    ("#### 1 / 2", "0.5", True, True),
    ("#### -3/4", "-0.75", True, True),
    ("#### 6/3", "2", True, True),
    ("#### 1 1/2", "1.5", False, False),
    ("#### 1/0", "1", False, False),
    ("#### 0.333", "1/3", False, False),
    ("#### 0.33333", "1/3", False, True),  # relative error 1e-5
    ("#### 99.995", "100", False, True),
    ("#### 99.98", "100", False, False),
    # percent
    ("#### 25%", "25", True, True),
    ("#### 25 %", "25", True, True),
    ("#### 25%", "0.25", False, True),
    ("#### 0.25", "25", False, True),
    ("#### 2500", "25", False, True),
    ("#### 2.5", "25", False, False),
    # several numbers, several markers
    ("#### 18 or 20", "18", False, False),
    ("#### 18, 20", "18", False, False),
    ("#### 18\n#### 20", "18", True, True),
    ("#### 20\n#### 18", "18", False, False),
    ("##### 18", "18", False, False),
    # no answer, or nothing that may be evaluated
    ("The answer is 18", "18", False, False),
    ("### 18", "18", False, False),
    ("", "18", False, False),
    ("####", "18", False, False),
    ("####\n18", "18", False, False),
    ("#### eighteen", "18", False, False),
    ("#### 9+9", "18", False, False),
    ("#### __import__('os').getcwd()", "18", False, False),
    ("#### 1.8e1", "18", False, False),
    ("#### 1e999999999", "18", False, False),
    ("#### nan", "18", False, False),
    ("#### inf", "18", False, False),
    ("#### " + "9" * 5000, "18", False, False),  # more digits than Python converts
    ("#### \u0661\u0668", "18", False, False),  # Arabic-Indic digits
]


@pytest.mark.parametrize(("text", "gold", "strict", "lenient"), SHAPES)
def test_an_answer_shape_is_judged_as_documented(text, gold, strict, lenient):
    reference = [f"Some reasoning with 7 numbers.\n#### {gold}"]
    assert gsm8k_accuracy([text], [reference]) == (100.0 if strict else 0.0)
    assert gsm8k_accuracy([text], [reference], official_grader=True) == (100.0 if lenient else 0.0)


def test_whatever_is_correct_strictly_is_correct_leniently():
    assert all(lenient for _, _, strict, lenient in SHAPES if strict)


def test_the_answer_is_the_rest_of_the_first_marked_line():
    assert extract_answer("a #### b #### c\nd") == "b #### c"
    assert extract_answer("no marker") is None


def test_numbers_are_exact():
    assert parse_number("0.1") == Fraction(1, 10)
    assert parse_number("1,234.5") == Fraction(2469, 2)
    assert parse_number("-6/4") == Fraction(-3, 2)
    assert parse_number("") is None


def test_accuracy_is_the_mean_over_examples_in_percent():
    references = [["#### 1"], ["#### 2"], ["#### 3"], ["#### 4"]]
    assert gsm8k_accuracy(["#### 1", "#### 2", "#### 3", "4"], references) == 75.0


@pytest.mark.parametrize("reference", ["18", "#### eighteen", "####"])
def test_a_reference_without_a_number_is_refused(reference):
    with pytest.raises(ValueError, match=r"references\[1\] must end in '#### number'"):
        gsm8k_accuracy(["#### 1", "#### 1"], [["#### 1"], [reference]])
