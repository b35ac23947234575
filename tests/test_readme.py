"""Every command of the README and of docs/ exists: run.py's are planned, make's are targets, links lead somewhere."""

import re
import shlex

import pytest
from typer.main import get_command

from amid.cell import cell_of
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
    assert sweep.cells
    assert all(planned.cell.id == cell_of(planned.run).id for planned in sweep.cells)


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
    context = get_command(app).commands[verb].make_context(verb, words)  # parses, and runs nothing
    assert context.info_name == verb


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
