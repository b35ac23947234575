"""A folder of the user's own groups and files, as run.py's --config-dir takes it. No torch here."""

from __future__ import annotations

import filecmp
from pathlib import Path

from amid.config.names import expanded
from amid.config.run import config_root
from amid.errors import RequestError, one_line


def own_folder(folder: Path | str) -> Path:
    """The folder as an absolute path.

    Raises RequestError if there is none, or if a file in it has the place of one of the product's: Hydra would read
    that one in its place, and say nothing.
    """
    found = Path(expanded("--config-dir", str(folder))).absolute()
    if not found.is_dir():
        raise RequestError(f"--config-dir: folder '{one_line(str(folder))}' not found")
    conf = config_root() / "conf"
    ours = {path.relative_to(conf): path for path in conf.rglob("*.yaml")}
    ours |= {path.relative_to(config_root()): path for path in (config_root() / "sweeps").glob("*.yaml")}
    for place, path in sorted(ours.items()):
        theirs = found / place
        if theirs.is_file() and not filecmp.cmp(theirs, path, shallow=False):
            raise RequestError(
                f"--config-dir: {one_line(str(Path(folder) / place))} has the name of a file of the product, which is "
                "read in its place; give it another name"
            )
    return found
