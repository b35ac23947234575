"""The licence of an exported model: nobody but its owner can name it, so it is to be filled in. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from amid.errors import RequestError

PLACEHOLDER = "to-be-filled-in"
CARD = "README.md"
# The names that the hub knows; any other is `license: other` with a name. Source: hub-docs, repositories-licenses.
KNOWN = frozenset(
    (
        *("afl-3.0", "agpl-3.0", "apache-2.0", "apple-amlr", "apple-ascl", "artistic-2.0", "bigcode-openrail-m"),
        *("bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd", "bsd-2-clause", "bsd-3-clause"),
        *("bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0"),
        *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0"),
        *("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0"),
        *(
            "cdla-permissive-1.0",
            "cdla-permissive-2.0",
            "cdla-sharing-1.0",
            "creativeml-openrail-m",
            "deepfloyd-if-license",
        ),
        *("ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "fair-noncommercial-research-license"),
        *("gemma", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "h-research", "intel-research", "isc", "lgpl", "lgpl-2.1"),
        *("lgpl-3.0", "lgpl-lr", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "lppl-1.3c", "mit"),
        *(
            "mpl-2.0",
            "ms-pl",
            "mulanpsl-2.0",
            "ncsa",
            "odbl",
            "odc-by",
            "ofl-1.1",
            "open-mdw",
            "openmdw-1.0",
            "openrail",
        ),
        *("openrail++", "osl-3.0", "pddl", "postgresql", "unlicense", "wtfpl", "zlib"),
    )
)
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,79}")


@dataclass(frozen=True)
class Licence:
    """A licence by its name in lower case, and where its text is for one that the hub does not know."""

    name: str
    link: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in (PLACEHOLDER, "other", "unknown"):
            raise RequestError(
                f"--licence must name a licence in lower case, as apache-2.0, mit or my-licence-1.0; got '{self.name}'"
            )
        if self.link is not None and not re.fullmatch(r"https?://\S+", self.link):
            raise RequestError(f"--licence-link must be the address of a licence's text, got '{self.link}'")
        if self.name in KNOWN and self.link is not None:
            raise RequestError(f"--licence-link is for a licence that the hub does not know; it knows {self.name}")
        if self.name not in KNOWN and self.link is None:
            raise RequestError(
                f"the hub knows no licence '{self.name}': give --licence-link URL, where its text is, or one that it "
                "knows, such as apache-2.0, mit, cc-by-4.0, gemma or llama3.2"
            )

    @property
    def fields(self) -> dict[str, str]:
        """The fields of a model card."""
        if self.link is None:
            return {"license": self.name}
        return {"license": "other", "license_name": self.name, "license_link": self.link}


def licence_of(name: str | None, link: str | None) -> Licence | None:
    """The licence that was named; None if none was. Raises RequestError for a link without a name."""
    if name is None:
        if link is not None:
            raise RequestError("--licence-link is where the text of --licence NAME is; give the name too")
        return None
    return Licence(name, link)


def licence_fields(licence: Licence | None) -> dict[str, str]:
    """The fields of a model card; unmistakable placeholders where the licence is not known."""
    if licence is not None:
        return licence.fields
    return {"license": "other", "license_name": PLACEHOLDER, "license_link": PLACEHOLDER}


def is_filled(folder: Path) -> bool:
    """Whether the card in a folder names a licence. Raises RequestError for a card that cannot be read."""
    fields = _front_matter(folder / CARD)
    if not fields.get("license"):
        return False
    return PLACEHOLDER not in (fields.get("license"), fields.get("license_name"), fields.get("license_link"))


def _front_matter(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text()
    except (OSError, ValueError) as err:
        raise RequestError(f"{path} cannot be read: {err}") from err
    found = re.match(r"---\n(.*?)\n---\n", text, re.S)
    try:
        fields = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as err:
        raise RequestError(f"{path}: what stands between its first --- is no YAML") from err
    if not isinstance(fields, dict):
        raise RequestError(f"{path} must begin with the fields of a model card, in YAML between two lines ---")
    return fields
