"""A report in headless Chromium: what it computes is what Python prints, nothing is asked for, everybody can use it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import Seen, axe_script, chromium, opened
from made_sweep import SETS, Made, protocol_of
from reported_sweep import ALPHA, HOSTILE, reported_sweep
from small_stores import small_store
from test_tuned_tables import add as add_tuned

from amid.errors import visible
from amid.metrics import paired
from amid.reports.aggregate import examples_in
from amid.reports.page.heat_map import heat_map
from amid.reports.page.places import lead_column, places_of
from amid.reports.page.report import build_report
from amid.reports.page.scores import scores_table
from amid.reports.significance import compared, interval_of_mean
from amid.reports.table import Interval
from amid.reports.tables import build_view
from amid.store import Store

pytestmark = pytest.mark.browser
# As the browser writes it, with nothing chosen
PLAIN = """html => {
  const place = document.createElement("div");
  place.innerHTML = html;
  for (const button of place.querySelectorAll("[aria-pressed]")) button.setAttribute("aria-pressed", "false");
  return place.querySelector("table").innerHTML;
}"""
VIOLATIONS = "axe.run().then(found => found.violations.map(each => `${each.id}: ${each.nodes[0].html}`))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return reported_sweep(tmp_path_factory.mktemp("made") / "results", seeds=("1", "2"))


@pytest.fixture(scope="module")
def report(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(made.manifest, made.store, tmp_path_factory.mktemp("made"))


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    found, _ = opened(browser, report)
    yield found
    found.context.close()


def written(manifest: dict[str, Any], store: Store, folder: Path) -> Path:
    path = folder / "report.html"
    path.write_text(build_report(manifest, store, num_texts=3).html)
    return path


def in_python(manifest: dict[str, Any], store: Store, *, metric: str | None = None) -> dict[str, str]:
    """The table and the map as Python makes them."""
    view = build_view(manifest, store, metric=metric)
    places, column = places_of(view), view.plan.columns[lead_column(view.table)]
    examples = examples_in(view.planned, view.plan, view.reading)
    intervals = {place.row: interval_of_mean(column.sets, examples.get(place.row, {})) for place in places}
    return {
        "scores": scores_table(view.table, choosable=[bool(row.members) for row in view.planned]),
        "heat": heat_map(view.table, places, intervals, lower=column.higher_is_better is False),
    }


def same_as_python(page: Any, python: dict[str, str]) -> None:
    for id_, html in python.items():
        there = page.evaluate("id => { drawTable(); drawMap(); return document.getElementById(id).outerHTML; }", id_)
        assert page.evaluate(PLAIN, there) == page.evaluate(PLAIN, html), id_


def chosen(page: Any) -> list[str]:
    return [button.inner_text() for button in page.locator("#scores [aria-pressed=true]").all()]


# What the page computes


def test_what_the_page_makes_of_the_sweeps_own_choice_is_what_python_wrote(page: Any, made: Made) -> None:
    same_as_python(page, in_python(made.manifest, made.store))


@pytest.mark.parametrize("metric", ["rouge_l", "exact_match", "response_length"])
def test_another_metric_gives_the_numbers_of_amid_table_with_that_metric(page: Any, made: Made, metric: str) -> None:
    page.select_option("select >> nth=0", metric)
    assert f"metric {metric}" in page.inner_text("#state")
    same_as_python(page, in_python(made.manifest, made.store, metric=metric))


def test_fewer_decode_seeds_give_the_numbers_of_a_sweep_that_asked_for_these(page: Any, made: Made) -> None:
    page.locator("#seeds input").first.uncheck()
    fewer = copy.deepcopy(made.manifest)
    for protocol in fewer["protocols"].values():
        for each in protocol["sets"].values():
            each["decode_seeds"] = each["decode_seeds"][1:]
    same_as_python(page, in_python(fewer, made.store))
    assert page.locator(".own").first.is_visible(), "the pictures are of all seeds, and it is said"


@pytest.mark.parametrize(("name", "level"), [("none", lambda count: 0.05), ("bonferroni", lambda count: 0.05 / count)])
def test_another_correction_gives_the_marks_of_that_level(
    page: Any, made: Made, monkeypatch: pytest.MonkeyPatch, name: str, level: Any
) -> None:
    monkeypatch.setattr(paired, "holm", lambda p, **_: [each <= level(len(p)) for each in p])
    before = page.inner_html("#scores")
    page.evaluate("name => change({ correction: name })", name)
    same_as_python(page, in_python(made.manifest, made.store))
    assert name == "bonferroni" or page.inner_html("#scores") != before, "without correction more is told apart"


def test_the_table_of_a_small_store_is_the_same_too(browser: Any, tmp_path: Path) -> None:
    store, _ = small_store(tmp_path / "results")  # every prompt has a round value: ties at the last printed digit
    manifest = store.read_sweep("demo")
    page, _ = opened(browser, written(manifest, store, tmp_path))
    same_as_python(page, in_python(manifest, store))


def test_the_difference_of_two_rows_is_the_one_of_the_tests(page: Any, made: Made) -> None:
    view = build_view(made.manifest, made.store)
    place = lead_column(view.table)
    sets = view.plan.columns[place].sets
    found = compared([1, 9], sets, examples_in(view.planned, view.plan, view.reading)).difference(1, 9)
    page.evaluate("change({ pair: [1, 9] })")
    assert page.locator("#comparison article").count() == 3, "the first training of the second diverged: of the other"
    line = page.locator("#comparison tr", has_text="Avg.").inner_text().split("\t")
    assert line[4:6] == [f"{found.difference:+z.2f}", f"[{found.low:+z.2f}, {found.high:+z.2f}]"]
    assert isinstance(found, Interval)


@pytest.mark.parametrize(
    ("value", "digits"),
    [(0.125, 2), (0.375, 2), (-0.125, 2), (2.5, 0), (3.5, 0), (1.005, 2), (1e-9, 2), (-0.001, 2), (12345.675, 2)],
)
def test_numbers_are_rounded_as_python_rounds_them(page: Any, value: float, digits: int) -> None:
    shown = page.evaluate("([value, digits]) => [fixed(value, digits), signed(value, digits)]", [value, digits])
    assert shown == [f"{value:.{digits}f}", f"{value:+z.{digits}f}"]


def test_the_distribution_of_t_is_scipys(page: Any) -> None:
    from scipy.stats import t

    for freedom in (1.0, 2.5, 7.0, 39.9, 1234.5):
        assert page.evaluate("f => quantileOfT(0.05, f)", freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-11)
        for value in (0.01, 1.0, 3.0, 20.0):
            expected = pytest.approx(2 * t.sf(value, freedom), rel=1e-10)
            assert page.evaluate("([t, f]) => probabilityOfT(t, f)", [value, freedom]) == expected


# What it does to its reader


def test_nothing_is_asked_for_and_nothing_is_complained_of(browser: Any, report: Path) -> None:
    page, seen = opened(browser, report)
    page.locator("#heat button").nth(0).click()
    page.locator("#heat button").nth(5).click()
    for summary in page.locator("summary").all():
        summary.click()
    assert seen == Seen([report.as_uri()], [])
    assert page.evaluate("window.hacked") is None, "texts of models are texts"


def test_a_script_that_is_not_of_the_page_is_refused(browser: Any, report: Path) -> None:
    page, seen = opened(browser, report)
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), { textContent: 'x = 1' }))")
    assert any("Content Security Policy" in each for each in seen.complaints)


def test_two_cells_are_chosen_by_clicks_and_stand_side_by_side(page: Any) -> None:
    cells = page.locator("#heat button")
    cells.nth(0).click()
    assert "choose another one" in page.inner_text("#comparison")
    cells.nth(5).click()
    assert chosen(page) == ["-inf", "none (r = q)"]
    said = page.inner_text("#comparison")
    assert "amid compare" in said
    assert "amid.alpha" in said, "what differs in the configuration"
    responses = page.locator("#comparison .sides .said").all_inner_texts()
    assert len(responses) == 2 * 3
    assert responses[0].endswith(visible(HOSTILE))
    cells.nth(5).click()
    assert chosen(page) == ["-inf"], "a second click takes it back"


def test_a_column_is_sorted_and_gaps_come_last(page: Any) -> None:
    page.locator("#scores th button", has_text="Val.").click()
    assert page.locator("#scores th[aria-sort=descending]").inner_text() == "Val."
    bodies = [
        [row.locator("td").first.inner_text() for row in body.locator("tr[data-row]").all()]
        for body in page.locator("#scores tbody").all()
    ]
    for shown in bodies[1:]:
        values = [float(text.split()[0]) for text in shown if text != "-"]
        assert values == sorted(values, reverse=True)
        assert "-" not in shown[: len(values)]
    page.locator("#scores th button", has_text="Val.").click()
    assert page.locator("#scores th[aria-sort=ascending]").count() == 1
    page.locator("#scores th button", has_text="Val.").click()
    assert page.locator("#scores th[aria-sort]").count() == 0


def test_the_papers_line_stays_below_ours(page: Any) -> None:
    page.locator("#scores th button", has_text="dolly").click()
    for row in page.locator("#scores tr.paper").all():
        above = row.evaluate("row => row.previousElementSibling.dataset.row")
        difference = row.locator("td").nth(1).inner_text()
        ours = page.locator(f"#scores tr[data-row='{above}'] td").nth(1).inner_text().split()[0]
        printed = difference.split()[0].rstrip("?")
        assert f"({float(ours) - float(printed):+z.2f})" in difference


def test_an_address_shows_what_its_sender_saw(browser: Any, page: Any, report: Path) -> None:
    page.select_option("select >> nth=0", "exact_match")
    page.locator("#scores th button", has_text="Avg.").first.click()
    page.locator("#heat button").nth(0).click()
    page.locator("#heat button").nth(4).click()
    address = page.evaluate("location.hash")
    other, _ = opened(browser, report, after=address)
    for place in ("#scores", "#heat", "#comparison"):
        assert page.inner_html(place) == other.inner_html(place)
    assert other.evaluate("location.hash") == address
    nonsense, seen = opened(browser, report, after="#metric=nope&seeds=7&sort=99-&pair=x,y&correction=constructor")
    assert nonsense.inner_text("#state") == "As amid table prints it."
    assert seen.complaints == []


def test_the_keyboard_reaches_everything(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "sort", "past the choices, at the table"
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
        if page.evaluate("document.activeElement.closest('#heat') !== null"):
            break
    assert "pick" in seen
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#heat [aria-pressed=true]").count() == 2
    assert page.locator("#comparison article").count() == 3
    assert "are compared below" in page.inner_text("[role=status]"), "and it is said aloud"


def test_the_focus_stays_where_it_was_when_the_table_is_made_anew(page: Any) -> None:
    button = page.locator("#scores th button").nth(2)
    button.focus()
    for _ in range(3):  # down, up, and as it was
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.textContent") == "dolly"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_nothing_and_nothing_runs_out_of_the_window(
    browser: Any, report: Path, scheme: str, width: int
) -> None:
    page, _ = opened(browser, report, width=width, color_scheme=scheme, bypass_csp=True)
    page.locator("#heat button").nth(0).click()
    page.locator("#heat button").nth(5).click()
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    page.evaluate(axe_script())
    assert page.evaluate(VIOLATIONS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_a_script_the_numbers_are_there(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report, java_script_enabled=False)
    assert page.locator("#scores tr[data-row]").count() == 13
    assert not page.locator("#controls").is_visible()


def test_a_screen_reader_hears_captions_heads_states_and_marks(page: Any) -> None:
    heard = page.locator("body").aria_snapshot()
    for said in (
        'table "Scores"',
        'columnheader "Val."',
        'rowheader "none (r = q)"',
        'img "Profile over alpha"',
        " best",
    ):
        assert said in heard, said


def test_print_shows_the_tables_and_no_controls(page: Any) -> None:
    page.emulate_media(media="print")
    assert not page.locator("#controls").is_visible()
    assert page.locator("#scores").is_visible()


# Sweeps of other kinds


def test_sets_at_a_tuned_temperature_are_computed_too(browser: Any, tmp_path: Path) -> None:
    protocol = replace(protocol_of(SETS[:2]), temperatures=(0.3, 1.0), validation={"seed": 10, "temperature": 1.0})
    made = Made(Store(tmp_path / "results"), protocol, [ALPHA])
    add_tuned(made, {ALPHA: "-1"}, {0.3: 4.0, 1.0: 5.0}, answered=90.0)
    add_tuned(made, {ALPHA: "0"}, {0.3: 6.0, 1.0: 5.0}, answered=8.0)
    add_tuned(made, {ALPHA: "2"}, {1.0: 5.0})
    page, _ = opened(browser, written(made.manifest, made.store, tmp_path))
    assert "Avg. tuned" in page.inner_text("#scores")
    same_as_python(page, in_python(made.manifest, made.store))


def test_sets_of_different_metrics_have_no_average_until_one_is_chosen(browser: Any, tmp_path: Path) -> None:
    made = reported_sweep(tmp_path / "results", sets=SETS[:2], paper=None)
    for protocol in made.manifest["protocols"].values():
        protocol["sets"]["dolly"]["metric"] = "exact_match"
    page, _ = opened(browser, written(made.manifest, made.store, tmp_path))
    assert "Avg. - best" not in page.inner_text("#scores")
    same_as_python(page, in_python(made.manifest, made.store))
    page.evaluate("change({ metric: 'exact_match' })")
    python = in_python(made.manifest, made.store, metric="exact_match")
    assert "Avg. - best" in python["scores"]
    same_as_python(page, {"scores": python["scores"]})


def test_a_single_run_and_a_sweep_of_which_nothing_is_there_open_too(browser: Any, tmp_path: Path) -> None:
    for name, mean in (("one", 20.0), ("none", None)):
        made = Made(Store(tmp_path / name), protocol_of(["dolly"]), [ALPHA], name=name)
        made.add({ALPHA: "1"}, mean=mean, validation=mean)
        page, seen = opened(browser, written(made.manifest, made.store, tmp_path))
        same_as_python(page, in_python(made.manifest, made.store))
        assert seen.complaints == []
