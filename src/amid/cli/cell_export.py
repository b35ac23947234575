"""Export of a finished cell: its model as it was trained, what is to be said of it, and the folder that holds both."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from amid.cells.cell import Cell, cell_of
from amid.cells.model_reference import local_folder
from amid.config import SCRATCH, SMOLLM2_PACKAGE, TEACHER, RunCfg
from amid.config.overrides import override
from amid.digests.seals import DamagedError
from amid.errors import RequestError, RunError
from amid.export.card import Facts, model_card
from amid.export.folder import new_folder
from amid.export.gguf_file import FILE as GGUF
from amid.export.gguf_file import GPT2_POSITIONS, check_family, check_gguf, write_gguf
from amid.export.gguf_tokenizer import differing_text
from amid.export.licence import CARD
from amid.export.options import Options
from amid.export.results import results_of
from amid.export.weights import end_as_trained, make_whole, num_bytes, write_adapter
from amid.pairs import save_model
from amid.pairs.loading import quiet_loading
from amid.ranks import ALONE
from amid.stages.builders import BUILDERS
from amid.stages.stages import Materials, Stages, own_model, own_tokenizer
from amid.store import Store
from amid.store.frozen import Request, check_same_cell
from amid.sweep.labels import label
from amid.sweep.naming import overrides_of

MB = 10**6


def export_cell(store: Store, cell: Cell, request: Request, target: Path, options: Options) -> list[str]:
    """What is to be said of the folder, a line each; it is there whole afterwards.

    Raises RequestError for what cannot be exported so, RunError for a cell whose parts are gone or damaged.
    """
    transformers_logging.set_verbosity_error()  # its advice to developers is not our user's
    run = request.run
    lora = run.pair.student_lora.rank > 0
    if options.adapter:
        base = _base_of(run, cell.id)
    model, tokenizer = _student(store, cell, request) if lora else _whole_student(store, cell, run)
    if options.gguf:
        check_family(model, tokenizer)
    endings = end_as_trained(model, tokenizer, chat=run.data.prompt == "chat")
    size = num_bytes(model, dtype=options.dtype) * (2 if options.gguf else 1)
    facts = _facts(run, cell, store, endings=endings, options=options, lora=lora)
    name = target.absolute().name
    with new_folder(
        target,
        about={"cell": cell.id, "options": options.written},
        overwrite=options.overwrite,
        num_bytes=size,
    ) as folder:
        if options.adapter:
            write_adapter(model, tokenizer, folder, base=base, revision=run.pair.student_revision)
        else:
            make_whole(model, dtype=options.dtype)
            if options.gguf:  # first: transformers would read the tokenizer beside the file, not the one in it
                write_gguf(model, tokenizer, folder / GGUF, name=name, half=options.dtype == "float16")
                facts = replace(facts, notes=[*facts.notes, *_gguf_notes(model, tokenizer, folder)])
            save_model(model, tokenizer, folder)
            if options.gguf:
                check_gguf(model, folder)
        card = model_card(facts, name=name, licence=options.licence, adapter=options.adapter)
        (folder / CARD).write_text(str(card))
        written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    what = "adapter" if options.adapter else options.dtype + (", LoRA merged" if lora else "")
    lines = [f"cell {cell.id}: exported to {target} ({what}, {written / MB:.1f} MB)", *facts.notes]
    if options.licence is None:
        lines.append(f"licence: not filled in; name it in {target / CARD}, or --licence NAME --overwrite")
    return lines


def _whole_student(store: Store, cell: Cell, run: RunCfg) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    cache = Path(run.paths.cache)
    return own_model(store, cell, cache=cache), own_tokenizer(store, cell, cache=cache)


def _student(store: Store, cell: Cell, request: Request) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A student with its low-rank factors, on what it started from, and the tokenizer in the cell's folder."""
    run = request.run
    cache = Path(run.paths.cache)
    named = cell_of(run, read_again=True)
    check_same_cell(request, named)
    needed = ["tokenizer", *(["teacher"] if run.pair.student == TEACHER else [])]
    for role in needed:
        if role in named.stages:
            _check_stage(store, named, role)
    stages = Stages(
        named.stages,
        Materials(run.pair, run.data, run.corpus, cache, run.trainer),
        builders=BUILDERS,
        store=store,
        ranks=ALONE,
    )
    with quiet_loading():
        return stages.finished_student(named), own_tokenizer(store, cell, cache=cache)


def _gguf_notes(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[str]:
    """What is to be known of a model.gguf, which alone is in the folder yet."""
    notes = []
    text = differing_text(tokenizer, folder, GGUF)
    if text is not None:
        notes.append(f"{GGUF}: transformers splits {text[:30]!r} otherwise by its tokenizer; take the folder's")
    positions = int(model.config.max_position_embeddings)
    if model.config.model_type == "gpt2" and positions < GPT2_POSITIONS:
        notes.append(f"{GGUF}: it counts {GPT2_POSITIONS} positions, of which {positions} were learned")
    return notes


def _check_stage(store: Store, cell: Cell, role: str) -> None:
    """Raises RunError for a stage that is not there as it was published: an export trains nothing."""
    stage = cell.stages[role]
    remedy = f"python run.py cell={cell.id} task=prepare makes it again"
    if store.state(stage) != "done":
        raise RunError(f"{stage.title} {stage.id}, which the student starts from, is not there; {remedy}")
    try:
        store.check_model(stage)
    except DamagedError as err:
        raise RunError(f"{err}") from err


def _base_of(run: RunCfg, cell_id: str) -> str:
    """The name of the model that low-rank factors are added to. Raises RequestError where it has none."""
    pair = run.pair
    if not pair.student_lora.rank:
        raise RequestError(f"cell {cell_id} was trained without pair.student_lora; leave out --adapter")
    if pair.student in (SCRATCH, TEACHER, SMOLLM2_PACKAGE) or pair.keep_layers is not None:
        what = f"pair.student={pair.student}" if pair.keep_layers is None else "a part of a model (pair.keep_layers)"
        raise RequestError(
            f"--adapter keeps what is added to a model that others can load by name; this student starts as {what}: "
            "leave out --adapter, and it is merged"
        )
    folder = local_folder(pair.student)
    return pair.student if folder is None else str(folder.absolute())


def _facts(run: RunCfg, cell: Cell, store: Store, *, endings: list[str], options: Options, lora: bool) -> Facts:
    pair, values = run.pair, cell.values
    teacher, student = _shown(pair.teacher, role="teacher"), _shown(pair.student, role="student")
    hub = [name for name in (pair.student, pair.teacher) if _is_hub_name(name)]
    is_based = _is_hub_name(pair.student) or (pair.student == TEACHER and _is_hub_name(pair.teacher))
    rows = [
        ("cell", f"`{cell.id}`"),
        ("teacher", teacher),
        ("student", student + (f", layers {label(pair.keep_layers)}" if pair.keep_layers is not None else "")),
        ("method", run.method.name or "amid"),
        *_objective_rows(run),
        ("strategy", run.strategy.name),
        ("data", _data(run.data.root, values["data"])),
        ("seed", str(run.seed)),
        *([("LoRA", f"rank {pair.student_lora.rank}, alpha {pair.student_lora.alpha}")] if lora else []),
        ("weights", "low-rank factors in float32" if options.adapter else options.dtype),
    ]
    return Facts(
        cell_id=cell.id,
        teacher=teacher,
        student=student,
        settings=rows,
        command=_command(run, cell),
        endings=endings,
        bases=hub[:1] if is_based else (),
        base_relation="adapter" if options.adapter else "finetune",
        results=results_of(store.folder(cell)),
    )


def _objective_rows(run: RunCfg) -> list[tuple[str, str]]:
    if run.objective.terms is not None:
        return [("objective", " + ".join(f"{term.weight:g} {term.kind}" for term in run.terms))]
    return [
        ("alpha", label(run.amid.alpha)),
        ("lam", label(run.amid.lam)),
        ("divergence", f"{run.divergence.name}, order {run.divergence.order}"),
    ]


def _shown(name: str, *, role: str) -> str:
    """A model as a card names it, without the folder it lies in."""
    if name == SCRATCH:
        return f"a {role} trained from scratch"
    if name == TEACHER:
        return "a copy of the teacher"
    folder = local_folder(name)
    return f"`{name if folder is None else folder.absolute().name}`"


def _is_hub_name(name: str) -> bool:
    return name not in (SCRATCH, TEACHER, SMOLLM2_PACKAGE) and local_folder(name) is None


def _data(root: str | None, identity: Mapping[str, object]) -> str:
    """The data set with what names its content."""
    files = identity.get("files")
    if isinstance(files, Mapping):
        digests = ", ".join(f"{role} sha256 `{str(digest)[:16]}`" for role, digest in files.items())
        return f"`{Path(str(root)).name}`: {digests}"
    return f"toy corpus, version {identity.get('toy_version')}, seed {identity.get('seed')}"


def _command(run: RunCfg, cell: Cell) -> str:
    """What makes the cell again, without the folders of this machine."""
    overrides = overrides_of(run, cell.id)
    if overrides is None:
        return f"python run.py cell={cell.id}   # where its results folder is"
    named = {override("data.root", run.data.root): "data.root=FOLDER"}
    for key, name in (("pair.teacher", run.pair.teacher), ("pair.student", run.pair.student)):
        folder = local_folder(name)
        if folder is not None:
            named[override(key, name)] = f"{key}=FOLDER/{folder.absolute().name}"
    return " ".join(["python run.py", *(shlex.quote(named.get(each, each)) for each in overrides)])
