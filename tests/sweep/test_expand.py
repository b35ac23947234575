"""The union of a sweep's products: which jobs it names, and what a user's own values do to it."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from amid.config import GroupCfg, SelectCfg, SweepCfg, TableCfg
from amid.config.overrides import value_text
from amid.errors import RequestError
from amid.sweep.expand import expand_sweep

OTHERS = [-5.0, -3.0, 0.0]
TABLE4 = SweepCfg(
    union=[
        GroupCfg(axes={"amid.alpha": [None, -1, 1]}),
        GroupCfg(axes={"amid.alpha": OTHERS}, name="others", select=SelectCfg(over=["amid.alpha"])),
    ]
)


def expanded(*arguments, params=None, sweep=TABLE4):
    return expand_sweep(params or {}, sweep, arguments, OverridesParser.create())


def groups_of(found):
    return [(group.name, [" ".join(found.jobs[job]) for job in group.jobs]) for group in found.groups]


def test_a_union_is_the_jobs_of_its_products_each_times_the_parameters():
    assert groups_of(expanded(params={"strategy": "fixed,mixed"})) == [
        (None, [f"strategy={s} amid.alpha={a}" for s in ("fixed", "mixed") for a in ("null", "-1", "1")]),
        ("others", [f"strategy={s} amid.alpha={a}" for s in ("fixed", "mixed") for a in ("-5", "-3", "0")]),
    ]


def test_without_a_union_there_is_one_product_of_parameters_and_arguments():
    found = expanded("seed=1,2", params={"amid.alpha": "-1,1"}, sweep=SweepCfg())
    assert groups_of(found) == [(None, [f"amid.alpha={a} seed={s}" for a in (-1, 1) for s in (1, 2)])]


def test_a_user_s_own_axis_multiplies_every_product():
    found = expanded("seed=1,2")
    assert [len(group.jobs) for group in found.groups] == [6, 6]
    assert len(set(found.jobs)) == 12


@pytest.mark.parametrize(
    ("given", "jobs"),
    [
        (
            "amid.alpha=-1,1",
            [(None, ["amid.alpha=-1", "amid.alpha=1"])],
        ),  # the products that declare others are left out
        ("amid.alpha=-3", [("others", ["amid.alpha=-3"])]),
        ("amid.alpha=-3.0,null", [(None, ["amid.alpha=null"]), ("others", ["amid.alpha=-3.0"])]),
        ("amid.alpha=-7", [(None, ["amid.alpha=-7"])]),  # declared nowhere: the first that has the key
        ("++amid.alpha=1", [(None, ["++amid.alpha=1"])]),
    ],
)
def test_values_of_a_key_that_products_declare_go_to_those_that_declare_them(given, jobs):
    assert groups_of(expanded(given)) == jobs


def test_a_key_with_the_same_values_everywhere_is_replaced_everywhere():
    sweep = SweepCfg(union=[GroupCfg(axes={"pair": ["a", "b"], "method": [name]}) for name in ("x", "y")])
    assert groups_of(expanded("pair=tiny", sweep=sweep)) == [
        (None, ["pair=tiny method=x"]),
        (None, ["pair=tiny method=y"]),
    ]


def test_what_stands_in_for_the_first_products_data_leaves_out_the_products_of_other_data():
    tasks = [("gsm8k", -1), ("gsm8k", 5), ("flores200", -1), ("flores200", 5)]
    sweep = SweepCfg(union=[GroupCfg(axes={"data": [data], "amid.alpha": [alpha]}) for data, alpha in tasks])
    assert groups_of(expanded("data=toy", sweep=sweep)) == [
        (None, ["data=toy amid.alpha=-1"]),
        (None, ["data=toy amid.alpha=5"]),
    ]


def test_a_declared_key_gives_way_to_a_key_that_the_user_gives():
    params = {"evaluation": "paper", "amid.lam": "0.1"}
    sweep = SweepCfg(union=[GroupCfg(axes={"seed": [1]})], gives_way={"data": ["evaluation", "seed"]})
    assert groups_of(expanded(params=params, sweep=sweep)) == [(None, ["evaluation=paper amid.lam=0.1 seed=1"])]
    assert groups_of(expanded("data=toy", params=params, sweep=sweep)) == [(None, ["amid.lam=0.1 data=toy"])]
    found = expanded("data=toy", "evaluation=dolly", params=params, sweep=sweep)
    assert groups_of(found) == [(None, ["evaluation=dolly amid.lam=0.1 data=toy"])]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (-5.0, "-5"), (0.1, "0.1"), (1e-7, "1e-07"), (float("inf"), "inf"),
     (float("-inf"), "-inf"), (3, "3"), ("ab", "ab"), ("qwen2_7b_to_0.5b", "qwen2_7b_to_0.5b"),
     ("null", "'null'"), ("a b", "'a b'"), ("1", "'1'"), ([1, None], "[1, null]"), ({"a": 0.5}, "{a: 0.5}")],
)  # fmt: skip
def test_a_declared_value_is_written_in_the_grammar_and_read_back_as_it_was(value, text):
    assert value_text(value) == text
    read = OverridesParser.create().parse_override(f"key={text}").value()
    assert read == value or str(read) in (str(value), repr(value), text)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GroupCfg(axes={"amid.alpha": []}), "sweep.union.axes: 'amid.alpha' has no value"),
        (lambda: GroupCfg(axes={"sweep.name": ["x"]}), "'sweep.name' names or carries out a sweep"),
        (lambda: GroupCfg(axes={"hydra/launcher": ["x"]}), "'hydra/launcher' names or carries out a sweep"),
        (lambda: GroupCfg(name="best"), "sweep.union.name='best' names a row that is chosen: give sweep.union.select"),
        (lambda: GroupCfg(name=" ", select=SelectCfg(over=["seed"])), "sweep.union.name is empty"),
        (lambda: SelectCfg(), "sweep.union.select.over must name the keys that are chosen"),
        (lambda: SelectCfg(by="test", over=["seed"]), "sweep.union.select.by 'test' unknown"),
        (lambda: TableCfg(rows=["seed"], blocks=["seed"]), "sweep.table: 'seed' is in rows and in blocks"),
        (lambda: TableCfg(rows=["amid.lam"], average=["amid.lam"]), "'amid.lam' is in rows and in average"),
        (lambda: TableCfg(paper="../x"), "sweep.table.paper '../x' is no name"),
        (lambda: TableCfg(note=""), "sweep.table.note is empty"),
    ],
)
def test_a_bad_declaration_is_one_line(make, said):
    with pytest.raises(RequestError) as caught:
        make()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_seed_is_averaged_over_unless_it_has_another_place():
    assert TableCfg().averaged == ("seed",)
    assert TableCfg(rows=["method", "seed"]).averaged == ()
