"""One tokenizer for two models: on ids, on text, and on what ends a text."""

import json

import pytest
from folders import configure, cut, damaged, remove, save_folder, small_tokenizer, write
from tokenizers import normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from amid.config import PairCfg
from amid.errors import RequestError
from amid.model_folders.tokenizer import check_fits
from amid.pairs import check_one_tokenizer, load_tokenizer, load_tokenizers, num_ids
from amid.pairs import tokenizers as module
from amid.pairs.tokenizers import PROBE_TEXTS, end_with, largest_ordinary

NAMES = ("big", "small")
CHAT = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}"


def changed(change):
    """The small tokenizer after a change of the JSON that describes it."""
    described = json.loads(small_tokenizer().backend_tokenizer.to_str())
    change(described)
    backend = type(small_tokenizer().backend_tokenizer).from_str(json.dumps(described))
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def without_merge(*pair):
    """The same vocabulary, with one merge that is never made."""
    return changed(lambda described: described["model"]["merges"].remove(list(pair)))


def without_a_common_merge():
    return changed(lambda described: described["model"]["merges"].pop(0))


def with_normalizer():
    tokenizer = small_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def with_leading_blank():
    tokenizer = small_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


@pytest.mark.parametrize("other", [without_a_common_merge, with_normalizer, with_leading_blank])
def test_one_vocabulary_that_splits_text_differently_is_refused_with_an_example(other):
    left, right = small_tokenizer(), other()
    assert left.get_vocab() == right.get_vocab()
    with pytest.raises(
        RequestError, match="'big' and student 'small' have one vocabulary but split text differently"
    ) as c:
        check_one_tokenizer(left, right, names=NAMES, vocab_policy="strict")
    assert "\n" not in str(c.value)


def test_a_difference_that_only_the_data_show_is_found_in_the_data():
    text, left = "Say the number 199. yes 199 no 1393 maybe", small_tokenizer()

    def rows(tokenizer, texts):
        return tokenizer(list(texts), add_special_tokens=False)["input_ids"]

    merges = json.loads(left.backend_tokenizer.to_str())["model"]["merges"]
    candidates = (without_merge(*merge) for merge in reversed(merges) if "".join(merge) in left.tokenize(text))
    right = next(other for other in candidates if rows(other, PROBE_TEXTS) == rows(left, PROBE_TEXTS))
    assert rows(right, [text]) != rows(left, [text])
    check_one_tokenizer(left, right, names=NAMES, vocab_policy="strict")
    with pytest.raises(RequestError, match="split text differently: 'Say the number 199"):
        check_one_tokenizer(left, right, names=NAMES, vocab_policy="strict", texts=["ok", text])


def test_text_with_a_token_that_only_one_of_them_has_is_not_compared():
    longer = small_tokenizer()
    longer.add_tokens(["mat"])
    for pair in ((longer, small_tokenizer()), (small_tokenizer(), longer)):
        check_one_tokenizer(*pair, names=NAMES, vocab_policy="shared_prefix", texts=["the cat sat on the mat"])


# What ends a text


@pytest.fixture
def instruct_and_base(tmp_path):
    """Folders of an instruct teacher and a base student: one vocabulary, another EOS."""
    base = small_tokenizer()
    base.add_tokens(["<|im_end|>", "<|user|>"], special_tokens=True)
    student = save_folder(tmp_path / "base", tokenizer=base)
    instruct = small_tokenizer()
    instruct.add_tokens(["<|im_end|>", "<|user|>"], special_tokens=True)
    instruct.eos_token = "<|im_end|>"
    instruct.chat_template = CHAT
    teacher = save_folder(tmp_path / "instruct", tokenizer=instruct)
    return teacher, student


def pair_of(teacher, student, **values):
    return PairCfg(name="hf", teacher=str(teacher), student=str(student), **values)


def test_two_ends_of_text_are_refused_with_the_way_out(instruct_and_base, tmp_path):
    with pytest.raises(RequestError) as caught:
        load_tokenizers(pair_of(*instruct_and_base), cache=tmp_path)
    said = str(caught.value)
    assert "is '<|im_end|>', of student" in said
    assert "pair.eos=teacher or pair.eos=student chooses one for both" in said


@pytest.mark.parametrize(
    ("eos", "token"), [("teacher", "<|im_end|>"), ("student", "<|endoftext|>"), ("<|user|>", "<|user|>")]
)
def test_the_chosen_token_ends_the_texts_of_both_and_is_no_part_of_a_response(instruct_and_base, tmp_path, eos, token):
    both = load_tokenizers(pair_of(*instruct_and_base, eos=eos), cache=tmp_path)
    for tokenizer in both:
        assert tokenizer.eos_token == token
        ids = [*tokenizer("yes 7", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        assert tokenizer.decode(ids, skip_special_tokens=True) == "yes 7"
        assert tokenizer.get_vocab() == {**small_tokenizer().get_vocab(), "<|im_end|>": 360, "<|user|>": 361}
    assert both[0].eos_token_id == both[1].eos_token_id


@pytest.mark.parametrize("token", ["<|im_end|>", "<|user|>"])
def test_another_end_splits_no_text_differently(tmp_path, token):
    tokenizer = small_tokenizer()
    tokenizer.add_tokens(["<|im_end|>"], special_tokens=True)
    tokenizer.add_tokens(["<|user|>"])
    before = tokenizer(list(PROBE_TEXTS), add_special_tokens=False)["input_ids"]
    end_with(tokenizer, token, name="x")
    assert tokenizer(list(PROBE_TEXTS), add_special_tokens=False)["input_ids"] == before
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert (again.eos_token, again.eos_token_id) == (token, tokenizer.get_vocab()[token])
    assert again.decode([again.eos_token_id], skip_special_tokens=True) == ""


@pytest.mark.parametrize("token", ["<|no_such|>", "the"])
def test_a_token_that_is_unknown_or_a_part_of_ordinary_text_ends_nothing(instruct_and_base, tmp_path, token):
    with pytest.raises(
        RequestError, match="is none of the added tokens of '.*instruct'; valid: teacher, student, null"
    ):
        load_tokenizers(pair_of(*instruct_and_base, eos=token), cache=tmp_path)


def test_a_token_of_the_longer_vocabulary_alone_ends_nothing(tmp_path):
    longer = small_tokenizer()
    longer.add_tokens(["<end>"], special_tokens=True)
    folders = (save_folder(tmp_path / "long", tokenizer=longer), save_folder(tmp_path / "short"))
    pair = pair_of(*folders, eos="<end>", vocab_policy="shared_prefix")
    with pytest.raises(RequestError, match="'<end>' is none of the added tokens of '.*short'"):
        load_tokenizers(pair, cache=tmp_path)


def test_a_student_without_a_chat_template_is_asked_in_the_teachers(instruct_and_base, tmp_path):
    teacher, student = load_tokenizers(pair_of(*instruct_and_base, eos="student"), cache=tmp_path)
    turn = [{"role": "user", "content": "hello"}]
    assert student.apply_chat_template(turn, tokenize=False) == teacher.apply_chat_template(turn, tokenize=False)


def test_two_revisions_of_one_model_are_compared(monkeypatch, tmp_path):
    loaded = []

    def load(name, *, revision, cache):
        loaded.append((name, revision))
        return small_tokenizer() if revision is None else without_a_common_merge()

    monkeypatch.setattr(module, "load_tokenizer", load)
    with pytest.raises(RequestError, match="split text differently"):
        load_tokenizers(pair_of("me/model", "me/model", student_revision="old"), cache=tmp_path)
    assert loaded == [("me/model", None), ("me/model", "old")]


# Size


def test_the_largest_ordinary_token_is_no_special_one():
    tokenizer = small_tokenizer()
    size = num_ids(tokenizer)
    tokenizer.add_tokens(["<plain>"])
    tokenizer.add_tokens(["<special>"], special_tokens=True)
    assert largest_ordinary(tokenizer) == ("<plain>", size)
    assert num_ids(tokenizer) == size + 2
    check_fits(largest_ordinary(tokenizer), vocab_size=size + 1, name="x")
    with pytest.raises(RequestError, match="larger than the model: token '<plain>' has id"):
        check_fits(largest_ordinary(tokenizer), vocab_size=size, name="x")


@pytest.mark.parametrize(
    "change",
    [
        write("tokenizer.json", '{"model": {"vocab": {"<|endoftext|>": 0}}}'),
        cut("tokenizer.json", 300),
        write("tokenizer_config.json", "[]"),
        configure("tokenizer_config.json", eos_token=...),
        remove("tokenizer.json", "tokenizer_config.json"),
    ],
)
def test_a_tokenizer_that_is_damaged_is_refused_in_one_line(tmp_path, change):
    folder = damaged(save_folder(tmp_path / "model"), change)
    with pytest.raises(RequestError) as caught:
        load_tokenizer(str(folder), revision=None, cache=tmp_path)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
