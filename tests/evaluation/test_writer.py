"""Prompts shared among ranks: which rank answers what, and that the texts are those of one device."""

import copy
from dataclasses import dataclass, field

import pytest
import torch
from test_entry import CHECKPOINT, RECORDS, set_protocol

from amid.evaluation import responses, writer
from amid.evaluation.protocol import Protocol
from amid.evaluation.responses import generate_missing
from amid.evaluation.writer import Job, Writer
from amid.generation.decoding import Decoding
from amid.ranks import ALONE, Ranks


@dataclass(frozen=True)
class InOneProcess(Ranks):
    """Rank 0 of several whose others are writers in this process; `jobs` is what they were told."""

    others: list[Writer] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    def broadcast(self, value):
        self.jobs.append(value)
        return value

    def gather(self, value):
        job = self.jobs[-1]
        parts = [[i for i, place in enumerate(job.places) if place % self.size == rank] for rank in range(self.size)]
        others = zip(self.others, parts[1:], strict=True)
        return [value, *(other._answers(job, part) for other, part in others)]


@pytest.fixture
def several(tiny_model, tokenizer):
    def several(size, *, batch_size):
        others = [Writer(copy.deepcopy(tiny_model), tokenizer, batch_size=batch_size) for _ in range(1, size)]
        return InOneProcess(0, size, size, others=others)

    return several


def job(num_prompts, *, places=None, **options):
    places = tuple(range(num_prompts)) if places is None else places
    return Job(
        prompts=tuple((5 + place, 6, 7) for place in places),
        keys=tuple((1, "set", place) for place in places),
        places=places,
        decoding=Decoding(max_new_tokens=10),
        model="cell",
        **options,
    )


@pytest.mark.parametrize("num_prompts", [1, 2, 7])
@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_ranks_answer_together_what_one_answers_alone(tiny_model, tokenizer, several, num_prompts, precision):
    asked = job(num_prompts, precision=precision)
    # One prompt at a time: bfloat16 rounds differently in another batch
    alone = Writer(tiny_model, tokenizer, batch_size=1)(asked)
    ranks = several(3, batch_size=1)
    assert Writer(tiny_model, tokenizer, batch_size=1, ranks=ranks)(asked) == alone
    assert ranks.jobs == [asked]
    assert tiny_model.dtype == torch.float32


def test_a_rank_answers_the_same_prompts_whatever_is_missing(tiny_model, tokenizer, monkeypatch):
    seen = []
    original = writer.generate

    def recorded(model, prompts, **options):
        seen.append([place for _, _, place in options["keys"]])
        return original(model, prompts, **options)

    monkeypatch.setattr(writer, "generate", recorded)
    for rank in range(2):
        one_of_two = Writer(tiny_model, tokenizer, batch_size=4, ranks=Ranks(rank, 2))
        for places in ((0, 1, 2, 3, 4, 5), (1, 2, 5)):
            monkeypatch.setattr(
                Ranks,
                "gather",
                lambda self, value, places=places: [
                    value if rank == self.rank else [None] * sum(place % 2 == rank for place in places)
                    for rank in range(2)
                ],
            )
            one_of_two.together(job(6, places=places))
    assert seen == [[0, 2, 4], [2], [1, 3, 5], [1, 5]]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("sizes", [(2, 2), (2, 1), (1, 2), (3, 2)])
def test_texts_that_several_ranks_began_are_finished_by_another_number_to_the_byte(
    tiny_model, tokenizer, several, tmp_path, monkeypatch, sizes
):
    protocol = Protocol({name: set_protocol(name, decode_seeds=(10, 20, 30)) for name in RECORDS}, None)
    commit, options = responses.commit_rows, {"entry_id": CHECKPOINT, "batch_size": 1}
    generate_missing(tiny_model, tokenizer, protocol, folder=tmp_path / "whole", **options)

    def killed(folder, rows, *, check):
        commit(folder, rows, check=check)
        raise Killed

    began, ended = ({"ranks": several(size, batch_size=1) if size > 1 else ALONE, "known_as": "cell"} for size in sizes)
    monkeypatch.setattr(responses, "commit_rows", killed)
    with pytest.raises(Killed):
        generate_missing(tiny_model, tokenizer, protocol, folder=tmp_path / "cut", **began, **options)
    monkeypatch.setattr(responses, "commit_rows", commit)
    done = generate_missing(tiny_model, tokenizer, protocol, folder=tmp_path / "cut", **ended, **options)
    assert done.num_responses == 18 - 4 * sizes[0]
    whole, cut = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "cut"))
    assert cut == whole
