"""The stage `corpus`: responses to the training prompts, written once by the teacher or the initial student."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from amid.cells.stage import Stage
from amid.config import Role
from amid.data.batch import Source
from amid.data.conversations import end_ids
from amid.data.prompt import asking_of
from amid.data.tokenise import Example, within_vocabulary
from amid.errors import RunError
from amid.evaluation.responses import BATCHES_PER_WRITE
from amid.evaluation.writer import Job, Writer
from amid.generation.decoding import Completion, Decoding
from amid.generation.engine import eos_ids_of
from amid.stages.stages import Stages
from amid.store.claims import Claim
from amid.store.generations import commit_rows, complete_commit, read_rows, rows_path
from amid.training.devices import device_of

log = logging.getLogger(__name__)
RESPONSES = "responses"  # the generation id, and so the file's name, of what is written
ROLES = ("corpus", "beside")  # of the stages, in the order of CorpusCfg.writers
SECONDS = "seconds"  # of a row: its share of the time in which it was generated together with others


def build(stages: Stages, stage: Stage, folder: Path, claim: Claim) -> None:
    """Writes what is missing, row by row beside the stage's checkpoints, and then the whole into the folder.

    A text is a function of (seed, index of the record) and the writer's weights, so any number of attempts gives the
    bytes of one. Several ranks take a whole chunk each, so that every prompt is answered together with the same others
    as by one device: not even rounding differs. What the writing took, times the ranks that wrote, is recorded as
    spent, over all attempts: what a kill threw away is not in it.
    """
    materials, store = stages.materials, stages.store
    role: Role = "teacher" if stage.values["writer"] == stages.id_of("teacher") else "student"
    name = "teacher" if role == "teacher" else "student_init"
    model = stages.model(name)
    model = model.to(device_of(materials.resources.accelerator, stages.ranks))  # type: ignore[arg-type]  # as in experiment
    batch_size = materials.resources.generation_batch_size
    write = Writer(model, stages.tokenizer(role), batch_size=batch_size, ranks=stages.ranks)
    vocab_size = stages.vocab_size(role, model)
    examples = stages.tokenised.examples(role, vocab_size, num_train=materials.data.num_train)
    scratch = store.checkpoints_folder(stage)
    scratch.mkdir(parents=True, exist_ok=True)
    check = store.guard(stage)
    complete_commit(scratch, check=check)
    done = {row["index"] for row in read_rows(rows_path(scratch, RESPONSES))}
    chunk, start = BATCHES_PER_WRITE * batch_size, time.perf_counter()
    chunks = [examples[first : first + chunk] for first in range(0, len(examples), chunk)]
    lacking = [[example for example in each if example.index not in done] for each in chunks]
    lacking = [each for each in lacking if each]
    num_written, num_tokens = len(examples) - sum(map(len, lacking)), 0
    for first in range(0, len(lacking), stages.ranks.size):
        together = lacking[first : first + stages.ranks.size]
        before = time.perf_counter()
        completions = write(_job(stages, name, model, together, vocab_size=vocab_size))
        rows = _rows(stages.tokenizer(role), together, completions)
        took = (time.perf_counter() - before) * len(together) / len(rows)
        # With the rows themselves, so that no kill comes between a text and its cost
        rows = [{**row, SECONDS: took} for row in rows]
        commit_rows(scratch, {RESPONSES: rows}, check=check)
        num_written += len(rows)
        num_tokens += sum(len(row["token_ids"]) for row in rows)
        log.info(
            "written corpus: %d of %d responses by the %s; so far %d tokens in %.0f s",
            num_written,
            len(examples),
            "teacher" if role == "teacher" else "initial student",
            num_tokens,
            time.perf_counter() - start,
        )
    lines = read_rows(rows_path(scratch, RESPONSES))
    (folder / f"{RESPONSES}.jsonl").write_text("".join(json.dumps(_plain(row)) + "\n" for row in lines))
    store.set_status(stage, "running", spent=_spent(lines))  # before the text counts as finished: it stays recorded


def written_examples(stages: Stages, gold: Sequence[Example], *, vocab_size: int) -> list[Example]:
    """The examples with the responses of the corpus, of tokens below `vocab_size`, and those beside them.

    gold: the examples of the records it was written to. One that lacks a response in a writer's text is left out.
    Raises DamagedError if a corpus is not as it was written, RunError if it lacks a response.
    """
    writers = stages.materials.corpus.writers
    first, *others = [
        _examples_by(writer, role, stages, gold, vocab_size) for writer, role in zip(writers, ROLES, strict=False)
    ]
    complete = [index for index in first if all(index in each for each in others)]
    return [replace(first[index], beside=tuple(each[index] for each in others)) for index in complete]


def _examples_by(
    writer: str, role: str, stages: Stages, gold: Sequence[Example], vocab_size: int
) -> dict[int, Example]:
    """The examples by index, with the responses of one writer; role: of the stage, where it is a model."""
    if writer == "gold":
        return {example.index: example for example in gold}
    stage = stages.ensure(role)
    stages.store.check_model(stage)
    path = stages.store.model_folder(stage) / f"{RESPONSES}.jsonl"
    rows = {row["index"]: row for row in map(json.loads, path.read_text().splitlines())}
    lacking = [example.index for example in gold if example.index not in rows]
    if lacking:
        raise RunError(f"{path} has no response to training record {lacking[0]}; remove {path.parent.parent}")
    found = [
        # What a model wrote is learnt, and not the data's earlier answers beside it
        replace(example, response_ids=tuple(rows[example.index]["token_ids"]), source=cast(Source, writer), earlier=())
        for example in gold
    ]
    kept = within_vocabulary([example for example in found if example.response_ids], vocab_size)
    return {example.index: example for example in kept}


def _job(
    stages: Stages, name: str, model: PreTrainedModel, chunks: Sequence[Sequence[Example]], *, vocab_size: int
) -> Job:
    """Chunks of examples to be answered, each by one rank. name: what the ranks call the model."""
    corpus, data = stages.materials.corpus, stages.materials.data
    tokenizer = stages.tokenizer("teacher" if name == "teacher" else "student")
    examples = [example for chunk in chunks for example in chunk]
    return Job(
        prompts=tuple(tuple(example.prompt_ids) for example in examples),
        keys=tuple((corpus.seed, "corpus", example.index) for example in examples),
        places=tuple(place for place, chunk in enumerate(chunks) for _ in chunk),
        decoding=Decoding(
            max_new_tokens=data.max_tokens - data.max_prompt_tokens,
            temperature=corpus.temperature,
            top_p=corpus.top_p,
            top_k=corpus.top_k,
            stop=tuple(data.stop),
        ),
        max_length=data.max_tokens,
        vocab_size=vocab_size,
        other_eos_ids=frozenset(
            {*eos_ids_of(model), *end_ids(tokenizer, asking_of(data))} if data.prompt == "chat" else ()
        ),
        model=name,
    )


def _rows(
    tokenizer: PreTrainedTokenizerBase, chunks: Sequence[Sequence[Example]], completions: Sequence[Completion]
) -> list[dict[str, Any]]:
    """A row per example: its index, the response as text and as tokens, and whether EOS ended it."""
    texts = tokenizer.batch_decode([list(each.token_ids) for each in completions], skip_special_tokens=True)
    examples = [example for chunk in chunks for example in chunk]
    return [
        {"index": example.index, "response": text, "ended": each.ended, "token_ids": list(each.token_ids)}
        for example, text, each in zip(examples, texts, completions, strict=True)
    ]


def _spent(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the rows took to write; without seconds where a row is of before they were kept."""
    spent: dict[str, Any] = {"generated_tokens": sum(len(row["token_ids"]) for row in rows)}
    if all(SECONDS in row for row in rows):
        spent["generation_seconds"] = round(sum(row[SECONDS] for row in rows), 1)
    return spent


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row without its seal, which is that of its line in another file, and without what differs by the clock."""
    return {name: row[name] for name in ("index", "response", "ended", "token_ids")}
