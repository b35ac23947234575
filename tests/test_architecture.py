"""The house: which room may import which, and which ones must work without torch."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "amid"

# The house: a room imports only rooms of lower floors, and files of its own. docs/design.md says what each is for.
FLOORS = (
    ("errors", "core", "metrics", "generation"),
    ("ranks", "stopping", "digests", "config", "model_folders", "certificate", "toy_experiment", "slurm"),
    ("data", "pairs", "memory"),
    ("cells", "strategies"),
    ("store",),
    ("evaluation",),
    ("training", "reports"),
    ("stages", "sweep", "export"),
    ("experiment",),
    ("cli",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Narrower than the floors: all that these may import of ours.
ONLY: dict[str, set[str]] = {
    "core": set(),
    "metrics": set(),
    "generation": set(),
    "ranks": {"errors"},
    "digests": {"errors"},
    "strategies": {"config", "core", "data", "ranks"},  # of core the names of what a term reads
    "certificate": {"core"},
    "toy_experiment": {"core", "errors"},
    "memory": {"errors", "model_folders"},
    "slurm": {"errors"},
    "stopping": {"errors"},
}
# Status and tables work on a login node. What of another room they need is named by file.
TORCH_FREE = (
    "errors",
    "config",
    "digests",
    "metrics",
    "model_folders",
    "memory",
    "slurm",
    "stopping",
    "cells",
    "store",
    "reports",
    "sweep",
    "cli",
    "data.chat_templates",
    "data.hub",
    "data.records",
    "data.rows",
    "data.turns",
    "data.prompt",
    "data.splits",
    "data.evaluation_sets",
    "data.toy",
    "generation.decoding",
    "evaluation.protocol",
    "evaluation.endings",
    "evaluation.own_metrics",
    "evaluation.scores",
    "evaluation.summary",
    "evaluation.texts",
    "evaluation.fetch",
    "training.mirrors",
    "training.wandb_mirror",
    "export.card",
    "export.folder",
    "export.found",
    "export.licence",
    "export.options",
    "export.push",
    "export.results",
    "toy_experiment.result",
)
# The files of torch-free rooms that are imported when their verb runs, and not before.
LATE = {"cli.cell_export", "cli.data_view", "cli.model_evaluation", "cli.__main__", "sweep.trials"}
PACKAGE_FACE = {"core", "training"}
# Who may read the whole of a run's configuration; everyone else is given the nodes or objects that they use.
READS_THE_RUN = {"config", "cells", "store", "sweep", "experiment", "cli"}
# Tests of no single room: of whole commands, of what the repository holds, and what tests compare with.
OF_THE_WHOLE = {"end_to_end", "hostile", "examples", "golden", "reference"}
FILES = sorted(PACKAGE.rglob("*.py"))


def modules_imported(path):
    """Dotted names of every import of a file, also of those inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"amid.{alias.name}" for alias in node.names] if node.module == "amid" else [node.module]
    return found


def rooms_imported(path):
    """The rooms of ours that a file imports."""
    return {name.split(".")[1] for name in modules_imported(path) if name.startswith("amid.")}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def torch_free_modules():
    """Every module of the torch-free rooms, and the torch-free ones of the others."""
    for name in TORCH_FREE:
        if not (PACKAGE / name.replace(".", "/")).is_dir():
            yield name
            continue
        for path in sorted((PACKAGE / name.replace(".", "/")).rglob("*.py")):
            dotted = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
            if dotted not in LATE:
                yield dotted


def in_python(code, *, cwd=ROOT):
    """The JSON that a fresh interpreter prints last."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_every_file_is_in_a_room():
    homeless = {room_of(path) for path in FILES} - {"__init__"} - set(FLOOR_OF)
    assert not homeless, (
        f"src/amid/{min(homeless)} is no room: put the file into the room of what a reader would look for "
        f"({', '.join(sorted(FLOOR_OF))}), or give a new room a floor in FLOORS and a line in docs/design.md"
    )
    assert len(FLOOR_OF) == sum(map(len, FLOORS)), "a room stands on two floors"
    assert not set(FLOOR_OF) - {room_of(path) for path in FILES}, "a floor names a room that is not there"


def test_the_tests_mirror_the_rooms():
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and not path.name.startswith("_")}
    homeless = folders - set(FLOOR_OF) - OF_THE_WHOLE
    assert not homeless, f"tests/{min(homeless)} is no room: the tests of src/amid/ROOM/FILE.py are in tests/ROOM"


def test_the_picture_in_the_docs_is_this_table():
    rows = re.findall(r"^\| (\d) \| `(\w+)(?:\.py)?` \|", (ROOT / "docs" / "design.md").read_text(), re.M)
    assert {room: int(floor) for floor, room in rows} == FLOOR_OF


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_a_room_imports_only_lower_floors(path):
    room, imported = room_of(path), rooms_imported(path)
    if room == "__init__":
        assert imported <= PACKAGE_FACE, "the package's face hands out, and does nothing itself"
        return
    imported -= {room}
    upward = {name for name in imported if FLOOR_OF[name] >= FLOOR_OF[room]}
    assert not upward, (
        f"{path.relative_to(PACKAGE)} is on floor {FLOOR_OF[room]} and imports {', '.join(sorted(upward))}: it belongs "
        f"to floor {max(FLOOR_OF[name] for name in upward) + 1} or above, or what it needs belongs below"
    )
    foreign = imported - ONLY.get(room, imported)
    assert not foreign, (
        f"{room} may import {', '.join(sorted(ONLY[room])) or 'nothing'} of ours, and {path.relative_to(PACKAGE)} "
        f"imports {', '.join(sorted(foreign))}: hand the value in, or put the file into a room above both"
    )


def test_core_imports_torch_and_the_standard_library_only():
    for path in (PACKAGE / "core").rglob("*.py"):
        outside = {name.split(".")[0] for name in modules_imported(path)} - {"torch", "amid"}
        assert outside <= set(sys.stdlib_module_names), path


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_only_the_composition_root_and_what_names_a_run_read_the_whole_of_it(path):
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert "RunCfg" not in names or room_of(path) in READS_THE_RUN, (
        f"{path.relative_to(PACKAGE)} reads RunCfg: give it the nodes or objects that it uses, made in experiment.py"
    )


def test_only_run_py_and_workers_import_the_composition_root():
    importers = {path for path in FILES if "experiment" in rooms_imported(path)}
    importers |= {
        path for path in (ROOT / "src" / "hydra_plugins").rglob("*.py") if "experiment" in rooms_imported(path)
    }
    assert importers == {PACKAGE / "cli" / "working.py"}
    assert "experiment" in rooms_imported(ROOT / "run.py")


def test_the_plugins_stay_below_the_command_line():
    for path in (ROOT / "src" / "hydra_plugins").rglob("*.py"):
        assert "sweep" in rooms_imported(path), f"{path} is no plugin of ours: the rooms for code are in src/amid"
        assert {FLOOR_OF[name] for name in rooms_imported(path)} <= set(range(FLOOR_OF["sweep"] + 1)), (
            f"{path} is called by the command line and must not call it: what it needs belongs to sweep or below"
        )


def test_no_module_is_named_after_nothing():
    assert not {path.stem for path in FILES} & {"utils", "helpers", "common", "misc"}


def test_the_torch_free_modules_import_no_torch():
    # One after the other in one interpreter: the first name of the list is the culprit.
    code = f"""
import importlib, json, sys
first = None
for name in {tuple(torch_free_modules())!r}:
    importlib.import_module("amid." + name)
    if first is None and "torch" in sys.modules:
        first = name
print(json.dumps(first))
"""
    assert in_python(code) is None


@pytest.mark.parametrize("more", [[], ["--record"]], ids=["", "recorded"])
def test_planning_a_sweep_imports_no_torch(tmp_path, more):
    code = f"""
import json, sys
from amid.cli.app import main
sys.argv = ["amid", "plan", "amid.alpha=-1,0", "paths.results={tmp_path}", "paths.cache={tmp_path}", *{more}]
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, "torch" in sys.modules]))
"""
    assert in_python(code) == [0, False]


@pytest.mark.parametrize("program", ["run.py", "src/amid/cli/__main__.py"])
def test_help_imports_no_torch(program):
    code = f"""
import json, runpy, sys
sys.argv = [{program!r}, "--help"]
sys.path.insert(0, ".")
try:
    runpy.run_path({program!r}, run_name="__main__")
except SystemExit as end:
    print(json.dumps([end.code, "torch" in sys.modules]))
"""
    assert in_python(code) == [0, False]
