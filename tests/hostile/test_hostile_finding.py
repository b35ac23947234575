"""Bad requests of what finds, keeps, moves and removes results: one line each, and nothing is changed."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from harness import Case, Hostile, cases
from small_stores import cell_of_alpha, small_store, sweep_of

from amid.store import Store
from amid.store.bundle import bundled_files, write_bundle

FAILED = cell_of_alpha(7.0)
# fmt: off
REQUESTS = cases([
    ("sweeps-option", "amid sweeps --nope", 2, "--nope"),
    ("status-every-alone", "amid status --every 2", 2, "--every says how often --watch looks"),
    ("status-every-zero", "amid status --watch --every 0", 2, "--every must be at least 0.1"),
    ("status-every-text", "amid status --watch --every soon", 2, "--every"),
    ("status-ambiguous", "amid status aa", 2, "sweep 'aa' names 2 sweeps (run-aaaaaaaaaaaa, run-aaaaaaaaaaab)"),
    ("show-nothing", "amid show", 2, "Missing argument"),
    ("show-unknown", "amid show zzz", 2, "'zzz' names no cell, stage or model"),
    ("show-ambiguous", "amid show t", 2, ("'t' names 2 entries", "teacher-", "tokenizer-")),
    ("show-path", "amid show ../x", 2, "names no cell, stage or model"),
    ("show-empty", "amid show ''", 2, "names no cell, stage or model"),
    ("show-num", f"amid show {FAILED.id} --num -1", 2, "--num must be at least 0, got -1"),
    ("best-by", "amid best demo --by dolli", 2, ("--by 'dolli' unknown; did you mean 'dolly'", "val")),
    ("best-nothing", "amid best later", 2, "no cell of later has a score on val yet"),
    ("best-unknown", "amid best nope", 2, "sweep 'nope' is not in results"),
    ("best-path", "amid best ../demo", 2, "is no name"),
    ("report-unknown", "amid report nope", 2, "sweep 'nope' is not in results"),
    ("report-path", "amid report ../demo", 2, "is no name"),
    ("report-texts", "amid report demo --texts -1", 2, "--texts must be at least 0, got -1"),
    ("report-option", "amid report demo --open", 2, "--open"),
    ("report-a-folder", "amid report demo --out full.zip", 2, "--out full.zip is a folder; name a file in it"),
    ("report-empty-name", "amid report demo --out ''", 2, "--out . is a folder"),
    ("report-no-folder", "amid report demo --out no/where.html", 2, "--out no/where.html: there is no folder no"),
    ("report-in-a-file", "amid report demo --out good.tgz/x.html", 2, "there is no folder good.tgz"),
    ("report-over-another", "amid report demo --out good.tgz", 2, "--out good.tgz is there and is no report"),
    ("report-to-a-device", "amid report demo --out /dev/full", 2, "--out /dev/full is there and is no report"),
    ("report-of-nobody", "amid report demo --out '~nobody-at-all/x.html'", 2, "is the home of nobody"),
    ("report-unwritable", "amid report demo --out /proc/report.html", 1, "/proc"),
    ("retry-what", "amid retry later", 2, "say what is run again: --failed, --stopped"),
    ("retry-nothing", "amid retry demo --failed", 2, "no cell of demo is failed; amid status demo"),
    ("retry-no-request", "amid retry later --failed", 2, f"cell '{FAILED.id}' has no request"),
    ("retry-unknown", "amid retry nope --failed", 2, "sweep 'nope' is not in results"),
    ("retry-no-sweep", "amid retry --failed", 2, "Missing argument"),
    ("work-no-sweep", "amid work", 2, "Missing argument"),
    ("work-unknown", "amid work nope", 2, "sweep 'nope' is not in results"),
    ("work-path", "amid work ../demo", 2, "is no name"),
    ("work-no-request", "amid work later", 2, f"cell '{FAILED.id}' has no request"),
    ("work-no-cells", "amid work later --max-cells 0", 2, "--max-cells must be at least 1, got 0"),
    ("work-cells-text", "amid work later --max-cells many", 2, "--max-cells"),
    ("work-no-time", "amid work later --max-hours -1", 2, "--max-hours must be at least 0, got -1"),
    ("work-endless", "amid work later --max-hours nan", 2, "--max-hours must be at least 0, got nan"),
    ("work-option", "amid work later --failed", 2, "--failed"),
    ("record-what-only-prepares", "amid plan --record amid.alpha=-1 task=prepare", 2, "task=prepare has no cells that a worker"),
    ("record-nowhere", "amid plan --record amid.alpha=-1 paths.results=/proc/here", 1, "results folder /proc/here cannot be written"),
    ("gc-option", "amid gc --all", 2, "--all"),
    ("gc-argument", "amid gc everything", 2, "everything"),
    ("merge-nowhere", "amid merge nowhere", 2, "nowhere is neither a results folder nor a bundle"),
    ("merge-nobody", "amid merge '~nobody-at-all/x'", 2, "is the home of nobody"),
    ("merge-empty-name", "amid merge ''", 2, ". holds no cell, no stage and no sweep"),
    ("merge-itself", "amid merge results", 2, "is the results folder itself"),
    ("merge-itself-otherwise", "amid merge ./data/../results", 2, "is the results folder itself"),
    ("merge-foreign-folder", "amid merge data", 2, "data holds no cell, no stage and no sweep"),
    ("merge-foreign-file", "amid merge data/train.jsonl", 2, "data/train.jsonl is no whole bundle"),
    ("merge-foreign-zip", "amid merge foreign.zip", 2, "'notes.txt', which no bundle of ours does"),
    ("merge-foreign-beside", "amid merge beside.tgz", 2, "'mine/notes.txt', which no bundle of ours does"),
    ("merge-leads-out", "amid merge out.tgz", 2, "'../outside', which no bundle of ours does"),
    ("merge-link", "amid merge link.tgz", 2, "which no bundle of ours does"),
    ("merge-truncated", "amid merge cut.tgz", 2, "cut.tgz is no whole bundle"),
    ("merge-truncated-zip", "amid merge cut.zip", 2, "cut.zip is no whole bundle"),
    ("merge-of-nothing", "amid merge empty.tgz", 2, "empty.tgz is no whole bundle"),
    ("merge-into-a-file", "amid merge good.tgz --results data/train.jsonl", 1, "data/train.jsonl"),
    ("bundle-nothing", "amid bundle", 2, "Missing argument"),
    ("bundle-unknown", "amid bundle nope", 2, "sweep 'nope' is not in results"),
    ("bundle-ending", "amid bundle demo x.rar", 2, "ends in .tar.gz, .tgz, .zip"),
    ("bundle-there", "amid bundle demo good.tgz", 2, "good.tgz is there already; --overwrite replaces a file"),
    ("bundle-no-folder", "amid bundle demo no/where.zip", 2, "there is no folder no"),
    ("bundle-a-folder", "amid bundle demo full.zip --overwrite", 2, "full.zip is there already"),
    ("bundle-of-nobody", "amid bundle demo '~nobody-at-all/x.zip'", 2, "is the home of nobody"),
])
# fmt: on


@pytest.fixture
def folder(folder: Path) -> Path:
    """The case's folder, with a store, a good bundle of it, and bundles that are none."""
    store, _ = small_store(folder / "results")
    claim = store.claim(FAILED)
    assert claim is not None
    store.set_failed(FAILED, "diverged", "Traceback")
    claim.release()
    store.write_sweep("later", sweep_of("later", [FAILED]))
    for id_ in ("a" * 12, "a" * 11 + "b"):
        store.write_sweep(f"run-{id_}", sweep_of(f"run-{id_}", []))
    for name in ("good.tgz", "good.zip"):
        write_bundle(folder / name, "demo", bundled_files(Store(folder / "results"), "demo", models=False))
        data = (folder / name).read_bytes()
        (folder / name.replace("good", "cut")).write_bytes(data[: len(data) // 2])
    (folder / "empty.tgz").write_bytes(b"")
    (folder / "full.zip").mkdir()
    with zipfile.ZipFile(folder / "foreign.zip", "w") as archive:
        archive.writestr("notes.txt", "mine")
    for name, member, link in (
        ("out.tgz", "../outside", ""),
        ("link.tgz", "texts/0123456789abcdef.jsonl", "/etc/passwd"),
        ("beside.tgz", "mine/notes.txt", ""),
    ):
        with tarfile.open(folder / "good.tgz") as good, tarfile.open(folder / name, "w:gz") as made:
            for each in good.getmembers():
                made.addfile(each, good.extractfile(each))
            info = tarfile.TarInfo(member)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            else:
                info.size = 4
            made.addfile(info, io.BytesIO(b"evil"))
    return folder


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.id)
def test_a_bad_request_is_one_line_and_changes_nothing(case: Case, hostile: Hostile) -> None:
    hostile(case)
