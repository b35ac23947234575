"""What an export is asked for, checked before anything is read. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amid.config import DTYPES
from amid.config.checks import one_of
from amid.errors import RequestError
from amid.export.licence import Licence


@dataclass(frozen=True)
class Options:
    """How a cell is exported.

    dtype: of the weights written. adapter: keeps low-rank factors apart from their base. gguf: writes model.gguf too.
    licence: None leaves it to be filled in. push: the repository it is uploaded to; public: for everybody to see.
    """

    dtype: str = "float32"
    adapter: bool = False
    gguf: bool = False
    licence: Licence | None = None
    overwrite: bool = False
    push: str | None = None
    public: bool = False

    def __post_init__(self) -> None:
        one_of("--dtype", self.dtype, DTYPES)
        if self.adapter and self.gguf:
            raise RequestError("--gguf holds whole weights and --adapter only what is added to them; give one of them")
        if self.public and self.push is None:
            raise RequestError("--public says who may see what --push uploads; give --push REPO too")

    @property
    def written(self) -> dict[str, Any]:
        """What decides the files of an export, for comparing two."""
        return {"dtype": self.dtype, "adapter": self.adapter, "gguf": self.gguf}
