"""Every command of the README and of docs/ exists: run.py's are planned, make's are targets, links lead somewhere."""

import math
import re
import shlex

import pytest
import yaml
from typer.main import get_command

from amid.cli import app
from amid.config import EVALUATION_METRICS, config_root
from amid.requests import sweep_of_overrides

ROOT = config_root()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = {page: "\n".join(re.findall(r"```bash\n(.*?)```", page.read_text(), re.S)) for page in PAGES}
COMMANDS = [
    (page.name, command.split("  #")[0].strip())
    for page, text in CODE.items()
    for command in text.replace("\\\n", " ").splitlines()
    if command.strip()
]
RUN_PY = [command for _, command in COMMANDS if " run.py" in command and "--help" not in command]


@pytest.fixture
def folder(tmp_path):
    """Stands for FOLDER and NAME_OR_FOLDER: data files and a model's configuration in one place."""
    record = '{"instruction": "Say hi.", "input": "", "output": "Hi there."}\n'
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.jsonl").write_text(record * 4)
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("command", [command for command in RUN_PY if "--config-dir" not in command])
def test_every_run_py_command_names_cells(command, folder):
    words = shlex.split(re.sub(r"(NAME_OR_)?FOLDER", str(folder), command).partition("run.py")[2])
    overrides = [word for word in words if word != "-m"]
    if any("pair=smollm2" in word for word in words):
        overrides.append(f"pair.teacher={folder}")  # the package is an extra
    sweep = sweep_of_overrides([*overrides, f"paths.results={folder}/results", f"paths.cache={folder}/cache"])
    assert len(sweep.cells) == num_requested(words)
    assert all((folder / "results") not in path.parents for path in folder.rglob("*")), "planning leaves no result"


def num_requested(words):
    """How many cells a command names: the product of its lists of values, and of the grid or sweep file it names."""
    number = 1
    for word in words:
        key, _, value = word.partition("=")
        if key in ("alpha_grid", "sweeps"):
            file = ROOT / (f"conf/alpha_grid/{value}.yaml" if key == "alpha_grid" else f"sweeps/{value}.yaml")
            params = yaml.safe_load(file.read_text())["hydra"]["sweeper"]["params"]
            number *= math.prod(len(values.split(",")) for values in params.values())
        elif "-m" in words and not value.startswith(("[", "{")):
            number *= len(value.split(","))
    return number


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
    assert listed == declared - {"toy", "jsonl", "paper", "tasks"}
    assert all(f"`{metric}`" in page for metric in EVALUATION_METRICS)


def test_every_link_leads_to_a_file():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
