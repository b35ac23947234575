"""The identity of a cell: what names it, what does not, and what is refused."""

import copy
import functools
import hashlib
import json
import math
import os
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from amid import config
from amid.cells.canonical import NEUTRAL, canonical
from amid.cells.cell import IDENTITY_NODES, OTHER_NODES, cell_of
from amid.cells.data import data_identity
from amid.cells.model_reference import has_dropout
from amid.config import RunCfg
from amid.data.chat_templates import template_text
from amid.digests import fingerprint
from amid.digests.fingerprint import FileDigests
from amid.digests.seals import DamagedError
from amid.errors import RequestError
from amid.evaluation.protocol import set_protocols
from amid.sweep.compose import run_of_overrides
from amid.sweep.labels import flatten

GOLDEN = json.loads((Path(__file__).resolve().parents[1] / "golden" / "ids.json").read_text())


@pytest.fixture(scope="session")
def id_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ids")

    @functools.cache  # composing is the slow part
    def id_of(*overrides):
        return cell_of(run_of_overrides([f"paths.results={folder}", f"paths.cache={folder}", *overrides])).id

    return id_of


@pytest.fixture
def jsonl_run(run, tmp_path):
    """A run on JSONL files of the test's own."""
    root = tmp_path / "corpus"
    root.mkdir()
    for name in ("train", "dev", "test"):
        lines = [json.dumps({"instruction": f"{name} {i}", "output": str(i)}) for i in range(4)]
        (root / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    run.data = config.DataCfg(source="jsonl", root=str(root), train="train.jsonl", dev="dev.jsonl")
    run.evaluation.sets = {"test": config.EvaluationSetCfg(files=["test.jsonl"])}
    return run


def touched(path, text):
    """Write the text with a modification time that certainly differs from the one before."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def set_leaf(run, key, value):
    changed = copy.deepcopy(run)
    *nodes, last = key.split(".")
    target = changed
    for node in nodes:
        target = getattr(target, node) if not isinstance(target, dict) else target[node]
    if isinstance(target, dict):
        target[last] = value
    else:
        setattr(target, last, value)
    return changed


@pytest.mark.parametrize("request_line", GOLDEN)
def test_the_id_of_a_known_request_never_moves(id_of, request_line):
    assert id_of(*request_line.split()) == GOLDEN[request_line]


def test_an_id_is_twelve_hex_digits(run):
    assert len(cell_of(run).id) == 12
    int(cell_of(run).id, 16)


def test_minus_5_has_one_id_however_it_is_written(id_of):
    assert len({id_of(f"amid.alpha={text}") for text in ("-5", "-5.0", "-5e0")}) == 1


def test_minus_zero_is_zero(id_of):
    assert id_of("amid.alpha=-0.0") == id_of("amid.alpha=0")


def test_rkl_alias_has_the_id_of_kl_rp(id_of):
    assert id_of("divergence=rkl") == id_of("divergence=kl", "divergence.order=rp")


@pytest.mark.parametrize("order", ["pr", "rp"])
def test_lam_0_under_a_teacher_order_is_no_assistant(id_of, order):
    here = ("divergence=kl", f"divergence.order={order}")
    assert id_of(*here, "amid.lam=0") == id_of(*here, "amid.alpha=null")


@pytest.mark.parametrize("order", ["qr", "rq"])
def test_lam_1_under_a_student_order_is_no_assistant(id_of, order):
    here = ("divergence=kl", f"divergence.order={order}")
    assert id_of(*here, "amid.lam=1") == id_of(*here, "amid.alpha=null")


@pytest.mark.parametrize(("order", "lam"), [("pr", 1.0), ("rp", 1.0), ("qr", 0.0), ("rq", 0.0)])
@pytest.mark.parametrize("alpha", [-5.0, 1.0, math.inf])
def test_a_lam_that_makes_the_loss_identically_0_is_refused(run, order, lam, alpha):
    run.divergence.order, run.amid.lam, run.amid.alpha = order, lam, alpha
    with pytest.raises(
        RequestError, match=rf"amid.lam={lam:g} .*divergence.order={order}.*valid: \[0, 1\] without {lam:g}"
    ):
        cell_of(run)


def test_the_methods_of_others_are_points_of_ours(id_of):
    adaptive = ("strategy=adaptive_off_policy", "objective.lm_coef=1")
    assert id_of("method=distillm_skl") == id_of("divergence=kl", "amid.alpha=-1", "amid.lam=0.1", *adaptive)
    srkl = ("divergence=kl", "divergence.order=qr", "amid.alpha=-1", "amid.lam=0.9")
    assert id_of("method=distillm_srkl") == id_of(*srkl, *adaptive)
    assert id_of("method=kd") == id_of("divergence=kl", "amid.alpha=null")
    assert id_of("method=abkd") == id_of("divergence=ab", "amid.alpha=null", *adaptive)
    assert id_of("method=amid") == id_of(*adaptive)
    assert id_of("method=imitkd") == id_of("method=kd", "strategy=on_policy", "objective.lm_coef=1")
    assert id_of("method=gkd") == id_of("divergence=gjs", "amid.alpha=null", "strategy=mixed")
    assert id_of("method=skd") == id_of("method=kd", "strategy=speculative")


@pytest.mark.parametrize("alpha", [math.inf, -math.inf])
def test_an_infinite_alpha_does_not_depend_on_lam_and_says_so(run, alpha):
    run.amid.alpha = alpha
    first = cell_of(run)
    run.amid.lam = 0.7
    assert cell_of(run).id == first.id
    assert any("does not depend on amid.lam" in text for text in first.ignored)
    run.amid.alpha = -alpha
    assert cell_of(run).id != first.id


def test_without_an_assistant_lam_and_detach_have_no_effect(run):
    run.amid.alpha = None
    first = cell_of(run).id
    run.amid.lam, run.amid.detach_student = 0.7, True
    assert cell_of(run).id == first


def test_sft_ignores_assistant_and_divergence_and_says_so(run):
    run.objective.kd_ratio = 0.0
    first = cell_of(run)
    run.amid.alpha, run.divergence.order = 3.0, "rq"
    assert cell_of(run).id == first.id
    assert any("amid and divergence have no effect" in text for text in first.ignored)


def test_the_official_code_sees_every_alpha_above_1_as_1(run):
    run.compat.alpha_ge1_geometric = True
    run.amid.alpha = 1.0
    one = cell_of(run).id
    run.amid.alpha = 3.0
    assert cell_of(run).id == one
    run.compat.alpha_ge1_geometric = False
    assert cell_of(run).id != one


def test_nan_has_no_canonical_form():
    with pytest.raises(RequestError, match="train.lr must be a number, got nan"):
        canonical({"train": {"lr": math.nan}})


def test_the_canonical_form_is_strict_json_and_tells_large_seeds_apart():
    form = canonical({"a": math.inf, "b": -math.inf, "c": -0.0, "d": 2.0, "e": [1.0, 0.5], "f": True})
    assert json.dumps(form, allow_nan=False) == '{"a": "inf", "b": "-inf", "c": 0, "d": 2, "e": [1, 0.5], "f": true}'
    assert canonical({"seed": 2**53}) != canonical({"seed": 2**53 + 1})


def test_every_node_of_the_configuration_is_classified_once():
    assert sorted([*IDENTITY_NODES, *OTHER_NODES]) == sorted(field.name for field in fields(RunCfg))


def test_every_neutral_value_belongs_to_a_field(run):
    known = flatten(asdict(run))
    for stage in ("teacher", "student_init"):
        known |= dict.fromkeys(f"{stage}.{key}" for key in ("arch", "eos", "keep_layers", "tokenizer"))
        known |= {f"{stage}.{key}": value for key, value in flatten({"sft": asdict(run.pair.teacher_sft)}).items()}
    known["corpus"] = known["beside"] = None  # of a cell that trains on gold
    known["teacher"] = None  # left out of a cell without a divergence
    assert {key for key in NEUTRAL if key not in known} == set()


# Leaves of the identity nodes without effect on the default request: labels, and names that its models do not read.
WITHOUT_EFFECT = {"pair.name", "data.name", "pair.teacher_revision", "pair.student_revision", "data.num_eval"} | {
    "data.root",
    "data.train",
    "data.dev",
}
WITHOUT_EFFECT |= {f"strategy.{field.name}" for field in fields(config.StrategyCfg) if field.name != "name"}
WITHOUT_EFFECT |= {f"plain_text.{field.name}" for field in fields(config.PlainTextCfg)}  # without objective.lm_coef
WITHOUT_EFFECT |= {"objective.lm_kd_ratio"}
WITHOUT_EFFECT |= {"data.hub", "data.hub_config", "data.hub_revision"}  # where rows come from, not what they are
WITHOUT_EFFECT |= {"data.template", "data.split_seed"}  # without prompt=chat, without num_train
WITHOUT_EFFECT |= {f"corpus.{field.name}" for field in fields(config.CorpusCfg)} - {"corpus.writer", "corpus.beside"}
WITHOUT_EFFECT |= {  # without a rank
    f"pair.{role}_lora.{name}" for role in ("teacher", "student") for name in ("alpha", "dropout", "targets")
}
WITHOUT_EFFECT |= {"divergence.version"}  # of a function of one's own
# An initial student that is selected by its loss writes no text.
WITHOUT_EFFECT |= {f"pair.student_sft.validation.{name}" for name in ("max_new_tokens", "temperature", "seed")}
WITHOUT_EFFECT |= {
    f"compat.{name}" for name in ("sgo_label_offset", "sgo_rank_local_coin", "validation_batch_mean", "skd_fresh_test")
}
# Names: their other valid value. Model references are tested apart.
OTHER_NAME = {
    "pair.vocab_policy": "shared_prefix",
    "objective.reduction": "sequence_mean",
    "divergence.name": "kl",
    "divergence.order": "rq",
    "strategy.name": "speculative",
    "train.precision": "bf16-mixed",
    "train.validation.select": "loss",
    "pair.student": "teacher",
    "corpus.writer": "teacher",
}
OTHER_NONE = {
    "objective.terms": [{"kind": "labels", "weight": 2.0}],
    "pair.keep_layers": [0],
    "corpus.beside": "teacher",
    "data.template": "{input}",
    "data.chat_template": "chatml",
    "data.root": "x",
    "data.train": "x",
    "data.dev": "x",
}


def changed_leaf(key, value):
    if key in OTHER_NAME:
        return OTHER_NAME[key]
    if isinstance(value, bool):
        return not value
    if value is None:
        return OTHER_NONE.get(key, 7)
    if isinstance(value, str):
        return f"{value}-changed"
    if isinstance(value, list):
        return value[::-1] or ["."]
    return value + 1 if isinstance(value, int) else value * 2 + 0.25


def test_every_leaf_of_an_identity_node_changes_the_id_unless_it_has_no_effect(run):
    before = cell_of(run).id
    kept = set()
    leaves = {key: value for key, value in flatten(asdict(run)).items() if key.split(".")[0] in IDENTITY_NODES}
    assert len(leaves) > 60
    for key, value in leaves.items():
        if key in ("pair.teacher", "data.source"):
            continue  # other models and sources: see below
        changed = set_leaf(run, key, changed_leaf(key, value))
        changed.trainer.micro_batch_size = 4
        if cell_of(changed).id == before:
            kept.add(key)
    assert kept == WITHOUT_EFFECT


def test_no_leaf_of_the_other_nodes_changes_the_id(run):
    before = cell_of(run).id
    for key, value in flatten(asdict(run)).items():
        node = key.split(".")[0]
        if node in OTHER_NODES and not key.startswith("paths."):
            other = [*value, "more"] if isinstance(value, list) else changed_leaf(key, value)
            assert cell_of(set_leaf(run, key, other)).id == before, key
    assert cell_of(set_leaf(run, "paths.results", "elsewhere")).id == before


def test_a_decoding_without_a_writer_has_no_effect_and_says_so(run):
    given = set_leaf(run, "corpus.temperature", 0.5)
    assert cell_of(given).id == cell_of(run).id
    assert any("corpus.writer=gold" in text for text in cell_of(given).ignored)
    assert not any("corpus" in text for text in cell_of(run).ignored)


def test_low_rank_factors_of_rank_0_have_no_effect_and_say_so(run):
    given = set_leaf(run, "pair.student_lora.alpha", 8)
    assert cell_of(given).id == cell_of(run).id
    assert "pair.student_lora has no effect with pair.student_lora.rank=0" in cell_of(given).ignored
    assert not any("lora" in text for text in cell_of(run).ignored)


def test_plain_text_names_a_cell_with_a_pretraining_loss_and_no_other(run, tmp_path):
    run.objective.lm_coef = 1.0
    before = cell_of(run).id
    for key, value in (
        ("objective.lm_coef", 0.5),
        ("objective.lm_kd_ratio", 0.5),
        ("plain_text.seed", 1),
        ("plain_text.num_documents", 7),
        ("plain_text.num_chunks", 40),
        ("plain_text.chunk_tokens", 9),
        ("plain_text.batch_size", 9),
    ):
        assert cell_of(set_leaf(run, key, value)).id != before, key
    for key, value in (("plain_text.chunk_tokens", 160), ("plain_text.batch_size", 32), ("plain_text.root", "x")):
        assert cell_of(set_leaf(run, key, value)).id == before, key
    assert cell_of(run).stages == cell_of(set_leaf(run, "objective.lm_coef", 0.0)).stages


def test_text_of_ones_own_counts_by_content_and_is_named_when_it_is_missing(run, tmp_path):
    run.objective.lm_coef = 1.0
    (tmp_path / "a.txt").write_text("one")
    run.plain_text = config.PlainTextCfg(source="files", root=str(tmp_path), files=["a.txt"])
    before = cell_of(run).id
    assert cell_of(set_leaf(run, "plain_text.field", "body")).id == before, "of objects, and there are none"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.txt").write_text("one")
    moved = set_leaf(set_leaf(run, "plain_text.root", str(tmp_path / "elsewhere")), "plain_text.files", ["b.txt"])
    assert cell_of(moved).id == before
    touched(tmp_path / "a.txt", "two")
    assert cell_of(run).id != before
    assert any("plain_text" in text for text in cell_of(set_leaf(run, "objective.lm_coef", 0.0)).ignored)
    with pytest.raises(RequestError, match=r"plain_text.files: no file .*c\.txt"):
        cell_of(set_leaf(run, "plain_text.files", ["c.txt"]))


def test_the_end_of_a_schedule_has_no_effect_where_there_is_none_and_says_so(run):
    constant = set_leaf(run, "train.lr_schedule", "constant")
    other = set_leaf(constant, "train.lr_final", 1e-5)
    assert cell_of(constant).id == cell_of(other).id != cell_of(run).id
    assert not any("lr_final" in text for text in cell_of(constant).ignored)
    assert "train.lr_final has no effect with train.lr_schedule=constant" in cell_of(other).ignored


def test_nothing_of_a_cell_names_its_stages(run):
    stages = cell_of(run).stages
    for key, value in (
        ("train.precision", "bf16-mixed"),
        ("train.lr", 1.0),
        ("train.grad_clip", 0.0),
        ("objective.reduction", "sequence_mean"),
        ("compat.micro_batch_mean", True),
        ("strategy.name", "speculative"),
        ("data.num_train", 100),
        ("seed", 99),
    ):
        changed = set_leaf(run, key, value)
        assert cell_of(changed).id != cell_of(run).id, key
        assert cell_of(changed).stages == stages, key


@pytest.mark.parametrize(("role", "stage"), [("teacher", "teacher"), ("student", "student_init")])
def test_every_field_of_a_fine_tuning_names_its_stage(run, role, stage):
    getattr(run.pair, f"{role}_sft").validation.select = "rouge_l"  # else what is written has no effect
    before = cell_of(run).stages[stage].id
    for key, value in flatten(asdict(getattr(run.pair, f"{role}_sft"))).items():
        changed = set_leaf(
            run, f"pair.{role}_sft.{key}", "loss" if key == "validation.select" else changed_leaf(key, value)
        )
        assert cell_of(changed).stages[stage].id != before, key


def test_the_student_sees_as_much_of_the_data_as_its_cell_and_the_teacher_all(id_of):
    run = run_of_overrides(["data.num_train=1000"])
    assert (run.pair.student_sft.num_train, run.pair.teacher_sft.num_train) == (1000, None)


def test_the_division_of_a_step_names_what_has_dropout_and_nothing_else(run):
    def ids(micro_batch_size, devices=1):
        changed = set_leaf(run, "trainer.micro_batch_size", micro_batch_size)
        changed.trainer.devices = devices
        cell = cell_of(changed)
        return cell.id, cell.stages["student_init"].id, cell.stages["teacher"].id

    assert ids(None) == ids(4) == ids(None, devices=2)
    run.pair.student_arch.dropout = 0.1
    whole, parts, ranks = ids(None), ids(4), ids(None, devices=2)
    assert len({whole[0], parts[0], ranks[0]}) == len({whole[1], parts[1], ranks[1]}) == 3
    assert whole[2] == parts[2] == ranks[2]  # the teacher has none
    assert ids(run.train.global_batch_size) == whole  # not divided at all
    run.pair.teacher_arch.dropout = 0.1
    assert ids(None)[2] != ids(4)[2]


@pytest.mark.parametrize(
    ("values", "drops"),
    [
        ({"attn_pdrop": 0.1}, True),
        ({"attention_dropout": 0.0, "summary_first_dropout": 0.1, "classifier_dropout": 0.1}, False),
        ({"text_config": {"hidden_dropout": 0.2}}, True),
        ({"hidden_size": 4}, False),
    ],
    ids=str,
)
def test_dropout_is_known_from_the_configuration_of_a_model(tmp_path, values, drops):
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert has_dropout(str(tmp_path), None) == drops


def test_the_mean_per_micro_batch_is_the_only_one_named_by_its_micro_batches(run):
    run.trainer.micro_batch_size = 4
    before = cell_of(run).id
    assert cell_of(set_leaf(run, "trainer.micro_batch_size", 8)).id == before
    run.compat.micro_batch_mean = True
    ids = {cell_of(run).id, cell_of(set_leaf(run, "trainer.micro_batch_size", 8)).id}
    assert len(ids | {before}) == 3


@pytest.mark.parametrize(
    ("strategy", "flag"),
    [
        ("fixed", "micro_batch_mean"),
        ("adaptive_off_policy", "validation_batch_mean"),
        ("mixed", "sgo_rank_local_coin"),
    ],
)
def test_the_number_of_ranks_names_a_cell_where_every_rank_goes_its_own_way(id_of, strategy, flag):
    # No buffer of its own may hide what the flag does.
    request = [f"strategy={strategy}"]
    request += {"mixed": ["strategy.use_buffer=false"], "fixed": []}.get(strategy, ["strategy.buffer_scope=global"])
    assert id_of(*request) == id_of(*request, "trainer.devices=2") == id_of(*request, "trainer.devices=4")
    ids = {id_of(*request, f"compat.{flag}=true", f"trainer.devices={number}") for number in (2, 4)}
    assert len(ids) == 2


def test_moving_or_touching_the_data_keeps_the_id(jsonl_run, tmp_path):
    before = cell_of(jsonl_run)
    root = Path(jsonl_run.data.root)
    os.utime(root / "train.jsonl", (1, 1))
    assert cell_of(jsonl_run).id == before.id
    root.rename(tmp_path / "moved")
    (tmp_path / "moved" / "train.jsonl").rename(tmp_path / "moved" / "other_name.jsonl")
    jsonl_run.data.root, jsonl_run.data.train = str(tmp_path / "moved"), "other_name.jsonl"
    assert cell_of(jsonl_run) == before


@pytest.mark.parametrize("name", ["train.jsonl", "dev.jsonl"])
def test_one_byte_of_the_training_or_validation_file_changes_the_id(jsonl_run, name):
    before = cell_of(jsonl_run)
    path = Path(jsonl_run.data.root) / name
    touched(path, path.read_text().replace("0", "9", 1))
    assert cell_of(jsonl_run).id != before.id


def test_an_evaluation_file_changes_the_protocol_and_not_the_cell(jsonl_run):
    cell = cell_of(jsonl_run)
    before = set_protocols(jsonl_run.data, jsonl_run.evaluation)
    path = Path(jsonl_run.data.root) / "test.jsonl"
    touched(path, path.read_text().replace("0", "9", 1))
    assert cell_of(jsonl_run).id == cell.id
    assert set_protocols(jsonl_run.data, jsonl_run.evaluation)["test"].digest != before["test"].digest


def test_how_a_task_asks_names_the_cell_and_its_fine_tunings(jsonl_run):
    jsonl_run.pair.teacher_sft.validation.select = "rouge_l"
    jsonl_run.pair.student_sft.validation.select = "loss"
    data = jsonl_run.data
    data.prompt, data.template, data.labels = "chat", "To {target}: {instruction}", {"target": "German"}
    before = cell_of(jsonl_run)
    assert before.values["data"]["template"] == "To {target}: {instruction}"
    for key, value in (
        ("data.template", "{instruction}"),
        ("data.labels", {"target": "Icelandic"}),
        ("data.fields", {"output": "input"}),
    ):
        changed = cell_of(set_leaf(jsonl_run, key, value))
        assert changed.id != before.id, key
        assert all(changed.stages[role].id != before.stages[role].id for role in ("teacher", "student_init")), key
    same = set_leaf(jsonl_run, "data.fields", {"output": "output"})
    same.data.labels = {"target": "German", "unused": "x"}
    assert cell_of(same) == before


def test_a_conversation_names_the_cell_by_its_format_system_turns_and_the_text_of_its_template(jsonl_run, tmp_path):
    jsonl_run.data.format, jsonl_run.data.prompt = "messages", "chat"
    jsonl_run.pair.teacher_sft.epochs = jsonl_run.pair.student_sft.epochs = 1
    before = cell_of(jsonl_run)
    assert before.values["data"]["format"] == "messages" and "turns" not in before.values["data"]
    found = {before.id}
    for key, value in (
        ("data.format", "prompt_completion"),
        ("data.fields", {"messages": "conversations"}),
        ("data.system", "Be brief."),
        ("data.turns", "last"),
        ("data.chat_template", "chatml"),
        ("data.chat_template", "plain"),
    ):
        changed = cell_of(set_leaf(jsonl_run, key, value))
        assert all(changed.stages[role].id != before.stages[role].id for role in ("teacher", "student_init")), key
        found.add(changed.id)
    assert len(found) == 7
    own, moved = tmp_path / "own.jinja", tmp_path / "moved.jinja"
    own.write_text(template_text("chatml", key="x"))
    moved.write_text(own.read_text())
    ids = {cell_of(set_leaf(jsonl_run, "data.chat_template", str(name))).id for name in (own, moved, "chatml")}
    assert len(ids) == 1, "its text, never its place"
    own.write_text(f"{own.read_text()}x")
    assert cell_of(set_leaf(jsonl_run, "data.chat_template", str(own))).id not in ids
    with pytest.raises(RequestError, match="data.chat_template: no file .*gone.jinja; valid besides files: chatml"):
        cell_of(set_leaf(jsonl_run, "data.chat_template", str(tmp_path / "gone.jinja")))


def test_stop_strings_name_what_writes_text_and_nothing_else(jsonl_run):
    jsonl_run.pair.teacher_sft.validation.select = "rouge_l"
    jsonl_run.pair.student_sft.validation.select = "loss"
    before, after = cell_of(jsonl_run), cell_of(set_leaf(jsonl_run, "data.stop", ["\n"]))
    assert after.id != before.id
    assert after.stages["teacher"] != before.stages["teacher"]
    without = copy.deepcopy(after.stages["student_init"].values)
    assert without == before.stages["student_init"].values


def test_the_seed_of_a_draw_names_what_draws_and_nothing_else(jsonl_run):
    def ids(run):
        cell = cell_of(run)
        return cell.id, cell.stages["teacher"].id, cell.stages["student_init"].id, cell.stages["tokenizer"].id

    seeded = set_leaf(jsonl_run, "data.split_seed", 3)
    assert ids(seeded) == ids(jsonl_run), "nothing is drawn"
    seeded.data.num_train = seeded.pair.student_sft.num_train = 2
    other = set_leaf(seeded, "data.split_seed", 4)
    assert [left == right for left, right in zip(ids(seeded), ids(other), strict=True)] == [False, True, False, True]
    for run in (seeded, other):
        run.data.dev, run.data.num_dev = None, 1
    assert [left == right for left, right in zip(ids(seeded), ids(other), strict=True)] == [False] * 4


def test_a_missing_data_file_is_refused_with_its_path(jsonl_run):
    jsonl_run.data.train = "nowhere.jsonl"
    with pytest.raises(RequestError, match=r"data.train: no file .*nowhere.jsonl"):
        cell_of(jsonl_run)


def test_a_damaged_memory_of_digests_gives_no_wrong_digest(jsonl_run):
    before = cell_of(jsonl_run).id
    memory = Path(jsonl_run.paths.cache) / "file_digests.jsonl"
    whole = memory.read_bytes()
    assert whole.count(b"\n") == 2
    for damaged in (
        b'{"half a',
        whole[:-100],
        whole.replace(b"0", b"1"),
        whole.replace(b'"sha256": "', b'"sha256": "0'),
    ):
        memory.write_bytes(damaged)
        assert cell_of(jsonl_run).id == before


def test_a_file_that_changed_without_its_times_is_found_when_it_is_used_and_not_when_it_is_listed(
    jsonl_run, monkeypatch
):
    before = cell_of(jsonl_run).id
    path = Path(jsonl_run.data.root) / "train.jsonl"
    monkeypatch.setattr(fingerprint, "_place", lambda path: str(path))  # as a disk damages a file: its times stay
    FileDigests(Path(jsonl_run.paths.cache)).file(path)
    path.write_bytes(path.read_bytes().replace(b"a", b"b", 1))
    assert cell_of(jsonl_run).id == before
    with pytest.raises(DamagedError, match="train.jsonl is damaged .other bytes than when it was read first"):
        cell_of(jsonl_run, read_again=True)


def test_the_digest_is_that_of_the_bytes(jsonl_run):
    path = Path(jsonl_run.data.root) / "train.jsonl"
    found = data_identity(jsonl_run.data, FileDigests(Path(jsonl_run.paths.cache)))["files"]["train"]
    assert found == hashlib.sha256(path.read_bytes()).hexdigest()


def test_alphas_share_teacher_student_and_tokenizer(run):
    first = cell_of(run)
    run.amid.alpha = 0.5
    second = cell_of(run)
    assert first.id != second.id
    assert first.stages == second.stages
    assert [stage.kind for stage in first.stages.values()] == ["tokenizer", "teacher", "student_init"]


def test_another_teacher_is_another_cell_with_the_same_initial_student(run):
    first = cell_of(run)
    run.pair.teacher_sft.epochs += 1
    second = cell_of(run)
    assert first.id != second.id
    assert first.stages["teacher"].id != second.stages["teacher"].id
    assert first.stages["student_init"] == second.stages["student_init"]


def test_a_student_made_of_the_teacher_changes_with_it(run):
    run.pair.student, run.pair.student_arch, run.pair.keep_layers = "teacher", None, [0]
    first = cell_of(run)
    run.pair.teacher_sft.lr *= 2
    assert cell_of(run).stages["student_init"].id != first.stages["student_init"].id


def test_a_local_model_counts_by_content_and_not_by_path(run, tmp_path):
    def folder(name, weights):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(weights)
        return str(tmp_path / name)

    run.pair = config.PairCfg(name="x", teacher=folder("a", b"1"), student=folder("b", b"2"))
    first = cell_of(run)
    run.pair.teacher = folder("c", b"1")
    (tmp_path / "c" / "trainer.log").write_text("noise")
    assert cell_of(run) == first
    run.pair.teacher = folder("d", b"3")
    assert cell_of(run).stages["teacher"].id != first.stages["teacher"].id
    assert cell_of(run).stages["student_init"] == first.stages["student_init"]


@pytest.fixture
def two_models(run, tmp_path):
    """A run on two model folders; `folder(NAME, CONTENT)` makes another one."""

    def folder(name, weights):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(weights)
        return str(tmp_path / name)

    run.pair = config.PairCfg(name="x", teacher=folder("a", b"1"), student=folder("b", b"2"))
    return run, folder


@pytest.mark.parametrize("epochs", [0, 1])
def test_the_end_of_text_names_the_cell_and_the_stages_that_it_is_not_the_own_of(two_models, epochs):
    run, _ = two_models
    run.pair.teacher_sft.epochs = run.pair.student_sft.epochs = epochs
    cells = {}
    for eos in (None, "teacher", "student", "<end>"):
        run.pair.eos = eos
        cells[eos] = cell_of(run)
    assert len({cell.id for cell in cells.values()}) == 4
    plain = cells[None]
    # A model's own end of text changes nothing about its stage
    assert cells["teacher"].stages["teacher"] == plain.stages["teacher"]
    assert cells["student"].stages["student_init"] == plain.stages["student_init"]
    assert len({cells[eos].stages["student_init"].id for eos in (None, "teacher", "<end>")}) == 3
    assert len({cells[eos].stages["teacher"].id for eos in (None, "student", "<end>")}) == 3


def test_another_student_whose_end_of_text_the_teacher_takes_is_another_teacher_stage(two_models):
    run, folder = two_models
    run.pair.eos = "student"
    first = cell_of(run).stages["teacher"].id
    run.pair.student = folder("c", b"3")
    assert cell_of(run).stages["teacher"].id != first
    run.pair.student = folder("moved", b"2")
    assert cell_of(run).stages["teacher"].id == first


def test_an_end_of_text_is_refused_for_a_tokenizer_that_is_trained_here(run):
    with pytest.raises(RequestError, match="pair.eos=teacher is for loaded tokenizers; one trained here"):
        replace(run.pair, eos="teacher")


@pytest.mark.parametrize("name", ["/nowhere/model", "./nowhere", "three/part/name", "with space"])
def test_a_model_that_is_neither_folder_nor_hub_name_is_refused_with_its_name(run, name):
    run.pair = config.PairCfg(name="x", teacher=name, student="teacher")
    with pytest.raises(RequestError, match="model folder .*does not exist"):
        cell_of(run)


def test_a_model_folder_without_config_is_refused(run, tmp_path):
    run.pair = config.PairCfg(name="x", teacher=str(tmp_path), student="teacher")
    with pytest.raises(RequestError, match=r"holds no config\.json"):
        cell_of(run)


def test_stages_come_in_the_order_in_which_they_name_each_other(run):
    cell = cell_of(run)
    assert list(cell.stages) == ["tokenizer", "teacher", "student_init"]
    ids = {role: stage.id for role, stage in cell.stages.items()}
    assert cell.stages["teacher"].values["tokenizer"] == ids["tokenizer"]
    assert cell.stages["student_init"].values["tokenizer"] == ids["tokenizer"]
    assert list(cell.evaluated_stages) == ["teacher", "student_init"], "a tokenizer has no scores"
    assert {role: stage.evaluated_as for role, stage in cell.evaluated_stages.items()} == {
        "teacher": "teacher",
        "student_init": "student",
    }


def test_steps_of_a_stage_that_is_not_trained_have_no_effect_and_say_so(run):
    untrained = set_leaf(run, "pair.student_sft.epochs", 0)
    given = set_leaf(untrained, "pair.student_sft.max_steps", 30)
    assert cell_of(given).id == cell_of(set_leaf(untrained, "pair.student_sft.max_steps", None)).id
    assert "pair.student_sft.max_steps=30 has no effect with pair.student_sft.epochs=0" in cell_of(given).ignored
    assert not any("max_steps" in text for text in cell_of(run).ignored)
