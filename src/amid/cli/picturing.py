"""The verb that draws figures: of formulas, of the toy experiment, of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amid.cli.options import Results, store_at
from amid.cli.printing import complain, say
from amid.errors import RequestError

if TYPE_CHECKING:
    from amid.reports.figures.picture import Picture

DEFAULT_RESULTS = Path("results")


def figure(
    name: Annotated[str | None, typer.Argument(help="Which figure; without one they are listed.")] = None,
    sweep: Annotated[str | None, typer.Argument(help="A sweep; by default the one that the list names.")] = None,
    out: Annotated[str, typer.Option(help="The folder that the files are put into.")] = "figures",
    formats: Annotated[str, typer.Option("--format", help="png, pdf, svg, with commas between.")] = "png",
    steps: Annotated[int | None, typer.Option(help="Steps of the toy fit of figure2c; 5000 as in the paper.")] = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Draw a figure and say whether the paper's claim holds, fails or is undecided; without a name list the figures.

    Works while a sweep runs: gaps are shown as gaps. How to read them: docs/figures.md.
    """
    from amid.config.checks import at_least
    from amid.config.names import expanded
    from amid.reports.figures.registry import figure_of, listed_figures
    from amid.reports.figures.style import check_formats, house_style, save

    if name is None:
        say("\n".join(listed_figures()))
        return
    asked, kinds = figure_of(name), check_formats(formats)
    folder = Path(expanded("--out", out))
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"--out must name a folder, and {folder} is a file")
    if sweep is not None and asked.kind != "sweep":
        raise RequestError(f"{name} is of no sweep; leave out '{sweep}'")
    if steps is not None:
        if asked.kind != "toy":
            raise RequestError(f"--steps is of the toy fit of figure2c; leave it out with {name}")
        at_least("--steps", steps, 1)
    with house_style():
        picture = _of_toy(steps) if asked.kind == "toy" else _drawn(name, sweep or asked.sweep, results)
        paths = save(picture.figure, folder, name, kinds)
    said = picture.said
    say("\n".join([*said.lines, *(claim.text for claim in said.claims), *map(str, paths)]))
    for text in picture.damage:
        complain(text)


def _drawn(name: str, sweep: str | None, results: Path) -> Picture:
    from amid.reports.figures.registry import OF_FORMULAS, OF_SWEEPS
    from amid.reports.figures.sweep_view import SweepView

    if name in OF_FORMULAS:
        return OF_FORMULAS[name]()
    store = store_at(results)
    return OF_SWEEPS[name](SweepView(store.read_sweep(sweep), store))


def _of_toy(steps: int | None) -> Picture:
    """Figure 2c, whose fits are computed here; it alone needs torch."""
    from amid.reports.figures import figure2c
    from amid.toy_experiment.fit import fit_all
    from amid.toy_experiment.result import Setting

    setting = Setting() if steps is None else Setting(steps=steps)
    return figure2c.draw(fit_all(setting), setting)
