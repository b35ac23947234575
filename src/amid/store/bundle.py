"""A sweep in one file: everything that is needed to read it or to run it again, in bytes that repeat. No torch here."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amid.cells.canonical import ID_DIGITS
from amid.config.names import MAX_LENGTH
from amid.digests.seals import file_digest, seal, unseal
from amid.errors import RequestError, RunError, one_line
from amid.store import trackers
from amid.store.archive import archive, members, reading, stream_digest
from amid.store.files import replacing, space_for
from amid.store.frozen import DIGEST_DIGITS, Requests
from amid.store.layout import TEXTS_DIGITS, model_path
from amid.store.references import closure, made_from, stage_names, stages_in
from amid.store.scores import read_per_example, read_scores
from amid.store.sizes import files_below
from amid.store.soundness import FILES, FOLDERS, check_entry
from amid.store.store import Store
from amid.store.watch import is_owned

CONTENTS = "bundle.json"  # the first file in a bundle: its version, its sweep, and every other file with its digest
BUNDLE_VERSION = 1
SUFFIXES = (".tar.gz", ".tgz", ".zip")
_ENTRY = rf"(?:stages/[a-z_]+-)?[0-9a-f]{{{ID_DIGITS}}}"
_NAMES = re.compile(
    rf"sweeps/[\w.-]{{1,{MAX_LENGTH}}}\.json"
    rf"|requests/[0-9a-f]{{{DIGEST_DIGITS}}}\.yaml|texts/[0-9a-f]{{{TEXTS_DIGITS}}}\.jsonl"
    rf"|{_ENTRY}/(?:{'|'.join(map(re.escape, FILES))}|(?:{'|'.join(FOLDERS)})/[\w./-]+|{trackers.PATTERN})",
    re.ASCII,
)


def bundled_files(store: Store, name: str, *, models: bool, wandb: bool = False) -> dict[str, Path]:
    """Name in the bundle -> file, for everything that belongs to a sweep, checked as it is found.

    models: the weights too, of the cells and of what they are made from. wandb: what W&B recorded offline too. Raises
    DamagedError for what is not what was written, RunError for an entry that a process works on.
    """
    manifest, stages = store.read_sweep(name), stage_names(store)
    cells = [store.layout.folder_of("cell", cell["id"]) for cell in manifest["cells"]]
    there = [folder for folder in cells if (folder / "status.json").is_file()]
    needed = stages_in(manifest, stages)
    for folder in there:
        needed |= made_from(folder, stages)
    entries = [*there, *(store.root / "stages" / each for each in sorted(closure(store, needed, stages)))]
    files = [store.sweep_path(manifest["name"])]
    for folder in entries:
        if is_owned(folder):
            raise RunError(f"a process works on {folder}; bundle the sweep when it has ended (amid status)")
        check_entry(folder, with_model=models)
        rooms = [folder / room for room in ("examples", "generations")] + ([model_path(folder)] if models else [])
        files += [folder / each for each in FILES if (folder / each).is_file()]
        files += [path for room in rooms for path in files_below(room)]
        files += [path for run in trackers.offline_runs(folder).values() for path in run] if wandb else []
        files += [path for path in _texts_of(store, folder) if path.is_file()]
    requests = Requests(store)
    for cell in manifest["cells"]:
        with contextlib.suppress(RequestError):  # a sweep of before requests were kept is read all the same
            files.append(store.layout.request(requests.latest(str(cell["id"])).digest))
    return {path.relative_to(store.root).as_posix(): path for path in sorted(files)}


def num_offline_runs(store: Store, name: str) -> int:
    """How many offline runs of W&B lie beside the cells, teachers and initial students of a sweep."""
    manifest = store.read_sweep(name)
    entries = [("cell", cell["id"]) for cell in manifest["cells"]]
    entries += [(each["kind"], each["id"]) for each in manifest["references"]]
    return sum(len(trackers.offline_runs(store.layout.folder_of(*entry))) for entry in dict.fromkeys(entries))


def write_bundle(target: Path, name: str, files: Mapping[str, Path]) -> None:
    """Writes the bundle, whole or not at all: the same bytes for the same files. Raises NoSpaceError."""
    sizes = {each: path.stat().st_size for each, path in files.items()}
    listed = {each: {"size": sizes[each], "digest": file_digest(path)} for each, path in files.items()}
    contents = seal({"bundle": BUNDLE_VERSION, "sweep": name, "files": listed}, indent=1).encode()
    zipped = target.suffix == ".zip"
    with (
        replacing(target, sum(sizes.values())) as temporary,
        temporary.open("wb") as stream,
        archive(stream, zipped=zipped) as add,
    ):
        add(CONTENTS, len(contents), io.BytesIO(contents))
        for each, path in files.items():
            with path.open("rb") as source:
                add(each, sizes[each], source)


def check_bundle(path: Path) -> dict[str, Any]:
    """What a bundle says it holds, after all of it was read and found to be so. Raises RequestError if it is not."""
    contents: dict[str, Any] = {}
    seen: set[str] = set()
    with reading(path):
        for name, size, stream in members(path, fits=_fits):
            if not contents:
                contents = _contents(path, name, stream.read(size))
                continue
            if name in seen or contents["files"].get(name) != {"size": size, "digest": stream_digest(stream)}:
                raise RequestError(f"{path}: '{one_line(name)}' is not what was bundled; nothing was taken from it")
            seen.add(name)
    if not contents or seen != set(contents["files"]):
        raise RequestError(f"{path} is no whole bundle: files are missing; nothing was taken from it")
    return contents


def unpack_bundle(path: Path, folder: Path) -> None:
    """Writes the files of a bundle that `check_bundle` has found sound below a folder. Raises NoSpaceError."""
    with space_for(folder, path.stat().st_size), reading(path):
        for name, _, stream in members(path, fits=_fits):
            if name != CONTENTS:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as written:
                    while block := stream.read(2**20):
                        written.write(block)


def _texts_of(store: Store, folder: Path) -> list[Path]:
    """The questions and references behind an entry's scores."""
    found = {read_per_example(folder, score.score_id) for score in read_scores(folder)}
    return [store.layout.texts(digest) for digest in sorted({each.texts for each in found if each is not None})]


def _contents(path: Path, name: str, data: bytes) -> dict[str, Any]:
    try:
        if name != CONTENTS:
            raise ValueError(f"it begins with {one_line(name)[:200]}")
        contents, sealed = unseal(data)
        if not sealed or contents.get("bundle") != BUNDLE_VERSION or not isinstance(contents.get("files"), dict):
            raise ValueError("it is of another version")
    except ValueError as err:
        raise RequestError(f"{path} is no bundle of ours ({err}); amid bundle SWEEP makes one") from None
    return contents


def _fits(name: str) -> bool:
    """Whether a bundle holds files that are called so; none leads out of the folder it is unpacked in."""
    inside = not any(part in ("", ".", "..") for part in name.split("/"))
    return name == CONTENTS or (inside and _NAMES.fullmatch(name) is not None)
