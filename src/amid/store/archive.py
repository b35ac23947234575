"""Archives: .tar.gz and .zip, written so that bytes repeat, read so that nothing in them leads out. No torch."""

from __future__ import annotations

import contextlib
import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import xxhash

from amid.errors import RequestError, one_line

BLOCK_BYTES = 2**20
NAME_SAID = 200  # characters of a name in an archive that a line shows
_LINK = 0xA  # the kind of file in the highest bits of a zip entry's attributes
# What the libraries raise for an archive that is torn, changed, encrypted or none.
_TORN = (EOFError, OSError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, zlib.error)
Add = Callable[[str, int, IO[bytes]], None]  # name, bytes, content


@contextlib.contextmanager
def archive(stream: IO[bytes], *, zipped: bool) -> Iterator[Add]:
    """A function that adds a file to an archive, without times, owners and rights, so that its bytes repeat."""
    if zipped:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:

            def add_zipped(name: str, size: int, source: IO[bytes]) -> None:
                info = zipfile.ZipInfo(name)  # its time is the first that a zip file knows
                info.compress_type, info.external_attr, info.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
                with made.open(info, "w", force_zip64=size >= 2**31) as written:
                    while block := source.read(BLOCK_BYTES):
                        written.write(block)

            yield add_zipped
        return
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):

        def add_tarred(name: str, size: int, source: IO[bytes]) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.mode = size, 0o644
            tar.addfile(info, source)

        yield add_tarred


def members(path: Path, *, fits: Callable[[str], bool]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, bytes and content of every file in an archive, in order; inside `reading`.

    fits: whether a file may be called so. Raises RequestError for another name, a link, a folder or a device.
    """

    def check(name: str, *, is_file: bool) -> None:
        if not is_file or not fits(name):
            what = one_line(name)[:NAME_SAID]
            raise RequestError(f"{path} holds '{what}', which no bundle of ours does; nothing was taken from it")

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as zipped:
            for entry in zipped.infolist():
                check(entry.filename, is_file=not entry.is_dir() and entry.external_attr >> 28 != _LINK)
                with zipped.open(entry) as stream:
                    yield entry.filename, entry.file_size, stream
        return
    with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        for member in tar:
            check(member.name, is_file=member.isreg() and not member.issparse())
            extracted = tar.extractfile(member)
            assert extracted is not None
            yield member.name, member.size, extracted
        while packed.read(BLOCK_BYTES):  # to its end, where the checksum of the whole is
            pass


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """A context in which an archive that is torn, changed or none becomes one RequestError."""
    try:
        yield
    except RequestError:
        raise
    except _TORN as err:
        if isinstance(err, OSError) and err.errno is not None:
            raise  # of the disk, and not of what is on it
        raise RequestError(f"{path} is no whole bundle ({one_line(str(err))[:NAME_SAID] or 'it ends early'})") from None


def stream_digest(stream: IO[bytes]) -> str:
    """The digest of what is left in a stream, as `seals.file_digest` of a file."""
    hasher = xxhash.xxh3_64()
    while block := stream.read(BLOCK_BYTES):
        hasher.update(block)
    return hasher.hexdigest()
