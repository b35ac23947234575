"""How much memory a run will need at most, from its configuration and the models' config.json. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache as cached
from typing import Any

from amid.cells.cell import cell_of
from amid.cells.model_reference import local_folder
from amid.config import SCRATCH, SMOLLM2_PACKAGE, TEACHER, LoraCfg, Role, RunCfg, SftCfg
from amid.errors import RequestError
from amid.evaluation.protocol import decoding_of
from amid.memory.parts import BYTES, Model
from amid.memory.phases import Phase, Texts, Training, evaluation, factors
from amid.memory.shapes import Shape, shape_of
from amid.model_folders import check_model
from amid.model_folders.files import read_json
from amid.store import Store

# The only model of the package: SmolLM2-135M-Instruct.
SMOLLM2: dict[str, Any] = {
    **{"model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536},
    **{"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
}
COMPARED_ROWS = 4  # examples at most whose logits are held at once when a finished model is compared with its teacher
COPIES_COMPARED = 3  # float32 logits of each of the two, their logarithms, and what is made of them


def phases_of(run: RunCfg, *, accelerator: bool, made: Iterable[str] = ()) -> list[Phase]:
    """What is in memory together in each part of the run, on one device.

    made: roles of stages that are there and need no training. accelerator: the models are not on the CPU.
    Raises RequestError for a model whose config.json is not on this machine, or does not say its sizes.
    """
    pair, made = run.pair, frozenset(made)
    teacher = model_of(run, "teacher")
    student = model_of(run, "student")
    found: list[Phase] = []
    for role, model in (("teacher", teacher), ("student", student)):
        sft: SftCfg = getattr(pair, f"{role}_sft")
        stage = "teacher" if role == "teacher" else "student_init"
        if sft.epochs > 0 and stage not in made:
            found += _fine_tuning(run, role, model, sft, accelerator=accelerator)  # type: ignore[arg-type]  # a Role
        if role == "student" or stage not in made:
            found.append(_answering(run, f"evaluating the {role}", model))
    training = _training(run, teacher, student, accelerator=accelerator)
    found += training.phases()
    found += _writing(run, training)
    found.append(_comparison(run, teacher, student))
    return found


def largest(run: RunCfg, *, accelerator: bool, made: Iterable[str] = ()) -> Phase:
    """The phase that needs most. Raises as `phases_of`."""
    return max(phases_of(run, accelerator=accelerator, made=made), key=lambda phase: phase.total)


def line_of(run: RunCfg, phase: Phase) -> str:
    """What is said of the run's largest phase."""
    return f"memory of pair {run.pair.name}: {phase}"


def made_roles(run: RunCfg) -> frozenset[str]:
    """Roles of the stages that are made."""
    cell, store = cell_of(run), Store(run.paths.results)
    return frozenset(role for role, stage in cell.stages.items() if store.state(stage) == "done")


def lines_of(runs: Iterable[RunCfg], *, accelerator: bool = False) -> list[str]:
    """One line for every pair: what its largest cell needs, or why that is not known."""
    found: dict[str, tuple[int, str]] = {}
    for run in distinct(runs):
        name = run.pair.name
        try:
            phase = largest(run, accelerator=accelerator, made=made_roles(run))
            entry = (phase.total, line_of(run, phase))
        except RequestError as err:
            entry = (-1, f"memory of pair {name}: not known ({err})")
        found[name] = max(found.get(name, entry), entry)
    return [line for _, line in found.values()]


def model_of(run: RunCfg, role: Role) -> Model:
    """A model of the pair as a cell holds it: the teacher frozen, the student as it trains."""
    pair = run.pair
    lora: LoraCfg = pair.student_lora
    if role == "teacher":
        shape, bytes_each = reference_shape(run, role), BYTES[pair.teacher_dtype]
        return Model(shape, bytes_each, trains=False, quantised=pair.teacher_quantisation)
    shape = reference_shape(run, role)
    added = factors(shape, rank=lora.rank, targets=lora.targets) if lora.rank else 0
    return Model(shape, BYTES[pair.student_dtype], trains=True, lora_rank=lora.rank, added=added)


def reference_shape(run: RunCfg, role: Role) -> Shape:
    """The shape of the model that a pair names for a role, cut to the layers that it keeps."""
    pair = run.pair
    source: Role = "teacher" if role == "student" and pair.student == TEACHER else role
    name, arch = getattr(pair, source), getattr(pair, f"{source}_arch")
    if name == SCRATCH:
        sizes = {"n_embd": arch.width, "n_layer": arch.layers, "n_head": arch.heads, "n_positions": arch.positions}
        config = {"model_type": "gpt2", "vocab_size": pair.tokenizer_vocab_size, "tie_word_embeddings": True, **sizes}
        shape = shape_of(config, name=name)
    else:
        shape = _found_shape(name, getattr(pair, f"{source}_revision"))
    return shape.cut(len(pair.keep_layers)) if role == "student" and pair.keep_layers is not None else shape


@cached
def _found_shape(name: str, revision: str | None) -> Shape:
    if name == SMOLLM2_PACKAGE:
        return shape_of(SMOLLM2, name=name)
    found = check_model(name, revision)
    if found is None:
        raise RequestError(f"model '{name}' is not on this machine")
    folder = found[0]
    whole = local_folder(name) is not None  # of a hub model parts may still be missing
    return shape_of(read_json(folder.path / "config.json"), name=name, tensors=folder.tensors if whole else None)


def _fine_tuning(run: RunCfg, role: Role, model: Model, sft: SftCfg, *, accelerator: bool) -> list[Phase]:
    lora: LoraCfg = getattr(run.pair, f"{role}_lora")
    added = factors(model.shape, rank=lora.rank, targets=lora.targets) if lora.rank else 0
    weight_bytes = 4 if role == "teacher" else model.weight_bytes
    trained = Model(model.shape, weight_bytes, trains=True, lora_rank=lora.rank, added=added)
    rows = max(1, sft.global_batch_size // run.trainer.devices)
    training = Training(
        name=f"fine-tuning the {role}",
        student=trained,
        teacher=None,
        step=Texts(rows, run.data.max_tokens, model.shape.vocab_size),
        micro_rows=min(run.trainer.micro_batch_size or rows, rows),
        mixed=sft.precision == "bf16-mixed",
        recomputed=run.trainer.gradient_checkpointing,
        accelerator=accelerator,
        ranks=run.trainer.devices,
    )
    found = training.phases()
    if sft.validation.select == "rouge_l":
        found.append(_validated_text(run, training, sft.validation.num_examples, sft.validation.max_new_tokens))
    return found


def _training(run: RunCfg, teacher: Model, student: Model, *, accelerator: bool) -> Training:
    rows = max(1, run.train.global_batch_size // run.trainer.devices)
    shared = min(teacher.shape.vocab_size, student.shape.vocab_size)
    reads = any(term.reads_teacher for term in (*run.terms, *run.plain_text_terms)) or run.strategy.reads_teacher
    plain = None
    if run.plain_text_batch_size:
        plain_rows = max(1, run.plain_text_batch_size // run.trainer.devices)
        plain = Texts(plain_rows, (run.plain_text.chunk_tokens or run.data.max_tokens) - 1, shared)
    return Training(
        name="training",
        student=student,
        teacher=teacher if reads else None,
        step=Texts(rows, run.data.max_tokens, shared),
        micro_rows=min(run.trainer.micro_batch_size or rows, rows),
        mixed=run.train.precision == "bf16-mixed",
        recomputed=run.trainer.gradient_checkpointing,
        accelerator=accelerator,
        ranks=run.trainer.devices,
        plain=plain,
        buffered=_buffered(run, teacher, reads=reads),
    )


def _buffered(run: RunCfg, teacher: Model, *, reads: bool) -> int:
    """Bytes of the texts that are trained on again: tokens, labels, prompts, and the teacher's states."""
    strategy = run.strategy
    if not strategy.remembers:
        return 0
    texts = strategy.capacity or strategy.num_rollouts or run.train.global_batch_size
    states = teacher.shape.width * teacher.weight_bytes if run.trainer.keep_teacher_states and reads else 0
    return texts * run.data.max_tokens * (3 * 8 + states)


def _writing(run: RunCfg, training: Training) -> list[Phase]:
    validation = run.train.validation
    found = [_validated_text(run, training, validation.num_examples, validation.max_new_tokens)]
    if run.strategy.name != "fixed":
        rows = min(run.trainer.generation_batch_size, training.step.rows)
        data, both = run.data, run.strategy.reads_teacher
        found.append(training.writing(rows=rows, prompt=data.max_prompt_tokens, columns=data.max_tokens, both=both))
    return found


def _validated_text(run: RunCfg, training: Training, num_examples: int | None, max_new_tokens: int) -> Phase:
    rows = min(run.trainer.generation_batch_size, num_examples or run.trainer.generation_batch_size)
    data = run.data
    columns = min(data.max_tokens, data.max_prompt_tokens + max_new_tokens)
    return training.writing(rows=rows, prompt=data.max_prompt_tokens, columns=columns, both=False)


def _answering(run: RunCfg, name: str, model: Model) -> Phase:
    """The evaluation set that needs most."""
    finished = replace(model, trains=False)
    of_sets = []
    for declared in run.evaluation.sets.values():
        number = min((each for each in (declared.num_examples, run.evaluation.num_prompts) if each), default=None)
        rows = min(run.trainer.generation_batch_size, number or run.trainer.generation_batch_size)
        prompt = declared.max_prompt_tokens or run.data.max_prompt_tokens
        columns = prompt + decoding_of(run.evaluation, declared).max_new_tokens
        precision = run.evaluation.precision
        of_sets.append(
            evaluation(
                name,
                finished,
                rows=rows,
                prompt=prompt,
                columns=columns,
                copied=precision == "bf16-true",
                mixed=precision == "bf16-mixed",
            )
        )
    return max(of_sets, key=lambda phase: phase.total, default=Phase(name, {"weights": model.weights}))


def _comparison(run: RunCfg, teacher: Model, student: Model) -> Phase:
    rows = min(COMPARED_ROWS, run.trainer.micro_batch_size or COMPARED_ROWS)
    logits = rows * run.data.max_tokens * (teacher.shape.vocab_size + student.shape.vocab_size)
    parts = {"teacher": teacher.weights, "student": student.weights, "logits": logits * 4 * COPIES_COMPARED}
    return Phase("comparing the student with its teacher", parts)


def distinct(runs: Iterable[RunCfg]) -> Iterable[RunCfg]:
    """One for those that differ only in what needs no memory, such as alpha."""
    return {
        repr(
            (run.pair, run.data, run.train, run.strategy, run.evaluation, run.trainer, run.plain_text)
            + (run.objective.lm_coef, [term.reads_teacher for term in run.terms])
        ): run
        for run in runs
    }.values()
