"""The house style of figures and how they become files. No torch; matplotlib, an extra, only when something is drawn.

Readable in print and for the colour-blind: no colour alone tells two things apart (markers, dashes and words do too),
ordered quantities run through one map whose lightness is monotone. Texts are drawn as they are, never as TeX, since
names of sweeps and methods are anybody's. The same figure is the same bytes: no times, no versions, fixed ids.
"""

from __future__ import annotations

import contextlib
import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amid.errors import RequestError, unknown_name
from amid.store.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
WIDTH = 7.0  # inches: the text width of most papers and of a page in A4
CAPTION_SIZE = 7.0  # points
PLACES = 6  # decimals of the places of axes, in parts of the figure
_LINE = 0.145  # inches of a line of the caption
_CHARACTERS = 136  # of a line of the caption
# Okabe and Ito's colours, which the common kinds of colour blindness keep apart; black is for what has no assistant.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
NONE_COLOUR, REFERENCE_COLOUR, FAINT = "#000000", "#666666", "#BBBBBB"
_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is everywhere the same
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "axes.unicode_minus": True,
    "text.parse_math": False,
    "pdf.fonttype": 42,  # fonts embedded whole enough to be edited and searched
    "svg.fonttype": "path",
    "svg.hashsalt": "amid",
    "path.simplify": False,
}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """Everything drawn and saved inside has the house style, whatever matplotlibrc a user has.

    Raises RequestError where matplotlib is not installed.
    """
    try:
        from matplotlib import style
    except ModuleNotFoundError as err:
        if err.name != "matplotlib":
            raise
        raise RequestError("figures need matplotlib; install it with: pip install 'amid-lab[figures]'") from err
    with style.context(_STYLE, after_reset=True):
        yield


def canvas(
    mosaic: Sequence[Sequence[str]], *, height: float, below: Sequence[str], **options: Any
) -> tuple[Figure, dict[str, Axes]]:
    """A figure whose axes are named in rows, `height` inches high, and paragraphs of text below, which add to that.

    options: those of matplotlib's `subplot_mosaic`.
    """
    from matplotlib.figure import Figure

    lines = [line for text in below for line in textwrap.wrap(text, _CHARACTERS, subsequent_indent="   ")]
    foot = _LINE * (len(lines) + 0.8)
    whole = height + foot
    figure = Figure(figsize=(WIDTH, whole))
    figure.set_layout_engine("constrained", rect=(0, foot / whole, 1, height / whole))
    text = "\n".join(lines)
    figure.text(0.01, 0.4 * _LINE / whole, text, fontsize=CAPTION_SIZE, va="bottom", linespacing=1.3)
    return figure, figure.subplot_mosaic([list(row) for row in mosaic], **options)


def ordered_colours(number: int) -> list[str]:
    """Colours of ordered things, dark to light; the lightest still stands out on white."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](0.88 * i / max(1, number - 1))) for i in range(number)]


def number(value: float) -> str:
    """A number on an axis or in a legend: `−5`, `0.5`, `∞`."""
    return f"{value:g}".replace("-", "−").replace("inf", "∞")


def check_formats(text: str) -> list[str]:
    """The formats in `png,pdf`. Raises RequestError for one that there is not, and for none."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            raise unknown_name("--format", name, FORMATS)
    return list(dict.fromkeys(names))


def settle(figure: Figure) -> None:
    """Lays the figure out and keeps the places of its axes, rounded.

    The solver of the layout orders its variables by their addresses, so that the last bits of places differ from run to
    run; names in an SVG are digests of them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        left, bottom, width, height = (round(float(e), PLACES) for e in axis.get_position(original=True).bounds)
        axis.set_position((left, bottom, width, height))


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """The files NAME.FORMAT, each whole or not there. Raises OSError where they cannot be written.

    To be called in the house style too: some of it is read while a file is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settle(figure)
    paths = []
    for each in formats:
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box in its place says as much
            figure.savefig(stream, format=each, dpi=200, metadata=_METADATA[each])
        path, data = folder / f"{name}.{each}", stream.getvalue()
        with replacing(path, len(data)) as temporary:
            temporary.write_bytes(data)
        paths.append(path)
    return paths
