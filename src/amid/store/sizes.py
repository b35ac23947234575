"""How much room things take on disk, in bytes and in words. No torch here."""

from __future__ import annotations

from pathlib import Path

_UNITS = ("B", "KB", "MB", "GB", "TB")


def files_below(path: Path) -> list[Path]:
    """Every file below a folder, or the file itself; what lies behind a link is not ours."""
    if path.is_symlink():
        return []
    if path.is_file():
        return [path]
    return sorted(each for each in path.rglob("*") if each.is_file() and not each.is_symlink())


def bytes_of(path: Path) -> int:
    """The bytes of a file, or of all files below a folder; of one that vanishes meanwhile none."""
    total = 0
    for each in files_below(path):
        try:
            total += each.stat().st_size
        except FileNotFoundError:
            continue
    return total


def in_words(num_bytes: int) -> str:
    """The size with its unit: 812 B, 3.4 MB."""
    value = float(num_bytes)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{num_bytes} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes everything")
