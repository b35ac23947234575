"""Downloads of evaluation sets: a data set of the hub to the JSONL file that its declaration names. No torch here."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amid.config import EvaluationSetCfg, HubCfg
from amid.data.evaluation_sets import CHECKSUM_SUFFIX, evaluation_set
from amid.data.prompt import form_of
from amid.data.records import evaluation_records
from amid.data.rows import read_rows
from amid.digests.hub import hub_problem
from amid.errors import RequestError, RunError, one_line
from amid.store.files import replace_text, replacing


def fetch(name: str, declared: EvaluationSetCfg, root: Path, *, accept: bool = False) -> str:
    """One line on a set whose file now lies below the root; what is there already is only checked.

    A declared checksum is compared with the download; without one, the digest of the first download is kept beside the
    file and compared whenever the set is read. accept: take a text other than the declared one.
    Raises RequestError for a set that is on no hub, RunError for a download that failed or is another text.
    """
    _check_below(name, declared.files, root)
    for file in declared.files:
        if (root / file).is_file():
            return f"{name}: {root / file} is there; {_checked(declared, root / file)}"
    path = root / declared.files[0]
    if declared.hub is None:
        raise RequestError(
            f"evaluation set '{name}' is on no hub; put {' or '.join(declared.files)} below {root} (docs/evaluation.md)"
        )
    rows = _records(_download(name, declared, declared.hub, root), declared.hub)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
    with replacing(path, len(data)) as temporary:
        temporary.write_bytes(data)
        digest = _digest(declared, temporary)
        if declared.sha256 is not None and digest != declared.sha256 and not accept:
            raise RunError(
                f"evaluation set '{name}': {declared.hub.dataset} holds another text than declared (sha256 "
                f"{digest[:12]}, declared {declared.sha256[:12]}); --accept takes it, for scores that compare only "
                "among themselves"
            )
        if declared.sha256 is None:
            replace_text(path.with_name(path.name + CHECKSUM_SUFFIX), f"{digest}\n")
    return f"{name}: fetched {declared.hub.dataset} to {path}; {_checked(declared, path)}"


def _check_below(name: str, files: Sequence[str], root: Path) -> None:
    """Raises RequestError for a file that would not lie below the root: a declaration writes nowhere else."""
    for file in files:
        path = os.path.normpath(root / file)
        if not Path(path).is_relative_to(os.path.normpath(root)):
            raise RequestError(
                f"evaluation set '{name}': its file {file} does not lie below {root}; nothing is fetched"
            )


def _checked(declared: EvaluationSetCfg, path: Path) -> str:
    digest = _digest(declared, path)
    recorded = path.with_name(path.name + CHECKSUM_SUFFIX)
    expected = declared.sha256 or (recorded.read_text().strip() if recorded.is_file() else None)
    if expected is None:
        return f"sha256 {digest} (none is declared)"
    how = "as declared" if declared.sha256 else "as recorded"
    return f"sha256 {how}" if digest == expected else f"sha256 {digest}, not {how} ({expected})"


def _digest(declared: EvaluationSetCfg, path: Path) -> str:
    records = evaluation_records(
        read_rows(path), form_of(declared), filter_by=declared.filter, place=f"data file {path}"
    )
    return evaluation_set(records[: declared.num_examples], declared).digest


def _download(name: str, declared: EvaluationSetCfg, hub: HubCfg, root: Path) -> list[dict[str, Any]]:
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from datasets import load_dataset
    from huggingface_hub import HfApi

    for noisy in ("datasets", "huggingface_hub", "httpx"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as cache:
        try:
            if not Path(hub.dataset).is_dir():
                HfApi().dataset_info(hub.dataset, revision=hub.revision, timeout=10)  # says at once if there is no hub
            dataset = load_dataset(
                hub.dataset,
                hub.config,
                data_files=hub.data_files,
                split=hub.split,
                revision=hub.revision,
                cache_dir=cache,
            )
            return [dict(row) for row in dataset]
        except Exception as err:
            # The library lets the errors of its HTTP client and of pyarrow through.
            refused = hub_problem(err, hub.dataset, revision=hub.revision, kind="dataset")
            raise RunError(
                f"evaluation set '{name}': {hub.dataset} could not be downloaded "
                f"({refused or one_line(str(err))[:160]}); "
                f"with a network: amid fetch {name} --root {root}; without one put {declared.files[0]} there "
                "(docs/evaluation.md)"
            ) from err


def _records(rows: Iterable[Mapping[str, Any]], hub: HubCfg) -> list[dict[str, Any]]:
    """The rows under our field names; rows that differ only in their reference joined where the hub splits them."""
    ours = {theirs: name for name, theirs in hub.fields.items()}
    records: list[dict[str, Any]] = []
    for row in rows:
        record = {ours.get(key, key): value for key, value in row.items() if value is not None}
        same = hub.merge_references and records and _question(records[-1]) == _question(record)
        if same:
            records[-1]["output"].append(record["output"])
        else:
            if hub.merge_references:
                record["output"] = [record["output"]]
            records.append(record)
    return records


def _question(record: Mapping[str, Any]) -> tuple[Any, Any]:
    return record.get("instruction"), record.get("input")
