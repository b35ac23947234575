"""The weight files of a model folder: which there are, and what the headers of safetensors say of their tensors.

A safetensors file is 8 bytes (little-endian length of the header), the header (a JSON object: tensor name -> dtype,
shape, data_offsets), and the data. Nothing but the header is read here.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amid.errors import RequestError, one_line
from amid.model_folders.files import read_json, size_of

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
INDEX_SUFFIX = ".index.json"
# In the order in which transformers looks for them.
WEIGHT_FILES = (SAFETENSORS, SAFETENSORS + INDEX_SUFFIX, PICKLE, PICKLE + INDEX_SUFFIX)
LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
BITS = {"F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "BF16": 16, "F16": 16, "I16": 16, "U16": 16}


@dataclass(frozen=True)
class TensorHeader:
    """What a safetensors header says of one tensor; dtype as the format writes it, such as BF16."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def num_values(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


def read_tensors(folder: Path, *, whole: bool) -> Mapping[str, TensorHeader]:
    """Tensor name -> header, of the weights that would be loaded; empty where they are no safetensors.

    whole: False for a folder of which parts may still be downloaded, where a missing file is no fault.
    Raises RequestError for weights that are missing, truncated, or no weights at all.
    """
    found = next((name for name in WEIGHT_FILES if (folder / name).exists()), None)
    if found is None:
        if not whole:
            return {}
        others = sorted(path.name for pattern in ("*.safetensors", "*.bin", "*.gguf") for path in folder.glob(pattern))
        raise RequestError(
            f"model folder {folder} holds no weights ({' or '.join(WEIGHT_FILES)}); "
            f"found: {', '.join(others[:5]) or 'no weight file'}"
        )
    if found.endswith(INDEX_SUFFIX):
        return _read_shards(folder, found, whole=whole)
    if found == SAFETENSORS:
        return read_safetensors_header(folder / found)
    check_pickle(folder / found)
    return {}


def read_safetensors_header(path: Path) -> dict[str, TensorHeader]:
    """Tensor name -> header of one file. Raises RequestError unless header and data fill the file exactly."""
    size = size_of(path)
    with path.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or header_bytes > min(MAX_HEADER_BYTES, size - LENGTH_BYTES):
            raise RequestError(f"{path} is no whole safetensors file ({size} bytes); copy or download it again")
        text = stream.read(header_bytes)
    try:
        header = json.loads(text)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        headers = {name: TensorHeader(entry["dtype"], tuple(entry["shape"])) for name, entry in tensors.items()}
        spans = {
            name: (int(entry["data_offsets"][0]), int(entry["data_offsets"][1])) for name, entry in tensors.items()
        }
        sizes = {name: each.num_values * BITS[each.dtype] // 8 for name, each in headers.items() if each.dtype in BITS}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as err:
        raise RequestError(
            f"{path} has a damaged safetensors header ({one_line(str(err))[:100]}); copy or download it again"
        ) from err
    for name, expected in sizes.items():
        if spans[name][1] - spans[name][0] != expected:
            raise RequestError(f"{path} has a damaged safetensors header: '{name}' does not fill its {expected} bytes")
    needed = LENGTH_BYTES + header_bytes + max((end for _, end in spans.values()), default=0)
    if size != needed:
        what = "is truncated" if size < needed else "is longer than its header says"
        raise RequestError(f"{path} {what}: {size} of {needed} bytes; copy or download it again")
    return headers


def check_pickle(path: Path) -> None:
    """Raises RequestError for a PyTorch file that is truncated, empty or no such file. Reads no object of it."""
    size = size_of(path)
    with path.open("rb") as stream:
        head = stream.read(2)
    if head == b"PK" and not zipfile.is_zipfile(path):  # the archive's table of contents stands at its end
        raise RequestError(f"{path} is truncated ({size} bytes); copy or download it again")
    if head not in (b"PK", b"\x80\x02"):  # b"\x80\x02": the pickle of PyTorch before 1.6
        raise RequestError(f"{path} is no PyTorch weight file ({size} bytes); copy or download it again")


def _read_shards(folder: Path, index: str, *, whole: bool) -> dict[str, TensorHeader]:
    path = folder / index
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise RequestError(f"{path} must map tensor names to files in 'weight_map'")
    tensors: dict[str, TensorHeader] = {}
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard:
            raise RequestError(f"{path} names '{shard}', which is no file of its own folder")
        if not (folder / shard).exists():
            if whole:
                raise RequestError(f"model folder {folder} lacks {shard}, which its {index} names")
            continue
        if index.startswith(PICKLE):
            check_pickle(folder / shard)
            continue
        headers = read_safetensors_header(folder / shard)
        lost = sorted(name for name, file in weight_map.items() if file == shard and name not in headers)
        if lost:
            raise RequestError(f"{folder / shard} lacks '{lost[0]}' ({len(lost)} in all), which {index} says it holds")
        tensors |= headers
    return tensors
