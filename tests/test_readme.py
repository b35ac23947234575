"""Every command of README, docs and YAML comments exists: run.py's are planned, overrides compose, links lead on."""

import json
import math
import re
import shlex
from dataclasses import fields

import pyarrow
import pytest
import yaml
from pyarrow import parquet
from typer.main import get_command

from amid.cli.app import app
from amid.config import RunCfg, config_root
from amid.metrics import METRICS
from amid.sweep.compose import run_of_overrides, sweep_of_overrides

ROOT = config_root()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = {page: "\n".join(re.findall(r"```bash\n(.*?)```", page.read_text(), re.S)) for page in PAGES}
COMMANDS = [
    (page.name, command.split("  #")[0].strip())
    for page, text in CODE.items()
    for command in text.replace("\\\n", " ").splitlines()
    if command.strip()
]
RUN_PY = [command for _, command in COMMANDS if " run.py" in command and "--help" not in command]
YAMLS = sorted([*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "sweeps").glob("*.yaml")])
PROSE = {
    **{str(page.relative_to(ROOT)): re.sub(r"```.*?```", "", page.read_text(), flags=re.S) for page in PAGES},
    **{
        str(path.relative_to(ROOT)): "\n".join(re.findall(r"(?:^|\s)# ?(.*)", path.read_text()))
        for path in YAMLS
        if path.parent.name != "help"
    },
    "help": next((ROOT / "conf" / "hydra" / "help").glob("*.yaml")).read_text(),
}
# `python run.py ...` up to the end of its span, its line, or a column of explanations; optional parts in brackets
IN_PROSE = [
    (where, command.strip())
    for where, text in PROSE.items()
    for command in re.findall(r"python run\.py ([^`\n]+?)(?=`|\n|$|  )", text)
    if not re.search(r"\.\.\.|--help|--cfg|GROUP|KEY=|\b(request|cell)=", command) and command.strip()
]
NODES = {field.name for field in fields(RunCfg)}
PLACEHOLDERS = ("N", "NAME", "[NAME,NAME]", "ID", "DIGEST")
OVERRIDES = [
    (where, override.strip("'").rstrip("."))
    for where, text in PROSE.items()
    for override in re.findall(
        r"'\+[\w.]+=[^']+'|(?<![\w./'+])[a-z_][\w.]*=(?:\[[^\]]*\]|[^\s`;,()|\[\]])+",
        " ".join(re.sub(r"python run\.py [^`\n]+", "", text).split()),
    )
    if override.strip("'+").partition("=")[0].partition(".")[0] in NODES
    and override.partition("=")[2] not in PLACEHOLDERS
]


# Evaluation sets that are `jsonl` for other rows
BESIDE_THE_DATA = ("csv", "hub", "messages", "parquet", "prompt_completion")
# The modules that a page has its reader write: file name -> text.
MODULES = {
    name: text
    for page in PAGES
    for text, name in re.findall(r"```python\n(# (my_\w+\.py)\n.*?)```", page.read_text(), re.S)
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stands for FOLDER and NAME_OR_FOLDER: data files, a model's configuration and a user's modules in one place."""
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    said = {"prompt": "Hi.", "completion": "Hi there.", "instruction": "Say hi.", "input": "", "output": "Hi there."}
    said["messages"] = [{"role": role, "content": "Hi."} for role in ("user", "assistant")]
    record = f"{json.dumps(said)}\n"
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.jsonl").write_text(record * 4)
    for task in ("gsm8k/test", "dialogsum/test", "flores200/devtest"):  # the evaluation sets of the tasks
        (tmp_path / task).parent.mkdir()
        asked = {"instruction": "1?", "input": "Hi.", "output": "#### 1", "eng_Latn": "Hi.", "deu_Latn": "Hallo."}
        (tmp_path / f"{task}.jsonl").write_text(f"{json.dumps(asked)}\n" * 2)
    for name in ("gsm8k/train", "gsm8k/dev", "dialogsum/train", "dialogsum/dev", "flores200/dev"):
        (tmp_path / f"{name}.jsonl").write_text(f"{json.dumps(asked)}\n" * 1000)
    for name in ("self-inst", "vicuna", "sinst/11_", "uinst/11_"):  # the sets of the paper
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "valid.jsonl").write_text(f"{json.dumps({**said, 'in_minillm_subset': True})}\n" * 4)
    (tmp_path / "hub").mkdir()
    for name in ("train", "dev", "test"):
        (tmp_path / "hub" / f"{name}.jsonl").write_text(record * 4)
        parquet.write_table(pyarrow.Table.from_pylist([said] * 4), tmp_path / f"{name}.parquet")
        (tmp_path / f"{name}.csv").write_text("instruction,output\n" + 4 * "Say hi.,Hi there.\n")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "a.jsonl").write_text('{"text": "Some text."}\n')
    (tmp_path / "b.txt").write_text("More text.")
    return tmp_path


@pytest.mark.parametrize("command", [command for command in RUN_PY if "--config-dir" not in command])
def test_every_run_py_command_names_cells(command, folder):
    words = shlex.split(folders(command, folder).partition("run.py")[2])
    overrides = [word for word in words if word != "-m"]
    overrides += stand_ins(words, folder)
    sweep = sweep_of_overrides([*overrides, f"paths.results={folder}/results", f"paths.cache={folder}/cache"])
    assert len(sweep.cells) == num_requested(words)
    assert all((folder / "results") not in path.parents for path in folder.rglob("*")), "planning leaves no result"


def num_requested(words):
    """How many cells a command names: the product of its lists of values, and of the grid or sweep file it names."""
    number, given = 1, {word.partition("=")[0] for word in words}
    for word in words:
        key, _, value = word.partition("=")
        if key in ("alpha_grid", "sweeps"):
            file = ROOT / (f"conf/alpha_grid/{value}.yaml" if key == "alpha_grid" else f"sweeps/{value}.yaml")
            declared = yaml.safe_load(file.read_text())
            params = declared["hydra"]["sweeper"]["params"]
            number *= math.prod(len(values.split(",")) for name, values in params.items() if name not in given)
            union = declared.get("sweep", {}).get("union", [{"axes": {}}])
            products = [[values for name, values in each["axes"].items() if name not in given] for each in union]
            number *= sum(math.prod(map(len, values)) for values in products)
        elif "-m" in words and not value.startswith(("[", "{")):
            number *= len(value.split(","))
    return number


def stand_ins(words, folder):
    """A folder for each model of a named pair that is on a hub, or in a package that is an extra."""
    names = [word.removeprefix("pair=") for word in words if word.startswith("pair=")]
    if not names and any(word.startswith(("sweeps=table", "sweeps=figure")) for word in words):
        names = ["gpt2_xl_to_base"]  # the sweep's own pair, whose models are on a hub too
    given = {word.partition("=")[0] for word in words}
    found = {}
    for name in names:
        values = yaml.safe_load((ROOT / f"conf/pair/{name}.yaml").read_text())
        for file in [*(f"conf/pair/{base}.yaml" for base in values.get("defaults", ())), f"conf/pair/{name}.yaml"]:
            found |= yaml.safe_load((ROOT / file).read_text())
    elsewhere = [role for role in ("teacher", "student") if re.search("[/:]", str(found.get(role, "")))]
    return [f"pair.{role}={folder}" for role in elsewhere if f"pair.{role}" not in given]


def folders(text, folder):
    """The text with a folder in place of its placeholders."""
    text = text.replace("data.hub=NAME_OR_FOLDER", f"data.hub={folder}/hub")
    return re.sub(r"(NAME_OR_)?FOLDER|\bDIR\b", str(folder), text)


def test_prose_holds_commands_and_overrides():
    assert len(IN_PROSE) > 15
    assert len(OVERRIDES) > 15
    assert any("+evaluation.sets.mine=" in override for _, override in OVERRIDES)


@pytest.mark.long
@pytest.mark.parametrize(("where", "command"), IN_PROSE, ids=[f"{where}: {command}" for where, command in IN_PROSE])
def test_every_command_of_the_prose_names_cells(where, command, folder):
    words = shlex.split(folders(re.sub(r"(?<!\S)\[(.*?)\]$", r"\1", command), folder))  # [optional parts] at the end
    words = [word for word in words if word != "-m"]
    words += stand_ins(words, folder)
    assert sweep_of_overrides([*words, f"paths.results={folder}/results", f"paths.cache={folder}/cache"]).cells


@pytest.mark.parametrize(("where", "override"), OVERRIDES, ids=[f"{where}: {text}" for where, text in OVERRIDES])
def test_every_override_of_the_prose_composes(where, override, folder):
    text = folders(override, folder)
    context = [f"paths.results={folder}/results", f"paths.cache={folder}/cache"]
    for needs, given in (
        ("data=", f"data.root={folder}"),
        ("data.root=", "data=jsonl"),
        ("data=hub", f"data.hub={folder}/hub"),
        ("data.hub", "data=hub"),
        *(
            (f"data.{key}", "data=messages")
            for key in ("turns", "chat_template", "system", "fields.messages", "format")
        ),
        *((f"data.{key}", f"data.root={folder}") for key in ("turns", "chat_template", "system", "fields", "format")),
        ("data.fields.prompt", "data=prompt_completion"),
        ("evaluation.sets.test.split", "evaluation=hub"),
        ("evaluation.sets.flores200.", "evaluation=flores200"),
        ("pair.student_dtype=", "pair.student_lora.rank=1"),
        *((f"pair.{role}=", each) for role in ("teacher", "student") for each in ("pair=hf", "data=jsonl")),
        ("pair.teacher=", f"pair.student={folder}"),
        ("pair.student=", f"pair.teacher={folder}"),
        *((f"pair.{role}=", f"data.root={folder}") for role in ("teacher", "student")),
        ("strategy.", "strategy=on_policy"),
        ("divergence.params.gjs", "divergence=gjs"),
        ("divergence.params.bdkd", "divergence=bdkd"),
        ("data.prompt=chat", "data.template=x"),
        ("plain_text=files", f"plain_text.root={folder}"),
        ("plain_text=files", "plain_text.files=[a.jsonl]"),
    ):
        if text.startswith(needs):
            context.append(given)
    run_of_overrides([*context, text.replace("NAME", "mine")])


def test_every_make_command_is_a_target():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {command.split()[1] for _, command in COMMANDS if command.startswith("make ")}
    assert {"demo", "test"} <= named
    assert named <= targets


def test_every_amid_command_is_a_verb():
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    named = {command.split()[1] for _, command in COMMANDS if command.startswith("amid ")}
    assert {"plan", "status", "table"} <= named <= verbs


@pytest.mark.parametrize("command", [command for _, command in COMMANDS if command.startswith("amid ")])
def test_every_amid_command_has_options_that_exist(command):
    _, verb, *words = shlex.split(command)
    parsed = get_command(app).commands[verb]
    context = parsed.make_context(verb, words)  # parses, and runs nothing
    for option in (word for word in words if word.startswith("--") and word != "--"):
        (parameter,) = [each for each in parsed.params if option in each.opts]
        assert context.params[parameter.name] != parameter.default, f"{option} is the default or does nothing"


def test_every_evaluation_set_is_in_its_table():
    page = (ROOT / "docs" / "evaluation.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    declared = {path.stem for path in (ROOT / "conf" / "evaluation").glob("*.yaml")}
    assert listed == declared - {"toy", "jsonl", "paper", "tasks", *BESIDE_THE_DATA}
    assert all(f"`{metric}`" in page for metric in METRICS)


def test_every_link_leads_to_a_file():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
