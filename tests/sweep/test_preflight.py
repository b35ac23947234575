"""What is refused before anything trains: with the plan's means, without torch; and by trying, once, with torch."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from folders import NUM_POSITIONS, configure, reweigh, save_folder, small_tokenizer, without
from lightning.pytorch.accelerators import AcceleratorRegistry

from amid.config import ArchCfg, DataCfg, EvaluationSetCfg, PairCfg, SftCfg, TrainerCfg
from amid.errors import RequestError, RunError
from amid.sweep import trials
from amid.sweep.preflight import BYTE_ALPHABET, check_models, check_request, check_run
from amid.sweep.trials import try_accelerator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hf(run, tmp_path):
    """A run on small data that a small model reads."""
    root = tmp_path / "data"
    root.mkdir()
    for name in ("train", "dev", "test"):
        rows = [{"instruction": f"Say the number {i}.", "output": f"yes {i}"} for i in range(20)]
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.data = DataCfg(
        source="jsonl", root=str(root), train="train.jsonl", dev="dev.jsonl", max_prompt_tokens=100, max_tokens=160
    )
    run.evaluation.sets = {"test": EvaluationSetCfg(files=["test.jsonl"], max_new_tokens=8, max_prompt_tokens=100)}
    run.train.global_batch_size, run.strategy.name = 8, "fixed"
    return run


@pytest.fixture
def pair(hf, tmp_path):
    """Makes the run's pair of two folders: a kind of model, or a function of the folder, for each role."""

    def make(teacher="llama", student="llama_tied", **values):
        folders = {}
        for role, kind in (("teacher", teacher), ("student", student)):
            folders[role] = str(kind if isinstance(kind, Path) else save_folder(tmp_path / role, kind))
        hf.pair = PairCfg(name="hf", **folders, **values)
        return hf

    return make


def refusal(check, run):
    with pytest.raises(RequestError) as caught:
        check(run)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_sound_pair_passes_and_neither_check_writes_anything(pair, tmp_path):
    run = pair()
    check_request(run)
    check_models(run)
    assert not (tmp_path / "results").exists()


def test_the_check_of_a_request_needs_no_torch(pair, tmp_path):
    run = pair()
    overrides = ["pair=hf", f"pair.teacher={run.pair.teacher}", f"pair.student={run.pair.student}", "data=jsonl"]
    overrides += [f"data.root={run.data.root}", f"paths.results={tmp_path}/r", f"paths.cache={tmp_path}/c"]
    overrides += ["data.max_prompt_tokens=100", "data.max_tokens=160", "evaluation.max_new_tokens=8"]
    overrides += ["train.global_batch_size=8"]
    code = f"""
import json, sys
from amid.sweep.preflight import check_request
from amid.sweep.compose import run_of_overrides
run = run_of_overrides({overrides!r})
check_request(run)
run.data.max_tokens = {NUM_POSITIONS + 1}
try:
    check_request(run)
except ValueError as err:
    print(json.dumps([str(err), "torch" in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    said, with_torch = json.loads(done.stdout)
    assert said == (
        f"model '{run.pair.teacher}' has {NUM_POSITIONS} positions, but data.max_tokens={NUM_POSITIONS + 1} needs "
        f"{NUM_POSITIONS + 1}; lower data.max_tokens or take another model"
    )
    assert not with_torch


# Positions and layers


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("check", [check_request, check_models])
def test_either_model_with_fewer_positions_than_the_longest_sequence_is_refused(pair, tmp_path, role, check):
    run = pair(**{role: save_folder(tmp_path / "short", positions=159)})
    assert "has 159 positions, but data.max_tokens=160 needs 160; lower data.max_tokens" in refusal(check, run)
    run.data.max_tokens = 159
    check(run)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_an_architecture_with_too_few_positions_is_refused(run, role):
    setattr(run.pair, f"{role}_arch", ArchCfg(layers=1, width=8, heads=1, positions=run.data.max_tokens - 1))
    said = f"model 'pair.{role}_arch' has 159 positions, but data.max_tokens=160 needs 160"
    assert said in refusal(check_request, run)


def test_a_set_whose_answers_have_no_room_is_refused_by_its_name(pair):
    run = pair()
    run.evaluation.sets["test"].max_new_tokens = NUM_POSITIONS
    said = f"evaluation.sets.test.max_new_tokens={NUM_POSITIONS} needs {NUM_POSITIONS + 1}"
    assert said in refusal(check_request, run)


def test_a_set_whose_longest_prompt_leaves_too_little_room_is_found_by_tokenising_it(pair):
    run = pair()
    run.evaluation.sets["test"].max_new_tokens = NUM_POSITIONS - 5
    check_request(run)  # a prompt has a token at least: that much is known without a tokenizer
    assert f"evaluation set 'test' may need {NUM_POSITIONS} tokens" not in refusal(check_models, run)
    assert f"the model has {NUM_POSITIONS} positions; lower evaluation.sets.test.max_prompt" in refusal(
        check_models, run
    )


@pytest.mark.parametrize("check", [check_request, check_models])
def test_layers_to_be_kept_must_be_there(pair, check):
    run = pair(student=Path("teacher"), keep_layers=[0, 2])
    assert "pair.keep_layers names layer 2, but the model has layers 0 to 1" in refusal(check, run)
    run.pair.keep_layers = [1]
    check(run)


def test_layers_of_an_architecture_must_be_there_too(run):
    run.pair.student, run.pair.student_arch, run.pair.keep_layers = "teacher", None, [0, 4]
    assert "names layer 4, but the model has layers 0 to 3 (model 'pair.teacher_arch')" in refusal(check_request, run)


@pytest.mark.parametrize("check", [check_request, check_models])
def test_sliding_windows_are_refused_where_they_cannot_be_decoded(pair, check):
    run = pair(teacher="gemma3_text")
    check(run)
    run.strategy.name = "speculative"
    assert "strategy=speculative needs models with full attention" in refusal(check, run)


# Models


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("bert", "is no causal language model"),
        ("mamba", "has recurrent layers"),
        ("t5", "is an encoder with a decoder"),
    ],
)
def test_a_model_of_another_kind_is_refused_without_torch(pair, role, kind, said):
    assert said in refusal(check_request, pair(**{role: kind}))


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("layers.1.input_layernorm"), "missing: model.layers.1.input_layernorm.weight"),
        (reweigh(lambda all_: {**all_, "model.norm.weight": all_["model.norm.weight"] / 0}), "are not finite"),
        (configure(hidden_act="novelty"), "cannot be loaded"),
    ],
)
def test_what_only_loading_tells_is_told_before_anything_trains(pair, tmp_path, role, damage, said):
    folder = save_folder(tmp_path / "damaged")
    damage(folder)
    run = pair(**{role: folder})
    check_request(run)
    assert said in refusal(check_models, run)
    assert not (tmp_path / "results").exists()


def watched(monkeypatch):
    """The names of the models that are loaded from now on."""
    loaded, load_model = [], trials.load_model

    def load(name, **options):
        loaded.append(name)
        return load_model(name, **options)

    monkeypatch.setattr(trials, "load_model", load)
    return loaded


def test_weights_are_not_loaded_again_once_the_stages_are_made(pair, monkeypatch):
    from amid.cells.cell import cell_of
    from amid.store import Store

    run, loaded = pair(), []
    load_model = trials.load_model
    monkeypatch.setattr(
        trials, "load_model", lambda name, **options: loaded.append(name) or load_model(name, **options)
    )
    check_models(run)
    check_models(run)
    assert loaded == [run.pair.teacher, run.pair.student]
    cell, store = cell_of(run), Store(run.paths.results)
    for stage in cell.evaluated_stages.values():
        store.folder(stage).mkdir(parents=True)
        store.set_status(stage, "done")
    check_models(run)
    assert len(loaded) == 2


def test_one_model_in_two_roles_is_loaded_once(pair, tmp_path, monkeypatch):
    folder, loaded = save_folder(tmp_path / "one"), []
    run = pair(teacher=folder, student=folder)
    load_model = trials.load_model
    monkeypatch.setattr(
        trials, "load_model", lambda name, **options: loaded.append(name) or load_model(name, **options)
    )
    check_models(run)
    assert loaded == [str(folder)]


def test_another_request_in_the_same_process_is_tried_again(pair):
    run = pair()
    check_models(run)
    larger = copy.deepcopy(run)
    larger.data.max_tokens = NUM_POSITIONS + 1
    assert "positions" in refusal(check_models, larger)
    small_batch = copy.deepcopy(run)
    small_batch.data.max_prompt_tokens = 2
    assert "0 of 20 can be used" in refusal(check_models, small_batch)


# Tokenizers


@pytest.mark.parametrize("check", [check_request, check_models])
def test_two_vocabularies_are_refused_by_plan_and_run_alike(pair, tmp_path, check):
    run = pair(student=save_folder(tmp_path / "other", tokenizer=small_tokenizer(350)))
    assert "tokenizer mismatch between teacher" in refusal(check, run)


@pytest.mark.parametrize("check", [check_request, check_models])
def test_two_ends_of_text_are_refused_by_plan_and_run_alike(pair, tmp_path, check):
    tokenizer = small_tokenizer()
    tokenizer.add_tokens(["<end>"], special_tokens=True)
    student = save_folder(tmp_path / "other", tokenizer=tokenizer)
    tokenizer.eos_token = "<end>"
    run = pair(teacher=save_folder(tmp_path / "ended", tokenizer=tokenizer), student=student)
    assert "pair.eos=teacher or pair.eos=student chooses one" in refusal(check, run)
    for eos in ("teacher", "student", "<end>"):
        run.pair.eos = eos
        check(run)
    run.pair.eos = "<no>"
    assert "pair.eos: '<no>' is none of the added tokens" in refusal(check, run)


def test_the_first_records_are_compared_too(pair, monkeypatch):
    run, compared, check = pair(), [], trials.check_one_tokenizer

    def compare(*tokenizers, texts, **how):
        compared.extend(texts)
        check(*tokenizers, texts=texts, **how)

    monkeypatch.setattr(trials, "check_one_tokenizer", compare)
    check_models(run)
    assert len(compared) == 20
    assert compared[3].endswith("Say the number 3.\n\n### Response:\nyes 3")


@pytest.mark.parametrize("size", [BYTE_ALPHABET, 100])
def test_a_vocabulary_no_larger_than_the_bytes_is_refused(run, size):
    run.pair.tokenizer_vocab_size = size
    said = f"pair.tokenizer_vocab_size must exceed {BYTE_ALPHABET} (256 bytes, the end of a text and 4 pieces of the "
    assert refusal(check_request, run) == f"{said}prompt template), got {size}"
    run.pair.tokenizer_vocab_size = BYTE_ALPHABET + 1
    check_request(run)


def test_the_byte_alphabet_is_what_a_tokenizer_without_merges_has():
    from amid.data.prompt import TEMPLATE_PIECES
    from amid.pairs import train_tokenizer

    tokenizer = train_tokenizer([""], vocab_size=BYTE_ALPHABET, whole_tokens=TEMPLATE_PIECES)
    assert len(tokenizer) == BYTE_ALPHABET


# Data


def test_prompts_that_are_all_too_long_are_refused_with_the_shortest(run):
    run.data.max_prompt_tokens = 3
    said = refusal(check_models, run)
    assert (
        "needs 32 records, 0 of 9000 can be used; 9000 prompts have more than data.max_prompt_tokens=3 tokens" in said
    )
    assert "(the shortest prompt has " in said


def test_validation_prompts_that_are_all_too_long_are_refused(pair):
    run = pair()
    long = [{"instruction": "Say the number " * 40, "output": "x"}] * 3
    (Path(run.data.root) / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long))
    assert refusal(check_models, run).startswith("validation needs 1 records, 0 of 3 can be used; 3 prompts have more")


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_every_training_needs_a_batch_of_records_and_a_share_for_every_device(pair, role):
    run = pair()
    setattr(run.pair, f"{role}_sft", SftCfg(epochs=1, global_batch_size=21))
    said = f"pair.{role}_sft.global_batch_size=21 exceeds the 20 training records"
    assert refusal(check_request, run) == said
    setattr(run.pair, f"{role}_sft", SftCfg(epochs=1, global_batch_size=9))
    run.trainer.devices = 2
    said = f"pair.{role}_sft.global_batch_size must be a multiple of trainer.devices (2), got 9"
    assert refusal(check_request, run) == said
    setattr(run.pair, f"{role}_sft", SftCfg(epochs=0, global_batch_size=9))
    check_request(run)


def test_a_chat_template_that_cannot_be_rendered_is_refused_before_anything_trains(pair):
    tokenizer = small_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('system role needed') }}"
    run = pair()
    tokenizer.save_pretrained(run.pair.teacher)
    chat = EvaluationSetCfg(
        files=["test.jsonl"], prompt="chat", template="{instruction}", max_new_tokens=8, max_prompt_tokens=100
    )
    run.evaluation.sets = {"chat": chat}
    check_request(run)
    said = "evaluation set 'chat': the model's chat template cannot render one user turn (system role needed)"
    assert refusal(check_models, run) == said


def test_a_teacher_without_a_chat_template_is_refused_by_the_plan(pair):
    run = pair()
    chat = EvaluationSetCfg(files=["test.jsonl"], prompt="chat", template="{instruction}")
    run.evaluation.sets = {"chat": chat}
    assert "evaluation set 'chat' asks in chat form" in refusal(check_request, run)


# Machines


@pytest.fixture
def machine(monkeypatch):
    """Pretends that the machine has these accelerators, and so many GPUs."""

    def make(*there, num_gpus=0):
        for name, known in AcceleratorRegistry.items():
            monkeypatch.setattr(known["accelerator"], "is_available", staticmethod(lambda name=name: name in there))
        monkeypatch.setattr(
            AcceleratorRegistry["cuda"]["accelerator"], "auto_device_count", staticmethod(lambda: num_gpus)
        )

    return make


@pytest.mark.parametrize("name", ["gpu", "cuda", "mps"])
def test_an_accelerator_that_is_not_there_is_refused_with_those_that_are(machine, name):
    machine("cpu")
    with pytest.raises(RequestError) as caught:
        try_accelerator(name, num_devices=1)
    assert str(caught.value) == f"trainer.accelerator={name} is not on this machine; valid here: auto, cpu"


def test_a_gpu_is_cuda_or_mps_and_too_few_of_them_are_counted(machine, monkeypatch):
    machine("cpu", "mps")
    for name in ("auto", "cpu", "gpu", "mps"):
        try_accelerator(name, num_devices=1)
    machine("cpu", "cuda", num_gpus=2)
    for name, value in (("WORLD_SIZE", "4"), ("RANK", "0"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    try_accelerator("cpu", num_devices=4)
    for name in ("auto", "gpu", "cuda"):
        with pytest.raises(RequestError, match="trainer.devices=4 needs 4 GPUs on this machine, which has 2"):
            try_accelerator(name, num_devices=4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # on two machines
    try_accelerator("gpu", num_devices=4)


def test_a_run_refuses_an_accelerator_that_is_not_there(machine, run):
    machine("cpu")
    run.trainer.accelerator = "gpu"
    assert "trainer.accelerator=gpu is not on this machine" in refusal(check_run, run)


def test_an_unknown_accelerator_is_refused_with_the_nearest_valid_one():
    with pytest.raises(RequestError, match="trainer.accelerator 'gpus' unknown; did you mean 'gpu'?"):
        TrainerCfg(accelerator="gpus")


def test_results_that_cannot_be_written_are_said_first(run, tmp_path):
    (tmp_path / "results").write_text("a file")
    run.data.max_prompt_tokens = 3
    with pytest.raises(RunError, match="results folder .* cannot be written"):
        check_run(run)
