"""Two models side by side: means, intervals and contrasts from what is on disk, against numbers worked out by hand."""

from dataclasses import replace

import pytest

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.digests.seals import DamagedError
from amid.errors import RequestError
from amid.reports.comparison import compare, render_comparison
from amid.store import PerExample, Score, Store
from amid.store.files import append_lines
from amid.store.generations import rows_path

TEACHER, STUDENT = Stage("teacher", "t" * 12, {}), Stage("student_init", "5" * 12, {})
LEFT, RIGHT = (Cell(name * 12, {}, {"teacher": TEACHER, "student_init": STUDENT}) for name in ("a", "b"))
DIGEST = "d" * 64


def put(store, entry, by_seed, *, metric="rouge_l", group="g", main=True, eval_set="dolly", kept=True):
    """Scores of one set, their values per example, and the texts behind them."""
    scores, examples = [], []
    folder = store.generations_folder(entry)
    folder.mkdir(parents=True, exist_ok=True)
    for seed, values in by_seed.items():
        generation_id = f"{entry.id[0]}-{eval_set}-{group}-{seed}"
        score_id = f"{generation_id}-{metric}"
        mean = sum(values) / len(values)
        scores.append(Score(entry.id, eval_set, generation_id, score_id, seed, metric, mean, len(values), group, main))
        if kept:
            examples.append(PerExample(score_id, DIGEST, tuple(values)))
        rows = [
            {"index": i, "response": f"{entry.id[0]} says {i} with {seed}", "num_tokens": 5, "ended": True}
            for i in range(len(values))
        ]
        append_lines(rows_path(folder, generation_id), rows)
    store.write(entry, scores, examples)
    store.set_status(entry, "done")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results")
    store.write_texts(DIGEST, [f"ask {i}" for i in range(4)], [[f"gold {i}", "or this"] for i in range(4)])
    put(store, LEFT, {10: [50.0, 20.0, 30.0, 0.0], 20: [70.0, 20.0, 30.0, 0.0]})
    put(store, RIGHT, {10: [50.0, 10.0, 30.0, 4.0], 20: [0.0, 10.0, 30.0, 4.0], 30: [99.0] * 4})
    return store


def compared(store, **options):
    return compare(store, store.folder(LEFT), store.folder(RIGHT), **options)


def test_means_and_differences_are_over_the_seeds_both_have(store):
    (found,) = compared(store)
    assert (found.eval_set, found.metric, found.num_seeds) == ("dolly", "rouge_l", 2)
    # left: (60 + 20 + 30 + 0) / 4, right: (25 + 10 + 30 + 4) / 4
    assert found.means == pytest.approx((27.5, 17.25))
    assert found.difference.difference == pytest.approx(10.25)
    assert found.difference.num_examples == 4
    assert found.difference.low <= 10.25 <= found.difference.high


def test_the_examples_that_differ_most_come_first_with_their_texts(store):
    (found,) = compared(store, top=2)
    first, second = found.contrasts
    assert (first.index, first.scores) == (0, (60.0, 25.0))
    assert (first.question, first.reference) == ("ask 0", "gold 0")
    # seed 20 shows the difference: 70 against 0
    assert first.responses == ("a says 0 with 20", "b says 0 with 20")
    assert (second.index, second.scores) == (1, (20.0, 10.0))


def test_equal_examples_are_no_contrast(store):
    (found,) = compared(store, top=99)
    assert [each.index for each in found.contrasts] == [0, 1, 3]
    (none,) = compared(store, top=0)
    assert none.contrasts == ()


def test_the_same_models_give_the_same_interval_and_the_other_order_its_negative(store):
    (first,), (second,) = compared(store), compared(store)
    assert first == second
    (other,) = compare(store, store.folder(RIGHT), store.folder(LEFT))
    assert (other.difference.low, other.difference.high) == pytest.approx(
        (-first.difference.high, -first.difference.low)
    )


def test_a_clear_difference_excludes_zero_and_none_does_not(store):
    values = [float(i % 7) for i in range(60)]
    put(store, LEFT, {10: [value + 5 for value in values]}, eval_set="clear")
    put(store, RIGHT, {10: values}, eval_set="clear")
    put(store, LEFT, {10: values}, eval_set="same")
    put(store, RIGHT, {10: list(reversed(values))}, eval_set="same")
    by_set = {each.eval_set: each for each in compared(store, top=0)}
    assert by_set["clear"].difference.excludes_zero
    assert not by_set["same"].difference.excludes_zero
    text = render_comparison([by_set["clear"], by_set["same"]], ("a", "b"))
    assert "clear  rouge_l  1      7.90" in text
    assert text.splitlines()[5].split()[-1] == "yes"
    assert text.splitlines()[6].split()[-1] == "no"


def test_other_decoding_or_another_metric_is_never_compared(store):
    other = Cell("c" * 12, {}, {"teacher": TEACHER, "student_init": STUDENT})
    put(store, other, {10: [1.0] * 4}, group="other decoding")
    with pytest.raises(RequestError, match="were not scored on one set in one way; left: dolly rouge_l; right: dolly"):
        compare(store, store.folder(LEFT), store.folder(other))
    with pytest.raises(RequestError, match="left: nothing; right: nothing"):
        compared(store, metric="chrf")


def test_a_metric_of_the_whole_set_has_means_and_no_interval(store):
    for entry, value in ((LEFT, 40.0), (RIGHT, 30.0)):
        put(store, entry, {10: [value] * 4}, metric="chrf", eval_set="flores200", kept=False)
    found = {each.eval_set: each for each in compared(store)}["flores200"]
    assert (found.means, found.difference, found.contrasts) == ((40.0, 30.0), None, ())
    assert "(of the whole set)" in render_comparison([found], ("a", "b"))


def test_only_the_set_s_own_metric_is_compared_unless_another_is_named(store):
    for entry in (LEFT, RIGHT):
        put(store, entry, {10: [1.0, 2.0, 3.0, 4.0]}, metric="exact_match", main=False)
    assert [each.metric for each in compared(store)] == ["rouge_l"]
    assert [each.metric for each in compared(store, metric="exact_match")] == ["exact_match"]
    with pytest.raises(RequestError):
        compared(store, set_name="vicuna")


def test_entries_are_found_by_the_beginning_of_their_id(store):
    store.folder(TEACHER).mkdir(parents=True)
    store.set_status(TEACHER, "done")
    assert store.find_entry("aaa") == store.folder(LEFT)
    assert store.find_entry("ttt") == store.find_entry("teacher-tt") == store.folder(TEACHER)
    put(store, replace(LEFT, id="ab" + "c" * 10), {10: [1.0] * 4})
    with pytest.raises(RequestError, match="'a' names 2 entries"):
        store.find_entry("a")
    with pytest.raises(RequestError, match="'zz' names no cell, stage or model in .*; valid: aaaaaaaaaaaa, "):
        store.find_entry("zz")


def test_texts_that_are_long_are_shortened_and_say_so(store):
    (found,) = compared(store, top=1)
    long = replace(found.contrasts[0], question="\n".join(f"line {i}" for i in range(30)), responses=("", "x"))
    text = render_comparison([replace(found, contrasts=(long,))], ("a", "b"))
    assert "(22 lines left out)" in text
    assert "line 29" in text
    assert "line 15" not in text
    assert "(empty)" in text


def flip(path, byte=20):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)


def test_a_damaged_response_is_shown_as_such_and_the_numbers_stay(store, caplog):
    before = compared(store, top=2)[0]
    for path in store.generations_folder(LEFT).iterdir():
        flip(path)
    (found,) = compared(store, top=2)
    assert (found.means, found.difference) == (before.means, before.difference)
    for contrast in found.contrasts:
        assert contrast.responses[0].startswith("(damaged: ") and contrast.responses[0].endswith(".jsonl)")
        assert "says" in contrast.responses[1]
    assert "evaluate again" in caplog.text


def test_a_damaged_question_is_not_shown_and_named(store, caplog):
    flip(store.layout.texts(DIGEST))
    (found,) = compared(store, top=1)
    assert found.contrasts[0].question == "(not kept)"
    assert f"{store.layout.texts(DIGEST)} is damaged" in caplog.text


@pytest.mark.parametrize("what", ["examples", "scores.jsonl"])
def test_damaged_numbers_are_refused_by_name(store, what):
    path = store.folder(RIGHT) / what
    path = next(path.iterdir()) if path.is_dir() else path
    flip(path)
    with pytest.raises(DamagedError, match=f"{path} is damaged"):
        compared(store)
