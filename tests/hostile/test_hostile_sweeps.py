"""Sweeps as a user declares them: each mistake is one line before anything runs, and the cell with it is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Case, Hostile, cases, run_here, texts, tree, with_folders
from test_hostile_names_and_paths import manifest_of, write_manifest

UNION = "union: [{axes: {amid.alpha: [1, 2]}}]"

# fmt: off
# What stands below `sweep`, or a whole file -> what is said of it
DECLARED = [
    # The union
    ("union-key", "union: [{axis: {amid.alpha: [1]}}]", ("unknown key 'sweep.union.axis'", "did you mean 'sweep.union.axes'")),
    ("union-key-of-select", "union: [{axes: {seed: [1, 2]}, select: {ovr: [seed]}}]", ("'sweep.union.select.ovr'", "valid in sweep.union.select: by, over")),
    ("union-mapping", "union: {axes: {amid.alpha: [1]}}", "a mapping in place of a list"),
    ("union-text", "union: amid.alpha", "sweep.union must be a list"),
    ("union-of-texts", "union: [amid.alpha]", ("sweep.union[0]", "amid.alpha")),
    ("union-of-nothing", "union: [null]", "sweep.union[0]"),
    ("union-null", "union: null", "sweep.union"),
    ("union-misspelt", "unions: []", ("unknown key 'sweep.unions'", "did you mean 'sweep.union'")),
    ("axis-empty", "union: [{axes: {amid.alpha: []}}]", "'amid.alpha' has no value; give it some"),
    ("axis-null", "union: [{axes: {amid.alpha: null}}]", "axes.amid.alpha"),
    ("axis-one-value", "union: [{axes: {amid.alpha: 1}}]", "axes.amid.alpha must be a list"),
    ("axis-nested", "union: [{axes: {amid: {alpha: [1]}}}]", "axes.amid must be a list"),
    ("axis-list", "union: [{axes: [amid.alpha]}]", "a list where a mapping belongs"),
    ("axis-unknown", "union: [{axes: {amid.alhpa: [1]}}]", "unknown key 'amid.alhpa'"),
    ("axis-twice", "union: [{axes: {amid.alpha: [1], amid.alpha: [2]}}]", ("my_conf/sweeps/mine.yaml", "duplicate key amid.alpha")),
    ("axis-twice-with-plus", "union: [{axes: {amid.alpha: [1], +amid.alpha: [2]}}]", "'+amid.alpha' is named twice"),
    ("axis-of-a-sweep", "union: [{axes: {sweep.name: [a, b]}}]", "'sweep.name' names or carries out a sweep"),
    ("name-without-select", "union: [{name: tuned, axes: {amid.alpha: [1, 2]}}]", "give sweep.union.select"),
    ("name-of-nothing", "union: [{name: '', axes: {seed: [1, 2]}, select: {over: [seed]}}]", "sweep.union.name"),
    ("select-by", "union: [{axes: {seed: [1, 2]}, select: {by: test, over: [seed]}}]", "sweep.union.select.by 'test' unknown; valid: val"),
    ("select-over-nothing", "union: [{axes: {seed: [1, 2]}, select: {over: []}}]", "sweep.union.select.over must name the keys"),
    ("select-over-text", "union: [{axes: {seed: [1, 2]}, select: {over: seed}}]", "select.over must be a list"),
    ("select-over-twice", "union: [{axes: {seed: [1, 2]}, select: {over: [seed, seed]}}]", "each key once"),
    ("select-over-unknown", "union: [{axes: {seed: [1, 2]}, select: {over: [sed]}}]", ("sweep.union[0].select.over: 'sed'", "did you mean 'seed'")),
    # What gives way
    ("way-unknown", UNION + "\n  gives_way: {dta: [evaluation]}", ("sweep.gives_way: unknown key 'dta'", "did you mean 'data'")),
    ("way-of-unknown", UNION + "\n  gives_way: {data: [evalution]}", ("sweep.gives_way: unknown key 'evalution'", "did you mean 'evaluation'")),
    ("way-text", UNION + "\n  gives_way: {data: evaluation}", "sweep.gives_way.data must be a list"),
    ("way-list", UNION + "\n  gives_way: [data]", "a list where a mapping belongs"),
    # The table
    *((f"table-{place}", f"{UNION}\n  table: {{{place}: [amid.alhpa]}}", (f"sweep.table.{place}: 'amid.alhpa'", "did you mean 'amid.alpha'"))
      for place in ("rows", "blocks", "columns", "average")),
    ("table-node", UNION + "\n  table: {rows: [amid]}", "sweep.table.rows: 'amid' is no key of a run"),
    ("table-group", UNION + "\n  table: {blocks: [divergence]}", "did you mean 'divergence.name'"),
    ("table-two-places", UNION + "\n  table: {rows: [amid.alpha], columns: [amid.alpha]}", "'amid.alpha' is in rows and in columns"),
    ("table-text", UNION + "\n  table: {rows: amid.alpha}", "sweep.table.rows must be a list"),
    ("table-key", UNION + "\n  table: {row: [amid.alpha]}", ("unknown key 'sweep.table.row'", "did you mean 'sweep.table.rows'")),
    ("table-paper", UNION + "\n  table: {paper: table9}", ("paper table 'table9' unknown", "table1, table2")),
    ("table-metric", UNION + "\n  table: {metric: rouge}", "sweep.table.metric 'rouge' unknown"),
    # The name
    ("name-path", "name: ../mine\n  " + UNION, "sweep.name '../mine' is no name"),
    ("name-list", "name: [mine]\n  " + UNION, "sweep.name"),
    # One value of a wrong type among good ones: the cell is named
    ("value-text", "union: [{axes: {amid.alpha: [1, two, 3]}}]", ("1 of 3 cells cannot be carried out", "(amid.alpha=two)")),
    ("value-list", "union: [{axes: {amid.alpha: [1, [2], 3]}}]", ("1 of 3 cells", "(amid.alpha=[2])")),
    ("value-mapping", "union: [{axes: {amid.alpha: [1, {a: 2}]}}]", ("1 of 2 cells", "(amid.alpha={a: 2})")),
    ("value-bool", "union: [{axes: {seed: [1, true]}}]", ("1 of 2 cells", "(seed=true)")),
    ("value-fraction", "union: [{axes: {seed: [1, 2.5]}}]", ("1 of 2 cells", "(seed=2.5)")),
    ("value-null", "union: [{axes: {seed: [1, null]}}]", ("1 of 2 cells", "(seed=null)")),
    ("value-of-a-group", "union: [{axes: {divergence: [kl, 3]}}]", ("1 of 2 cells", "must be a string", "(divergence=3)")),
    ("value-of-one-product", "union: [{axes: {seed: [1, 2]}}, {axes: {amid.lam: [0.5, 2]}}]", ("1 of 4 cells", "(amid.lam=2)")),
]
FILES = [
    ("file-without-package", f"sweep:\n  {UNION}\n", ("sweeps/mine.yaml", "# @package _global_")),
    ("file-of-nobodys-group", "# @package _global_\ndefaults: [override /dta: toy]\n", "unknown key 'dta'"),
    ("file-of-no-choice", "# @package _global_\ndefaults: [override /data: dooly]\n", "data 'dooly' unknown; did you mean 'dolly'"),
    ("file-with-a-bad-key", "# @package _global_\namid: {alhpa: 1}\n", ("in sweeps/mine.yaml: unknown key 'amid.alhpa'", "did you mean 'amid.alpha'")),
    ("file-with-a-deep-key", "# @package _global_\npair: {student_sft: {lrr: 1}}\n", "unknown key 'pair.student_sft.lrr'"),
    ("file-no-yaml", "# @package _global_\nsweep: {name: [\n", "my_conf/sweeps/mine.yaml"),
    ("params-twice", f"# @package _global_\nhydra: {{sweeper: {{params: {{amid.alpha: '3,4'}}}}}}\nsweep:\n  {UNION}\n", ("'amid.alpha' is an axis of sweep.union", "name it once")),
    ("params-of-a-sweep", "# @package _global_\nhydra: {sweeper: {params: {sweep.name: 'a,b'}}}\n", "'sweep.name' names or carries out a sweep"),
    ("params-key", "# @package _global_\nhydra: {sweeper: {params: {amid.alhpa: '1,2'}}}\n", "unknown key 'amid.alhpa'"),
    ("params-syntax", "# @package _global_\nhydra: {sweeper: {params: {amid.alpha: '1,['}}}\n", "cannot read 'amid.alpha=1,['"),
]
REQUESTS = cases([
    ("alpha-grid-twice", "run.py -m sweeps=table3 pair=tiny data=toy alpha_grid=paper", 2, ("'amid.alpha' is an axis of sweep.union", "alpha_grid")),
    ("two-sweeps", "run.py -m sweeps=table3,table4 pair=tiny data=toy", 2, ("'sweeps' names or carries out a sweep", "sweeps=table4")),
    ("two-names", "run.py -m sweep.name=a,b", 2, "'sweep.name' names or carries out a sweep"),
    ("seed-fraction", "run.py -m seed=1,2.5", 2, ("1 of 2 cells", "(seed=2.5)")),
    ("seed-null", "run.py -m seed=1,null", 2, ("1 of 2 cells", "(seed=null)")),
    ("preset-unknown", "run.py experiment=quik", 2, ("experiment 'quik' unknown; did you mean 'quick'?", "paper_default, quick")),
    ("preset-unknown-m", "run.py -m experiment=quick,quik", 2, "experiment 'quik' unknown"),
    ("preset-unknown-plan", "amid plan experiment=quik", 2, "experiment 'quik' unknown"),
    ("preset-unknown-data", "amid data experiment=quik", 2, "experiment 'quik' unknown"),
    ("preset-against-method", "run.py experiment=paper_default method=kd", 2, "experiment=paper_default changes divergence, which method=kd fixes"),
    ("preset-untrained", "run.py experiment=quick task=evaluate", 2, "is not trained yet"),
    ("config-dir-plan", "amid plan demo --config-dir nowhere", 2, "--config-dir: folder 'nowhere' not found"),
    ("config-dir-data", "amid data --config-dir data/train.jsonl", 2, "--config-dir: folder 'data/train.jsonl' not found"),
    ("config-dir-evaluate", "amid evaluate data --sets dolly --config-dir nowhere", 2, "--config-dir: folder 'nowhere' not found"),
    ("config-dir-fetch", "amid fetch dolly --root data --config-dir nowhere", 2, "--config-dir: folder 'nowhere' not found"),
    ("config-dir-score", "amid score data/test.jsonl --config-dir data", 2, "give --set NAME too"),
    ("config-dir-home-of-nobody", "amid plan demo --config-dir '~nobody_at_all'", 2, ("--config-dir", "home of nobody")),
])
# fmt: on


def refused(argv: tuple[str, ...], said: str | tuple[str, ...]) -> Case:
    return Case("", with_folders(argv), 2, texts(said))


def declare(folder: Path, text: str, name: str = "mine") -> None:
    path = folder / "my_conf" / "sweeps" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        *(pytest.param(f"# @package _global_\nsweep:\n  {text}\n", said, id=id_) for id_, text, said in DECLARED),
        *(pytest.param(text, said, id=id_) for id_, text, said in FILES),
    ],
)
def test_a_bad_sweep_is_one_line_and_nothing_runs(
    content: str, said: str | tuple[str, ...], hostile: Hostile, folder: Path
) -> None:
    declare(folder, content)
    hostile(refused(("run.py", "--config-dir", "my_conf", "-m", "sweeps=mine"), said))
    # A plan says the same, after the cells that it is about.
    before = tree(folder / "my_conf")
    planned = run_here(with_folders(("amid", "plan", "mine", "--config-dir", "my_conf")))
    assert planned.code == 2, planned
    (line,) = planned.stderr.splitlines()
    assert all(text in line for text in texts(said)), line
    assert all(text.startswith("  invalid  ") for text in planned.stdout.splitlines()), planned.stdout
    assert tree(folder / "my_conf") == before and not (folder / "results" / "sweeps").exists()


@pytest.mark.parametrize("each", REQUESTS, ids=lambda each: each.id)
def test_a_bad_request_of_sweeps_and_presets_is_one_line(each: Case, hostile: Hostile) -> None:
    hostile(each)


def test_a_union_without_m_is_one_line(hostile: Hostile, folder: Path) -> None:
    declare(folder, f"# @package _global_\nsweep:\n  {UNION}\n")
    said = ("sweep.union declares several cells", "add -m")
    hostile(refused(("run.py", "--config-dir", "my_conf", "sweeps=mine"), said))


def test_values_that_no_product_has_are_one_line(hostile: Hostile, folder: Path) -> None:
    products = "[{axes: {seed: [1], amid.alpha: [1]}}, {axes: {seed: [2], amid.alpha: [2]}}]"
    declare(folder, f"# @package _global_\nsweep:\n  union: {products}\n")
    said = ("no product of sweep.union has all of these values", "seed=1", "amid.alpha=2")
    hostile(refused(("run.py", "--config-dir", "my_conf", "-m", "sweeps=mine", "seed=1", "amid.alpha=2"), said))


def test_a_name_that_is_nobodys_sweep_names_the_users_too(hostile: Hostile, folder: Path) -> None:
    declare(folder, f"# @package _global_\nsweep:\n  {UNION}\n")
    for argv in (
        ("run.py", "--config-dir", "my_conf", "-m", "sweeps=min"),
        ("amid", "plan", "min", "--config-dir", "my_conf"),
    ):
        hostile(refused(argv, ("sweeps 'min' unknown; did you mean 'mine'?", "demo", "table3")))


def test_a_file_in_the_place_of_the_products_is_one_line(hostile: Hostile, folder: Path) -> None:
    declare(folder, f"# @package _global_\nsweep:\n  {UNION}\n", name="table3")
    said = ("my_conf/sweeps/table3.yaml has the name of a file of the product", "give it another name")
    for argv in (
        ("run.py", "--config-dir", "my_conf", "-m", "sweeps=table3"),
        ("amid", "plan", "--config-dir", "my_conf"),
    ):
        hostile(refused(argv, said))


def test_over_what_nobody_sweeps_every_cell_stays_a_row(folder: Path) -> None:
    """Tables 1 and 6 name the learning rate so, for who wants to sweep it."""
    declare(folder, "# @package _global_\nsweep:\n  union: [{axes: {seed: [1, 2]}, select: {over: [amid.lam]}}]\n")
    planned = run_here(with_folders(("amid", "plan", "mine", "--config-dir", "my_conf")))
    assert planned.code == 0, planned
    assert "2 cells, 0 finished, 2 to run" in planned.stdout


@pytest.mark.parametrize("values", [None, "pr", ["pr"], 1])
def test_a_manifest_with_values_that_are_none_is_one_line(values: object, hostile: Hostile, folder: Path) -> None:
    manifest = manifest_of(folder)
    manifest["cells"][0]["values"] = values
    write_manifest(folder, manifest)
    hostile(Case("", ("amid", "table", "mine"), 1, ("is damaged", "does not describe a sweep")))
