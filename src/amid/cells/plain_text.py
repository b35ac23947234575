"""What the plain text of a pretraining loss adds to the identity of a cell. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amid.config import RunCfg
from amid.digests.fingerprint import FileDigests
from amid.errors import RequestError


def plain_text_identity(run: RunCfg, digests: FileDigests, ignored: list[str]) -> dict[str, Any]:
    """The node plain_text: the generator's parameters, or the digests of the files; never a path.

    Empty where the pretraining loss has no weight; adds to `ignored` one sentence if there is text all the same.
    Raises RequestError for a missing file.
    """
    plain = run.plain_text
    if run.objective.lm_coef == 0.0:
        if plain.source == "files":
            ignored.append("plain_text has no effect with objective.lm_coef=0")
        return {}
    values: dict[str, Any] = {
        "source": plain.source,
        "chunk_tokens": plain.chunk_tokens or run.data.max_tokens,
        "batch_size": run.plain_text_batch_size,
        "num_chunks": plain.num_chunks,
    }
    if plain.source == "toy":
        from amid.data.toy import PLAIN_TEXT_VERSION

        generator = {"seed": plain.seed, "num_documents": plain.num_documents, "toy_version": PLAIN_TEXT_VERSION}
        return {"plain_text": {**values, **generator}}
    assert plain.root is not None and plain.files is not None
    files = []
    for name in plain.files:
        path = Path(plain.root) / name
        if not path.is_file():
            raise RequestError(f"plain_text.files: no file {path}; plain_text.root must be a folder that holds {name}")
        files.append(digests.file(path))
    objects = any(name.endswith(".jsonl") for name in plain.files)
    return {"plain_text": {**values, "files": files, **({"field": plain.field} if objects else {})}}
