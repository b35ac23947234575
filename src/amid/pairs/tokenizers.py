"""Tokenizers: trained here or loaded, and whether two of them are one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from amid.config import SCRATCH, TEACHER, PairCfg
from amid.errors import RequestError
from amid.model_folders import read_tokenizer
from amid.model_folders.tokenizer import check_eos, check_one_vocabulary, no_eos, other_eos
from amid.pairs.gguf import local_source
from amid.pairs.loading import loading

EOS = "<|endoftext|>"
# Texts on which tokenizers with one vocabulary can differ: by their merges, their normalisation, and how they treat
# blanks, case, digits, line feeds, accents (composed and not), other scripts, emoji and code.
PROBE_TEXTS = (
    "The quick brown fox jumps over the lazy dog, doesn't it?",
    "unbelievably internationalization antidisestablishmentarianism thermodynamically",
    "  two leading blanks, a\ttab, trailing ones  ",
    "one\ntwo\n\nthree\r\n\n\n    indented",
    "UPPER lower CamelCase snake_case kebab-case",
    "0 1 12 123 1234 12345 3.14159 1,000,000 1e-5 2024-01-31",
    "caf\u00e9 cafe\u0301 na\u00efve \u00dcberstra\u00dfe \ufb01ne \u2160\u2461\u00bd",
    "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0 \u4e2d\u6587 \ud55c\uad6d\uc5b4",
    "\u0420\u0443\u0441\u0441\u043a\u0438\u0439 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "\U0001f642 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2192 \u2264 \u20ac \u201cquoted\u201d \u2014 \u2026",
    "def f(x): return {'a': [x[i] ** 2 for i in range(10)]}  # <tag attr=\"1\"/> https://a.example/b?c=d&e",
    "### Instruction:\nWrite a response.\n\n### Response:\n",
)


def train_tokenizer(
    texts: Sequence[str], *, vocab_size: int, whole_tokens: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens, trained on the texts; its EOS is also its pad.

    whole_tokens: texts that are one token each wherever they occur.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(whole_tokens),
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in whole_tokens])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS, clean_up_tokenization_spaces=False
    )


def load_tokenizer(name: str, *, revision: str | None, cache: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model reference, never running code of its own.

    Raises RequestError if it cannot be loaded or has no EOS.
    """
    source = local_source(name, cache)
    if Path(source).is_dir():
        read_tokenizer(Path(source), name=name)
    with loading(f"no tokenizer for model '{name}'", source=source, revision=revision):
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision or "main", trust_remote_code=False)
    if not isinstance(tokenizer.eos_token_id, int):
        raise no_eos(name)
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def load_tokenizers(pair: PairCfg, *, cache: Path) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]:
    """Teacher's and student's tokenizer of a pair that was not made from scratch; one and the same where one is used.

    Both end a text with the token that pair.eos chooses. A student's tokenizer without a chat template has the
    teacher's. Raises RequestError unless they are one tokenizer up to what pair.vocab_policy and pair.eos allow.
    """
    teacher = load_tokenizer(pair.teacher, revision=pair.teacher_revision, cache=cache)
    if pair.student in (SCRATCH, TEACHER) or _named(pair, "student") == _named(pair, "teacher"):
        student = teacher
    else:
        student = load_tokenizer(pair.student, revision=pair.student_revision, cache=cache)
    names = (pair.teacher, pair.student)
    check_one_tokenizer(teacher, student, names=names, vocab_policy=pair.vocab_policy, eos=pair.eos)
    if pair.eos is not None:
        token = {"teacher": teacher.eos_token, "student": student.eos_token}.get(pair.eos, pair.eos)
        for tokenizer, name in zip((teacher, student), names, strict=True):
            end_with(tokenizer, token, name=name)
        assert teacher.eos_token_id == student.eos_token_id  # the smaller vocabulary is a part of the other
    if student.chat_template is None:
        student.chat_template = teacher.chat_template
    return teacher, student


def check_one_tokenizer(
    teacher: PreTrainedTokenizerBase,
    student: PreTrainedTokenizerBase,
    *,
    names: tuple[str, str],
    vocab_policy: str,
    eos: str | None = None,
    texts: Sequence[str] = (),
) -> None:
    """Raises RequestError unless both tokenizers give every shared token the same id, and split text alike.

    vocab_policy strict: equal vocabularies; shared_prefix: equal up to the smaller of the two, and texts with a token
    that one of them lacks are not compared. eos: as pair.eos; the EOS must agree where it is None.
    texts: to be split besides PROBE_TEXTS, such as the first records of the data.
    """
    if student is teacher:
        return
    check_one_vocabulary(teacher.get_vocab(), student.get_vocab(), names=names, vocab_policy=vocab_policy)
    if eos is None and teacher.eos_token_id != student.eos_token_id:
        raise other_eos(str(teacher.eos_token), str(student.eos_token), names=names)
    shared = min(num_ids(teacher), num_ids(student))
    probes = [*PROBE_TEXTS, *texts]
    rows = [tokenizer(probes, add_special_tokens=False, verbose=False)["input_ids"] for tokenizer in (teacher, student)]
    for text, left, right in zip(probes, *rows, strict=True):
        if left != right and max([*left, *right], default=-1) < shared:
            shorter = min(len(left), len(right))
            first = next((place for place in range(shorter) if left[place] != right[place]), shorter)
            raise RequestError(
                f"tokenizer mismatch: teacher '{names[0]}' and student '{names[1]}' have one vocabulary but split text "
                f"differently: {text[:40]!r} is {len(left)} tokens (here {_around(teacher, left, first)}) and "
                f"{len(right)} ({_around(student, right, first)}); distillation needs one tokenizer"
            )


def num_ids(tokenizer: PreTrainedTokenizerBase) -> int:
    """One more than the largest token id."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def largest_ordinary(tokenizer: PreTrainedTokenizerBase) -> tuple[str, int]:
    """The token of the largest id that ordinary text can contain, and that id."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    ordinary = ((token, token_id) for token, token_id in tokenizer.get_vocab().items() if token not in special)
    return max(ordinary, key=lambda item: item[1], default=("", -1))


def end_with(tokenizer: PreTrainedTokenizerBase, token: str, *, name: str) -> None:
    """Texts end with this token afterwards, which decoding leaves out of responses.

    Raises RequestError unless it is one of the added tokens: any other could be a part of ordinary text.
    """
    check_eos(token, tokenizer.get_added_vocab(), name=name)
    before = num_ids(tokenizer)
    tokenizer.add_special_tokens({"eos_token": AddedToken(token, special=True, normalized=False)})
    assert num_ids(tokenizer) == before


def _named(pair: PairCfg, role: str) -> tuple[str, str | None]:
    return getattr(pair, role), getattr(pair, f"{role}_revision")


def _around(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], place: int) -> str:
    """Tokens about a place, for a message."""
    return repr([str(token) for token in tokenizer.convert_ids_to_tokens(list(ids[place : place + 3]))])
