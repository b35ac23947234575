"""Students made of the real 135M model, by LoRA and as a base beside its instruct teacher: make test-real-students."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from amid.cli import app as cli
from amid.config import SMOLLM2_PACKAGE
from amid.experiment import Experiment, run_task
from amid.pairs import keep_layers, load_model, load_tokenizer
from amid.store.generations import read_rows
from amid.store.status import spent_in
from amid.sweep.compose import run_of_overrides

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(3600)]
LAYERS = list(range(0, 28, 3))
END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|im_end|>"
BUDGET = (
    "train.max_steps=6",
    "train.lr=1e-3",
    "train.global_batch_size=4",
    "train.validation={rounds: 1, num_examples: 4, max_new_tokens: 8}",
    "evaluation.num_prompts=4",
    "evaluation.decode_seeds=[10]",
    "evaluation.max_new_tokens=16",
    "logger=none",
)


@pytest.fixture(scope="module")
def base_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third layer of the teacher, with the tokenizer of a base model: another EOS and no chat template."""
    folder, cache = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("cache")
    student = keep_layers(load_model(SMOLLM2_PACKAGE, revision=None, cache=cache, dtype=torch.float32), LAYERS)
    tokenizer = load_tokenizer(SMOLLM2_PACKAGE, revision=None, cache=cache)
    tokenizer.eos_token, tokenizer.chat_template = END_OF_TEXT, None
    student.config.eos_token_id = student.generation_config.eos_token_id = tokenizer.eos_token_id
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str]) -> list[str]:
    model.eval()
    texts = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        texts.append(tokenizer.decode(out[0, ids.shape[1] :]))
    return texts


def finished(tmp_path: Path, *overrides: str) -> Experiment:
    run = run_of_overrides([*overrides, f"paths.results={tmp_path}/results", f"paths.cache={tmp_path}/cache"])
    run_task(run)
    return Experiment(run)


def test_the_merged_export_of_a_student_with_lora_says_what_its_adapter_says(
    base_student: Path, dolly: Path, tmp_path: Path
) -> None:
    experiment = finished(
        tmp_path,
        *("pair=hf", f"pair.teacher={SMOLLM2_PACKAGE}", f"pair.student={base_student}", "pair.eos=teacher"),
        *("pair.student_sft.epochs=0", "pair.student_lora.rank=16", "data=dolly", f"data.root={dolly}"),
        *("data.num_train=200", "data.max_prompt_tokens=64", "data.max_tokens=96", *BUDGET),
    )
    student = experiment.stages.finished_student(experiment.cell)
    num_trained = sum(weight.numel() for name, weight in student.named_parameters() if "lora_" in name)
    num_all = sum(weight.numel() for weight in student.parameters())
    peak = spent_in(experiment.store.status(experiment.cell))["peak_memory_mb"]
    print(
        f"LoRA of rank 16: {num_trained} of {num_all} weights train ({num_trained / num_all:.2%}), peak {peak:.0f} MB"
    )
    assert 0.001 < num_trained / num_all < 0.02

    for name, words in (("merged", []), ("adapter", ["--adapter"])):
        command = ["export", experiment.cell.id, f"{tmp_path}/{name}", *words]
        cli.app([*command, "--results", f"{tmp_path}/results"], standalone_mode=False)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    with dolly.joinpath("test.jsonl").open() as file:
        prompts = [json.loads(next(file))["instruction"] for _ in range(8)]
    merged = greedy(AutoModelForCausalLM.from_pretrained(tmp_path / "merged"), tokenizer, prompts)
    adapted = greedy(AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter"), tokenizer, prompts)
    base = greedy(AutoModelForCausalLM.from_pretrained(base_student), tokenizer, prompts)
    assert merged == adapted == greedy(student, tokenizer, prompts)
    assert merged != base, "its factors changed nothing"


def test_a_base_student_learns_the_turns_and_the_end_of_its_instruct_teacher(
    base_student: Path, dolly: Path, tmp_path: Path
) -> None:
    """Conversations of two questions each, in the chat template that only the teacher has."""
    records = {}
    for name, number in (("train", 240), ("dev", 16), ("test", 16)):
        lines = [json.loads(line) for line in (dolly / f"{name}.jsonl").read_text().splitlines()[: 2 * number]]
        asked = [(each["instruction"], each["output"]) for each in lines if len(each["output"]) < 400]
        records[name] = [
            {
                "messages": [
                    {"role": role, "content": text}
                    for question, answer in pair
                    for role, text in (("user", question), ("assistant", answer))
                ]
            }
            for pair in zip(asked[::2], asked[1::2], strict=False)
        ]
        text = "".join(json.dumps(each) + "\n" for each in records[name])
        (tmp_path / f"{name}.jsonl").write_text(text)
    experiment = finished(
        tmp_path,
        *("pair=hf", f"pair.teacher={SMOLLM2_PACKAGE}", f"pair.student={base_student}", "pair.eos=teacher"),
        *("pair.student_sft.epochs=1", "pair.student_sft.max_steps=30", "pair.student_sft.global_batch_size=4"),
        *("pair.student_sft.lr=1e-3", "pair.student_sft.validation.num_examples=4"),
        *("data=messages", f"data.root={tmp_path}", "data.max_prompt_tokens=192", "data.max_tokens=256", *BUDGET),
        *("evaluation.max_new_tokens=48", "train.lr=1e-4", "divergence=kl", "amid.alpha=-1"),
    )
    store, cell = experiment.store, experiment.cell
    cli.app(["export", cell.id, f"{tmp_path}/out", "--results", str(store.root)], standalone_mode=False)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    ends = json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"]
    assert end in (ends if isinstance(ends, list) else [ends])
    assert tokenizer.eos_token == END_OF_TURN
    assert tokenizer.chat_template
    texts = [row["response"] for path in store.generations_folder(cell).glob("*.jsonl") for row in read_rows(path)]
    assert texts
    assert not any(END_OF_TURN in text or "<|im_start|>" in text for text in texts)

    # Where an answer ends in a conversation, the student ends it more readily than the model that it was
    asked = [tokenizer.apply_chat_template(record["messages"], tokenize=False) for record in records["test"][:6]]
    trained, base = (
        [_lost_at_ends(folder, tokenizer, text, end) for text in asked] for folder in (tmp_path / "out", base_student)
    )
    print(f"-log q(end of turn) where turns end: {sum(trained) / 6:.2f}, before {sum(base) / 6:.2f}")
    assert sum(trained) < sum(base)


def _lost_at_ends(folder: Path, tokenizer: PreTrainedTokenizerBase, text: str, end: int) -> float:
    """Mean -log q of the token that ends a turn, over the turns of the assistant."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        log_q = torch.log_softmax(model(ids).logits[0].double(), -1)
    ends = [place for place in range(1, ids.shape[1]) if ids[0, place] == end]
    answers = ends[-3::2]  # of system, question, answer, question, answer
    return -sum(log_q[place - 1, end].item() for place in answers) / len(answers)
