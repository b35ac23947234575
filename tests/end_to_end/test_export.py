"""Export of a finished cell: what is written is the cell's own model, whole or not at all, and says what it is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from small import SMALL
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from amid.cells.cell import cell_of
from amid.cli import app as cli
from amid.errors import RequestError, RunError
from amid.experiment import Experiment, run_task
from amid.export.licence import PLACEHOLDER, is_filled
from amid.store.layout import status_path
from amid.store.store import Store
from amid.sweep.compose import run_of_overrides

PROMPTS = ["Below is an instruction", "Say the number 7.", "Which colour has the sky?\n\n### Response:\n"]
LORA = ("pair.student_lora={rank: 4, alpha: 64, dropout: 0.0}", "train.lr=3e-2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A finished small cell."""
    return _finished(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def with_lora(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A finished small cell of a student whose low-rank factors trained."""
    return _finished(tmp_path_factory.mktemp("lora"), *LORA)


def _finished(root: Path, *overrides: str, small: Sequence[str] = SMALL) -> Experiment:
    folders = (f"paths.results={root}/results", f"paths.cache={root}/cache")
    run = run_of_overrides([*small, *folders, *overrides])
    run_task(run)
    return Experiment(run)


def export(experiment: Experiment, *words: str) -> None:
    cli.app(["export", experiment.cell.id, *words, "--results", str(experiment.store.root)], standalone_mode=False)


def greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    model.eval()
    found = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        mask = torch.ones_like(ids)
        out = model.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False, min_new_tokens=12)
        found.append(out[0].tolist())
    return found


def loaded(folder: Path, **options: object) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return AutoModelForCausalLM.from_pretrained(folder, **options), AutoTokenizer.from_pretrained(folder)


def test_the_folder_is_the_cells_own_model(finished: Experiment, tmp_path: Path) -> None:
    export(finished, str(tmp_path / "out"))
    own = finished.stages.finished_student(finished.cell)
    model, tokenizer = loaded(tmp_path / "out")
    texts = greedy(model, tokenizer)
    assert texts == greedy(own, finished.stages.tokenizer("student"))
    assert len({tuple(text[-12:]) for text in texts}) > 1 or len(set(map(tuple, texts))) == len(texts)
    for name, weight in own.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name
    ends = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert ends["eos_token_id"] == tokenizer.eos_token_id
    assert sorted(path.name for path in (tmp_path).iterdir()) == ["out"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_are_written_in_the_dtype_asked_for(finished: Experiment, tmp_path: Path, dtype: str) -> None:
    export(finished, str(tmp_path / "out"), "--dtype", dtype)
    wanted = getattr(torch, dtype)
    own = finished.stages.finished_student(finished.cell).state_dict()
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in written.values()} == {wanted}
    for name, weight in written.items():
        assert torch.equal(weight, own[name].to(wanted)), name
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype


def test_lora_is_merged_and_says_what_the_adapter_says(with_lora: Experiment, tmp_path: Path) -> None:
    export(with_lora, str(tmp_path / "out"))
    own = with_lora.stages.finished_student(with_lora.cell)
    tokenizer = with_lora.stages.tokenizer("student")
    model, own_tokenizer = loaded(tmp_path / "out")
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    assert greedy(model, own_tokenizer) == greedy(own, tokenizer)
    ids = tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, own(ids).logits, atol=1e-4)  # float32, another order of sums
        base = with_lora.stages.model("student_init")
        assert not torch.allclose(model(ids).logits, base(ids).logits, atol=1e-2), "its factors changed nothing"


def test_an_adapter_is_kept_with_the_name_of_its_base(
    finished: Experiment, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from peft import AutoPeftModelForCausalLM

    root = tmp_path_factory.mktemp("adapter")
    for role in ("teacher", "student_init"):
        source = finished.store.model_folder(finished.cell.stages[role])
        shutil.copytree(source, root / role)
    experiment = _finished(
        root,
        "pair=hf",
        f"pair.teacher={root}/teacher",
        f"pair.student={root}/student_init",
        *("pair.teacher_sft.epochs=0", "pair.student_sft.epochs=0", *LORA),
        small=[each for each in SMALL if not each.startswith("pair.")],
    )
    export(experiment, str(tmp_path / "out"), "--adapter")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == f"{root}/student_init"
    assert not (tmp_path / "out" / "model.safetensors").exists()
    own = experiment.stages.finished_student(experiment.cell)
    adapted = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert greedy(adapted, tokenizer) == greedy(own, experiment.stages.tokenizer("student"))
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.library_name == "peft"
    assert str(root) not in card.text


def test_the_card_is_one_of_the_hub_and_says_what_the_store_says(finished: Experiment, tmp_path: Path) -> None:
    export(finished, str(tmp_path / "out"))
    card = ModelCard.load(tmp_path / "out" / "README.md")  # raises for fields that are no model card's
    assert card.data.license == "other"
    assert card.data.license_name == PLACEHOLDER
    assert card.data.pipeline_tag == "text-generation"
    values: dict[tuple[str, str], list[float]] = {}
    for score in finished.store.read([finished.cell]):
        if score.main and score.decode_seed is not None:
            values.setdefault((score.eval_set, score.metric), []).append(score.value)
    assert values
    found = {(each.dataset_type, each.metric_type): each.metric_value for each in card.data.eval_results}
    assert found == {key: pytest.approx(sum(each) / len(each), abs=1e-3) for key, each in values.items()}
    run = finished.run
    for text in (
        finished.cell.id,
        "| alpha",
        f"{run.amid.alpha:g}",
        f"{run.amid.lam:g}",
        f"{run.divergence.name}, order {run.divergence.order}",
        "95 % interval",
        "toy corpus, version",
    ):
        assert text in card.text, text
    assert str(tmp_path) not in card.text


def test_the_cards_command_names_the_cell(finished: Experiment, tmp_path: Path) -> None:
    import shlex

    export(finished, str(tmp_path / "out"))
    (block,) = [
        part.split("```")[0].strip() for part in (tmp_path / "out" / "README.md").read_text().split("```bash\n")[1:]
    ]
    program, file, *overrides = shlex.split(block)
    assert (program, file) == ("python", "run.py")
    assert cell_of(run_of_overrides(overrides)).id == finished.cell.id


def test_a_licence_fills_the_fields(finished: Experiment, tmp_path: Path) -> None:
    export(finished, str(tmp_path / "known"), "--licence", "apache-2.0")
    assert ModelCard.load(tmp_path / "known" / "README.md").data.license == "apache-2.0"
    assert is_filled(tmp_path / "known")
    own = ("--licence", "our-licence", "--licence-link", "https://example.org/licence")
    export(finished, str(tmp_path / "own"), *own)
    data = ModelCard.load(tmp_path / "own" / "README.md").data
    assert (data.license, data.license_name) == ("other", "our-licence")
    assert is_filled(tmp_path / "own")
    export(finished, str(tmp_path / "none"))
    assert not is_filled(tmp_path / "none")


def test_an_unfilled_licence_is_said_at_the_end(
    finished: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(finished, str(tmp_path / "out"))
    assert capsys.readouterr().out.splitlines()[-1].startswith("licence: not filled in; name it in ")


def test_a_second_export_is_refused_and_replaced_only_when_asked(finished: Experiment, tmp_path: Path) -> None:
    export(finished, str(tmp_path / "out"))
    before = (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(RequestError, match="is not empty; give another folder, or --overwrite"):
        export(finished, str(tmp_path / "out"), "--licence", "mit")
    assert (tmp_path / "out" / "README.md").read_text() == before
    export(finished, str(tmp_path / "out"), "--overwrite", "--licence", "mit")
    assert "license: mit" in (tmp_path / "out" / "README.md").read_text()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"holds mine\.txt, which the export did not write"):
        export(finished, str(tmp_path / "out"), "--overwrite")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="no export of ours made it"):
        export(finished, str(tmp_path / "other"), "--overwrite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_an_export_that_fails_leaves_nothing(
    finished: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("amid.cli.cell_export.model_card", full)
    with pytest.raises(RunError, match="no space left"):
        export(finished, str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_export_leaves_nothing_at_its_place_and_the_next_one_clears_up(
    finished: Experiment, tmp_path: Path
) -> None:
    code = (
        "import os, signal, sys\n"
        "import amid.cli.cell_export as export\n"
        "from amid.cli.app import main\n"
        "export.model_card = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.argv = ['amid', *sys.argv[1:]]\n"
        "main()\n"
    )
    words = ["export", finished.cell.id, str(tmp_path / "out"), "--results", str(finished.store.root)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not (tmp_path / "out").exists()
    (left,) = tmp_path.iterdir()
    assert (left / "folder" / "model.safetensors").is_file(), "it was killed before it had written anything"
    export(finished, str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_cell_that_is_not_whole_is_refused_in_one_line(finished: Experiment, tmp_path: Path) -> None:
    root = tmp_path / "results"
    shutil.copytree(finished.store.root, root)
    store, cell = Store(root), finished.cell
    words = [str(tmp_path / "out"), "--results", str(root)]

    def refused(name: str) -> str:
        with pytest.raises((RequestError, RunError)) as caught:
            cli.app(["export", name, *words], standalone_mode=False)
        assert not (tmp_path / "out").exists()
        return f"{type(caught.value).__name__}: {caught.value}"

    assert "names no cell, stage or model" in refused("nope")
    stage = cell.stages["student_init"]
    assert "which is no cell" in refused(f"student_init-{stage.id}")
    weights = store.model_folder(cell) / "model.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    assert refused(cell.id).startswith("DamagedError: ")
    weights.write_bytes(sound)
    text = (store.folder(cell) / "cell.yaml").read_text()
    values = yaml.safe_load(text)
    (store.folder(cell) / "cell.yaml").write_text(yaml.safe_dump({**values, "seed": 11}))
    assert "it describes another one" in refused(cell.id)
    (store.folder(cell) / "cell.yaml").write_text(text)
    shutil.move(root / "requests", root / "gone")
    assert "has no request" in refused(cell.id)
    shutil.move(root / "gone", root / "requests")
    shutil.rmtree(store.model_folder(cell))
    assert "has no model any more" in refused(cell.id)
    with_state = json.loads(status_path(store.folder(cell)).read_text())
    for state, said in (("failed", "is not finished (failed); its reason: it blew up"), ("running", "(stopped)")):
        values = {key: value for key, value in with_state.items() if key != "digest"}
        status_path(store.folder(cell)).write_text(json.dumps({**values, "state": state, "error": "it blew up"}))
        assert said in refused(cell.id)


def test_a_gguf_file_beside_the_weights_is_the_same_model(
    finished: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gguf")
    export(finished, str(tmp_path / "out"), "--gguf")
    said = capsys.readouterr().out
    assert "it counts 1024 positions, of which 512 were learned" in said
    assert "take the folder's" in said  # the pieces of the template are whole tokens, with blanks in them
    own = finished.stages.finished_student(finished.cell).eval()
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", gguf_file="model.gguf", dtype=torch.float32).eval()
    ids = torch.tensor([[1, 2, 3, 50, 200, 17]])
    with torch.no_grad():
        assert torch.allclose(again(ids).logits, own(ids).logits, atol=1e-5)  # float32
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert "it counts 1024 positions" in (tmp_path / "out" / "README.md").read_text()


def test_an_export_that_is_there_is_pushed_as_it_is(
    finished: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushes: list[tuple[Path, str, bool]] = []

    def pushed(folder: Path, repo: str, *, public: bool) -> str:
        pushes.append((folder, repo, public))
        return "pushed"

    monkeypatch.setattr("amid.export.push.pushed", pushed)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    out = tmp_path / "out"
    with pytest.raises(RequestError, match="nothing is pushed without a licence"):
        export(finished, str(out), "--push", "me/it")
    assert not out.exists()
    export(finished, str(out))
    with pytest.raises(RequestError, match="or fill it in in"):
        export(finished, str(out), "--push", "me/it")
    card = (out / "README.md").read_text()
    (out / "README.md").write_text(card.replace("license: other", "license: mit").replace(PLACEHOLDER, "mine"))
    with pytest.raises(RequestError, match="holds an export with other options"):
        export(finished, str(out), "--push", "me/it", "--dtype", "float16")
    assert pushes == []
    export(finished, str(out), "--push", "me/it")
    assert "license: mit" in (out / "README.md").read_text()
    export(finished, str(tmp_path / "new"), "--push", "me/it", "--licence", "mit", "--public")
    assert pushes == [(out, "me/it", False), (tmp_path / "new", "me/it", True)]
