"""The typed configuration: names equal those of the code, every range check speaks, every shipped option composes."""

import inspect
import math
import re
from dataclasses import asdict, fields

import pytest
from omegaconf import OmegaConf

from amid import config
from amid.cells.cell import cell_of
from amid.config import config_root
from amid.errors import RequestError
from amid.sweep import compose as requests
from amid.sweep.compose import run_of_overrides

CONF = config_root() / "conf"
GROUPS = ("pair", "data", "objective", "divergence", "strategy", "train", "evaluation", "trainer", "logger", "compat")
OPTIONS = [
    (group, path.stem) for group in (*GROUPS, "method", "alpha_grid") for path in sorted((CONF / group).glob("*.yaml"))
]
# What a person must give to make an option complete.
NEEDS = {
    ("pair", "hf"): ["pair.teacher=gpt2-xl", "pair.student=gpt2"],
    ("pair", "gpt2_xl"): ["pair.student=gpt2"],
    ("data", "dolly"): ["data.root={tmp}"],
    ("data", "jsonl"): ["data.root={tmp}"],
    ("data", "hub"): ["data.hub={tmp}"],
    **{
        ("data", task): ["data.root={tmp}"]
        for task in ("gsm8k", "dialogsum", "flores200", "parquet", "csv", "messages", "prompt_completion")
    },
}
# The i-th option of every group in one composition, because composing is slow; methods are tried one by one below.
BY_GROUP = {group: [option for name, option in OPTIONS if name == group] for group in (*GROUPS, "alpha_grid")}
ROWS = [
    {group: options[i % len(options)] for group, options in BY_GROUP.items()}
    for i in range(max(map(len, BY_GROUP.values())))
]
# Parameters of these functions that a compat switch of the same name sets, not a person.
COMPAT_PARAMS = {"abkd_prefactors", "akl_swapped"}


@pytest.fixture
def checked(tmp_path):
    def compose(*overrides):
        return run_of_overrides([f"paths.results={tmp_path}", f"paths.cache={tmp_path}", *overrides])

    return compose


def test_the_table_of_divergences_equals_the_one_in_core():
    from amid.core import DIVERGENCES

    parameters = {
        name: tuple(
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name not in COMPAT_PARAMS
        )
        for name, function in DIVERGENCES.items()
    }
    assert parameters == config.DIVERGENCE_PARAMS


def test_the_table_of_schedules_equals_the_one_in_core():
    from amid.core import SCHEDULES

    parameters = {name: tuple(inspect.signature(function).parameters) for name, function in SCHEDULES.items()}
    # The one value of a constant is that of the node itself.
    assert {**parameters, "constant": ()} == config.SCHEDULE_PARAMS


def test_the_orders_equal_those_of_core():
    from amid.core import ORDERS

    assert config.ORDERS == ORDERS


def test_every_deviation_of_the_objective_has_one_name_from_the_command_line_to_core():
    from amid.core import Compat

    of_core = {field.name for field in fields(Compat)}
    assert of_core <= {field.name for field in fields(config.CompatCfg)}
    assert of_core >= COMPAT_PARAMS


ARCH = {"layers": 1, "width": 4, "heads": 2, "positions": 8}
SCRATCH_PAIR = {"name": "x", "teacher": "scratch", "student": "scratch", "tokenizer_vocab_size": 300}
TOY = {"source": "toy", "num_records": 10, "num_dev": 2, "num_eval": 2}
JSONL = {"source": "jsonl", "root": "x", "train": "x", "dev": "x"}
TRAIN = {"epochs": 1, "global_batch_size": 2, "lr": 0.1}
NAN = math.nan
FILES = {"files": ["x.jsonl"]}
CHAT = {"files": ["x.jsonl"], "prompt": "chat"}


def bad(node, values, *words):
    """A case: the class, values with one at fault, and what the message must hold: key, value, valid range."""
    return pytest.param(node, values, words, id=f"{node}-{words[0]}-{words[1] if len(words) > 1 else ''}")


@pytest.mark.parametrize(
    ("node", "values", "words"),
    [
        *(bad("ArchCfg", {**ARCH, key: 0}, f"arch.{key}", "at least 1", "got 0") for key in ARCH),
        bad("ArchCfg", {**ARCH, "dropout": 1.5}, "arch.dropout", "[0, 1]", "1.5"),
        bad("ArchCfg", {**ARCH, "dropout": NAN}, "arch.dropout", "[0, 1]", "nan"),
        bad("ArchCfg", {**ARCH, "width": 5}, "arch.width", "multiple of arch.heads (2)", "got 5"),
        bad("SftCfg", {"epochs": -1}, "sft.epochs", "at least 0", "-1"),
        bad("SftCfg", {"max_steps": 0}, "sft.max_steps", "at least 1", "0"),
        bad("SftCfg", {"global_batch_size": 0}, "sft.global_batch_size", "at least 1", "0"),
        bad("SftCfg", {"lr": -0.5}, "sft.lr", "at least 0", "-0.5"),
        bad("SftCfg", {"lr": NAN}, "sft.lr", "at least 0", "nan"),
        bad("SftCfg", {"lr": math.inf}, "sft.lr", "at least 0", "inf"),
        bad("SftCfg", {"warmup_steps": -2}, "sft.warmup_steps", "at least 0", "-2"),
        bad("PairCfg", {**SCRATCH_PAIR, "vocab_policy": "loose"}, "vocab_policy", "'loose'", "shared_prefix, strict"),
        bad("PairCfg", SCRATCH_PAIR, "pair.teacher=scratch", "pair.teacher_arch"),
        bad(
            "PairCfg",
            {"name": "x", "teacher": "a", "student": "b", "student_arch": ARCH},
            "student_arch",
            "scratch",
            "b",
        ),
        bad("PairCfg", {"name": "x", "teacher": "teacher", "student": "b"}, "pair.teacher=teacher", "valid: scratch"),
        *(
            bad(
                "PairCfg",
                {"name": "x", "teacher": "a", "student": "teacher", "keep_layers": layers},
                "keep_layers",
                str(layers),
            )
            for layers in ([], [2, 1], [1, 1], [-1, 0])
        ),
        bad(
            "PairCfg", {"name": "x", "teacher": "a", "student": "b", "tokenizer_vocab_size": 9}, "tokenizer_vocab_size"
        ),
        bad(
            "PairCfg",
            {"name": "x", "teacher": "scratch", "teacher_arch": ARCH, "student": "gpt2", "tokenizer_vocab_size": 9},
            "own tokenizer",
            "pair.student=gpt2",
        ),
        bad("AmidCfg", {"alpha": NAN}, "amid.alpha", "nan", "inf, -inf or null"),
        bad("AmidCfg", {"lam": 1.5}, "amid.lam", "[0, 1]", "1.5"),
        bad("AmidCfg", {"lam": -0.1}, "amid.lam", "[0, 1]", "-0.1"),
        bad("AmidCfg", {"lam": NAN}, "amid.lam", "[0, 1]", "nan"),
        bad("ObjectiveCfg", {"kd_ratio": 2.0}, "objective.kd_ratio", "[0, 1]", "2"),
        bad("ObjectiveCfg", {"reduction": "sum"}, "objective.reduction", "sum", "global_token_mean, sequence_mean"),
        bad("DivergenceCfg", {"name": "kll"}, "divergence", "'kll'", "did you mean 'kl'"),
        bad("DivergenceCfg", {"name": "kl", "order": "qp"}, "divergence.order", "'qp'", "pr, qr, rp, rq"),
        bad(
            "DivergenceCfg", {"name": "ab", "params": {"ab_alpha": 1.0}}, "divergence.params", "ab_beta", "['ab_alpha']"
        ),
        bad("ScheduleCfg", {"name": "linear", "params": {"begin": 1.0}}, "schedule 'linear'", "begin", "start, end"),
        bad("ScheduleCfg", {"params": {"start": 1.0}}, "schedule 'constant'", "start", "none"),
        bad("ValidationCfg", {"every_steps": 0}, "train.validation.every_steps", "at least 1", "0"),
        bad("StrategyCfg", {"name": "fixd"}, "strategy", "'fixd'", "fixed"),
        bad("DataCfg", {**TOY, "source": "toys"}, "data.source", "'toys'", "jsonl, toy"),
        bad("DataCfg", {**TOY, "num_train": 0}, "data.num_train", "at least 1", "0"),
        bad("DataCfg", {**TOY, "num_eval": None}, "data.num_eval", "toy"),
        bad("DataCfg", {**TOY, "max_prompt_tokens": 0}, "data.max_prompt_tokens", "at least 1", "0"),
        bad("DataCfg", {**TOY, "max_tokens": 256}, "data.max_tokens", "data.max_prompt_tokens (256)", "got 256"),
        bad("DataCfg", {"source": "jsonl"}, "data.root", "needed"),
        bad("DataCfg", {"source": "jsonl", "root": "x", "train": "x"}, "data.dev", "data.num_dev"),
        bad("DataCfg", {**TOY, "fields": {"input": "x"}}, "data.fields", "data.source=jsonl"),
        bad("DataCfg", {**JSONL, "fields": {"inputs": "x"}}, "data.fields", "'inputs'", "did you mean 'input'"),
        bad("DataCfg", {**TOY, "split_seed": -1}, "data.split_seed", "at least 0", "-1"),
        bad("DataCfg", {**TOY, "prompt": "chatt"}, "data prompt", "'chatt'", "alpaca, chat"),
        bad("DataCfg", {**TOY, "prompt": "chat"}, "data.template goes with prompt=chat"),
        bad("DataCfg", {**TOY, "template": "{input}"}, "data.template goes with prompt=chat"),
        bad("DataCfg", {**TOY, "prompt": "chat", "template": "{question}"}, "data.template", "{question}", "valid: in"),
        bad("DataCfg", {**TOY, "stop": ["\n", ""]}, "data.stop", "non-empty"),
        bad("ValidationCfg", {"select": "bleu"}, "train.validation.select", "'bleu'", "loss, rouge_l"),
        bad("ValidationCfg", {"num_examples": 0}, "train.validation.num_examples", "at least 1", "0"),
        bad("ValidationCfg", {"max_new_tokens": 0}, "train.validation.max_new_tokens", "at least 1", "0"),
        bad("ValidationCfg", {"temperature": -1.0}, "train.validation.temperature", "at least 0", "-1"),
        *(
            bad("TrainCfg", {**TRAIN, key: 0}, f"train.{key}", "at least 1", "got 0")
            for key in ("epochs", "max_steps", "global_batch_size")
        ),
        *(
            bad("TrainCfg", {**TRAIN, key: -1}, f"train.{key}", "at least 0", "got -1")
            for key in ("lr", "lr_final", "eps", "weight_decay", "grad_clip", "warmup_steps")
        ),
        bad("TrainCfg", {**TRAIN, "max_nonfinite_share": 1.1}, "train.max_nonfinite_share", "[0, 1]", "1.1"),
        bad("TrainCfg", {**TRAIN, "lr_schedule": "step"}, "train.lr_schedule", "'step'", "constant, cosine, linear"),
        bad("TrainCfg", {**TRAIN, "betas": [0.9]}, "train.betas", "[0, 1)", "[0.9]"),
        bad("TrainCfg", {**TRAIN, "betas": [0.9, 1.0]}, "train.betas", "[0, 1)", "1.0"),
        bad("CorpusCfg", {"writer": "me"}, "corpus.writer", "'me'", "gold, student, teacher"),
        bad("CorpusCfg", {"writer": "teacher", "temperature": -1.0}, "corpus.temperature", "at least 0", "-1"),
        bad("CorpusCfg", {"writer": "teacher", "top_p": 0.0}, "corpus.top_p", "(0, 1]", "0"),
        bad("PlainTextCfg", {"source": "web"}, "plain_text.source", "'web'", "files, none, toy"),
        bad("PlainTextCfg", {"source": "toy"}, "plain_text.num_documents"),
        bad("PlainTextCfg", {"source": "files", "root": "x"}, "plain_text.root and plain_text.files"),
        bad("PlainTextCfg", {"source": "files", "root": "x", "files": ["a.pdf"]}, ".txt or .jsonl", "'a.pdf'"),
        bad("PlainTextCfg", {"chunk_tokens": 1}, "plain_text.chunk_tokens", "at least 2", "got 1"),
        bad("ObjectiveCfg", {"lm_coef": -1.0}, "objective.lm_coef", "at least 0", "-1"),
        bad("ObjectiveCfg", {"lm_kd_ratio": 2.0}, "objective.lm_kd_ratio", "[0, 1]", "2"),
        bad("TrainCfg", {**TRAIN, "precision": "16"}, "train.precision", "'16'", "32-true, bf16-mixed"),
        bad("EvaluationSetCfg", {"source": "web"}, "evaluation set source 'web'", "file, hub, toy"),
        bad("EvaluationSetCfg", {}, "source=file needs files"),
        bad("EvaluationSetCfg", {**FILES, "prompt": "alpacca"}, "did you mean 'alpaca'"),
        bad("EvaluationSetCfg", {**FILES, "prompt": "chat"}, "template goes with prompt=chat"),
        bad("EvaluationSetCfg", {**FILES, "template": "x"}, "template goes with prompt=chat"),
        bad("EvaluationSetCfg", {**CHAT, "template": "{inptu}"}, "no value for {inptu}", "instruction, input"),
        bad("EvaluationSetCfg", {**FILES, "num_examples": 1}, "num_examples", "at least 2", "1"),
        bad("EvaluationSetCfg", {**FILES, "max_prompt_tokens": 0}, "max_prompt_tokens", "at least 1", "0"),
        bad("EvaluationSetCfg", {**FILES, "max_new_tokens": 0}, "max_new_tokens", "at least 1", "0"),
        bad("EvaluationSetCfg", {**FILES, "temperature": -1.0}, "temperature", "at least 0", "-1"),
        bad("EvaluationSetCfg", {**FILES, "top_k": -1}, "top_k", "at least 0", "-1"),
        bad("EvaluationSetCfg", {**FILES, "top_p": 1.5}, "top_p", "(0, 1]", "1.5"),
        bad("EvaluationSetCfg", {**FILES, "no_repeat_ngram_size": -1}, "no_repeat_ngram_size", "at least 0", "-1"),
        bad("EvaluationSetCfg", {**FILES, "version": 0}, "version", "at least 1", "0"),
        bad("EvaluationSetCfg", {**FILES, "stop": [""]}, "stop must be non-empty"),
        bad("EvaluationSetCfg", {**FILES, "metric": "rouge"}, "did you mean 'rouge_l'"),
        bad("EvaluationSetCfg", {**FILES, "metrics": ["x"]}, "evaluation metric 'x'"),
        bad("EvaluationSetCfg", {**FILES, "metric": "self_bleu"}, "higher_is_better of self_bleu is false, got true"),
        bad("EvaluationCfg", {"precision": "16"}, "evaluation.precision '16'", "bf16-true"),
        bad("EvaluationCfg", {"metrics": ["rogue_l"]}, "did you mean 'rouge_l'"),
        bad("TableCfg", {"metric": "rouge"}, "sweep.table.metric 'rouge'", "perplexity"),
        bad("EvaluationCfg", {"num_prompts": 1}, "evaluation.num_prompts", "at least 2", "1"),
        bad("EvaluationCfg", {"max_new_tokens": 0}, "evaluation.max_new_tokens", "at least 1", "0"),
        bad("EvaluationCfg", {"temperature": -1.0}, "evaluation.temperature", "at least 0", "-1"),
        bad("EvaluationCfg", {"also_tuned": [0.6]}, "evaluation.also_tuned", "two or more different", "[0.6]"),
        bad("EvaluationCfg", {"also_tuned": [1.0, 0.6, 1.0]}, "evaluation.also_tuned", "[1,0.6,1]"),
        bad("EvaluationCfg", {"also_tuned": [0.6, -1.0]}, "evaluation.also_tuned", "at least 0", "-1"),
        bad("EvaluationCfg", {"also_tuned": [0.6, NAN]}, "evaluation.also_tuned", "at least 0", "nan"),
        bad("EvaluationCfg", {"top_k": -1}, "evaluation.top_k", "at least 0", "-1"),
        bad("EvaluationCfg", {"top_p": 0.0}, "evaluation.top_p", "(0, 1]", "got 0"),
        bad("EvaluationCfg", {"top_p": NAN}, "evaluation.top_p", "(0, 1]", "nan"),
        bad("EvaluationCfg", {"no_repeat_ngram_size": -1}, "evaluation.no_repeat_ngram_size", "at least 0", "-1"),
        bad("EvaluationCfg", {"decode_seeds": []}, "evaluation.decode_seeds", "distinct", "[]"),
        bad("EvaluationCfg", {"decode_seeds": [1, 1]}, "evaluation.decode_seeds", "distinct", "[1, 1]"),
        bad("EvaluationCfg", {"metrics": ["rouge"]}, "metric", "'rouge'", "did you mean 'rouge_l'"),
        *(
            bad("TrainerCfg", {key: 0}, f"trainer.{key}", "at least 1", "got 0")
            for key in (
                "micro_batch_size",
                "generation_batch_size",
                "checkpoint_every_steps",
                "log_every_steps",
            )
        ),
        bad("TrainerCfg", {"diagnostic_positions": -1}, "trainer.diagnostic_positions", "at least 0", "-1"),
        bad("LoggerCfg", {"name": "wandbb"}, "logger", "'wandbb'", "did you mean 'wandb'"),
        bad("LoggerCfg", {"name": "wandb", "mode": "on"}, "logger.mode", "'on'", "disabled, offline, online"),
        bad("LoggerCfg", {"name": "wandb", "num_generations": -1}, "logger.num_generations", "at least 0", "-1"),
    ],
)
def test_a_value_out_of_range_is_refused_with_key_value_and_range(node, values, words):
    with pytest.raises(RequestError) as caught:
        getattr(config, node)(**values)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["task=distil"], ("task", "'distil'", "did you mean 'distill'")),
        (["seed=-1"], ("seed", "at least 0", "-1")),
        (["amid.lam_schedule.name=linar"], ("schedule", "'linar'", "did you mean 'linear'")),
        (["amid.lam=nan"], ("amid.lam", "[0, 1]", "nan")),
        (["pair=hf", "train=hf"], ("pair.teacher", "give it: pair.teacher=VALUE")),
        (["data=jsonl"], ("data.root", "is needed for data.source=jsonl")),
    ],
)
def test_a_bad_override_is_one_request_error(checked, overrides, words):
    with pytest.raises(RequestError) as caught:
        checked(*overrides)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "+".join(f"{group}={option}" for group, option in row.items()))
def test_every_shipped_option_composes(checked, tmp_path, row):
    needed = [text.format(tmp=tmp_path) for choice in row.items() for text in NEEDS.get(choice, [])]
    run = checked(*(f"{group}={option}" for group, option in row.items()), *needed)
    chosen = {"pair": run.pair.name, "strategy": run.strategy.name, "logger": run.logger.name}
    assert chosen == {group: row[group] for group in chosen}


@pytest.mark.parametrize("pair", ["tiny", "smollm2"])
def test_every_pair_names_its_own_training_budget(checked, pair):
    budget = OmegaConf.load(CONF / "train" / f"{pair}.yaml")
    assert checked(f"pair={pair}").train.epochs == budget.epochs


@pytest.mark.parametrize("name", [option for group, option in OPTIONS if group == "method"])
def test_what_a_method_says_holds_against_the_defaults(checked, name):
    text = OmegaConf.to_container(OmegaConf.load(CONF / "method" / f"{name}.yaml"))
    del text["defaults"]
    run = asdict(checked(f"method={name}"))
    for node, values in text.items():
        assert {key: run[node][key] for key in values} == values, node


def test_every_folder_of_options_is_in_the_defaults_list():
    folders = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}
    named = set(re.findall(r"^  - (?:optional )?(\w+):", (CONF / "config.yaml").read_text(), re.M))
    assert folders <= named


def test_every_option_states_what_it_is_in_its_first_lines():
    silent = [
        f"{group}/{option}" for group, option in OPTIONS if "#" not in (CONF / group / f"{option}.yaml").read_text()
    ]
    assert silent == []


def jobs_of(monkeypatch, *overrides):
    """The jobs of a multirun, without composing each."""
    monkeypatch.setattr(requests, "plan_sweep", lambda jobs, *_, **__: jobs)
    return requests.sweep_of_overrides(overrides)


@pytest.mark.parametrize("name", [option for group, option in OPTIONS if group == "alpha_grid"])
def test_every_alpha_grid_is_a_sweep_of_distinct_cells(monkeypatch, run, name):
    jobs = jobs_of(monkeypatch, f"alpha_grid={name}")
    ids = set()
    for job in jobs:
        (text,) = [override.removeprefix("amid.alpha=") for override in job if override.startswith("amid.alpha=")]
        run.amid.alpha = None if text == "null" else float(text)
        ids.add(cell_of(run).id)
    assert len(ids) == len(jobs) > 1


@pytest.mark.parametrize("name", [path.stem for path in sorted((config_root() / "sweeps").glob("*.yaml"))])
def test_every_shipped_sweep_composes_under_its_own_name(monkeypatch, tmp_path, name):
    folders = (f"paths.results={tmp_path}", f"paths.cache={tmp_path}")
    jobs = jobs_of(monkeypatch, f"sweeps={name}", "pair=tiny", "data=toy", *folders)
    assert len(jobs) > 1
    run = run_of_overrides(jobs[0])
    assert run.sweep.name == name
    assert set(run.sweep.table.rows) <= {"method", *_dotted(asdict(run))}  # the name of a method is a label too


def _dotted(values, prefix=""):
    for key, value in values.items():
        yield from _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+amid.alpah=3", "unknown key 'amid.alpah'; did you mean 'amid.alpha'? valid in amid: alpha, alpha_schedule"),
        ("+nothing=3", "unknown key 'nothing'; valid at the top: amid, cell, compat"),
        ("+evaluation.sets.mine={fils: [a]}", "did you mean 'evaluation.sets.mine.files'?"),
        ("+evaluation.sets.open_ended.hub={datset: a/b}", "did you mean 'evaluation.sets.open_ended.hub.dataset'?"),
        ("+evaluation.sets.mine=3", "evaluation.sets.mine must be a declaration such as {files: [FILE]}, got 3"),
        ("+evaluation.sets.mine={files: []}", "an evaluation set with source=file needs files=[FILE]"),
        ("+evaluation.sets.mine={files: [a], split: test}", "evaluation.sets.mine.split goes with source=toy"),
        ("+evaluation.sets.mine={files: [a], top_k: -1}", "evaluation.sets.mine.top_k must be at least 0, got -1"),
        ("+divergence.params.ab_gamma=1", "divergence.params of 'ab' must be exactly ['ab_alpha', 'ab_beta'], got"),
    ],
)  # fmt: skip
def test_a_plus_sign_hides_no_unknown_key(checked, override, said):
    with pytest.raises(RequestError) as caught:
        checked(override)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["+evaluation.sets.mine={files: [mine/test.jsonl], metric: exact_match}"], ["mine"]),
        (["+evaluation.sets.mine.files=[test.jsonl]"], ["mine"]),
        (["+evaluation.sets.a={files: [a]}", "+evaluation.sets.b={files: [b], hub: {dataset: x/y}}"], ["a", "b"]),
    ],
    ids=str,
)
def test_a_set_declared_on_the_command_line_is_complete(checked, overrides, names):
    sets = checked("evaluation=vicuna", *overrides).evaluation.sets
    assert list(sets) == ["vicuna", *names]
    assert all(isinstance(sets[name], config.EvaluationSetCfg) for name in names)
    assert sets[names[0]].max_new_tokens == 256


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("amid.alpah", "unknown key 'amid.alpah'; did you mean 'amid.alpha'?"),
        ("tran.lr", "unknown key 'tran.lr'; did you mean 'train'?"),
        ("evaluation.sets.mine", "'evaluation.sets.mine' is not there yet; add it with a plus sign"),
        ("divergence.params.x", "add it with a plus sign: +divergence.params.x=VALUE"),
    ],
)
def test_what_is_said_of_a_key_that_cannot_be_overridden_recommends_a_plus_only_where_it_helps(key, said):
    text = config.explain_unknown(key, config.RunCfg)
    assert said in text
    assert ("plus sign" in text) == ("plus sign" in said)


@pytest.mark.parametrize("name", ["paths.results", "paths.cache", "data.root", "pair.teacher", "evaluation.root"])
def test_an_empty_value_is_never_silently_another_thing(checked, name):
    with pytest.raises(RequestError, match=f"{name} (is empty|must name a folder, got '')"):
        checked(f"{name}=")


METHOD_FIXES = {
    "kd": ["amid.alpha=-1", "divergence=rkl", "divergence.order=rp", "objective=mix", "objective.kd_ratio=0.5"],
    "sft": ["objective.kd_ratio=0.5", "objective=amid", "amid.alpha=1"],
    "taid": ["amid.lam_schedule.name=taid_adaptive", "amid.detach_student=false", "amid.lam=0.3"],
    "abkd": ["divergence=kl", "amid.alpha=-5"],
    "distillm_skl": ["amid.alpha=0", "divergence.order=rp"],
    "distillm_srkl": ["amid.alpha_schedule.name=linear"],
    "amid": ["objective=sft"],
    "imitkd": ["strategy=fixed", "divergence=rkl"],
    "gkd": ["strategy.name=on_policy", "divergence=kl"],
    "skd": ["strategy=fixed"],
    "seqkd": ["corpus=gold", "objective=amid"],
    "max_ab": ["objective.terms=null"],
}
METHOD_FREE = {
    "kd": ["seed=3", "train.lr=1e-3", "strategy=on_policy"],
    "abkd": ["divergence.params.ab_alpha=0.5"],
    "amid": ["amid.alpha=-1", "amid.lam=0.5", "divergence=kl"],
    "distillm_skl": ["amid.lam=0.2"],
    "imitkd": ["strategy.use_buffer=false", "objective.lm_coef=0"],
    "gkd": ["divergence.params.gjs_weight=0.9", "strategy.student_probability=0.25"],
    "akl": ["strategy=fixed"],
    "taid": ["strategy=fixed", "amid.lam_schedule.params.t_start=0.2"],
}


@pytest.mark.parametrize(("method", "override"), [(m, o) for m, overrides in METHOD_FIXES.items() for o in overrides])
def test_what_makes_a_method_what_it_is_cannot_be_overridden(checked, method, override):
    with pytest.raises(RequestError, match=f"method={method} fixes .*, got {re.escape(override)}; leave it out"):
        checked(f"method={method}", override)


@pytest.mark.parametrize(("method", "override"), [(m, o) for m, overrides in METHOD_FREE.items() for o in overrides])
def test_what_a_method_leaves_open_may_be_searched(checked, method, override):
    assert checked(f"method={method}", override).method.name == method


@pytest.mark.parametrize("name", [option for group, option in OPTIONS if group == "method"])
def test_every_key_that_a_method_sets_or_fixes_exists_and_most_that_it_sets_are_fixed(checked, name):
    run = checked(f"method={name}")
    keys = set(_dotted(asdict(run)))
    assert run.method.name == name
    assert run.method.fixes
    for fixed in run.method.fixes:
        assert any(key == fixed or key.startswith(f"{fixed}.") for key in keys), fixed
