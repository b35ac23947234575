"""Model folders that are not what they should be: refused by every command in one line, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from folders import DAMAGES, configure, pickled, reweigh, save_folder, small_tokenizer, without
from harness import Case, Hostile, with_folders

LIMITS = ("data=jsonl", "data.root=data", "data.max_prompt_tokens=60", "data.max_tokens=120", "data.num_train=40")
SETS = ("evaluation.max_new_tokens=6", "evaluation.decode_seeds=[10]")
PAIR = ("pair=hf", *LIMITS, *SETS)
# How one meets a folder: as a teacher, as a student, in a sweep, in a plan, or in an evaluation of its own.
COMMANDS: dict[str, tuple[str, ...]] = {
    "teacher": ("run.py", *PAIR, "pair.teacher=bad", "pair.student=good"),
    "student": ("run.py", *PAIR, "pair.teacher=good", "pair.student=bad"),
    "sweep": ("run.py", "-m", *PAIR, "amid.alpha=-1,0", "pair.teacher=good", "pair.student=bad"),
    "plan": ("amid", "plan", *PAIR, "pair.teacher=bad", "pair.student=good"),
    "evaluate": ("amid", "evaluate", "bad", "--sets", "dolly", "--root", "data", "evaluation.max_new_tokens=6"),
}
TORCH_NEEDED = ("teacher", "student", "sweep", "evaluate")  # what a plan leaves to the check before the first stage
Change = Callable[[Path], object]


def each_tensor(change: Callable[[torch.Tensor], torch.Tensor], part: str) -> Change:
    return reweigh(lambda tensors: {name: change(t) if part in name else t for name, t in tensors.items()})


def not_finite(value: float) -> Change:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[0] = value
        return tensor

    return each_tensor(change, "layers.0.self_attn.q_proj")


# fmt: off
# What only loading shows: (id, damage, what must be said)
WEIGHTS: list[tuple[str, Change, str]] = [
    ("nan", not_finite(float("nan")), "layers.0.self_attn.q_proj"),
    ("infinite", not_finite(float("inf")), "layers.0.self_attn.q_proj"),
    ("norm-missing", without("layers.1.input_layernorm"), "missing: model.layers.1.input_layernorm.weight"),
    ("feed-forward-missing", without("mlp.up_proj"), "missing: model.layers.0.mlp.up_proj.weight"),
    ("left-over", reweigh(lambda tensors: {**tensors, "other.weight": torch.ones(2)}), "not of this model: other.weight"),
    ("other-shape", each_tensor(lambda tensor: tensor[:-1].clone(), "layers.0.mlp.down_proj"), "of another shape: model.layers.0.mlp.down_proj.weight"),
    ("pickle-of-objects", lambda folder: pickled(folder, {"model.norm.weight": print}), "cannot be loaded"),
]

# What the files show: (id, the folder, what must be said)
FOLDERS: list[tuple[str, Change, str]] = [
    ("bert", lambda folder: save_folder(folder, "bert"), "BertForMaskedLM"),
    ("bert-decoder-head", lambda folder: save_folder(folder, "bert_as_decoder_head"), "reads text in both directions"),
    ("t5", lambda folder: save_folder(folder, "t5"), "is an encoder with a decoder"),
    ("mamba", lambda folder: save_folder(folder, "mamba"), "has recurrent layers"),
    ("rwkv", lambda folder: save_folder(folder, "rwkv"), "has recurrent layers"),
    ("few-positions", lambda folder: save_folder(folder, positions=5), "has 5 positions"),
    ("empty", lambda folder: folder.mkdir(), "holds no config.json"),
    ("a-file", lambda folder: folder.write_text("weights"), "bad"),
    ("unknown-family", lambda folder: configure(model_type="nonesuch", architectures=["Nonesuch"])(save_folder(folder)), "nonesuch"),
    ("code-of-its-own", lambda folder: configure(auto_map={"AutoConfig": "mine.Mine"}, model_type="mine")(save_folder(folder)), "custom code"),
]
# fmt: on

# Pairs that do not fit together: (id, overrides, what must be said)
PAIRS: list[tuple[str, tuple[str, ...], str]] = [
    ("layer-that-is-not", ("pair.teacher=good", "pair.student=teacher", "pair.keep_layers=[0,7]"), "keep_layers"),
    ("eos-of-nobody", ("pair.teacher=good", "pair.student=good", "pair.eos='<nobody>'"), "<nobody>"),
    ("package-that-is-none", ("pair.teacher=package:nonesuch", "pair.student=good"), "package:nonesuch"),
    ("teacher-of-itself", ("pair.teacher=teacher", "pair.student=good"), "names itself"),
    ("scratch-without-sizes", ("pair.teacher=scratch", "pair.student=good"), "pair.teacher_arch"),
    (
        "sizes-of-a-folder",
        ("pair.teacher=good", "pair.student=good", "pair.student_arch={layers: 1}"),
        "pair.student_arch is null here",
    ),
    ("other-vocabulary", ("pair.teacher=good", "pair.student=other"), "tokenizer"),
    (
        "prompts-too-long",
        ("pair.teacher=good", "pair.student=good", "data.max_prompt_tokens=2"),
        "data.max_prompt_tokens=2",
    ),
    ("text-too-long", ("pair.teacher=good", "pair.student=good", "data.max_tokens=9999"), "has 192 positions"),
    ("answers-too-long", ("pair.teacher=good", "pair.student=good", "evaluation.max_new_tokens=500"), "positions"),
]


def rows(table: list[tuple[str, Change, str]], commands: tuple[str, ...]) -> list[object]:
    """Every damage with one of the commands, in turn."""
    return [
        pytest.param(commands[number % len(commands)], change, said, id=f"{name}-{commands[number % len(commands)]}")
        for number, (name, change, said) in enumerate(table)
    ]


@pytest.fixture
def good(folder: Path) -> Path:
    save_folder(folder / "good")
    (folder / "data" / "dolly").mkdir()
    (folder / "data" / "test.jsonl").rename(folder / "data" / "dolly" / "test.jsonl")
    (folder / "data" / "test.jsonl").write_text((folder / "data" / "dev.jsonl").read_text())
    return folder


def refused(command: tuple[str, ...], said: str, hostile: Hostile) -> None:
    hostile(Case("", with_folders(command), 2, (said,)))


@pytest.mark.parametrize(
    ("command", "change", "said"),
    rows(
        [
            (name.replace(" ", "-"), change, "holds no config.json" if name == "config missing" else said)
            for name, (change, said) in DAMAGES.items()
        ],
        tuple(COMMANDS),
    ),
)
def test_a_damaged_model_is_one_line(command: str, change: Change, said: str, hostile: Hostile, good: Path) -> None:
    change(save_folder(good / "bad"))
    refused(COMMANDS[command], said, hostile)


@pytest.mark.parametrize(("command", "change", "said"), rows(WEIGHTS, TORCH_NEEDED))
def test_unfit_weights_are_one_line(command: str, change: Change, said: str, hostile: Hostile, good: Path) -> None:
    change(save_folder(good / "bad"))
    refused(COMMANDS[command], said, hostile)


@pytest.mark.parametrize("command", ["student", "evaluate"])
@pytest.mark.parametrize(("make", "said"), [pytest.param(*row[1:], id=row[0]) for row in FOLDERS])
def test_what_is_no_model_to_distil_is_one_line(
    command: str, make: Change, said: str, hostile: Hostile, good: Path
) -> None:
    make(good / "bad")
    refused(COMMANDS[command], said, hostile)


@pytest.mark.parametrize(("overrides", "said"), [pytest.param(*row[1:], id=row[0]) for row in PAIRS])
def test_what_does_not_fit_together_is_one_line(
    overrides: tuple[str, ...], said: str, hostile: Hostile, good: Path
) -> None:
    save_folder(good / "other", tokenizer=small_tokenizer(300))
    given = {override.partition("=")[0].lstrip("+") for override in overrides}
    shared = [override for override in PAIR if override.partition("=")[0] not in given]
    refused(("run.py", *shared, *overrides), said, hostile)
