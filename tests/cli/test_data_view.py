"""`amid data`: examples as they are trained on, labels marked, counts of what is dropped; nothing is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import save_folder, small_tokenizer

from amid.cli import app as cli

Amid = Callable[..., str]


@pytest.fixture
def amid_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Amid:
    """What `amid data` prints of conversations in ChatML, after which the folder is as it was."""
    talks = [[("Say 1.", "yes 1"), ("Again.", "no")], [("Say 2.", "maybe\x1b[31m")], [("Say " * 60, "yes")]]
    rows = []
    for talk in talks:
        turns = [
            {"role": role, "content": text}
            for pair in talk
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        rows.append(json.dumps({"messages": turns}) + "\n")
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    tokenizer = small_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    model = save_folder(tmp_path / "model", tokenizer=tokenizer)
    shared = [
        *("data=messages", f"data.root={tmp_path}", "data.chat_template=chatml", "data.max_prompt_tokens=60"),
        *("data.max_tokens=80", "pair=hf", f"pair.teacher={model}", f"pair.student={model}"),
        *(f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache"),
    ]

    def run(*words: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["amid", "data", *words, *shared])
        cli._run()
        assert sorted(tmp_path.rglob("*")) == before, "nothing is written"
        return capsys.readouterr().out

    return run


def test_labels_stand_in_brackets_and_what_was_dropped_is_counted(amid_data: Amid) -> None:
    said = amid_data()
    assert "training: 2 examples of 3 records, " in said and " labels (" in said
    assert said.count("  1 of 3 prompts over 60 tokens dropped\n") == 2, "of training and validation records"
    assert "labels are between [[ and ]]; every other token is read and not learnt\n" in said
    assert (
        "<|im_start|>user\nSay 1.<|im_end|>\n<|im_start|>assistant\n[[yes 1<|im_end|>]]\n<|im_start|>user\nAgain."
        "<|im_end|>\n<|im_start|>assistant\n[[no<|im_end|>]]\n"
    ) in said
    assert "--- record 1 (" in said and "train.jsonl:1): " in said


def test_colour_takes_the_place_of_brackets_and_no_text_commands_the_terminal(amid_data: Amid) -> None:
    said = amid_data("--color")
    assert "\x1b[32myes 1<|im_end|>\x1b[0m\n" in said and "[[" not in said and "labels are coloured" in said
    assert "\x1b[32mmaybe\\x1b[31m<|im_end|>\x1b[0m" in said, "what a record holds is spelled out"


def test_as_many_examples_are_shown_as_asked_for(amid_data: Amid) -> None:
    assert [amid_data("--num", str(number)).count("--- record") for number in (0, 1, 5)] == [0, 1, 2]


def test_only_the_last_answer_is_marked_with_turns_last(amid_data: Amid) -> None:
    said = amid_data("data.turns=last", "--num", "1")
    assert "assistant\nyes 1<|im_end|>\n" in said and said.count("[[no") == 1


def test_a_pair_from_scratch_has_a_tokenizer_made_for_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("data.num_records=80", "data.num_dev=4", "data.num_eval=4", "pair.tokenizer_vocab_size=400")
    folders = (f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache")
    monkeypatch.setattr(
        sys,
        "argv",
        ["amid", "data", "--num", "1", "data.max_prompt_tokens=300", "data.max_tokens=400", *small, *folders],
    )
    cli._run()
    said = capsys.readouterr().out
    assert "tokenizer: " in said and "trained just now as its stage will be, and not kept" in said
    assert "### Response:\n[[" in said and "<|endoftext|>]]\n" in said
    assert not list(tmp_path.iterdir())
