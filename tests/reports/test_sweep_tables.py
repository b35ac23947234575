"""Tables of sweeps with blocks, training seeds, chosen rows, pivots, and the paper's numbers beside ours."""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from made_sweep import SETS, Made, protocol_of

from amid.errors import RequestError
from amid.generation.decoding import Decoding
from amid.reports.table import Table, block_title
from amid.reports.tables import build_table, render
from amid.store import Score, Store
from amid.store.layout import per_example_path
from amid.store.scores import write_scores
from amid.store.status import write_status

ALPHA, SEED, NAME, ORDER = "amid.alpha", "seed", "divergence.name", "divergence.order"
TWO_SETS = protocol_of(SETS[:2])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def by_label(table: Table, label: str) -> dict[str, object]:
    (row,) = [row for row in table.rows if row.labels[0] == label]
    return dict(zip(table.columns, row.values, strict=True))


def labels_of(table: Table) -> list[str]:
    return [row.labels[0] for row in table.rows if not row.is_reference]


# Blocks


@pytest.fixture
def blocks(store: Store) -> Made:
    """Two divergences by three alphas: -1 is best in the first; in the second -1 and 1 are alike, above none."""
    made = Made(store, TWO_SETS, [NAME, ORDER, ALPHA], table={"blocks": [NAME, ORDER]})
    means = {("kl", "pr"): (20.0, 24.0, 22.0), ("kl", "qr"): (20.0, 24.0, 24.05)}
    for alpha_index, alpha in enumerate(("null", "-1", "1")):  # the blocks alternate in the manifest
        for name, order in means:
            labels = {NAME: name, ORDER: order, ALPHA: alpha}
            mean = means[name, order][alpha_index]
            made.add(labels, mean={"dolly": mean, "self_inst": mean - 10.0}, validation=mean + 1.0)
    return made


TEXT = """\
amid.alpha       Val.         dolly         self_inst       Avg.               Avg. - best  Self-BLEU
-----------------------------------------------------------------------------------------------------
teacher             -             -                 -          -                                    -
kl(p || r)
  none (r = q)  21.00  20.00 ± 0.50      10.00 ± 0.50      15.00      -4.00 [-4.22, -3.78]          -
  -1            25.00  24.00 ± 0.50 *#   14.00 ± 0.50 *#   19.00 *#                   best          -
  1             23.00  22.00 ± 0.50 _#   12.00 ± 0.50 _#   17.00 _#   -2.00 [-2.20, -1.80]          -
kl(q || r)
  none (r = p)  21.00  20.00 ± 0.50      10.00 ± 0.50      15.00      -4.05 [-4.26, -3.84]          -
  -1            25.00  24.00 ± 0.50 *_#  14.00 ± 0.50 *_#  19.00 *_#  -0.05 [-0.28, +0.18]          -
  1             25.05  24.05 ± 0.50 *#   14.05 ± 0.50 *#   19.05 *#                   best          -
"""


def test_a_table_with_blocks_is_exactly_this(blocks: Made) -> None:
    shown = render(build_table(blocks.manifest, blocks.store), "text")
    assert shown[: shown.index("(rouge_l")] == TEXT
    again = render(build_table(blocks.manifest, Store(blocks.store.root)), "text")
    assert again.encode() == shown.encode()


def test_rows_stand_in_blocks_under_their_title(blocks: Made) -> None:
    table = build_table(blocks.manifest, blocks.store)
    assert table.label_names == (ALPHA,)
    assert [row.block for row in table.rows] == [(), *[("kl", "pr")] * 3, *[("kl", "qr")] * 3]
    lines = render(table, "text").splitlines()
    assert [line for line in lines if "||" in line] == ["kl(p || r)", "kl(q || r)"]
    assert labels_of(table) == ["none (r = q)", "-1", "1", "none (r = p)", "-1", "1"]


def test_bold_second_and_different_are_per_block(blocks: Made) -> None:
    table = build_table(blocks.manifest, blocks.store)
    marks = [(v.best, v.second, v.differs) for v in (row.values[3] for row in table.rows if not row.is_reference)]
    assert marks[:3] == [(False, False, False), (True, False, True), (False, True, True)]
    assert marks[3:] == [(False, False, False), (True, True, True), (True, False, True)], "both cannot be told apart"
    assert not any(row.values[0].best for row in table.rows if row.values[0]), "Val. has no value per prompt"
    assert "*: best of its block and all that is not significantly worse" in render(table, "text")


def test_a_title_says_the_divergence_with_its_arguments() -> None:
    assert block_title((NAME, ORDER), ("kl", "rp")) == "kl(r || p)"
    assert block_title(("strategy.name",), ("mixed",)) == "mixed"
    assert block_title((NAME, ORDER, "amid.lam"), ("ab", "pr", "0.1")) == "ab(p || r), amid.lam 0.1"
    assert block_title(("pair.name", "amid.lam"), ("tiny", "0.1")) == "pair.name tiny, amid.lam 0.1"


@pytest.mark.parametrize("style", ["latex", "html", "markdown"])
def test_styles_for_people_show_blocks_and_marks(blocks: Made, style: str) -> None:
    shown = render(build_table(blocks.manifest, blocks.store), style)
    expected = {
        "latex": (
            "\\midrule\n\\multicolumn{7}{l}{\\textit{kl(p \\textbar{}\\textbar{} r)}} \\\\\n",
            r"-1 & \num{25.00} & \textbf{\num{24.00 +- 0.50}\rlap{$^\dagger$}} &",
            r"\underline{\num{22.00 +- 0.50}\rlap{$^\dagger$}}",
            "\\bottomrule\n\\end{tabular}\n}\n%",
        ),
        "html": (
            '<tbody>\n<tr><th colspan="7" style="text-align: left">kl(p || r)</th></tr>',
            '<td style="text-align: right"><b>24.00 ± 0.50</b><sup>†</sup></td>',
            "<tfoot>",
        ),
        "markdown": (r"| *kl(p \|\| r)*", "**24.00 ± 0.50** †", "<u>22.00 ± 0.50</u> †"),
    }[style]
    for text in expected:
        assert text in shown
    assert shown.endswith("\n")


def test_data_styles_hold_blocks_marks_and_intervals(blocks: Made) -> None:
    table = build_table(blocks.manifest, blocks.store)
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    labels = [(row[NAME], row[ORDER], row[ALPHA]) for row in rows[1:3]]
    assert labels == [("kl", "pr", "none (r = q)"), ("kl", "pr", "-1")]
    assert (rows[2]["Avg. best"], rows[3]["Avg. best"], rows[3]["Avg. second"]) == ("1", "0", "1")
    assert float(rows[3]["Avg. to best"]) == pytest.approx(-2.0)
    assert float(rows[3]["Avg. to none"]) == pytest.approx(2.0)
    found = json.loads(render(table, "json"))["rows"][3]
    assert found["block"] == {NAME: "kl", ORDER: "pr"}
    value = found["values"]["Avg."]
    assert value["to_best_low"] < -2.0 < value["to_best_high"] < 0.0
    assert (value["best"], value["second"], value["differs"]) == (False, True, True)


def test_an_order_that_is_no_label_is_found_in_overrides_or_in_what_the_cell_records(store: Store) -> None:
    made = Made(store, TWO_SETS, [ALPHA, "amid.lam"])
    given = {
        "0.1": ["divergence=kl"],
        "0.2": ["divergence=rkl"],
        "0.3": ["divergence=kl", "divergence.order=qr"],
        "0.4": [],
        "0.5": [],
    }
    ids = [made.add({ALPHA: "null", "amid.lam": lam}, mean=1.0, overrides=each) for lam, each in given.items()]
    (store.root / ids[4] / "cell.yaml").write_text(yaml.safe_dump({"divergence": {"name": "kl", "order": "rq"}}))
    expected = ["none (r = q)", "none (r = q)", "none (r = p)", "none", "none (r = p)"]
    assert labels_of(build_table(made.manifest, store)) == expected


# Training seeds


@pytest.fixture
def seeds(store: Store) -> Made:
    """Two alphas at three training seeds; of the second one seed has diverged."""
    made = Made(store, TWO_SETS, [ALPHA, SEED], table={"average": [SEED]})
    for seed, mean in zip("123", (20.0, 21.0, 22.0), strict=True):
        made.add({ALPHA: "-1", SEED: seed}, mean=mean, validation=mean)
        failed = {"error": "diverged: the gradient of step 3 is not finite"} if seed == "2" else {"mean": mean + 5.0}
        made.add({ALPHA: "1", SEED: seed}, **failed)
    return made


def test_training_seeds_are_one_row_with_their_spread_apart(seeds: Made) -> None:
    table = build_table(seeds.manifest, seeds.store)
    assert table.label_names == (ALPHA,)
    assert labels_of(table) == ["-1", "1"]
    dolly = by_label(table, "-1")["dolly"]
    assert (dolly.mean, dolly.num_seeds, dolly.expected_seeds) == (pytest.approx(21.0), 6, 6)
    assert dolly.std == pytest.approx(0.5), "of decode seeds, within a training"
    assert dolly.train_std == pytest.approx(1.0), "of the three means"
    average = by_label(table, "-1")["Avg."]
    assert (average.trainings, average.expected_trainings, average.train_std) == (3, 3, pytest.approx(1.0))
    lines = render(table, "text").splitlines()
    assert "seeds ±" in lines[0]
    (line,) = [line for line in lines if line.startswith("-1")]
    assert "1.00 (3)" in line
    assert "rows: mean over up to 3 trainings (seed), ± within a training" in lines[-1]


def test_a_missing_training_seed_shows_in_its_numbers_and_its_state(seeds: Made) -> None:
    table = build_table(seeds.manifest, seeds.store)
    row = table.rows[-1]
    assert row.state == "2 done, 1 diverged"
    line = render(table, "text").splitlines()[-2]
    assert line.startswith("1 [2 done, 1 diverged]")
    assert "26.00 ± 0.50 (4/6)" in line
    assert "1.41 (2/3)" in line


def test_rows_are_compared_by_their_mean_over_training_seeds(seeds: Made) -> None:
    average = by_label(build_table(seeds.manifest, seeds.store), "-1")["Avg."]
    assert average.to_best.difference == pytest.approx(-5.0)
    assert not average.best


def test_cells_that_differ_in_no_label_stay_rows_of_their_own(store: Store) -> None:
    made = Made(store, TWO_SETS, [ALPHA])
    first, second = made.add({ALPHA: "1", "x": "1"}, mean=1.0), made.add({ALPHA: "1", "x": "2"}, mean=2.0)
    for cell in made.manifest["cells"]:
        del cell["labels"]["x"]
    table = build_table(made.manifest, store, ids=True)
    assert [row.ids for row in table.rows[1:]] == [(first,), (second,)]


def test_a_sweep_over_seeds_alone_is_one_row(store: Store) -> None:
    made = Made(store, TWO_SETS, [SEED])
    ids = [made.add({SEED: seed}, mean=mean) for seed, mean in (("1", 10.0), ("2", 12.0))]
    table = build_table(made.manifest, store)
    assert (table.label_names, labels_of(table)) == (("cell",), [" ".join(id_[:6] for id_ in ids)])
    assert table.rows[1].values[1].mean == pytest.approx(11.0)


# Rows that validation chooses


def chosen(store: Store, *, scores: dict[str, tuple[float | None, float]], over: tuple[str, ...] = (ALPHA,)) -> Made:
    """A row for alpha -1, and one for the best of the others: alpha -> (validation, test)."""
    made = Made(store, TWO_SETS, [ALPHA])
    first = made.add({ALPHA: "-1"}, mean=20.0, validation=20.0)
    others = [
        made.add({ALPHA: alpha}, mean=test, validation=validation) for alpha, (validation, test) in scores.items()
    ]
    made.manifest["groups"] = [
        {"name": None, "select": None, "cells": [first]},
        {"name": "alpha not +-1", "select": {"by": "val", "over": list(over)}, "cells": others},
    ]
    return made


def test_a_row_is_chosen_by_validation_and_never_by_test(store: Store) -> None:
    made = chosen(store, scores={"-5": (24.0, 21.0), "-3": (25.0, 18.0), "0": (23.0, 30.0)})
    table = build_table(made.manifest, store)
    assert labels_of(table) == ["-1", "alpha not +-1 (-3)"]
    assert table.rows[-1].values[1].mean == pytest.approx(18.0)


def test_a_chosen_row_says_which_candidates_are_missing(store: Store) -> None:
    made = chosen(store, scores={"-5": (24.0, 21.0), "-3": (None, 18.0), "0": (23.0, 30.0)})
    assert labels_of(build_table(made.manifest, store))[1] == "alpha not +-1 (-5; 2 of 3 validated)"


def test_a_group_in_which_nothing_is_validated_is_a_gap_that_says_so(store: Store) -> None:
    made = chosen(store, scores={"-5": (None, 21.0), "-3": (None, 18.0)})
    table = build_table(made.manifest, store)
    assert labels_of(table)[1] == "alpha not +-1 (of 2 none is validated yet)"
    assert set(table.rows[-1].values) == {None}


def test_weights_selected_by_loss_are_chosen_by_loss(store: Store) -> None:
    made = chosen(store, scores={"-5": (24.0, 21.0), "-3": (25.0, 18.0)})
    for cell, loss in zip(made.manifest["cells"][1:], (1.0, 2.0), strict=True):
        cell["overrides"] = ["train.validation.select=loss"]
        id_ = made.protocol.validation_id(cell["id"])
        folder = store.layout.folder_of("cell", cell["id"])
        found = Score(cell["id"], "validation", id_, f"{id_}l", None, "loss", loss, 3)
        write_scores(folder, [found], check=lambda: None)
    assert labels_of(build_table(made.manifest, store))[1] == "alpha not +-1 (-5)"


def test_candidates_are_means_over_training_seeds_and_complete_ones_come_first(store: Store) -> None:
    made = Made(store, TWO_SETS, [ALPHA], table={"average": [SEED]})
    for alpha, validations in {"-5": (20.0, 30.0), "-3": (24.0, 24.5), "0": (40.0, None)}.items():
        for seed, validation in zip("12", validations, strict=True):
            made.add({ALPHA: alpha, SEED: seed}, mean=1.0, validation=validation)
    every = [cell["id"] for cell in made.manifest["cells"]]
    made.manifest["groups"] = [{"name": "best", "select": {"by": "val", "over": [ALPHA]}, "cells": every}]
    table = build_table(made.manifest, store)
    assert labels_of(table) == ["best (-5; 2 of 3 validated)"]
    assert len(table.rows[-1].ids) == 2


def test_values_chosen_without_a_column_of_their_own_stand_behind_the_label(store: Store) -> None:
    made = Made(store, TWO_SETS, ["method"])
    cells = [
        made.add({"method": "amid", ALPHA: alpha, "train.lr": lr}, mean=1.0, validation=float(alpha))
        for alpha, lr in (("1", "0.1"), ("3", "0.2"))
    ]
    made.manifest["groups"] = [{"name": None, "select": {"by": "val", "over": [ALPHA, "train.lr"]}, "cells": cells}]
    assert labels_of(build_table(made.manifest, store)) == ["amid (amid.alpha 3, train.lr 0.2)"]


def test_what_no_candidate_has_otherwise_is_no_choice_and_is_not_said(store: Store) -> None:
    made = Made(store, TWO_SETS, ["method"])
    over = [ALPHA, "train.lr"]
    cells = [made.add({"method": "amid", ALPHA: a, "train.lr": "0.1"}, mean=1.0, validation=1.0) for a in ("1", "3")]
    alone = made.add({"method": "gkd", ALPHA: "1", "train.lr": "0.1"}, mean=1.0, validation=1.0)
    made.manifest["groups"] = [
        {"name": None, "select": {"by": "val", "over": over}, "cells": each} for each in (cells, [alone])
    ]
    assert labels_of(build_table(made.manifest, store)) == ["amid (1)", "gkd"]


def test_a_chosen_row_that_is_also_a_row_of_its_own_does_not_differ_from_it(store: Store) -> None:
    made = chosen(store, scores={"-5": (24.0, 21.0), "-3": (25.0, 18.0)})
    every = [cell["id"] for cell in made.manifest["cells"]]
    made.manifest["groups"] = [{"cells": every}, made.manifest["groups"][1]]
    table = build_table(made.manifest, store)
    assert labels_of(table) == ["-1", "-5", "-3", "alpha not +-1 (-3)"]
    assert table.rows[3].values == replace(table.rows[4], values=table.rows[4].values).values


# Pivot, rows, ids


def test_a_pivot_has_one_number_per_place_with_the_marks_of_its_column(blocks: Made) -> None:
    table = build_table(blocks.manifest, blocks.store, rows=[ALPHA], columns=[NAME, ORDER])
    assert table.columns == ("kl(p || r)", "kl(q || r)")
    assert labels_of(table) == ["none (r = q)", "-1", "1", "none (r = p)"]
    minus_one = table.rows[2]
    assert [value.mean for value in minus_one.values] == pytest.approx([19.0, 19.0])
    assert [value.best for value in table.rows[3].values] == [False, True]
    assert table.note.startswith("Avg. by divergence.name, divergence.order; ")
    other = build_table(blocks.manifest, blocks.store, rows=[ALPHA], columns=[NAME, ORDER], column="Val.")
    assert [value.mean for value in other.rows[2].values] == [25.0, 25.0]


def test_a_pivot_shows_what_became_of_a_place_without_a_number(store: Store) -> None:
    made = Made(store, TWO_SETS, [NAME, ALPHA])
    made.add({NAME: "kl", ALPHA: "1"}, mean=1.0)
    made.add({NAME: "ab", ALPHA: "1"}, error="diverged: the gradient of step 3 is not finite")
    made.add({NAME: "tv", ALPHA: "1"}, error="out of memory")
    made.add({NAME: "tv", ALPHA: "2"})
    lines = render(build_table(made.manifest, store, columns=[NAME]), "text").splitlines()
    assert lines[0].split() == [ALPHA, "kl", "ab", "tv"]
    assert lines[3].split() == ["1", "1.00", "diverged", "failed"]
    assert lines[4].split() == ["2", "-", "-", "-"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": ["amid.alhpa"]}, "--rows: 'amid.alhpa' is no label of this sweep; did you mean 'amid.alpha'?"),
        ({"columns": ["seed"]}, "--columns: 'seed' is averaged over in this sweep"),
        ({"rows": [ALPHA], "columns": [ALPHA]}, "'amid.alpha' is named in --rows and in --columns"),
        ({"columns": [NAME], "column": "dollly"}, "column 'dollly' unknown; did you mean 'dolly'?"),
        ({"column": "dolly"}, "give --columns KEY too"),
        ({"rows": [ALPHA], "columns": [NAME]}, "two rows are called -1 at kl: they differ in another label"),
    ],
)
def test_a_layout_that_cannot_be_is_one_line(blocks: Made, options: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError) as caught:
        build_table(blocks.manifest, blocks.store, **options)
    assert said in str(caught.value)


def test_ids_and_methods_are_columns_on_request(store: Store) -> None:
    made = Made(store, TWO_SETS, [ALPHA], shared={"method": "amid"})
    id_ = made.add({ALPHA: "1"}, mean=1.0)
    table = build_table(made.manifest, store, ids=True)
    assert table.label_names == (ALPHA, "method", "id")
    assert [row.labels for row in table.rows] == [("teacher", "", "tttttt"), ("1", "amid", id_[:6])]
    assert build_table(made.manifest, store).label_names == (ALPHA,)


def test_a_manifest_that_does_not_fit_together_is_one_line(blocks: Made) -> None:
    for broken in ({"groups": [{"cells": ["nobody"]}]}, {"table": {"blocks": 3}}, {"groups": [{}]}, {"table": [1]}):
        with pytest.raises(RequestError, match="does not say how its table is laid out; run it again"):
            build_table({**blocks.manifest, **broken}, blocks.store)


# The paper's numbers


@pytest.fixture
def like_the_paper(store: Store) -> Made:
    made = Made(store, protocol_of(), [NAME, ORDER, ALPHA], table={"blocks": [NAME, ORDER], "paper": "table3"})
    for order, alpha, mean in (("pr", "null", 20.0), ("pr", "-5", 25.0), ("rp", "-1", 24.0), ("pr", "7", 20.0)):
        made.add({NAME: "kl", ORDER: order, ALPHA: alpha}, mean=mean, validation=mean)
    return made


def test_the_papers_number_and_our_difference_stand_below_each_row(like_the_paper: Made) -> None:
    table = build_table(like_the_paper.manifest, like_the_paper.store)
    papers = {(row.block[1], row.labels[0]): row for row in table.rows if not row.is_reference}
    found = dict(zip(table.columns, papers["pr", "-5"].values, strict=True))
    printed = [28.99, 25.86, 13.72, 15.90, 28.32, 29.52, 22.66]
    assert [found[name].paper.mean for name in ("Val.", *SETS, "Avg.")] == printed
    assert found["dolly"].paper.std == 0.10
    none = papers["pr", "none (r = q)"].values
    assert none[1].paper.mean == 22.96
    assert all(value is None or value.paper is None for value in papers["pr", "7"].values), "the paper has no alpha 7"
    lines = render(table, "text").splitlines()
    below = lines[next(i for i, line in enumerate(lines) if line.startswith("  -5")) + 1]
    assert below.startswith("    paper")
    assert "25.86 (-0.86)" in below
    assert "paper: Table 3 (GPT-2 XL (1.5B) -> GPT-2 (0.1B)), and in brackets ours minus it" in table.note


def test_a_number_that_contradicts_another_one_of_the_paper_is_marked(like_the_paper: Made) -> None:
    table = build_table(like_the_paper.manifest, like_the_paper.store)
    doubtful = [row for row in table.rows if row.block == ("kl", "rp")][0]
    found = dict(zip(table.columns, doubtful.values, strict=True))
    assert [name for name in SETS if found[name].paper.doubtful] == ["dolly"]
    assert found["Avg."].paper.doubtful
    assert "22.96? (+1.04)" in render(table, "text")
    assert "dolly_eval 22.96±0.23 duplicates the D_KL q_theta cell" in table.note


def test_other_sets_metrics_and_tables_have_no_number_of_the_paper(store: Store) -> None:
    made = Made(store, protocol_of(("dolly", "toy")), [ALPHA], table={"paper": "table3"})
    made.add({ALPHA: "-5"}, mean=20.0, overrides=["divergence=kl"])
    table = build_table(made.manifest, store)
    found = by_label(table, "-5")
    assert found["dolly"].paper.mean == 25.86
    assert found["toy"].paper is None
    assert found["Avg."].paper is None, "the paper's is over five sets"
    assert all(value.paper is None for value in build_table(made.manifest, store, metric="loss").values)
    with pytest.raises(RequestError, match="paper table 'table9' unknown"):
        build_table({**made.manifest, "table": {"paper": "table9"}}, store)


def test_methods_students_and_strategies_find_their_rows(store: Store) -> None:
    made = Made(store, protocol_of(), ["method"], table={"paper": "table5", "blocks": ["pair.name"]})
    made.add({"method": "distillm_skl", "pair.name": "gpt2_xl_to_large"}, mean=20.0)
    made.add({"method": "sft", "pair.name": "tiny"}, mean=20.0)
    found = [row.values[1].paper.mean for row in build_table(made.manifest, store).rows if not row.is_reference]
    assert found == [26.12, 23.54]
    four = Made(Store(store.root / "4"), protocol_of(), ["strategy.name", ALPHA], table={"paper": "table4"})
    four.add({"strategy.name": "mixed", ALPHA: "1"}, mean=20.0)
    cells = [four.add({"strategy.name": "fixed", ALPHA: "-3"}, mean=20.0, validation=1.0)]
    four.manifest["groups"] = [
        {"cells": [four.manifest["cells"][0]["id"]]},
        {"name": "alpha not +-1", "select": {"by": "val", "over": [ALPHA]}, "cells": cells},
    ]
    found = [row.values[1].paper.mean for row in build_table(four.manifest, four.store).rows if not row.is_reference]
    assert found == [25.68, 25.32]


# Other decodings, damage, what was written


def test_each_other_decoding_has_columns_and_an_average_beside_those_of_the_paper(store: Store) -> None:
    base = protocol_of(SETS[:2])
    cooler = {
        f"{name}_t0.6": replace(each, decoding=Decoding(max_new_tokens=8, temperature=0.6), twin_of=name)
        for name, each in base.sets.items()
    }
    alone = {"decoding": Decoding(max_new_tokens=8, temperature=0.0), "decode_seeds": (10,)}
    greedy = {f"{name}_greedy": replace(each, **alone, twin_of=name) for name, each in base.sets.items()}
    made = Made(store, replace(base, sets={**base.sets, **cooler, **greedy}), [ALPHA])
    sampled = {"dolly": 10.0, "self_inst": 20.0, **dict.fromkeys(cooler, 30.0)}
    made.add({ALPHA: "1"}, mean={**sampled, **dict.fromkeys(greedy, 39.5)})
    table = build_table(made.manifest, store)
    assert table.columns[-4:] == ("Avg.", "Avg. T=0.6", "Avg. greedy", "Self-BLEU")
    found = by_label(table, "1")
    assert [found[name].mean for name in table.columns[-4:-1]] == pytest.approx([15.0, 30.0, 39.0])
    assert "Avg. greedy: the sampled sets answered greedily (set by set: --decoding greedy)" in table.note


def test_damaged_values_per_prompt_cost_the_marks_and_are_named(blocks: Made) -> None:
    cell = blocks.manifest["cells"][2]
    folder = blocks.store.layout.folder_of("cell", cell["id"])
    generation = blocks.protocol.generation_id(cell["id"], "dolly", 10)
    path = per_example_path(folder, f"{generation}r")
    path.write_text(path.read_text().replace("1", "2", 1))
    table = build_table(blocks.manifest, blocks.store)
    (named,) = table.damage
    assert str(path) in named
    row = next(row for row in table.rows if row.ids == (cell["id"],))
    found = dict(zip(table.columns, row.values, strict=True))
    assert found["dolly"].mean == pytest.approx(24.0)
    assert found["self_inst"].best
    assert found["dolly"].to_none is None
    assert found["Avg."].to_none is None


def test_the_note_says_how_much_the_student_wrote_and_what_the_sweep_says_of_itself(blocks: Made) -> None:
    store = blocks.store
    for cell, generated in zip(blocks.manifest["cells"], (10, 20, 20, 20, 20, 20), strict=True):
        spent = {"steps": 50, "generated_steps": generated}
        write_status(store.layout.folder_of("cell", cell["id"]), "done", check=lambda: None, spent=spent)
    note = build_table({**blocks.manifest, "table": {"note": "toy stand-ins"}}, store).note
    assert "; text written by the student in 20-40 % of the steps; toy stand-ins" in note


@pytest.mark.timeout(120)
def test_a_table_of_the_papers_size_takes_seconds(store: Store) -> None:
    made = Made(store, protocol_of(seeds=(10, 20, 30, 40, 50)), [NAME, ALPHA], table={"blocks": [NAME]})
    for name in ("kl", "rkl", "ab"):
        for alpha in ("null", "-5", "-3", "-1", "-0.5", "0", "0.5", "1"):
            made.add({NAME: name, ALPHA: alpha}, mean=20.0, num_prompts=500)
    start = time.process_time()
    render(build_table(made.manifest, store), "text")
    assert time.process_time() - start < 10.0  # about 1 s on an idle core
