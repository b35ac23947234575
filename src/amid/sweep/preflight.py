"""What can be found wrong with a request before anything trains: data, models, tokenizers, the results folder.

`check_request` needs no torch, so that a plan refuses what the run would refuse; `check_models` tries the rest, once.
"""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from amid.cells.cell import cell_of
from amid.cells.model_reference import local_folder
from amid.config import (
    QUANTISATIONS,
    ROLES,
    SCRATCH,
    SMOLLM2_PACKAGE,
    TEACHER,
    DataCfg,
    EvaluationSetCfg,
    RunCfg,
    asks_in_turns,
)
from amid.data.plain_documents import check_readable
from amid.data.prompt import NAME_OF_DATA, TEMPLATE_PIECES, name_of_set, no_chat_template
from amid.data.splits import training_records
from amid.digests.fingerprint import value_digest
from amid.digests.hub import hub_file
from amid.errors import RequestError, RunError
from amid.evaluation.protocol import decoding_of
from amid.model_folders import ModelFolder, TokenizerFiles, check_model
from amid.model_folders.folder import check_full_attention, check_layers, check_positions
from amid.model_folders.tokenizer import check_eos, check_one_vocabulary, other_eos
from amid.store import Store
from amid.sweep.invalid import InvalidCell, InvalidCellsError
from amid.sweep.machine import cores_taken
from amid.sweep.memory import largest, line_of, made_roles
from amid.sweep.plan import Sweep
from amid.sweep.remedies import shortage

log = logging.getLogger(__name__)
# A byte-level tokenizer has all bytes, the end of a text, and the pieces of the prompt template.
BYTE_ALPHABET = 256 + 1 + len(TEMPLATE_PIECES)
_said: set[str] = set()  # lines that this process has said
_looked_at_cores = False  # by this process
_tried: set[str] = set()  # pairs with their data and sets, by content, that this process has tried and found sound


def check_run(run: RunCfg) -> None:
    """Raises RequestError for a request that cannot be carried out, RunError if the results cannot be written."""
    check_writable(Path(run.paths.results))
    check_request(run)
    check_models(run)


def check_sweep(sweep: Sweep) -> None:
    """Raises as `check_run` does; of requests that cannot be carried out every one is named."""
    runs = [planned.run for planned in sweep.pending]
    for results in dict.fromkeys(run.paths.results for run in runs):
        check_writable(Path(results))
    refuse_invalid(sweep)
    for run in runs:
        check_models(run)


def refuse_invalid(sweep: Sweep) -> None:
    """Raises InvalidCellsError for the cells that cannot be carried out, as far as can be known without torch.

    What differs only in what `check_request` does not look at, such as alpha, is checked once.
    """
    invalid, reasons = list(sweep.invalid), dict[str, str | None]()
    for planned in sweep.pending:
        run = planned.run
        key = repr(
            (run.data, run.pair, run.train, run.strategy, run.evaluation, run.trainer.devices)
            + ((run.plain_text,) if run.objective.lm_coef > 0.0 else ())
        )
        if key not in reasons:
            reasons[key] = _reason_against(run)
        if (reason := reasons[key]) is not None:
            invalid.append(InvalidCell(planned.overrides, reason))
    if invalid:
        asked = [*(each.overrides for each in sweep.cells), *(each.overrides for each in sweep.invalid)]
        raise InvalidCellsError(invalid, asked)


def _reason_against(run: RunCfg) -> str | None:
    try:
        check_request(run)
    except RequestError as err:
        return str(err)
    return None


def check_request(run: RunCfg) -> None:
    """Raises RequestError for whatever can be known to fail from the configuration and the files, without torch.

    Writes nothing and asks no network: a hub model is checked as far as it has been downloaded.
    """
    _check_quantisation(run)
    _check_data(run)
    _check_plain_text(run)
    _check_steps(run)
    pair = run.pair
    if pair.tokenizer_vocab_size is not None and pair.tokenizer_vocab_size <= BYTE_ALPHABET:
        raise RequestError(
            f"pair.tokenizer_vocab_size must exceed {BYTE_ALPHABET} (256 bytes, the end of a text and "
            f"{len(TEMPLATE_PIECES)} pieces of the prompt template), got {pair.tokenizer_vocab_size}"
        )
    files = {role: _files(run, role) for role in ROLES}
    tokenizers = [tokenizer for _, tokenizer in files.values()]
    _check_chats(run, tokenizers[0])
    for role, (found, _) in files.items():
        _check_sizes(run, role, found)
    _check_tokenizers(run, *tokenizers)


def check_models(run: RunCfg) -> None:
    """Raises RequestError for whatever else would fail before the first step: needs torch, and loads the models.

    A pair is tried once per process. Weights are loaded only while a stage is still to be made, or evaluated.
    """
    from amid.sweep.trials import try_accelerator, try_pair
    from amid.training.objective import objective_of

    objective_of(run.terms, run.compat)
    try_accelerator(run.trainer.accelerator, num_devices=run.trainer.devices)
    cell, store = cell_of(run), Store(run.paths.results)
    made = all(store.state(stage) == "done" for stage in cell.evaluated_stages.values())
    key = value_digest(
        [stage.id for stage in cell.evaluated_stages.values()]
        + [cell.values["data"], cell.values.get("pair"), made]
        + [run.strategy.name, run.train.global_batch_size, asdict(run.evaluation)]
        + [run.data.root, run.data.num_eval, str(store.root), cell.values.get("plain_text")]
    )
    memory = _memory_of(run)
    if key not in _tried:
        tokenizer = cell.stages.get("tokenizer")
        folder = store.model_folder(tokenizer) if tokenizer is not None and store.state(tokenizer) == "done" else None
        try_pair(run, batches=_batches(run), tokenizer_folder=folder, with_weights=not made)
        _tried.add(key)
    _say_once(memory)  # not before: of a request that is found bad nothing else is said
    _say_package(run)
    _say_taken(run)


def _memory_of(run: RunCfg) -> str:
    """What a run will need at most. Where that is not free it is said at once, with the settings that make it fit."""
    from amid.ranks import place
    from amid.training.devices import device_of, free_memory

    device = device_of(run.trainer.accelerator)
    made = made_roles(run)
    try:
        for role in ROLES:
            name = getattr(run.pair, role)
            if name not in (SCRATCH, TEACHER, SMOLLM2_PACKAGE) and local_folder(name) is None:
                hub_file(name, getattr(run.pair, f"{role}_revision"), "config.json")
        phase = largest(run, accelerator=device.type != "cpu", made=made)
    except RequestError as err:
        return f"memory of pair {run.pair.name}: not known ({err})"  # if it is a fault, loading says so
    line, free = line_of(run, phase), free_memory(device)
    if line not in _said and free is not None and place(os.environ, slurm=run.trainer.devices > 1).leads:
        short = shortage(run, phase, free=free, device=device.type, made=made)
        if short is not None:
            _say_once(line)  # before the models are loaded to be tried
            log.warning("%s", short)
    return line


def _say_package(run: RunCfg) -> None:
    """Says once that a model comes from weights of few bits."""
    if SMOLLM2_PACKAGE in (run.pair.teacher, run.pair.student):
        _say_once(f"note: {SMOLLM2_PACKAGE} holds weights of 4 bits (GGUF), which are read into 16 or 32")


def _say_taken(run: RunCfg) -> None:
    """Says, once per process, that others keep cores busy which a run on the CPU would need."""
    import torch

    from amid.training.devices import device_of

    global _looked_at_cores
    if not _looked_at_cores and device_of(run.trainer.accelerator).type == "cpu":
        _looked_at_cores = True
        if (taken := cores_taken(torch.get_num_threads())) is not None:
            log.info("%s", taken)


def _say_once(line: str) -> None:
    if line not in _said:
        _said.add(line)
        log.info("%s", line)


def check_writable(results: Path) -> None:
    """Raises RunError unless files can be made in the folder."""
    probe = results / f".probe.{os.getpid()}"
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as err:
        raise RunError(f"results folder {results} cannot be written: {err.strerror}") from err


def _check_quantisation(run: RunCfg) -> None:
    """Raises RequestError where the package of the teacher's quantisation is not installed."""
    kind = run.pair.teacher_quantisation
    if kind is not None and find_spec(QUANTISATIONS[kind]) is None:
        raise RequestError(
            f"pair.teacher_quantisation={kind} needs {QUANTISATIONS[kind]}, an extra: pip install 'amid-lab[quantised]'"
        )


def _check_data(run: RunCfg) -> None:
    """Raises RequestError unless there are records enough for every training of the request."""
    train, _ = training_records(run.data)
    for key, (size, num_train) in _batches(run).items():
        if num_train is not None and num_train > len(train):
            selected = "data.num_train" if key.startswith("train.") else key.replace("global_batch_size", "num_train")
            raise RequestError(f"{selected}={num_train} exceeds the {len(train)} training records; null takes all")
        num_records = num_train or len(train)
        if num_records < size:
            raise RequestError(f"{key}={size} exceeds the {num_records} training records")
        if size % run.trainer.devices:
            raise RequestError(f"{key} must be a multiple of trainer.devices ({run.trainer.devices}), got {size}")


def _check_plain_text(run: RunCfg) -> None:
    """Raises RequestError for plain text that cannot be read or divided; whether there is enough needs a tokenizer."""
    if (batch_size := run.plain_text_batch_size) == 0:
        return
    if batch_size % run.trainer.devices:
        key = "train.global_batch_size" if run.plain_text.batch_size is None else "plain_text.batch_size"
        raise RequestError(f"{key} must be a multiple of trainer.devices ({run.trainer.devices}), got {batch_size}")
    check_readable(run.plain_text)


def _batches(run: RunCfg) -> dict[str, tuple[int, int | None]]:
    """Setting -> records that one optimiser step takes, and how many records it takes them from (None = all)."""
    batches = {"train.global_batch_size": (run.train.global_batch_size, run.data.num_train)}
    for role in ROLES:
        sft = getattr(run.pair, f"{role}_sft")
        if sft.epochs > 0:
            batches[f"pair.{role}_sft.global_batch_size"] = (sft.global_batch_size, sft.num_train)
    return batches


def _check_steps(run: RunCfg) -> None:
    batch_size, capacity = run.train.global_batch_size, run.strategy.capacity
    if capacity is not None and capacity < batch_size:
        raise RequestError(f"strategy.capacity must be at least train.global_batch_size ({batch_size}), got {capacity}")


def _check_sizes(run: RunCfg, role: str, found: ModelFolder | None) -> None:
    """Raises RequestError for a model, to be built here or found, that is too small for what is asked of it."""
    arch = getattr(run.pair, f"{role}_arch")
    if arch is not None:
        name, num_positions, num_layers = f"pair.{role}_arch", arch.positions, arch.layers
    elif found is not None:
        name, num_positions, num_layers = found.name, found.architecture.num_positions, found.architecture.num_layers
    else:
        return
    for needed_by, num_tokens in _lengths(run).items():
        check_positions(num_positions, num_tokens=num_tokens, needed_by=needed_by, name=name)
    if run.pair.keep_layers is not None and role == ("teacher" if run.pair.student == TEACHER else "student"):
        check_layers(run.pair.keep_layers, num_layers=num_layers, name=name)
    if run.strategy.name == "speculative" and found is not None:
        check_full_attention(has_sliding_windows=found.architecture.has_sliding_windows, name=name)


def _lengths(run: RunCfg) -> dict[str, int]:
    """Setting -> tokens of the longest sequence that it will certainly ask of teacher and student."""
    lengths = {f"data.max_tokens={run.data.max_tokens}": run.data.max_tokens}
    if run.objective.lm_coef > 0.0 and (length := run.plain_text.chunk_tokens) is not None:
        lengths[f"plain_text.chunk_tokens={length}"] = length - 1  # the last token is a label only
    for name, declared in run.evaluation.sets.items():
        num_new = decoding_of(run.evaluation, declared).max_new_tokens
        lengths[f"evaluation.sets.{name}.max_new_tokens={num_new}"] = 1 + num_new  # a prompt has a token at least
    return lengths


def _files(run: RunCfg, role: str) -> tuple[ModelFolder | None, TokenizerFiles | None]:
    """The model and tokenizer of a role by their files, as far as there are any here."""
    name = getattr(run.pair, role)
    found = None if name in (SCRATCH, TEACHER) else check_model(name, getattr(run.pair, f"{role}_revision"))
    return found or (None, None)


def _check_tokenizers(run: RunCfg, teacher: TokenizerFiles | None, student: TokenizerFiles | None) -> None:
    """Raises RequestError unless the two are one, as far as their vocabularies say."""
    pair, names = run.pair, (run.pair.teacher, run.pair.student)
    for tokenizer, name in ((teacher, pair.teacher), (student, pair.student)):
        if tokenizer is not None and pair.eos not in (None, "teacher", "student"):
            check_eos(pair.eos, tokenizer.added, name=name)
    if teacher is None or student is None or teacher is student:
        return
    check_one_vocabulary(teacher.vocabulary, student.vocabulary, names=names, vocab_policy=pair.vocab_policy)
    if pair.eos is None and teacher.eos and student.eos and teacher.eos != student.eos:
        raise other_eos(teacher.eos, student.eos, names=names)


def _check_chats(run: RunCfg, teacher: TokenizerFiles | None) -> None:
    """Raises RequestError for data or a set in chat form that the teacher's tokenizer certainly cannot render."""
    asked: dict[tuple[str, str], DataCfg | EvaluationSetCfg] = {NAME_OF_DATA: run.data}
    asked |= {name_of_set(name): declared for name, declared in run.evaluation.sets.items()}
    lacking = run.pair.teacher == SCRATCH or (teacher is not None and not teacher.has_chat_template)
    for name, declared in asked.items():
        if declared.prompt == "chat" and declared.chat_template is None and lacking:
            raise no_chat_template(*name, in_turns=asks_in_turns(declared))
