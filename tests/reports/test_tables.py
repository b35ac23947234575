"""Tables: means, spreads and gaps against numbers worked out by hand, in every style."""

import json
import re
from dataclasses import replace

import pytest

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.errors import RequestError
from amid.evaluation.protocol import Protocol, SetProtocol
from amid.generation.decoding import Decoding
from amid.reports.styles import STYLES
from amid.reports.tables import build_model_table, build_table, render
from amid.store import Score, Store


def set_protocol(digest, **values):
    shared = {"max_prompt_tokens": 256, "decoding": Decoding(max_new_tokens=8), "decode_seeds": (10, 20)}
    metrics = {"metric": "rouge_l", "metrics": ("rouge_l", "self_bleu")}
    return SetProtocol(**{"digest": digest, "prompt": "alpaca", **shared, **metrics, **values})


PROTOCOL = Protocol(
    sets={"dolly": set_protocol("d1"), "self_inst": set_protocol("d2")},
    validation={"seed": 10},
)
TEACHER = Stage("teacher", "t" * 12, {})
STUDENT = Stage("student_init", "s" * 12, {})
CELLS = {name: Cell(name * 12, {}, {"teacher": TEACHER, "student_init": STUDENT}) for name in ("a", "b", "c", "d", "e")}
MANIFEST = {
    "name": "demo",
    "rows": ["amid.alpha"],
    "metric": "rouge_l",
    "protocols": {"p": PROTOCOL.manifest()},
    "references": [
        {"kind": "teacher", "id": TEACHER.id, "pair": "tiny", "protocol": "p"},
        {"kind": "student_init", "id": STUDENT.id, "pair": "tiny", "protocol": "p"},
    ],
    "cells": [
        {"id": cell.id, "overrides": ["divergence.order=pr"], "labels": {"amid.alpha": alpha}, "protocol": "p"}
        for cell, alpha in zip(CELLS.values(), ("-5", "-1", "0", "1", "null"), strict=True)
    ],
}


def put(store, entry, *, validation=None, dolly=(), self_inst=(), pooled=()):
    """Scores of an entry: per seed for the two sets, one Self-BLEU per set."""
    scores = []

    def add(eval_set, generation_id, metric, value, seed=None):
        scores.append(Score(entry.id, eval_set, generation_id, f"{generation_id}-{metric}", seed, metric, value, 3))

    if validation is not None:
        add("validation", PROTOCOL.validation_id(entry.id), "rouge_l", validation, 10)
    for name, values in (("dolly", dolly), ("self_inst", self_inst)):
        for seed, value in zip((10, 20), values, strict=False):
            add(name, PROTOCOL.generation_id(entry.id, name, seed), "rouge_l", value, seed)
    for name, value in zip(("dolly", "self_inst"), pooled, strict=False):
        add(name, PROTOCOL.pooled_id(entry.id, name), "self_bleu", value)
    store.folder(entry).mkdir(parents=True)
    store.write(entry, scores)
    store.set_status(entry, "done")


@pytest.fixture
def store(tmp_path):
    """a is complete, b lacks a seed, c lacks a set, d has failed, e was never started; the student is not built."""
    store = Store(tmp_path / "results")
    put(store, TEACHER, validation=30.0, dolly=(30.0, 30.0), self_inst=(20.0, 22.0), pooled=(0.5, 0.25))
    put(store, CELLS["a"], validation=25.0, dolly=(20.0, 24.0), self_inst=(10.0, 11.0), pooled=(0.25, 0.5))
    put(store, CELLS["b"], validation=24.0, dolly=(20.0,), self_inst=(0.0, 0.0), pooled=(0.0, 0.0))
    put(store, CELLS["c"], dolly=(20.0, 24.0), pooled=(0.25,))
    store.folder(CELLS["d"]).mkdir(parents=True)
    store.set_failed(CELLS["d"], "diverged", "")
    return store


@pytest.fixture
def table(store):
    return build_table(MANIFEST, store)


def test_a_mean_is_over_seeds_with_the_population_standard_deviation(table):
    validation, dolly, self_inst, average, diversity = table.rows[2].values
    assert (dolly.mean, dolly.std, dolly.num_seeds, dolly.expected_seeds) == (22.0, 2.0, 2, 2)
    assert (self_inst.mean, self_inst.std) == (10.5, 0.5)
    assert (validation.mean, validation.std) == (25.0, None)
    assert (average.mean, average.std) == (16.25, None)
    assert diversity.mean == 0.375


def test_rows_are_teacher_initial_student_and_the_cells_in_their_order(table):
    assert [row.labels[0] for row in table.rows] == ["teacher", "initial student", "-5", "-1", "0", "1", "none (r = q)"]
    assert [row.state for row in table.rows] == ["done", "absent", "done", "done", "done", "diverged", "absent"]


def test_what_is_missing_is_never_a_number(table):
    by_label = {row.labels[0]: row.values for row in table.rows}
    for label in ("initial student", "1", "none (r = q)"):
        assert by_label[label] == (None,) * 5


def test_a_missing_seed_shows_in_its_column_and_has_no_spread(table):
    value = table.rows[3].values[1]
    assert (value.mean, value.std, value.num_seeds, value.expected_seeds) == (20.0, None, 1, 2)
    assert "20.00 (1/2)" in render(table, "text")


def test_avg_is_a_gap_if_a_set_is_missing(table):
    assert table.rows[4].values[2:] == (None, None, None)


def test_a_true_zero_is_a_number_and_no_gap(table):
    assert table.rows[3].values[2].mean == 0.0
    assert render(table, "text").splitlines()[5].split()[-1] == "0.000"


def test_scores_of_another_protocol_do_not_appear(store):
    sets = {name: replace(each, max_prompt_tokens=128) for name, each in PROTOCOL.sets.items()}
    other = {**MANIFEST, "protocols": {"p": replace(PROTOCOL, sets=sets).manifest()}}
    complete = build_table(other, store).rows[2]
    assert complete.values[1:] == (None,) * 4
    assert complete.values[0].mean == 25.0  # validation is another protocol's only with other validation settings


def test_the_metric_of_the_columns_can_be_another_one(store):
    table = build_table(MANIFEST, store, metric="self_bleu")
    assert table.rows[2].values[1] is None
    assert table.note.startswith("self_bleu, ")


def test_several_pairs_are_told_apart_in_their_reference_rows(store):
    references = [*MANIFEST["references"], {**MANIFEST["references"][0], "pair": "hf", "id": "u" * 12}]
    labels = [row.labels[0] for row in build_table({**MANIFEST, "references": references}, store).rows]
    assert labels[:3] == ["teacher tiny", "initial student tiny", "teacher hf"]


NOTE = "rouge_l, mean ± std over 2 decode seeds; Val. selected the weights; Self-BLEU in [0, 1], lower is more diverse"
TEXT = """\
amid.alpha           Val.         dolly     self_inst   Avg.  Self-BLEU
-----------------------------------------------------------------------
teacher             30.00  30.00 ± 0.00  21.00 ± 1.00  25.50      0.375
initial student         -             -             -      -          -
-5                  25.00  22.00 ± 2.00  10.50 ± 0.50  16.25      0.375
-1                  24.00   20.00 (1/2)   0.00 ± 0.00  10.00      0.000
0                       -  22.00 ± 2.00             -      -          -
1                diverged             -             -      -          -
none (r = q)            -             -             -      -          -
"""
MARKDOWN = """\
| amid.alpha      |     Val. |        dolly |    self_inst |  Avg. | Self-BLEU |
| --------------- | -------: | -----------: | -----------: | ----: | --------: |
| teacher         |    30.00 | 30.00 ± 0.00 | 21.00 ± 1.00 | 25.50 |     0.375 |
| initial student |        - |            - |            - |     - |         - |
| -5              |    25.00 | 22.00 ± 2.00 | 10.50 ± 0.50 | 16.25 |     0.375 |
| -1              |    24.00 |  20.00 (1/2) |  0.00 ± 0.00 | 10.00 |     0.000 |
| 0               |        - | 22.00 ± 2.00 |            - |     - |         - |
| 1               | diverged |            - |            - |     - |         - |
| none (r = q)    |        - |            - |            - |     - |         - |
"""
LATEX = r"""% \usepackage{booktabs,siunitx}
{\sisetup{separate-uncertainty=true,detect-weight=true}
\begin{tabular}{lrrrrr}
\toprule
amid.alpha & Val. & dolly & self\_inst & Avg. & Self-BLEU \\
\midrule
teacher & \num{30.00} & \num{30.00 +- 0.00} & \num{21.00 +- 1.00} & \num{25.50} & \num{0.375} \\
initial student & - & - & - & - & - \\
-5 & \num{25.00} & \num{22.00 +- 2.00} & \num{10.50 +- 0.50} & \num{16.25} & \num{0.375} \\
-1 & \num{24.00} & \num{20.00} (1/2) & \num{0.00 +- 0.00} & \num{10.00} & \num{0.000} \\
0 & - & \num{22.00 +- 2.00} & - & - & - \\
1 & diverged & - & - & - & - \\
none (r = q) & - & - & - & - & - \\
\bottomrule
\end{tabular}
}
"""
CSV = """\
amid.alpha,state,warnings,Val.,Val. std,Val. seeds,dolly,dolly std,dolly seeds,self_inst,self_inst std,self_inst seeds,Avg.,Avg. std,Avg. seeds,Self-BLEU,Self-BLEU std,Self-BLEU seeds
teacher,done,,30.0,,1,30.0,0.0,2,21.0,1.0,2,25.5,,1,0.375,,1
initial student,absent,,,,0,,,0,,,0,,,0,,,0
-5,done,,25.0,,1,22.0,2.0,2,10.5,0.5,2,16.25,,1,0.375,,1
-1,done,,24.0,,1,20.0,,1,0.0,0.0,2,10.0,,1,0.0,,1
0,done,,,,0,22.0,2.0,2,,,0,,,0,,,0
1,diverged,,,,0,,,0,,,0,,,0,,,0
none (r = q),absent,,,,0,,,0,,,0,,,0,,,0
"""  # noqa: E501
LEFT, RIGHT = (f'style="text-align: {side}"' for side in ("left", "right"))
HTML = "\n".join(
    [
        '<table class="amid">',
        "<thead>",
        f"<tr><th {LEFT}>amid.alpha</th>"
        + "".join(f"<th {RIGHT}>{head}</th>" for head in ("Val.", "dolly", "self_inst", "Avg.", "Self-BLEU"))
        + "</tr>",
        "</thead>",
        "<tbody>",
        *(
            f"<tr><td {LEFT}>{label}</td>" + "".join(f"<td {RIGHT}>{cell}</td>" for cell in cells) + "</tr>"
            for label, *cells in (re.split(r"\s\s+", line) for line in TEXT.splitlines()[2:])
        ),
        "</tbody>",
        "<tfoot>",
        f'<tr><td colspan="6">{NOTE}</td></tr>',
        "</tfoot>",
        "</table>",
        "",
    ]
)
EXPECTED = {
    "html": HTML,
    "text": f"{TEXT}({NOTE})\n",
    "markdown": f"{MARKDOWN}\n{NOTE}.\n",
    "latex": f"{LATEX}% {NOTE}\n",
    "csv": CSV,
}


@pytest.mark.parametrize("style", EXPECTED)
def test_a_style_prints_exactly_this(table, style):
    assert render(table, style) == EXPECTED[style]


WARNINGS = ["worse than its initial student: validation ROUGE-L 26.00 -> 25.00", "worse than guessing: \x1b[2J"]


@pytest.mark.parametrize("style", EXPECTED)
def test_a_student_that_ended_badly_is_marked_and_the_note_says_how(store, table, style):
    store.set_status(CELLS["a"], "done", warnings=WARNINGS)
    lines, before = (render(each, style).splitlines() for each in (build_table(MANIFEST, store), table))
    marked = {
        "text": "-5 !  ",
        "markdown": "| -5 !  ",
        "latex": "-5 ! & ",
        "html": f"<tr><td {LEFT}>-5 !<",
        "csv": f"-5,done,{WARNINGS[0]}; worse than",
    }
    changed = [line for line, old in zip(lines, before, strict=True) if line != old]
    assert changed[0].startswith(marked[style])
    assert "\x1b" not in changed[0]
    if style != "csv":
        assert "! worse than its initial student or worse than guessing (amid status says by how much)" in changed[1]


def test_json_holds_every_number_and_null_for_every_gap(table):
    found = json.loads(render(table, "json"))
    assert found["note"] == NOTE
    assert found["rows"][2] == {
        "labels": {"amid.alpha": "-5"},
        "state": "done",
        "warnings": [],
        "values": {
            "Val.": {"mean": 25.0, "std": None, "seeds": 1},
            "dolly": {"mean": 22.0, "std": 2.0, "seeds": 2},
            "self_inst": {"mean": 10.5, "std": 0.5, "seeds": 2},
            "Avg.": {"mean": 16.25, "std": None, "seeds": 1},
            "Self-BLEU": {"mean": 0.375, "std": None, "seeds": 1},
        },
    }
    assert found["rows"][5]["state"] == "diverged"
    assert set(found["rows"][5]["values"].values()) == {None}


@pytest.mark.parametrize("style", STYLES)
def test_the_same_store_gives_the_same_bytes(store, style):
    first, second = (render(build_table(MANIFEST, store), style) for _ in range(2))
    assert first.encode() == second.encode()
    assert first.endswith("\n")


def test_building_a_table_changes_nothing_on_disk(store):
    def listing():
        return sorted((path, path.stat().st_mtime_ns) for path in store.root.rglob("*"))

    before = listing()
    render(build_table(MANIFEST, store), "text")
    assert listing() == before


def test_a_sweep_without_row_keys_names_its_rows_by_cell(store):
    cells = [{**MANIFEST["cells"][0], "labels": {}}]
    table = build_table({**MANIFEST, "rows": [], "cells": cells}, store)
    assert table.label_names == ("cell",)
    assert table.rows[-1].labels == (CELLS["a"].id,)


@pytest.fixture
def mixed(store):
    """A sweep whose second set is greedy and has a metric of its own."""
    task = set_protocol("d3", metric="gsm8k_accuracy", metrics=("gsm8k_accuracy",), decode_seeds=(10,))
    protocol = Protocol(sets={"dolly": PROTOCOL.sets["dolly"], "gsm8k": task}, validation={"seed": 10})
    entry = CELLS["a"]
    generation_id = protocol.generation_id(entry.id, "gsm8k", 10)
    store.write(entry, [Score(entry.id, "gsm8k", generation_id, "s", 10, "gsm8k_accuracy", 12.5, 8)])
    return {**MANIFEST, "metric": None, "protocols": {"p": protocol.manifest()}}


def test_each_set_shows_its_own_metric_and_the_caption_says_which(mixed, store):
    table = build_table(mixed, store)
    assert table.columns == ("Val.", "dolly", "gsm8k", "Avg.", "Self-BLEU")
    validation, dolly, gsm8k, average, diversity = table.rows[2].values
    assert (validation.mean, dolly.mean, gsm8k.mean, gsm8k.expected_seeds) == (25.0, 22.0, 12.5, 1)
    assert average is None  # of a ROUGE-L and an accuracy there is no mean
    assert diversity.mean == 0.25  # of the sets that have one
    assert table.note == (
        "rouge_l (dolly), gsm8k_accuracy (gsm8k), mean ± std over 2 decode seeds (greedy: gsm8k); "
        "Val. selected the weights; no Avg. over different metrics; Self-BLEU in [0, 1], lower is more diverse"
    )


@pytest.fixture
def twinned(store):
    """The demo, both of whose sets are answered greedily too."""
    greedy = {"decoding": Decoding(max_new_tokens=8, temperature=0.0), "decode_seeds": (10,)}
    twins = {f"{name}_greedy": replace(each, **greedy, twin_of=name) for name, each in PROTOCOL.sets.items()}
    protocol = replace(PROTOCOL, sets={**PROTOCOL.sets, **twins})
    for letter, values in (("a", (31.0, 12.0)), ("b", (30.0,))):
        entry = CELLS[letter]
        ids = [protocol.generation_id(entry.id, name, 10) for name in twins]
        given = zip(twins, ids, values, strict=False)
        store.write(entry, [Score(entry.id, name, id_, id_, 10, "rouge_l", value, 3) for name, id_, value in given])
    return {**MANIFEST, "protocols": {"p": protocol.manifest()}}


def test_greedy_twins_have_columns_and_an_average_of_their_own(twinned, store):
    table = build_table(twinned, store, decoding="all")
    assert table.columns == (
        *("Val.", "dolly", "self_inst", "dolly_greedy", "self_inst_greedy"),
        *("Avg.", "Avg. greedy", "Self-BLEU"),
    )
    complete, gap = (dict(zip(table.columns, table.rows[number].values, strict=True)) for number in (2, 3))
    greedy = complete["dolly_greedy"]
    assert (greedy.mean, greedy.std, greedy.num_seeds, greedy.expected_seeds) == (31.0, None, 1, 1)
    assert (complete["Avg."].mean, complete["Avg. greedy"].mean) == (16.25, 21.5)
    assert complete["Self-BLEU"].mean == 0.375, "of the sampled responses"
    assert gap["self_inst_greedy"] is None
    assert gap["Avg. greedy"] is None
    assert gap["Avg."].mean == 10.0
    assert "mean ± std over 2 decode seeds (greedy: dolly_greedy, self_inst_greedy)" in table.note


def test_a_table_of_one_decode_seed_says_too_what_is_greedy(twinned, store):
    sets = twinned["protocols"]["p"]["sets"]
    one = {name: {**each, "decode_seeds": [10]} for name, each in sets.items()}
    manifest = {**twinned, "protocols": {"p": {**twinned["protocols"]["p"], "sets": one}}}
    note = build_table(manifest, store, decoding="all").note
    assert "one decode seed (greedy: dolly_greedy, self_inst_greedy)" in note


def test_of_other_decodings_only_the_means_are_shown_unless_one_is_asked_for(twinned, store):
    table, every = build_table(twinned, store), build_table(twinned, store, decoding="all")
    assert table.columns == ("Val.", "dolly", "self_inst", "Avg.", "Avg. greedy", "Self-BLEU")
    assert "Avg. greedy: the sampled sets answered greedily (set by set: --decoding greedy)" in table.note
    greedy = build_table(twinned, store, decoding="greedy")
    assert greedy.columns == ("Val.", "dolly_greedy", "self_inst_greedy", "Avg. greedy")
    assert build_table(twinned, store, decoding="sampled").columns == (
        "Val.",
        "dolly",
        "self_inst",
        "Avg.",
        "Self-BLEU",
    )
    for each in (table, greedy):
        for row, full in zip(each.rows, every.rows, strict=True):
            known = dict(zip(every.columns, full.values, strict=True))
            assert row.values == tuple(known[name] for name in each.columns)


def test_a_decoding_that_the_table_has_not_is_refused(twinned, store):
    with pytest.raises(RequestError, match=r"--decoding 'warm' unknown; valid: all, greedy, sampled$"):
        build_table(twinned, store, decoding="warm")
    with pytest.raises(RequestError, match=r"--decoding tuned: .* repeat its command with evaluation\.also_tuned="):
        build_table(twinned, store, decoding="tuned")


def test_one_metric_for_all_columns_leaves_gaps_where_a_set_has_it_not(mixed, store):
    values = build_table(mixed, store, metric="rouge_l").rows[2].values
    assert values[1].mean == 22.0
    assert values[2] is None
    assert values[3] is None


def test_the_table_of_one_model_has_its_sets_and_no_validation(store):
    protocol = replace(PROTOCOL, validation=None)
    table = build_model_table("mine", store.folder(CELLS["a"]), CELLS["a"].id, protocol, store)
    assert (table.label_names, table.columns) == (("model",), ("dolly", "self_inst", "Avg.", "Self-BLEU"))
    (row,) = table.rows
    assert row.labels == ("mine",)
    assert [value.mean for value in row.values] == [22.0, 10.5, 16.25, 0.375]
    assert "Val." not in render(table, "text")
