"""The toy corpus: reproducible, without leakage, and with answers that can be checked against the questions."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from amid.data.toy import EVAL_SETS, TOY_VERSION, ToyCorpus, ToyRecord, toy_corpus
from amid.data.toy.corpus import share_of
from amid.data.toy.family import Family
from amid.data.toy.held_out_families import LONG_UNSEEN_FAMILIES, OPEN_ENDED_FAMILIES, UNSEEN_FAMILIES
from amid.data.toy.training_families import TRAINING_FAMILIES
from amid.data.toy.vocabulary import ANIMALS, CAPITALS, LUMI_ADJECTIVES, LUMI_NOUNS, LUMI_VERBS

HELD_OUT = (*OPEN_ENDED_FAMILIES, *UNSEEN_FAMILIES, *LONG_UNSEEN_FAMILIES)
SOURCE = Path(__file__).parents[2] / "src"
DIGEST_SCRIPT = """
import hashlib, json
from dataclasses import asdict
from amid.data.toy import toy_corpus
corpus = toy_corpus(seed=3, num_train=60, num_dev=30, num_eval=20)
splits = [corpus.train, corpus.dev, *corpus.evaluation.values()]
text = json.dumps([[asdict(record) for record in split] for split in splits])
print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def corpus() -> ToyCorpus:
    return toy_corpus(seed=0, num_train=3000, num_dev=240, num_eval=200)


def prompts(records: tuple[ToyRecord, ...]) -> list[tuple[str, str]]:
    return [(record.instruction, record.input) for record in records]


def splits(corpus: ToyCorpus) -> dict[str, tuple[ToyRecord, ...]]:
    return {"train": corpus.train, "dev": corpus.dev, **corpus.evaluation}


def digest(corpus: ToyCorpus) -> str:
    text = json.dumps({name: [asdict(record) for record in records] for name, records in splits(corpus).items()})
    return hashlib.sha256(text.encode()).hexdigest()


def of_family(corpus: ToyCorpus, name: str) -> list[ToyRecord]:
    found = [record for records in splits(corpus).values() for record in records if record.category == name]
    assert found
    return found


def test_the_texts_are_those_of_the_version() -> None:
    # Another digest means other training data: raise TOY_VERSION with it.
    pinned = "e03ffb3f6760a3ee868cfcddb08b27a0e582bb299d78f784f5dd77be55419603"
    assert TOY_VERSION == 1
    assert digest(toy_corpus(seed=0, num_train=480, num_dev=48, num_eval=48)) == pinned


def test_the_corpus_does_not_depend_on_the_hash_seed_of_python() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST_SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1


def test_the_generator_imports_no_torch_and_no_numpy() -> None:
    code = "import sys, amid.data.toy; sys.exit(bool({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_another_seed_gives_another_corpus() -> None:
    assert toy_corpus(seed=0, num_train=9, num_dev=9, num_eval=9) != toy_corpus(
        seed=1, num_train=9, num_dev=9, num_eval=9
    )


def test_a_larger_split_starts_with_the_smaller_and_moves_no_other(corpus: ToyCorpus) -> None:
    small = toy_corpus(seed=0, num_train=100, num_dev=240, num_eval=20)
    assert small.train == corpus.train[:100]
    assert small.dev == corpus.dev
    assert all(small.evaluation[name] == corpus.evaluation[name][:20] for name in EVAL_SETS)


def test_sizes_are_those_asked_for_and_ids_are_unique(corpus: ToyCorpus) -> None:
    sizes = {name: len(records) for name, records in splits(corpus).items()}
    assert sizes == {"train": 3000, "dev": 240, **dict.fromkeys(EVAL_SETS, 200)}
    ids = [record.id for records in splits(corpus).values() for record in records]
    assert len(set(ids)) == len(ids)


def test_no_prompt_of_dev_or_evaluation_is_in_train_of_any_seed(corpus: ToyCorpus) -> None:
    train = set(prompts(corpus.train)) | set(prompts(toy_corpus(seed=1, num_train=3000, num_dev=1, num_eval=1).train))
    for name, records in splits(corpus).items():
        if name != "train":
            assert not train & set(prompts(records)), name


def test_dev_and_in_distribution_share_no_prompt(corpus: ToyCorpus) -> None:
    assert not set(prompts(corpus.dev)) & set(prompts(corpus.evaluation["in_distribution"]))


@pytest.mark.parametrize("name", ["dev", *EVAL_SETS])
def test_prompts_within_a_held_out_split_differ(corpus: ToyCorpus, name: str) -> None:
    found = prompts(splits(corpus)[name])
    assert len(set(found)) == len(found)


def test_the_share_of_a_prompt_is_about_its_tenths(corpus: ToyCorpus) -> None:
    shares = [share_of(f"prompt {number}", "") for number in range(4000)]
    # Standard deviation of a share of 0.1 among 4000 is 0.005; 256 is no multiple of 10, which moves it by 0.002.
    assert shares.count("dev") / 4000 == pytest.approx(0.1, abs=0.02)
    assert shares.count("eval") / 4000 == pytest.approx(0.1, abs=0.02)


def test_there_are_at_least_16_training_families_in_equal_parts(corpus: ToyCorpus) -> None:
    assert len(TRAINING_FAMILIES) >= 16
    counts = [len([r for r in corpus.train if r.category == family.name]) for family in TRAINING_FAMILIES]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == len(corpus.train)


def test_held_out_families_are_in_no_other_split(corpus: ToyCorpus) -> None:
    trained = {family.name for family in TRAINING_FAMILIES}
    assert not trained & {family.name for family in HELD_OUT}
    assert {record.category for record in (*corpus.train, *corpus.dev)} == trained
    assert {record.category for record in corpus.evaluation["in_distribution"]} == trained
    assert {record.category for record in corpus.evaluation["paraphrased"]} == trained
    for name, families in (
        ("open_ended", OPEN_ENDED_FAMILIES),
        ("unseen_families", UNSEEN_FAMILIES),
        ("long_unseen", LONG_UNSEEN_FAMILIES),
    ):
        assert {record.category for record in corpus.evaluation[name]} == {family.name for family in families}


@pytest.mark.parametrize("family", TRAINING_FAMILIES, ids=lambda family: family.name)
def test_no_paraphrase_is_a_wording_of_training(family: Family) -> None:
    def skeleton(wording: str) -> str:
        return re.sub(r"\{\w+\}", "{}", wording).lower()

    assert len(family.instructions) >= 3
    assert len(family.paraphrases) >= 2
    assert not {skeleton(w) for w in family.instructions} & {skeleton(w) for w in family.paraphrases}


def test_held_out_long_sets_have_longer_answers_than_training(corpus: ToyCorpus) -> None:
    def mean_words(records: tuple[ToyRecord, ...]) -> float:
        return sum(len(record.output.split()) for record in records) / len(records)

    assert mean_words(corpus.evaluation["open_ended"]) > 2 * mean_words(corpus.train)
    assert mean_words(corpus.evaluation["long_unseen"]) > 1.3 * mean_words(corpus.train)
    assert all(len(re.findall(r"[.!?](?:\s|$)", r.output)) >= 2 for r in corpus.evaluation["open_ended"])


def test_every_answer_has_several_words_and_no_slot_is_left(corpus: ToyCorpus) -> None:
    for records in splits(corpus).values():
        for record in records:
            assert len(record.output.split()) >= 5, record
            for text in (record.instruction, record.input, record.output):
                assert text == text.strip(), record
                assert not re.search(r"[{}]|  ", text), record
                assert text.isascii()


def test_no_article_a_stands_before_a_vowel(corpus: ToyCorpus) -> None:
    for records in splits(corpus).values():
        for record in records:
            for text in (record.instruction, record.input, record.output):
                assert not re.search(r"\b[Aa] [aeiou]", text), record


def test_most_families_accept_several_wordings_of_an_answer() -> None:
    several = [family for family in TRAINING_FAMILIES if len(family.outputs) > 1]
    assert len(several) >= 0.8 * len(TRAINING_FAMILIES)


def test_the_first_wording_of_an_answer_is_the_likeliest(corpus: ToyCorpus) -> None:
    answers = [
        r.output for r in toy_corpus(seed=5, num_train=24_000, num_dev=1, num_eval=1).train if r.category == "travel"
    ]
    first = [answer for answer in answers if ", the capital of" in answer]
    # Weights 1, 1/2, 1/3: the first has 6 of 11; 1000 answers have a standard deviation of 0.016.
    assert len(first) / len(answers) == pytest.approx(6 / 11, abs=0.06)


def test_every_worked_answer_computes_its_result(corpus: ToyCorpus) -> None:
    operations = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
    for name in ("sum", "difference", "product", "two_steps"):
        for record in of_family(corpus, name):
            steps = re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", record.output)
            assert len(steps) == (2 if name == "two_steps" else 1), record
            assert all(operations[sign](int(a), int(b)) == int(c) for a, sign, b, c in steps), record
            assert record.output.endswith(f"\n#### {steps[-1][-1]}"), record
            asked = set(re.findall(r"\d+", record.instruction))
            assert {n for a, _, b, _ in steps for n in (a, b)} <= asked | {steps[0][-1]}, record


def test_translations_can_be_redone_word_by_word(corpus: ToyCorpus) -> None:
    lexicon = {**LUMI_NOUNS, **LUMI_ADJECTIVES, **LUMI_VERBS}
    assert len(set(lexicon.values())) == len(lexicon)
    for record in of_family(corpus, "to_lumi"):
        the, adjective_a, noun_a, verb, _, adjective_b, noun_b = record.input.rstrip(".").split()
        assert the == "The"
        words = [lexicon[word] for word in (verb, noun_a, adjective_a, noun_b, adjective_b)]
        assert record.output.lower() == " ".join(words) + "."
    for record in of_family(corpus, "from_lumi"):
        assert len(record.input.split()) == 5
        assert len(record.output.split()) == 7


def test_comparisons_name_the_bigger_animal(corpus: ToyCorpus) -> None:
    size = {animal.one: rank for rank, animal in enumerate(ANIMALS)}
    for record in of_family(corpus, "bigger"):
        match = re.fullmatch(r"(?:A|The) (\w+) is (?:much )?bigger than (?:a|the) (\w+)\.", record.output)
        assert match is not None, record
        left, right = match.groups()
        assert size[left] > size[right], record
        assert {left, right} <= set(re.findall(r"\w+", record.instruction)), record


def test_capitals_belong_to_their_countries(corpus: ToyCorpus) -> None:
    for record in of_family(corpus, "travel"):
        assert any(country in record.instruction and capital in record.output for country, capital in CAPITALS), record


def test_a_dialogue_summary_names_who_where_when_and_what(corpus: ToyCorpus) -> None:
    for record in of_family(corpus, "dialogue_summary"):
        speakers = re.findall(r"^(\w+):", record.input, re.MULTILINE)
        day, place = re.search(r"on (\w+day)", record.input), re.search(r"the (\w+)", record.input)
        assert len(speakers) == 2
        assert day is not None
        assert place is not None
        assert all(word in record.output for word in (*speakers, day[1], place[1])), record


@pytest.mark.parametrize("name", ["num_train", "num_dev", "num_eval"])
def test_an_empty_split_is_refused_by_name(name: str) -> None:
    sizes = {"num_train": 1, "num_dev": 1, "num_eval": 1, name: 0}
    with pytest.raises(ValueError, match=rf"data\.{name} must be at least 1, got 0"):
        toy_corpus(seed=0, **sizes)


def test_more_prompts_than_exist_are_refused_with_the_remedy() -> None:
    told = r"{key}=5000 is more than the toy corpus has: {split} of seed 0 ends after \d+ records, .* no further prompt"
    with pytest.raises(ValueError, match=told.format(key=r"data\.num_dev", split="dev")):
        toy_corpus(seed=0, num_train=1, num_dev=5000, num_eval=1)
    with pytest.raises(ValueError, match=told.format(key=r"data\.num_eval", split="in_distribution")):
        toy_corpus(seed=0, num_train=1, num_dev=1, num_eval=5000)


def test_as_many_records_as_the_refusal_counts_are_there() -> None:
    with pytest.raises(ValueError, match="ends after") as caught:
        toy_corpus(seed=0, num_train=1, num_dev=5000, num_eval=1)
    count = int(str(caught.value).split("ends after ")[1].split()[0])
    assert len(toy_corpus(seed=0, num_train=1, num_dev=count, num_eval=1).dev) == count


def test_more_training_records_than_the_corpus_has_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"data\.num_train must be at most 100000 for the toy corpus, got 1000000000"):
        toy_corpus(seed=0, num_train=10**9, num_dev=1, num_eval=1)
