"""Names and paths that lead elsewhere, or nowhere; and text in files that a terminal would obey."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness import Case, Hostile, cases, run_here, tree, with_folders

from amid.cells.cell import Cell, cell_of
from amid.cells.stage import Stage
from amid.digests.seals import seal
from amid.store import PerExample, Score, Store
from amid.store.generations import rows_path
from amid.sweep.compose import run_of_overrides

ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m\r"
STAGE = Stage("teacher", "0123456789ab", {"kind": "teacher"})
IDS = ("a" * 12, "b" * 12)

# fmt: off
NAMES = cases([
    ("sweep-parent", "run.py -m sweep.name=../x", 2, ("sweep.name '../x' is no name", "letters, digits")),
    ("sweep-status-of-a-cell", "run.py -m sweep.name=../aaaaaaaaaaaa/status amid.alpha=1,2", 2, "sweep.name '../aaaaaaaaaaaa/status'"),
    ("sweep-absolute", "run.py -m sweep.name=/tmp/x", 2, "sweep.name '/tmp/x' is no name"),
    ("sweep-dots", "run.py -m sweep.name=..", 2, "sweep.name '..' is no name"),
    ("sweep-hidden", "run.py -m sweep.name=.x", 2, "sweep.name '.x' is no name"),
    ("sweep-empty", "run.py -m \"sweep.name=''\"", 2, "sweep.name '' is no name"),
    ("sweep-blank", "run.py -m \"sweep.name='a b'\"", 2, "sweep.name 'a b' is no name"),
    ("sweep-folder", "run.py -m sweep.name=a/b", 2, "sweep.name 'a/b' is no name"),
    ("sweep-backslash", r"run.py -m 'sweep.name=a\b'", 2, r"sweep.name 'a\b' is no name"),
    ("sweep-long", f"run.py -m sweep.name={'x' * 300}", 2, "(300 characters)"),
    ("sweep-long-exactly", f"run.py -m sweep.name={'x' * 101}", 2, "at most 100"),
    ("sweep-of-one-run", "run.py sweep.name=../x", 2, "sweep.name '../x' is no name"),
    ("sweep-planned", "amid plan sweep.name=../x", 2, "sweep.name '../x' is no name"),
    ("status-parent", "amid status ../x", 2, "sweep '../x' is no name"),
    ("status-absolute", "amid status /etc/hostname", 2, "sweep '/etc/hostname' is no name"),
    ("status-of-a-status", "amid status ../aaaaaaaaaaaa/status", 2, "is no name"),
    ("table-parent", "amid table ../x", 2, "sweep '../x' is no name"),
    ("table-absolute", "amid table /etc/hostname", 2, "is no name"),
    ("compare-parent", "amid compare ../x ../y", 2, "'../x' names no cell, stage or model"),
    ("compare-nothing", "amid compare '' ''", 2, "'' names no cell, stage or model"),
    ("evaluate-set-parent", "amid evaluate data --sets ../toy", 2, "evaluation set '../toy' unknown"),
    ("evaluate-sets-empty", "amid evaluate data --sets ''", 2, "evaluation set '' unknown"),
    ("fetch-set-parent", "amid fetch ../toy --root data", 2, "evaluation set '../toy' unknown"),
])

PATHS = cases([
    ("data-root-nowhere", "run.py data=jsonl data.root=no_such_folder", 2, "no_such_folder/train.jsonl"),
    ("data-root-file", "run.py data=jsonl data.root=data/train.jsonl", 2, "data/train.jsonl/train.jsonl"),
    ("data-root-quote", "run.py data=jsonl \"data.root=\\\"it's\\\"\"", 2, "it's/train.jsonl"),
    ("data-root-blank", "run.py data=jsonl \"data.root='a b'\"", 2, "a b/train.jsonl"),
    ("data-root-home", "run.py data=jsonl 'data.root=\"~/no_such_folder\"'", 2, "/no_such_folder/train.jsonl"),
    ("data-root-home-of-nobody", "run.py data=jsonl 'data.root=\"~nobody_at_all/x\"'", 2, ("data.root", "home of nobody")),
    ("data-root-empty", "run.py data=jsonl \"data.root=''\"", 2, "data.root must name a folder"),
    ("data-root-long", f"run.py data=jsonl data.root={'x' * 5000}", 2, "cannot be read or written: File name too long"),
    ("data-root-escapes", "run.py data=jsonl \"data.root='a\x1b[31mb'\"", 2, r"a\x1b[31mb/train.jsonl"),
    ("evaluation-root-home-of-nobody", "run.py 'evaluation.root=\"~nobody_at_all\"'", 2, "evaluation.root"),
    ("evaluation-root-quote", "amid evaluate data --sets dolly --root \"it's\"", 2, "model folder data holds no config.json"),
    ("score-root-quote", "amid score data/test.jsonl --set dolly --root \"it's a \\\"folder\\\"\"", 2, "in it's a \"folder\""),
    ("score-root-dollar", "amid score data/test.jsonl --set dolly --root '${oc.env:HOME}'", 2, "in ${oc.env:HOME}"),
    ("score-root-comma", "amid score data/test.jsonl --set dolly --root 'a,b'", 2, "in a,b"),
    ("score-file-blank", "amid score 'no such file.jsonl'", 2, "no data file no such file.jsonl"),
    ("results-home-of-nobody", "run.py 'paths.results=\"~nobody_at_all/x\"'", 2, ("paths.results", "home of nobody")),
    ("results-empty", "run.py \"paths.results=''\"", 2, "paths.results must name a folder"),
    ("results-file", "run.py paths.results=data/train.jsonl", 1, "results folder data/train.jsonl cannot be written"),
    ("results-below-file", "run.py paths.results=data/train.jsonl/x", 1, "results folder data/train.jsonl/x cannot be written"),
    ("results-file-sweep", "run.py -m paths.results=data/train.jsonl amid.alpha=1,2", 1, "cannot be written"),
    ("results-nowhere", "run.py paths.results=/proc/nowhere/x", 1, "results folder /proc/nowhere/x cannot be written"),
    ("results-long", f"run.py paths.results={'x' * 5000}", 2, "cannot be read or written: File name too long"),
    ("cache-home-of-nobody", "run.py 'paths.cache=\"~nobody_at_all\"'", 2, "paths.cache"),
    ("status-results-home-of-nobody", "amid status --results '~nobody_at_all'", 2, ("--results", "home of nobody")),
    ("status-results-file", "amid status --results data/train.jsonl", 2, "no sweep in data/train.jsonl"),
    ("status-results-quote", "amid status --results \"it's\"", 2, "no sweep in it's"),
    ("evaluate-results-file", "amid evaluate nowhere --sets dolly --root data --results data/train.jsonl", 2, "nowhere"),
    ("certify-output-blank-folder", "amid certify --output 'no such folder/x.md'", 2, "no folder no such folder"),
    ("certify-output-below-file", "amid certify --output data/train.jsonl/x.md", 2, "no folder data/train.jsonl"),
    ("model-parent", "run.py pair=hf pair.teacher=../nowhere pair.student=../nowhere data=jsonl data.root=data", 2, "../nowhere does not exist"),
    ("model-home", "run.py pair=hf 'pair.teacher=\"~/no_such_model\"' pair.student=x data=jsonl data.root=data", 2, "no_such_model"),
    ("model-home-of-nobody", "run.py pair=hf 'pair.teacher=\"~nobody_at_all\"' pair.student=x data=jsonl data.root=data", 2, "~nobody_at_all does not exist"),
    ("evaluate-home-of-nobody", "amid evaluate '~nobody_at_all/x' --sets dolly --root data", 2, "~nobody_at_all/x does not exist"),
    ("model-quote", "run.py pair=hf \"pair.teacher=\\\"it's\\\"\" pair.student=x data=jsonl data.root=data", 2, "it's does not exist"),
    ("hydra-folder", "run.py hydra.run.dir=/proc/nowhere", 1, "/proc/nowhere cannot be read or written"),
])
# fmt: on


@pytest.mark.parametrize("case", NAMES, ids=lambda case: case.id)
def test_a_name_that_leads_elsewhere_is_one_line(case: Case, hostile: Hostile, folder: Path) -> None:
    status = folder / "results" / IDS[0] / "status.json"  # what sweep.name=../CELL/status once overwrote
    status.parent.mkdir(parents=True)
    status.write_text('{"state": "done"}')
    hostile(case)
    assert status.read_text() == '{"state": "done"}'


@pytest.mark.parametrize("case", PATHS, ids=lambda case: case.id)
def test_a_path_that_leads_nowhere_is_one_line(case: Case, hostile: Hostile) -> None:
    hostile(case)


@pytest.mark.parametrize("verb", ["status", "table"])
@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("cells", "../../../etc"),
        ("cells", "/etc"),
        ("cells", ""),
        ("cells", None),
        ("references", "../x"),
        ("references", ".."),
    ],
)
def test_an_id_in_a_manifest_that_leads_out_of_the_store_is_one_line(
    verb: str, where: str, value: object, hostile: Hostile, folder: Path
) -> None:
    manifest = manifest_of(folder)
    manifest[where][0]["id"] = value  # type: ignore[index]
    write_manifest(folder, manifest)
    hostile(Case("", ("amid", verb, "mine"), 1, ("is damaged", "is no id")))


def test_a_score_that_names_texts_elsewhere_is_one_line(hostile: Hostile, folder: Path) -> None:
    store = store_with_scores(folder, "say")
    (path,) = (store.root / IDS[1]).glob("scores.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(f"{elsewhere(row)}\n" for row in rows))
    hostile(Case("", ("amid", "compare", "aaa", "bbb"), 1, ("is damaged", "is no id")))


def elsewhere(row: dict[str, object]) -> str:
    """The line of a score that names the texts of another folder, with a digest that agrees."""
    unsealed = {key: value for key, value in row.items() if key != "digest"}
    return seal({**unsealed, "generation_id": f"../../{row['generation_id']}"})


@pytest.mark.parametrize("inside", [".", "journal.jsonl", "generations"])
def test_a_link_in_the_store_is_one_line_before_any_training(inside: str, hostile: Hostile, folder: Path) -> None:
    elsewhere = folder / "data" / ("train.jsonl" if inside.endswith("jsonl") else ".")
    argv = with_folders(("run.py", "data.num_train=40"))
    link = folder / "results" / cell_of(run_of_overrides(list(argv[1:]))).id / inside
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    hostile(Case("", argv, 1, ("is a symbolic link to", "not followed")))


@pytest.mark.parametrize("style", ["text", "markdown", "latex", "csv", "html", "json"])
def test_no_label_of_a_table_reaches_the_terminal_as_a_command(style: str, folder: Path) -> None:
    manifest = manifest_of(folder)
    manifest["cells"][0]["labels"] = {"amid.alpha": f"{ESCAPES}|&%$#_{{}}~^\\\n"}  # type: ignore[index]
    write_manifest(folder, manifest)
    outcome = run_here(("amid", "table", "mine", "--style", style))
    assert outcome.code == 0, outcome
    assert_harmless(outcome.stdout)
    if style == "json":
        (_, row) = json.loads(outcome.stdout)["rows"]
        assert row["labels"]["amid.alpha"].startswith(r"\x1b[2J")
    if style == "markdown":
        lines = [line for line in outcome.stdout.splitlines() if line.startswith("|")]
        assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1, "a label made columns"
    if style == "latex":
        assert r"\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}" in outcome.stdout


def test_no_reason_of_a_failure_reaches_the_terminal_as_a_command(folder: Path) -> None:
    write_manifest(folder, manifest_of(folder))
    status = {"state": "failed", "attempt": 1, "at": "", "error": f"no{ESCAPES}\nway"}
    path = folder / "results" / IDS[0] / "status.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(status))
    outcome = run_here(("amid", "status", "mine"))
    assert outcome.code == 0, outcome
    assert_harmless(outcome.stdout)
    assert r"no\x1b[2J" in outcome.stdout


def test_no_response_of_a_model_reaches_the_terminal_as_a_command(folder: Path) -> None:
    store_with_scores(folder, f"say {ESCAPES}\nthis")
    outcome = run_here(("amid", "compare", "aaa", "bbb"))
    assert outcome.code == 0, outcome
    assert_harmless(outcome.stdout)
    assert outcome.stdout.count(r"\x1b[2J") >= 4, "question, reference and both responses"


def test_a_log_line_that_quotes_data_is_harmless(folder: Path) -> None:
    (folder / "my_conf" / "evaluation").mkdir(parents=True)
    (folder / "my_conf" / "evaluation" / "mine.yaml").write_text(
        f"sets:\n  test: {{files: [test.jsonl], sha256: {json.dumps('a' * 5 + ESCAPES)}}}\n"
    )
    before = tree(folder / "data")
    words = ("run.py", "--config-dir", "my_conf", "data=jsonl", "data.root=data", "evaluation=mine", "train.epochs=0")
    outcome = run_here(with_folders(words))
    assert outcome.code == 2, outcome
    words = (*words[:-1], "train.global_batch_size=1000")
    outcome = run_here(with_folders(words))
    assert outcome.code == 2, outcome
    assert "is not the text it is declared to be" in outcome.stdout
    assert_harmless(outcome.stdout + outcome.stderr)
    assert tree(folder / "data") == before


def assert_harmless(text: str) -> None:
    """Fails if the text holds a character of the escapes."""
    assert text
    assert not set(text) & set(ESCAPES) - set("[]0123456789;:JmaodenwR")
    assert text.replace("\n", "").isprintable()


def manifest_of(folder: Path) -> dict[str, list[dict[str, object]]]:
    """What a sweep of one cell records of itself."""
    protocol = {"sets": {}, "validation": None}
    return {  # type: ignore[return-value]
        "name": "mine",
        "rows": ["amid.alpha"],
        "metric": None,
        "protocols": {"p": protocol},
        "references": [{"kind": "teacher", "id": STAGE.id, "pair": "tiny", "protocol": "p"}],
        "cells": [{"id": IDS[0], "overrides": [], "labels": {"amid.alpha": "1"}, "protocol": "p"}],
    }


def write_manifest(folder: Path, manifest: object) -> None:
    path = folder / "results" / "sweeps" / "mine.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))


def store_with_scores(folder: Path, text: str) -> Store:
    """Two cells with scores on one set, and responses, questions and references that hold the text."""
    store = Store(folder / "results")
    digest = "d" * 64
    store.write_texts(digest, [f"{i} {text}" for i in range(3)], [[f"gold {i} {text}"] for i in range(3)])
    for number, entry_id in enumerate(IDS):
        cell = Cell(entry_id, {}, {"teacher": STAGE, "student_init": STAGE})
        store.generations_folder(cell).mkdir(parents=True)
        generation_id = f"{entry_id[0]}" * 12
        values = tuple(float(number * 10 + i) for i in range(3))
        score = Score(entry_id, "dolly", generation_id, "5" * 12, 10, "rouge_l", 1.0, 3, "g", True)
        rows = [{"index": i, "response": f"{i} {text}"} for i in range(3)]
        rows_path(store.generations_folder(cell), generation_id).write_text(
            "".join(f"{json.dumps(row)}\n" for row in rows)
        )
        store.write(cell, [score], [PerExample(score.score_id, digest, values)])
        store.set_status(cell, "done")
    return store
