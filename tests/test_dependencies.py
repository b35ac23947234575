"""What is imported is declared, and what is declared is imported: pyproject.toml against every file."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Mapping
from importlib import metadata

import pytest

from amid.config import config_root

ROOT = config_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Import names of distributions that are called otherwise, and that need not be installed here.
CALLED = {
    "comet": "unbabel-comet",
    "fast_bleu": "fast-bleu",
    "hydra": "hydra-core",
    "liger_kernel": "liger-kernel",
    "rouge_score_rs": "rouge-score-rs",
    "trl": "trl",
    "yaml": "pyyaml",
}
# The extras that may be imported in a folder besides what everybody has. In src, only inside of functions.
EXTRAS = {
    "src": ("smollm2", "export", "comet", "quantised", "figures", "ray"),
    "run.py": (),
    "examples": ("dev",),
    "notebooks": ("notebooks",),
    "bench": ("bench", "smollm2", "dev"),
    "tests": ("dev", "smollm2", "lm-eval"),
}
# Declared, though no file of ours imports them, because of what does.
INDIRECT = {
    "hydra-joblib-launcher": "hydra/launcher=joblib",
    "hydra-submitit-launcher": "hydra/launcher=submitit_slurm",
    "sentencepiece": "transformers, for tokenizers of GGUF files",
    "protobuf": "transformers, for tokenizers of GGUF files",
    "ipykernel": "nbclient, which runs notebooks",
    "nbconvert": "docs/notebooks.md, a page of a notebook",
    "accelerate": "the Trainer of transformers, in examples/hf_trainer.py",
    "pytest-timeout": "pytest",
    "pytest-xdist": "pytest -n",
    "ruff": "make lint",
    "mypy": "make type",
    "types-pyyaml": "mypy",
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    return {normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}


def imports(where: str, *, top_level_only: bool = False) -> dict[str, str]:
    """Distribution -> a file that imports it, of what is neither ours nor the standard library's."""
    path = ROOT / where
    found = {}
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        # Beside the file, or in a folder above it that pytest puts on the path for its conftest.py
        folders = [file.parent, *(above for above in file.parents if (above / "conftest.py").is_file())]
        if where == "src":
            beside = set()
        else:
            beside = {each.stem for folder in folders for each in folder.glob("*.py")}
            # A folder of tests without __init__.py is imported by its name
            beside |= {each.parent.name for folder in folders[1:] for each in folder.glob("*/*.py")}
        tree = ast.parse(file.read_text())
        nodes = [*tree.body] if top_level_only else [*ast.walk(tree)]
        for node in nodes:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
                names = [ast.literal_eval(node.args[0])]
            else:
                continue
            for top in {name.split(".")[0] for name in names}:
                if top.startswith("my_"):
                    continue  # which the notebook has its reader write
                if top not in sys.stdlib_module_names and top not in {"amid", "hydra_plugins", "tests", *beside}:
                    found[distribution(top)] = str(file.relative_to(ROOT))
    return found


def distribution(module: str) -> str:
    if module in CALLED:
        return CALLED[module]
    return normal(installed().get(module, [module])[0])


@functools.cache  # it reads the files of every installed package
def installed() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@pytest.mark.parametrize("where", EXTRAS)
def test_everything_imported_is_declared(where):
    extras = [PROJECT["optional-dependencies"][extra] for extra in EXTRAS[where]]
    known = declared([*PROJECT["dependencies"], *(each for extra in extras for each in extra)])
    undeclared = {name: file for name, file in imports(where).items() if name not in known}
    assert undeclared == {}


def test_src_needs_no_extra_to_be_imported():
    undeclared = set(imports("src", top_level_only=True)) - declared(PROJECT["dependencies"])
    assert undeclared == set()


def test_everything_declared_is_imported_or_says_by_whom():
    used = {name for where in EXTRAS for name in imports(where)}
    every = declared(
        [*PROJECT["dependencies"], *(each for extra in PROJECT["optional-dependencies"].values() for each in extra)]
    )
    assert every - used - set(INDIRECT) == set()
    assert set(INDIRECT) <= every


def test_every_dependency_of_the_product_is_imported_by_the_product():
    assert declared(PROJECT["dependencies"]) - set(imports("src")) - set(imports("run.py")) == set()


def test_every_dependency_is_pinned_for_the_tested_set():
    pins = declared((ROOT / "constraints.txt").read_text().splitlines()[1:])
    assert declared(PROJECT["dependencies"]) - pins == set()


def test_the_tests_have_what_notebooks_need():
    extras = PROJECT["optional-dependencies"]
    assert set(extras["notebooks"]) <= set(extras["dev"])
    assert declared(extras["notebooks"]) <= declared((ROOT / "constraints.txt").read_text().splitlines()[1:])
