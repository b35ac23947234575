"""The report of a sweep as one HTML file: what it says, that nothing in it is taken for markup, the same bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_sweep import Made, protocol_of
from reported_sweep import ALPHA, HOSTILE, NAME, ORDER, reported_sweep
from small_stores import small_store

from amid.errors import visible
from amid.reports.cells import lines_of, plain
from amid.reports.page.heat_map import LEVELS, levels_of
from amid.reports.page.markup import embedded_json
from amid.reports.page.packing import Packing
from amid.reports.page.pictures import front_of
from amid.reports.page.places import alpha_name, alphas_of, places_of
from amid.reports.page.report import build_report
from amid.reports.page.svg import scale_of, ticks_of
from amid.reports.page.texts import MAX_CHARS, cut
from amid.reports.page.verdict import verdict_of
from amid.reports.tables import build_table, build_view
from amid.store import Store

UNHEARD: list[str] = []  # of what says a mark in words, and of the mark itself
VOID = ("meta", "br", "img", "input")


class Read(HTMLParser):
    """A page by its elements: names, attributes, text of each; and whether all that is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        content: list[str] = UNHEARD if tag == "sup" or ("class", "sr") in attrs else []
        self.elements.append((tag, dict(attrs), content))
        if tag not in VOID:
            self.open.append((tag, content))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        name, _ = self.open.pop()
        assert name == tag

    def handle_data(self, data: str) -> None:
        if not any(content is UNHEARD for _, content in self.open):
            for _, content in self.open:
                content.append(data)

    def text(self, id_: str) -> str:
        """The text of the element of that id."""
        return next("".join(content) for _, attributes, content in self.elements if attributes.get("id") == id_)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        """Every element of that name: attributes and text."""
        return [(attributes, "".join(content)) for name, attributes, content in self.elements if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return reported_sweep(tmp_path_factory.mktemp("made") / "results")


@pytest.fixture(scope="module")
def html(made: Made) -> str:
    return build_report(made.manifest, made.store, num_texts=3).html


@pytest.fixture(scope="module")
def read(html: str) -> Read:
    return Read(html)


# What it says


def test_the_table_has_the_cells_of_amid_table(made: Made, read: Read) -> None:
    table, is_line = build_table(made.manifest, made.store), False
    rows: list[list[str]] = []
    for tag, attributes, content in read.elements:
        if tag == "tr":
            rows.append([])
            is_line = "data-row" in attributes or attributes.get("class") == "paper"
        elif tag in ("th", "td") and is_line:
            rows[-1].append("".join(content))
    expected = [plain(line.labels, line.cells) for line in lines_of(table) if line.title is None]
    assert [row for row in rows if row] == expected
    assert len(expected) == 19


def test_every_table_has_a_caption_and_every_head_its_scope(read: Read) -> None:
    assert len(read.all("table")) == len(read.all("caption"))
    assert all("scope" in attributes for attributes, _ in read.all("th"))


def test_the_map_draws_what_is_missing_failed_and_diverged_each_in_its_way(read: Read) -> None:
    buttons = [(attributes["class"], content) for attributes, content in read.all("button")]
    cells = [(kind, content) for kind, content in buttons if kind and kind.startswith("pick ")]
    assert [each for each in cells if "h" not in each[0].split()[1][0]] == [
        ("pick missing", "missing"),
        ("pick failed", "failed"),
        ("pick diverged", "diverged"),
    ]
    assert re.fullmatch(r"\d+\.\d\d\[\d+\.\d\d, \d+\.\d\d\](paper \d+\.\d\d)?", cells[0][1])


def test_alphas_are_ordered_by_value_with_infinities_and_none_as_categories(made: Made) -> None:
    assert alphas_of(places_of(build_view(made.manifest, made.store))) == ["-∞", "-5", "-1", "0.5", "+∞", "none"]
    assert [alpha_name(each) for each in ("-inf", "inf", "null", None, "-5.0", "cosine")] == [
        *("-∞", "+∞", "none", "none", "-5", "cosine")
    ]


def test_the_pictures_name_their_series_and_the_papers_numbers(read: Read) -> None:
    titles = [content for attributes, content in read.all("title") if not attributes]
    assert "kl(p || r), alpha -5: paper 22.66" in titles
    assert any(re.match(r"kl\(p \|\| r\), alpha none: \d+\.\d\d \[", each) for each in titles)
    assert {"Profile over alpha", "Quality and diversity", "train/loss"} <= {
        content for _, content in read.all("title")
    }


def test_each_number_has_its_command(read: Read) -> None:
    commands = [content for _, content in read.all("code")]
    for command in ("amid best made", "amid table made", "amid costs made", "amid report made --texts 3"):
        assert command in commands
    assert "python run.py amid.alpha=-5" in commands
    assert sum(each.startswith("python run.py cell=") for each in commands) == 12


def test_folders_of_the_machine_stay_out(html: str) -> None:
    assert "/home/someone" not in html


# Texts of others


def test_texts_of_models_are_never_markup(html: str, read: Read) -> None:
    scripts = read.all("script")
    assert len(scripts) == 4, "three of data, one of ours"
    assert "<img" not in html
    texts = json.loads(read.text("texts"))
    group = texts["dolly"][0]
    assert [each.endswith(visible(HOSTILE)) for each in group["questions"]] == [True] * 3
    responses = next(iter(group["responses"].values()))
    assert responses[2].endswith(visible(HOSTILE))
    assert group["of"] == 24, "of so many prompts there are the first three"


def test_names_of_a_sweep_are_never_markup(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = Made(store, protocol_of(["<b>&\"'"]), [ALPHA], name="a<script>b")
    made.add({ALPHA: "<i>1</i>"}, mean=3.0, validation=1.0, overrides=["x='<u>'"])
    found = Read(build_report(made.manifest, store, num_texts=1).html)
    assert not found.all("i")
    assert not found.all("u")
    assert len(found.all("script")) == 4
    assert any(content == "<b>&\"'" for _, content in found.all("th"))


def test_embedded_json_ends_no_script_element() -> None:
    text = "</script><!--<script>&\u2028\u2029"
    shown = embedded_json({"a": text})
    assert not set("<>&\u2028\u2029") & set(shown)
    assert json.loads(shown) == {"a": text}


def test_a_long_text_is_cut_and_says_so() -> None:
    assert cut("a" * MAX_CHARS) == "a" * MAX_CHARS
    assert cut("a" * (MAX_CHARS + 5)) == "a" * MAX_CHARS + "… (5 more characters)"
    assert cut("\u202ea") == "\\u202ea"


# The file


def test_the_policy_allows_this_style_and_this_script_alone(read: Read) -> None:
    policy = next(a["content"] for a, _ in read.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    style = read.all("style")[0][1]
    script = next(content for attributes, content in read.all("script") if "type" not in attributes)
    hashes = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in (style, script)]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; base-uri 'none'; "
        "form-action 'none'"
    )
    links = [attributes[key] for _, attributes, _ in read.elements for key in ("src", "href") if key in attributes]
    assert links == ["#table"], "and it leads nowhere else"
    given = {key for _, attributes, _ in read.elements for key in attributes}
    assert not [key for key in given if key == "style" or key.startswith("on")], "the policy would not let them in"


def test_the_same_store_gives_the_same_bytes(made: Made, html: str) -> None:
    assert build_report(made.manifest, Store(made.store.root), num_texts=3).html == html


def test_no_id_is_given_twice(read: Read) -> None:
    ids = [attributes["id"] for _, attributes, _ in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_what_is_no_data_stays_below_300_kilobytes(made: Made) -> None:
    sizes = build_report(made.manifest, made.store, num_texts=0).sizes
    assert sizes["page"] < 300_000
    assert sizes["texts"] < 3000, "no text was asked for"


def test_packed_values_are_exact() -> None:
    rng = np.random.default_rng(0)
    for distinct in (3, 300, 70_000):
        values = tuple(float(each) for each in rng.choice(rng.normal(size=distinct), 2 * distinct))
        packing = Packing([values])
        given: Any = packing.embedded()
        places = np.frombuffer(base64.b64decode(packing.packed(values)), dtype=f"<u{given['width']}")
        assert tuple(given["values"][place] for place in places) == values


def test_levels_of_colour_go_from_the_worst_to_the_best() -> None:
    assert levels_of({0: 1.0, 1: 2.0, 2: None, 3: 1.5}, lower=False) == {0: 0, 1: LEVELS - 1, 3: 3}
    assert levels_of({0: 1.0, 1: 2.0}, lower=True) == {0: LEVELS - 1, 1: 0}
    assert levels_of({0: 1.0, 1: 1.0}, lower=False) == {0: 3, 1: 3}
    assert levels_of({0: None}, lower=False) == {}


def test_the_front_is_what_no_other_row_beats() -> None:
    points = [(0.3, 20.0), (0.2, 19.0), (0.25, 18.0), (0.4, 21.0), (0.3, 19.5), (0.2, 19.0)]
    assert front_of(points) == [1, 5, 0, 3]


def test_ticks_are_round_and_inside() -> None:
    scale = scale_of([0.27, 0.31], 0.0, 100.0)
    assert ticks_of(scale) == [0.27, 0.28, 0.29, 0.3, 0.31]
    assert scale_of([5.0, 5.0], 0.0, 10.0)(5.0) == pytest.approx(5.0), "of equal values the middle"


# What cannot be said yet


def said_of(made: Made) -> tuple[str, list[str]]:
    return verdict_of(made.manifest, made.store, build_view(made.manifest, made.store))


def made_of(tmp_path: Path, means: dict[str, float | None], *, validation: dict[str, float] | None = None) -> Made:
    made = Made(Store(tmp_path), protocol_of(["dolly"]), [ALPHA])
    for alpha, mean in means.items():
        value = None if mean is None else (validation or {}).get(alpha, mean)
        made.add({ALPHA: alpha}, mean=mean, validation=value)
    return made


def test_a_winner_is_told_apart_from_all_others(tmp_path: Path) -> None:
    said, limits = said_of(made_of(tmp_path, {"-1": 20.0, "0": 25.0, "1": 21.0}))
    assert re.fullmatch(
        r"amid.alpha=0 \(\w{6}\) wins: it is best by validation ROUGE-L \(25.00\) and ahead of 2 of the 2 other rows "
        r"on Avg. at 5 %.",
        said,
    )
    assert limits == ["Each row is one training: another training seed is another draw, of which this says nothing."]


def test_where_the_intervals_overlap_there_is_no_winner(tmp_path: Path) -> None:
    said, _ = said_of(made_of(tmp_path, {"-1": 20.0, "0": 20.01}))
    assert said.startswith("The intervals overlap, no winner: amid.alpha=0 (")
    assert said.endswith("(20.01), but the only other row cannot be told from it on Avg. at 5 %.")


def test_some_that_cannot_be_told_apart_are_counted(tmp_path: Path) -> None:
    said, _ = said_of(made_of(tmp_path, {"-1": 20.0, "0": 20.01, "1": 10.0}))
    assert "no winner" in said
    assert said.endswith("but 1 of the 2 other rows cannot be told from it on Avg. at 5 %.")


def test_the_best_by_validation_need_not_be_the_best_on_the_sets(tmp_path: Path) -> None:
    said, _ = said_of(made_of(tmp_path, {"-1": 20.0, "0": 25.0}, validation={"-1": 30.0, "0": 20.0}))
    assert said.startswith("No winner: amid.alpha=-1 (")
    assert said.endswith("but the only other row does significantly better on Avg. at 5 %.")


def test_of_missing_cells_nothing_is_said_and_that_is_said(made: Made, tmp_path: Path) -> None:
    _, limits = said_of(made)
    assert limits[0] == (
        "It cannot yet say anything of 3 of 12 cells (1 absent, 1 diverged, 1 failed): any of them may change it "
        "(amid status says more)."
    )
    said, limits = said_of(made_of(tmp_path, {"-1": 20.0, "0": None}))
    assert said.endswith("and no other of the 2 rows has a score yet to compare it with.")
    assert "1 of 2 cells (1 absent)" in limits[0]


def test_where_nothing_is_finished_there_is_a_report_that_says_so(tmp_path: Path) -> None:
    made = made_of(tmp_path, {"-1": None, "0": None})
    said, limits = said_of(made)
    assert said == "Nothing can be said yet: none of the 2 rows has a score of validation ROUGE-L."
    assert "2 of 2 cells (2 absent)" in limits[0]
    found = Read(build_report(made.manifest, made.store, num_texts=3).html)
    assert [content for attributes, content in found.all("button") if attributes["class"] == "pick missing"] == [
        "missing",
        "missing",
    ]
    assert not found.all("figure"), "and no picture of nothing"


def test_a_small_store_and_a_damaged_one_are_reported(tmp_path: Path) -> None:
    store, cells = small_store(tmp_path / "results")
    manifest = store.read_sweep("demo")
    assert Read(build_report(manifest, store, num_texts=2).html).text("verdict")
    scores = store.folder(cells[0]) / "scores.jsonl"
    scores.write_text(scores.read_text().replace("rouge_l", "rouge_m"))
    damaged = build_report(manifest, store, num_texts=2)
    assert damaged.damage
    assert any(attributes.get("class") == "damage" for attributes, _ in Read(damaged.html).all("p"))


def test_rows_of_several_labels_keep_their_place(tmp_path: Path) -> None:
    made = Made(Store(tmp_path), protocol_of(["dolly"]), [NAME, ORDER, "amid.lam", ALPHA])
    for lam in ("0.1", "0.5"):
        made.add({NAME: "kl", ORDER: "rp", "amid.lam": lam, ALPHA: "-1"}, mean=20.0, validation=1.0)
    series = [place.series for place in places_of(build_view(made.manifest, made.store))]
    assert series == ["kl(r || p), amid.lam 0.1", "kl(r || p), amid.lam 0.5"]
