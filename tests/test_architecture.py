"""The dependency rule: which module may import which, and which ones must work without torch."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "amid"

# The contract: a module imports only modules of lower levels, and files of its own folder. A folder counts as one.
LEVELS = (
    ("errors", "overrides", "core", "metrics", "generation", "measures"),
    ("names", "seals"),
    ("config", "fingerprint", "certificate", "loss", "ranks", "model_folders", "devices"),
    ("data", "pairs", "entry", "model_reference"),
    ("cell", "strategies"),
    ("store", "protocol", "rollout", "objectives"),
    ("failures", "mirrors", "endings"),
    ("sweep", "tables", "artifacts", "evaluation", "tracking", "module", "frozen", "checkpoints"),
    ("trials",),
    ("preflight",),
    ("requests", "multirun", "training", "model_evaluation", "comparison", "scoring", "fetching"),
    ("cli", "fitting"),
    ("stages",),
    ("experiment",),
)
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
# Narrower than the levels: all that these may import of ours.
ONLY = {
    "core": set(),
    "metrics": set(),
    "generation": set(),
    "names": {"errors"},
    "seals": {"errors"},
    "entry": {"errors", "config"},
    "ranks": {"errors"},
    "strategies": {"data"},
    "certificate": {"core"},
}
TORCH_FREE = (
    "config",
    "cell",
    "seals",
    "measures",
    "store",
    "protocol",
    "sweep",
    "tables",
    "cli",
    "entry",
    "requests",
    "fingerprint",
    "model_reference",
    "errors",
    "names",
    "failures",
    "metrics",
    "data.records",
    "data.prompt",
    "data.evaluation_sets",
    "data.toy",
    "model_folders",
    "multirun",
    "frozen",
    "overrides",
    "generation.decoding",
    "preflight",
    "endings",
    "comparison",
    "scoring",
    "fetching",
)
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


def parts_imported(path):
    """The first-level modules of ours that a file imports."""
    return {name.split(".")[1] for name in modules_imported(path) if name.startswith("amid.")}


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def in_python(code, *, cwd=ROOT):
    """The JSON that a fresh interpreter prints last."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_every_module_has_a_level_and_only_one():
    assert {part_of(path) for path in FILES} - {"__init__"} <= set(LEVEL_OF)
    assert len(LEVEL_OF) == sum(map(len, LEVELS))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_a_module_imports_only_lower_levels_and_its_own_folder(path):
    part, imported = part_of(path), parts_imported(path)
    if part == "__init__":
        assert imported <= {"loss"}
        return
    imported -= {part} if (PACKAGE / part).is_dir() else set()
    assert {name for name in imported if LEVEL_OF[name] >= LEVEL_OF[part]} == set()
    assert imported <= ONLY.get(part, imported)


def test_core_imports_torch_and_the_standard_library_only():
    for path in (PACKAGE / "core").glob("*.py"):
        outside = {name.split(".")[0] for name in modules_imported(path)} - {"torch", "amid"}
        assert outside <= set(sys.stdlib_module_names), path


def test_only_run_py_imports_the_composition_root():
    importers = {path for path in FILES if "experiment" in parts_imported(path)}
    importers |= {
        path for path in (ROOT / "src" / "hydra_plugins").rglob("*.py") if "experiment" in parts_imported(path)
    }
    assert importers == set()
    assert "experiment" in parts_imported(ROOT / "run.py")


def test_the_plugins_stay_below_the_command_line():
    for path in (ROOT / "src" / "hydra_plugins").rglob("*.py"):
        assert {LEVEL_OF[name] for name in parts_imported(path)} <= set(range(LEVEL_OF["multirun"] + 1)), path


def test_no_module_is_named_after_nothing():
    assert not {path.stem for path in FILES} & {"utils", "helpers", "common", "misc"}


def test_the_torch_free_modules_import_no_torch():
    # One after the other in one interpreter: the first name of the list is the culprit.
    code = f"""
import importlib, json, sys
first = None
for name in {TORCH_FREE!r}:
    importlib.import_module("amid." + name)
    if first is None and "torch" in sys.modules:
        first = name
print(json.dumps(first))
"""
    assert in_python(code) is None


def test_planning_a_sweep_imports_no_torch(tmp_path):
    code = f"""
import json, sys
from amid.cli import main
sys.argv = ["amid", "plan", "amid.alpha=-1,0", "paths.results={tmp_path}", "paths.cache={tmp_path}"]
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, "torch" in sys.modules]))
"""
    assert in_python(code) == [0, False]


@pytest.mark.parametrize("program", ["run.py", "src/amid/cli.py"])
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
