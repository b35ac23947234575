"""What names the data of a cell: the generator's parameters, or the digests of the files. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amid.config import DataCfg
from amid.digests.fingerprint import FileDigests
from amid.errors import RequestError


def data_identity(data: DataCfg, digests: FileDigests) -> dict[str, Any]:
    """What names the training data: the generator's parameters, or the digests of the files; never a path."""
    common = {
        "source": data.source,
        "num_train": data.num_train,
        "num_dev": data.num_dev,
        "max_prompt_tokens": data.max_prompt_tokens,
        "max_tokens": data.max_tokens,
        "truncate_prompt": data.truncate_prompt,
    }
    if data.source == "toy":
        from amid.data.toy import TOY_VERSION

        # Evaluation records are drawn after the training records and do not change them.
        return {**common, "seed": data.seed, "num_records": data.num_records, "toy_version": TOY_VERSION}
    assert data.root is not None
    files = {}
    for role, name in (("train", data.train), ("dev", data.dev)):
        assert name is not None
        path = Path(data.root) / name
        if not path.is_file():
            raise RequestError(f"data.{role}: no file {path}; data.root must be a folder that holds {name}")
        files[role] = digests.file(path)
    return {**common, "files": files}
