"""The verb that writes a sweep's report as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amid.cli.options import Results, SweepName, store_at
from amid.cli.printing import complain, say
from amid.errors import RequestError

NUM_TEXTS = 8


def report(
    name: SweepName = None,
    out: Annotated[Path | None, typer.Option("--out", help="The file; report-SWEEP.html here by default.")] = None,
    texts: Annotated[int, typer.Option(help="Prompts of each set whose texts are in it.")] = NUM_TEXTS,
    results: Results = Path("results"),
) -> None:
    """Write a sweep's report, one HTML file that needs no server: verdict, table, pictures, texts side by side, costs.

    Works while the sweep runs: what is missing is said and drawn as missing. How to read it: docs/report.md.
    """
    from amid.config.checks import at_least
    from amid.config.names import expanded
    from amid.reports.page.report import MARK, build_report
    from amid.store.files import replace_text
    from amid.store.sizes import in_words

    at_least("--texts", texts, 0)
    store = store_at(results)
    manifest = store.read_sweep(name)
    target = Path(f"report-{manifest['name']}.html") if out is None else Path(expanded("--out", str(out)))
    if target.is_dir():
        raise RequestError(f"--out {target} is a folder; name a file in it")
    if not target.parent.is_dir():
        raise RequestError(f"--out {target}: there is no folder {target.parent}")
    if target.exists() and not (target.is_file() and _is_report(target, MARK)):
        raise RequestError(f"--out {target} is there and is no report; give another name")
    made = build_report(manifest, store, num_texts=texts)
    replace_text(target, made.html)
    for line in made.damage:
        complain(line)
    sizes = ", ".join(f"{what} {in_words(number)}" for what, number in made.sizes.items())
    say(f"{target}: {in_words(len(made.html.encode()))} ({sizes})")


def _is_report(path: Path, mark: str) -> bool:
    """Whether a file is a report of ours, which may be written again."""
    with path.open("rb") as stream:
        return stream.read(len(mark.encode())) == mark.encode()
