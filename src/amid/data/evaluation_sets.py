"""Evaluation sets: from their declaration to prompts and references. No torch here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from amid.config import DataCfg, EvaluationCfg, EvaluationSetCfg
from amid.data.hub import split_of
from amid.data.prompt import Question, asking_of, form_of, name_of_set
from amid.data.records import Record, evaluation_records, toy_records
from amid.data.rows import read_rows
from amid.digests.fingerprint import value_digest
from amid.errors import RequestError, unknown_name

log = logging.getLogger(__name__)
CHECKSUM_SUFFIX = ".sha256"  # beside a fetched file: the digest of what was fetched


@dataclass(frozen=True)
class EvaluationSet:
    """What a model is asked on one set, and what a good answer is; entry i of each belongs to example i.

    prompts: rendered prompts, the user turns of a chat, or conversations without their answer. questions: the same
    without the words of the template, for people. sources: the bare input, as COMET reads it.
    in_turns: prompts are conversations, whose answers end as the chat template ends a turn. chat_template: its text,
    None = the tokenizer's own.
    """

    prompts: tuple[Question, ...]
    questions: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    sources: tuple[str, ...]
    in_turns: bool = False
    chat_template: str | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def digest(self) -> str:
        """What names the content: the sha256 of the canonical JSON of all [prompt, references] pairs."""
        return value_digest(
            [[prompt, list(texts)] for prompt, texts in zip(self.prompts, self.references, strict=True)]
        )


def evaluation_sets(data: DataCfg, evaluation: EvaluationCfg) -> dict[str, EvaluationSet]:
    """Set name -> the set, cut to `evaluation.num_prompts` and `data.num_eval`.

    Raises RequestError for a set whose file is missing (with the command that fetches it) or cannot be used.
    """
    roots = search_roots(data, evaluation)
    sets = {}
    for name, declared in evaluation.sets.items():
        records = _records(name, declared, data, roots)
        whole = evaluation_set(records, declared, name=name)
        if declared.sha256 is not None and whole.digest != declared.sha256:
            _warn_of_other_text(name, whole.digest, declared.sha256)
        limits = [evaluation.num_prompts, None if data.source == "toy" else data.num_eval]  # toy: made so many
        for limit in limits:
            records = records[:limit]
        sets[name] = evaluation_set(records, declared, name=name)
    return sets


def evaluation_set(records: Sequence[Record], declared: EvaluationSetCfg, *, name: str = "NAME") -> EvaluationSet:
    """The set that a declaration makes of records. name: of the set, for messages."""
    asking = asking_of(declared, node=name_of_set(name)[1])
    prompts = [asking.question(record) for record in records]
    return EvaluationSet(
        prompts=tuple(prompts),
        questions=tuple(
            "\n".join(text for text in (record.instruction, record.input) if text) or _read_aloud(prompt)
            for record, prompt in zip(records, prompts, strict=True)
        ),
        references=tuple(record.outputs for record in records),
        sources=tuple(_source(record) for record in records),
        in_turns=asking.in_turns,
        chat_template=asking.chat_template,
    )


def _read_aloud(question: Question) -> str:
    """A prompt as a person reads it: who said what, where there is more than one turn."""
    if isinstance(question, str):
        return question
    if len(question) == 1:
        return question[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in question)


def _source(record: Record) -> str:
    """The bare text that is answered."""
    asked = [turn.content for turn in record.turns if turn.role == "user"]
    return record.input or record.instruction or (asked[-1] if asked else "")


def search_roots(data: DataCfg, evaluation: EvaluationCfg) -> list[Path]:
    """The folders below which the files of sets are looked for, in this order: data.root, then evaluation.root.

    Without evaluation.root the folder that holds data.root takes its place: sets are often neighbours.
    """
    roots = [] if data.root is None else [Path(data.root)]
    if evaluation.root is not None:
        roots.append(Path(evaluation.root))
    elif data.root is not None:
        roots.append(Path(data.root).resolve().parent)
    return roots


def find_file(name: str, declared: EvaluationSetCfg, roots: Sequence[Path]) -> Path:
    """The first of a set's files that exists below one of the roots. Raises RequestError, with a way out, if none."""
    for file in declared.files:
        for root in roots:
            if (root / file).is_file():
                return root / file
    where = " or ".join(map(str, roots)) or "any folder (evaluation.root=FOLDER names one)"
    how = "put it there (docs/evaluation.md)" if declared.hub is None else f"fetch it: amid fetch {name} --root FOLDER"
    raise RequestError(f"evaluation set '{name}': no file {' or '.join(declared.files)} in {where}; {how}")


def _records(name: str, declared: EvaluationSetCfg, data: DataCfg, roots: Sequence[Path]) -> list[Record]:
    if declared.source == "toy":
        return _toy_split(data, declared)
    if declared.source == "hub":
        return _hub_split(name, data, declared)
    return _file_records(name, declared, roots)


def _hub_split(name: str, data: DataCfg, declared: EvaluationSetCfg) -> list[Record]:
    if data.source != "hub":
        raise RequestError(f"evaluation set '{name}' is a split of data.hub; it needs data=hub, got {data.source}")
    split = split_of(data, str(declared.split))
    return evaluation_records(
        split.rows(), form_of(declared), filter_by=declared.filter, place=f"evaluation set '{name}'"
    )[: declared.num_examples]


def _file_records(name: str, declared: EvaluationSetCfg, roots: Sequence[Path]) -> list[Record]:
    path = find_file(name, declared, roots)
    records = evaluation_records(
        read_rows(path), form_of(declared), filter_by=declared.filter, place=f"data file {path}"
    )[: declared.num_examples]
    asking = asking_of(declared, node=name_of_set(name)[1])
    for record in records:
        asking.check(record, noun=f"evaluation set '{name}'", path=path)
    recorded = path.with_name(path.name + CHECKSUM_SUFFIX)
    if declared.sha256 is None and recorded.is_file():
        digest, expected = evaluation_set(records, declared, name=name).digest, recorded.read_text().strip()
        if digest != expected:
            raise RequestError(
                f"evaluation set '{name}': {path} is not what was fetched (sha256 {digest[:12]}, recorded "
                f"{expected[:12]}); remove it and its {CHECKSUM_SUFFIX} file, and fetch it again"
            )
    return records


def _toy_split(data: DataCfg, declared: EvaluationSetCfg) -> list[Record]:
    if data.source != "toy":
        raise RequestError(f"evaluation sets with source=toy need data=toy, got data.source={data.source}")
    corpus = toy_records(data)
    splits = [split for split in corpus if split != "train"]
    if declared.split not in splits:
        raise unknown_name("evaluation set", str(declared.split), splits)
    return corpus[declared.split][: declared.num_examples]


@cache  # once per process, not once per cell
def _warn_of_other_text(name: str, digest: str, declared: str) -> None:
    log.warning(
        "evaluation set '%s' is not the text it is declared to be (sha256 %s, declared %s): "
        "its scores compare only among themselves",
        name,
        digest[:12],
        declared[:12],
    )
