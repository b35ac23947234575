"""Tokenizers: trained here or loaded, and whether two of them are one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from amid.errors import RequestError, one_line
from amid.pairs.gguf import local_source
from amid.pairs.loading import quiet_loading

EOS = "<|endoftext|>"


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
    """The tokenizer of a model reference. Raises RequestError if it cannot be loaded or has no EOS."""
    source = local_source(name, cache)
    try:
        with quiet_loading():
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision or "main", trust_remote_code=False)
    except (OSError, ValueError) as err:
        raise RequestError(f"no tokenizer for model '{name}': {one_line(str(err))[:200]}") from err
    if not isinstance(tokenizer.eos_token_id, int):
        raise RequestError(f"the tokenizer of '{name}' names no end-of-sequence token")
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def check_one_tokenizer(
    teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase, *, names: tuple[str, str], vocab_policy: str
) -> None:
    """Raises RequestError unless both tokenizers give every shared token the same id.

    strict: equal vocabularies. shared_prefix: equal up to the smaller of the two; the EOS must agree.
    """
    left, right = teacher.get_vocab(), student.get_vocab()
    shared = min(len(left), len(right)) if vocab_policy == "shared_prefix" else max(len(left), len(right))
    by_id = ({id_: token for token, id_ in left.items()}, {id_: token for token, id_ in right.items()})
    for token_id in range(shared):
        tokens = tuple(vocabulary.get(token_id) for vocabulary in by_id)
        if tokens[0] != tokens[1]:
            raise RequestError(
                f"tokenizer mismatch between teacher '{names[0]}' ({len(left)} tokens) and student '{names[1]}' "
                f"({len(right)} tokens): id {token_id} is {tokens[0]!r} and {tokens[1]!r}; "
                "distillation needs one tokenizer (pair.vocab_policy=shared_prefix allows extra ids at the end)"
            )
    if teacher.eos_token_id != student.eos_token_id:
        raise RequestError(
            f"tokenizer mismatch: the end-of-sequence token of teacher '{names[0]}' is id {teacher.eos_token_id}, "
            f"of student '{names[1]}' id {student.eos_token_id}"
        )
