"""Written corpora: who writes, what is trained on, and that a stop anywhere changes no byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_training import Stop, losses_of, scores_of, weights_of

from amid import experiment as module_of_experiment
from amid.cells.cell import cell_of
from amid.config import RunCfg
from amid.data.tokenise import Example
from amid.errors import RequestError
from amid.evaluation import writer as module_of_writer
from amid.experiment import Experiment, run_task
from amid.stages import corpus as module_of_corpus
from amid.store.status import spent_in

Compose = Callable[..., RunCfg]
# Answers of at most 20 tokens, six writes.
SEQKD = ("method=seqkd", "data.max_tokens=340", "trainer.generation_batch_size=4", "trainer.log_every_steps=1")
SHORT = (*SEQKD, "data.num_records=48")  # three writes


def rows_of(run: RunCfg) -> list[dict[str, Any]]:
    experiment = Experiment(run)
    folder = experiment.store.model_folder(experiment.cell.stages["corpus"])
    return [json.loads(line) for line in (folder / "responses.jsonl").read_text().splitlines()]


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Example]]:
    """What the cells of the test were trained on."""
    seen: list[Sequence[Example]] = []
    fit = module_of_experiment.fit_student

    def noting(pair: Any, examples: Sequence[Example], *rest: Any, **named: Any) -> Any:
        seen.append(examples)
        return fit(pair, examples, *rest, **named)

    monkeypatch.setattr(module_of_experiment, "fit_student", noting)
    return seen


def test_seqkd_trains_on_the_teachers_text_and_never_on_gold(
    small_run: Compose, trained_on: list[Sequence[Example]]
) -> None:
    seqkd, sft = small_run(*SEQKD), small_run("method=sft", *SEQKD[1:])
    for run in (seqkd, sft):
        run_task(run)
    of_teacher, of_gold = trained_on
    rows = rows_of(seqkd)
    assert [row["index"] for row in rows] == list(range(96)), "every training record is answered once"
    assert {example.index: list(example.response_ids) for example in of_teacher} == {
        row["index"]: row["token_ids"] for row in rows if row["token_ids"]
    }
    gold = {example.index: example for example in of_gold}
    assert all(example.prompt_ids == gold[example.index].prompt_ids for example in of_teacher)
    assert all(example.response_ids != gold[example.index].response_ids for example in of_teacher)
    assert losses_of(seqkd) != losses_of(sft)
    assert cell_of(seqkd).stages["teacher"] == cell_of(sft).stages["teacher"]
    tokenizer = Experiment(seqkd).stages.tokenizer("teacher")
    for row in rows[:5]:
        assert tokenizer.decode(row["token_ids"], skip_special_tokens=True) == row["response"]
        assert row["ended"] == (row["token_ids"][-1:] == [tokenizer.eos_token_id])


def test_cells_share_a_corpus_and_another_writer_or_seed_is_another_one(small_run: Compose) -> None:
    def corpus(*overrides: str) -> str:
        return cell_of(small_run(*SEQKD, *overrides)).stages["corpus"].id

    assert corpus("seed=3", "train.lr=1e-4") == corpus()
    others = [corpus(f"corpus.{key}") for key in ("seed=11", "temperature=0.5", "top_p=0.9", "top_k=3")]
    others.append(cell_of(small_run(*SEQKD[1:], "corpus=student")).stages["corpus"].id)
    assert len({corpus(), *others}) == 6
    assert "corpus" not in cell_of(small_run()).stages


def test_the_student_can_write_too_and_any_objective_train_on_it(
    small_run: Compose, trained_on: list[Sequence[Example]]
) -> None:
    run = small_run("corpus=student", "data.max_tokens=340")
    run_task(run)
    assert {example.index: list(example.response_ids) for example in trained_on[0]} == {
        row["index"]: row["token_ids"] for row in rows_of(run) if row["token_ids"]
    }
    assert "teacher" in cell_of(run).values, "which judges the student's text"


@pytest.mark.parametrize("write", [1, 3])
def test_a_corpus_that_was_stopped_in_any_write_ends_with_the_bytes_of_an_undisturbed_one(
    write: int, small_run: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, again = small_run(*SEQKD), small_run(*SEQKD, f"paths.results={tmp_path}/again")
    run_task(undisturbed)
    commit, calls = module_of_corpus.commit_rows, []

    def stopping(*arguments: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) == write:
            raise Stop
        commit(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(module_of_corpus, "commit_rows", stopping)
        with pytest.raises(Stop):
            run_task(again)
    generate, written = module_of_writer.generate, []

    def counting(model: Any, prompts: Sequence[Any], *, keys: Sequence[Any], **named: Any) -> Any:
        written.append(sum(key[1] == "corpus" for key in keys))
        return generate(model, prompts, keys=keys, **named)

    monkeypatch.setattr(module_of_writer, "generate", counting)
    run_task(again)
    assert sum(written) == 96 - 16 * (write - 1), "what was written is not written again"
    assert rows_of(again) == rows_of(undisturbed)
    assert weights_of(again) == weights_of(undisturbed)
    assert scores_of(again) == scores_of(undisturbed)


def write_corpus(run: RunCfg) -> None:
    Experiment(run).stages.ensure("corpus")


def spent_on_corpus(run: RunCfg) -> dict[str, float]:
    experiment = Experiment(run)
    return spent_in(experiment.store.status(experiment.cell.stages["corpus"]))


@pytest.fixture
def two_seconds_a_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the corpus moves by generating alone: two seconds for every call."""
    generate, clock = module_of_writer.generate, [0.0]

    def slowly(*arguments: Any, **named: Any) -> Any:
        clock[0] += 2.0
        return generate(*arguments, **named)

    monkeypatch.setattr(module_of_writer, "generate", slowly)
    monkeypatch.setattr(module_of_corpus, "time", SimpleNamespace(perf_counter=lambda: clock[0]))


@pytest.mark.usefixtures("two_seconds_a_write")
def test_what_a_corpus_cost_is_the_sum_over_all_its_attempts(
    small_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, rename, commit = small_run(*SHORT), Path.rename, module_of_corpus.commit_rows
    calls: list[int] = []

    def stopping(*arguments: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Stop
        commit(*arguments, **named)

    def published(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        if "corpus-" in str(target):
            raise Stop
        return moved

    for owner, name, act in ((module_of_corpus, "commit_rows", stopping), (Path, "rename", published)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, act)
            with pytest.raises(Stop):
                write_corpus(run)
    write_corpus(run)
    tokens = sum(len(row["token_ids"]) for row in rows_of(run))
    assert tokens > 48
    # Three writes of 16 rows; the one that was thrown away is generated again, and counts once
    assert spent_on_corpus(run) == {"generated_tokens": tokens, "generation_seconds": 6.0}


def test_a_corpus_begun_before_its_seconds_were_kept_has_none_but_is_finished(
    small_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, commit = small_run(*SHORT), module_of_corpus.commit_rows
    calls: list[int] = []

    def as_before(folder: Path, rows: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Stop
        kept = ("index", "response", "ended", "token_ids")
        plain = {name: [{key: row[key] for key in kept} for row in each] for name, each in rows.items()}
        commit(folder, plain, **named)

    with monkeypatch.context() as patch:
        patch.setattr(module_of_corpus, "commit_rows", as_before)
        with pytest.raises(Stop):
            write_corpus(run)
    write_corpus(run)
    assert spent_on_corpus(run) == {"generated_tokens": sum(len(row["token_ids"]) for row in rows_of(run))}


def test_a_changed_corpus_is_never_trained_on(small_run: Compose, caplog: pytest.LogCaptureFixture) -> None:
    run = small_run(*SEQKD)
    run_task(run)
    rows, weights = rows_of(run), weights_of(run)
    experiment = Experiment(run)
    path = experiment.store.model_folder(experiment.cell.stages["corpus"]) / "responses.jsonl"
    path.write_text(path.read_text().replace('"index": 3,', '"index": 3, ', 1))
    other = small_run(*SEQKD, "train.lr=1e-4")
    run_task(other)
    assert rows_of(other) == rows, "it was made again"
    run_task(run)
    assert weights_of(run) == weights


def test_two_writers_give_two_responses_to_every_prompt_in_every_batch(
    small_run: Compose, trained_on: list[Sequence[Example]]
) -> None:
    run = small_run("method=distillm2", *SHORT[1:])
    run_task(run)
    cell, alone = cell_of(run), {}
    sampling = ("corpus.temperature=0.8", "corpus.top_p=0.95")
    for writer in ("teacher", "student"):
        one = cell_of(small_run(*SHORT[1:], f"corpus={writer}", *sampling))
        assert one.stages["corpus"].id in cell.corpora, "shared with the cells of one writer"
        folder = Experiment(run).store.model_folder(one.stages["corpus"])
        lines = (folder / "responses.jsonl").read_text().splitlines()
        alone[writer] = {row["index"]: tuple(row["token_ids"]) for row in map(json.loads, lines)}
    assert len(set(cell.corpora)) == 2
    assert len(trained_on[0]) > 40
    for example in trained_on[0]:
        (beside,) = example.beside
        assert (example.source, beside.source) == ("teacher", "student")
        assert example.prompt_ids == beside.prompt_ids
        assert example.response_ids == alone["teacher"][example.index]
        assert beside.response_ids == alone["student"][example.index]
    experiment = Experiment(run)
    spent = spent_in(experiment.store.status(experiment.cell))
    assert spent["teacher_calls"] == 2 * spent["steps"], "each term reads its own rows"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("corpus.beside=gold",), "corpus.beside=gold is corpus.writer too"),
        (("corpus.beside=student", "strategy=on_policy"), "corpus.beside=student goes with strategy=fixed"),
        (("objective.terms=[{kind: labels, weight: 1, source: teacher}]",), "responses by gold only"),
        (("objective.terms=[{kind: labels, weight: 1, source: me}]",), "objective.terms\\[0\\].source"),
    ],
)
def test_text_that_nobody_writes_is_refused_in_one_line(
    small_run: Compose, overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        small_run(*overrides)
