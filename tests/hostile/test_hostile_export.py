"""Bad requests of `amid export`: one line each, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Case, Hostile, cases

from amid.digests.seals import seal

CELL = "a" * 12
# fmt: off
REQUESTS = cases([
    ("no-cell", "amid export", 2, "Missing argument"),
    ("no-results", "amid export abc --results nowhere", 2, "names no cell, stage or model in nowhere"),
    ("unknown", "amid export zzz", 2, "'zzz' names no cell, stage or model in results; valid: aaaaaaaaaaaa, aaaaaaaaaaab"),
    ("ambiguous", "amid export a", 2, "'a' names 2 entries"),
    ("empty", "amid export ''", 2, "names no cell, stage or model"),
    ("path", "amid export ../x", 2, "names no cell, stage or model"),
    ("stage", "amid export ddd", 2, "names teacher-dddddddddddd, which is no cell"),
    ("failed", f"amid export {CELL}", 2, (f"cell {CELL} is not finished (failed)", "its reason: it blew up")),
    ("stopped", "amid export aaaaaaaaaaab", 2, ("is not finished (stopped)", "python run.py cell=aaaaaaaaaaab")),
    ("damaged", "amid export b", 1, "status.json is damaged"),
    ("dtype", f"amid export {CELL} --dtype int8", 2, ("--dtype", "int8", "bfloat16")),
    ("dtype-none", f"amid export {CELL} --dtype", 2, "--dtype"),
    ("adapter-gguf", f"amid export {CELL} --adapter --gguf", 2, "give one of them"),
    ("public-alone", f"amid export {CELL} --public", 2, "give --push REPO too"),
    ("link-alone", f"amid export {CELL} --licence-link https://a.example/x", 2, "give the name too"),
    ("licence-upper", f"amid export {CELL} --licence Apache-2.0", 2, "must name a licence in lower case"),
    ("licence-empty", f"amid export {CELL} --licence ''", 2, "must name a licence in lower case"),
    ("licence-placeholder", f"amid export {CELL} --licence to-be-filled-in", 2, "must name a licence in lower case"),
    ("licence-lines", f"amid export {CELL} --licence $'mit\\nlicense: x'", 2, "must name a licence in lower case"),
    ("licence-unknown", f"amid export {CELL} --licence mine", 2, ("the hub knows no licence 'mine'", "--licence-link URL")),
    ("licence-both", f"amid export {CELL} --licence mit --licence-link https://a.example/x", 2, "it knows mit"),
    ("link-no-address", f"amid export {CELL} --licence mine --licence-link LICENSE", 2, "must be the address of a licence's text"),
    ("folder-empty", "amid export c ''", 2, ". is not empty; give another folder"),
    ("folder-of-nobody", "amid export c '~nobody-at-all/x'", 2, "is the home of nobody"),
    ("folder-a-file", "amid export c data/train.jsonl", 2, "data/train.jsonl is no folder"),
    ("folder-below-a-file", "amid export c data/train.jsonl/x", 2, "data/train.jsonl is no folder"),
    ("folder-full", "amid export c data", 2, ("data is not empty", "--overwrite")),
    ("folder-foreign", "amid export c data --overwrite", 2, "no export of ours made it"),
    ("folder-forged", "amid export c forged --overwrite", 2, "holds mine.txt, which the export did not write"),
    ("push-name", "amid export c out --licence mit --push a/b/c", 2, "no name of a repository"),
    ("push-no-licence", "amid export c out --push me/it", 2, "nothing is pushed without a licence"),
    ("push-offline", "amid export c out --licence mit --push me/it", 2, "HF_HUB_OFFLINE=1 forbids"),
    ("no-request", "amid export c out", 2, "has no request"),
])
# fmt: on


@pytest.fixture
def folder(folder: Path) -> Path:
    """The case's folder, with a store of entries in every state and a folder that bears the marker of an export."""
    import yaml

    from amid.cells.canonical import ID_DIGITS
    from amid.digests.fingerprint import value_digest

    values = {"cell_version": 2, "note": "no cell of ours"}
    done = next(
        (found, each)
        for number in range(500)
        if (found := value_digest(each := {**values, "number": number}, digits=ID_DIGITS)).startswith("c")
    )
    states = {
        CELL: {"state": "failed", "error": "it blew up"},
        "aaaaaaaaaaab": {"state": "running"},
        "b" * 12: None,
        done[0]: {"state": "done"},
        "stages/teacher-dddddddddddd": {"state": "done"},
    }
    for name, status in states.items():
        (folder / "results" / name).mkdir(parents=True)
        text = "{" if status is None else seal(status)
        (folder / "results" / name / "status.json").write_text(text)
    (folder / "results" / done[0] / "cell.yaml").write_text(yaml.safe_dump(done[1]))
    (folder / "results" / done[0] / "model").mkdir()
    (folder / "forged").mkdir()
    marker = {"kind": "amid export", "cell": done[0], "options": {}, "files": []}
    (folder / "forged" / "amid_export.json").write_text(seal(marker))
    (folder / "forged" / "mine.txt").write_text("mine")
    return folder


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.id)
def test_a_bad_request_is_one_line_and_changes_nothing(
    case: Case, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hostile(case)
