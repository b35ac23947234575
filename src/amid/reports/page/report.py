"""The page: one HTML file with its style, script and data in it, that asks nothing of any server. No torch here.

The same store gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from amid.reports.aggregate import examples_in
from amid.reports.notes import legend
from amid.reports.page.contents import embedded_scores
from amid.reports.page.heat_map import heat_map
from amid.reports.page.markup import element, embedded_json, text
from amid.reports.page.models import configurations, costs_part, models_part, parted
from amid.reports.page.pictures import front, profiles
from amid.reports.page.places import Place, lead_column, places_of
from amid.reports.page.scores import scores_table
from amid.reports.page.texts import MAX_CHARS, embedded_texts
from amid.reports.page.verdict import verdict_of
from amid.reports.significance import interval_of_mean
from amid.reports.tables import View, build_view
from amid.store import Store

MARK = '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="generator" content="amid report">'
SCRIPTS = (
    "statistics.js",
    "aggregate.js",
    "scores.js",
    "comparison.js",
    "page.js",
)
STYLE = "page.css"  # the scripts are put together in their order
GAPS = {"missing": "not there yet", "failed": "failed or damaged", "diverged": "diverged"}


@dataclass(frozen=True)
class Report:
    """A page, and of how many bytes it is: scores, texts, what is known of each cell, and the page itself."""

    html: str
    damage: tuple[str, ...]
    sizes: Mapping[str, int]


def build_report(manifest: Mapping[str, Any], store: Store, *, num_texts: int) -> Report:
    """The report of a recorded sweep. num_texts: prompts of each set whose texts are in it."""
    view = build_view(manifest, store)
    places = places_of(view)
    scores = embedded_json(embedded_scores(view, places, asked=manifest["metric"]))
    texts = embedded_json(embedded_texts(view, store, num_texts=num_texts))
    configured = embedded_json(parted(configurations(manifest, store)))
    style = _asset(STYLE)
    script = "".join(map(_asset, SCRIPTS))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    title = f"Report of {manifest['name']}"
    cells = models_part(manifest, store, view.reading)
    body = _body(manifest, store, view, places, cells, num_texts=num_texts)
    html = "".join(
        [
            MARK,
            f'<meta http-equiv="Content-Security-Policy" content="{text(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            element("title", text(title)),
            f"<style>{style}</style></head><body>",
            body,
            *(
                f'<script type="application/json" id="{name}">{data}</script>'
                for name, data in (("data", scores), ("texts", texts), ("configurations", configured))
            ),
            f"<script>{script}</script></body></html>\n",
        ]
    )
    sizes = {name: len(part.encode()) for name, part in (("scores", scores), ("texts", texts), ("cells", cells))}
    sizes["page"] = len(html.encode()) - sum(sizes.values())
    return Report(html, view.reading.damage, sizes)


def _body(
    manifest: Mapping[str, Any], store: Store, view: View, places: Sequence[Place], cells: str, *, num_texts: int
) -> str:
    name, table, lead = manifest["name"], view.table, lead_column(view.table)
    column = view.plan.columns[lead]
    lower = column.higher_is_better is False
    examples = examples_in(view.planned, view.plan, view.reading)
    intervals = {place.row: interval_of_mean(column.sets, examples.get(place.row, {})) for place in places}
    said, limits = verdict_of(manifest, store, view)
    note = [table.note, *legend(table, best="bold", second="underlined", differs="†")]
    quality = front(table, places, lower=lower)
    profile = profiles(table, places, intervals)
    sections = [
        _section(
            "table",
            "Table",
            scores_table(table, choosable=[bool(row.members) for row in view.planned]),
            element("p", text("; ".join(note)), class_="note", id="note"),
            _command(f"amid table {name}"),
        ),
        _section("map", "Alpha and divergence", heat_map(table, places, intervals, lower=lower), _key())
        if places
        else "",
        _section("profiles", "Profiles over alpha", profile, _declared()) if profile else "",
        _section("front", "Quality and diversity", quality, _declared()) if quality else "",
        _section(
            "compare",
            "Two of them, side by side",
            element(
                "div",
                element("p", "Choose two rows of the table, or two cells of the map."),
                id="comparison",
                aria_live="polite",
            ),
        ),
        _section("cells", "Cells", cells),
        _section("costs", "Costs", costs_part(manifest, store), _command(f"amid costs {name}")),
        _section("about", "What is in this file", _about(name, num_texts)),
    ]
    damaged = [element("p", text(line), class_="damage") for line in view.reading.damage]
    return "".join(
        [
            element("a", "To the table", href="#table", class_="skip"),
            element(
                "header",
                element("h1", text(f"Report of {name}")),
                element("p", text(said), id="verdict"),
                element("ul", *(element("li", text(each)) for each in limits), id="limits") if limits else "",
                *damaged,
                _command(f"amid best {name}"),
            ),
            element("main", _controls(), *sections),
        ]
    )


def _section(id_: str, title: str, *content: str) -> str:
    return element("section", element("h2", title, id=f"{id_}-title"), *content, id=id_, aria_labelledby=f"{id_}-title")


def _command(command: str) -> str:
    return element("p", "The same numbers: ", element("code", text(command)), class_="command")


def _controls() -> str:
    """Filled by page.js: without a script there is nothing to choose."""
    return element(
        "form",
        element("div", id="choices"),
        element("p", id="state", role="status"),
        id="controls",
        aria_label="What the table and the map are made of",
        hidden=True,
    )


def _declared() -> str:
    said = "Of the sweep's own metric and all decode seeds, whatever is chosen above."
    return element("p", said, class_="note own", hidden=True)


def _key() -> str:
    items = [element("li", element("span", "", class_=f"swatch {kind}"), " ", said) for kind, said in GAPS.items()]
    best = element("li", *(element("span", "", class_=f"swatch h{level}") for level in range(6)), " from worst to best")
    return element("ul", best, *items, class_="legend")


def _about(name: str, num_texts: int) -> str:
    said = [
        "Every score of every model is in this file, those per prompt too, where the metric is a mean of such. "
        "What is chosen above is computed from them in this page, as amid table does it.",
        f"Of the texts there are the first {num_texts} prompts of each set, with each model's response with its first "
        f"decode seed, up to {MAX_CHARS} characters each (amid report --texts N).",
        "Differences and intervals: prompts are paired and drawn within sets, seeds averaged per prompt, 95 %, "
        "Student's t with Welch and Satterthwaite's degrees of freedom; the correction is over all pairs of a column "
        "of a block.",
        "It asks nothing of any server, and holds no names of machines and no times.",
    ]
    return "".join(element("p", text(each)) for each in said) + _command(f"amid report {name} --texts {num_texts}")


def _asset(name: str) -> str:
    return resources.files("amid.reports.page").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
