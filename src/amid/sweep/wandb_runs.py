"""What W&B shows of a sweep: a run for every cell, teacher and initial student, in one group. No torch here.

The curves are mirrored while a cell trains (`amid.training`); names, summary and tables are the same for all of them.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.config import RunCfg
from amid.digests.fingerprint import value_digest
from amid.evaluation.protocol import Protocol
from amid.evaluation.summary import some_responses
from amid.reports.layout import Member
from amid.reports.run_summary import score_rows, summary_values
from amid.store import Entry, Store
from amid.store.files import replace_text
from amid.store.manifests import SINGLE
from amid.store.status import read_status
from amid.store.trackers import ROOM, recorded_path, recorded_texts, told_path, waiting_runs
from amid.sweep.labels import label
from amid.sweep.plan import PlannedCell, resolved_config
from amid.training.mirrors import Mirror, attempted
from amid.training.wandb_mirror import GoesOn, WandbMirror, known_lineage, lineage_of, wandb_mode

log = logging.getLogger(__name__)
CELL = "distill"  # the type of a cell's run, beside `teacher` and `initial_student`
GROUP_DIGITS = 6  # of what tells the runs of one teacher in several groups apart


def cell_mirror(run: RunCfg, cell: Cell, store: Store, *, name: str) -> Mirror | None:
    """The W&B run of a cell, the one that it had if it goes on; None where W&B is disabled. name: as it is listed."""
    mode = wandb_mode(run.logger.mode)
    if mode == "disabled":
        return None
    run_id = f"{cell.id}-{lineage_of(store.lineage_path(cell), store.journal_path(cell))}"
    group = group_of(run, cell, store)
    mirror = WandbMirror(
        run.logger,
        run_id=run_id,
        name=name,
        group=group,
        job_type=CELL,
        tags=[run.pair.name, run.data.source, run.divergence.name, run.strategy.name],
        config={
            **config_of(run, sweep=group),
            "cell_id": cell.id,
            "attempt": store.status(cell).get("attempt", 1),
            "run": _finite(resolved_config(run)),
        },
        folder=store.folder(cell),
        mode=mode,
        goes_on=GoesOn(store.journal_path(cell), told_path(store.folder(cell), run_id)),
    )
    _record(recorded_path(store.folder(cell), run_id), group)
    return mirror


def show_results(mirror: Mirror, run: RunCfg, entry: Entry, protocol: Protocol, store: Store) -> None:
    """Tells a run what its model came to: the summary that one chooses by, every score, and some responses."""
    member = Member(entry.id, store.folder(entry), protocol)
    responses = some_responses(store, entry, protocol, number=run.logger.num_generations)
    mirror.results(
        summary_values(member, store, metric=run.sweep.table.metric),
        {"scores": score_rows(member), "generations": responses},
    )


def show_references(cells: Sequence[PlannedCell], store: Store, *, sweep: str) -> None:
    """Makes the teachers and initial students of the cells runs of the same group, as far as they are evaluated.

    sweep: the name under which it is recorded, also of one that was given none: the group of cells that have none yet.
    A run that was told the same before is left alone; after an evaluation on more sets it is told again.
    """
    import wandb

    shown: dict[tuple[str, str], tuple[PlannedCell, Stage]] = {}
    for planned in cells:
        if planned.run.logger.name == "wandb":
            group = group_of(planned.run, planned.cell, store, sweep=sweep)
            for stage in planned.cell.evaluated_stages.values():
                shown.setdefault((group, stage.id), (planned, stage))
    for (group, _), (planned, stage) in shown.items():
        said = f"the sweep goes on without its {stage.title} in W&B"
        if not attempted("wandb", partial(_show_reference, planned, stage, group, store), instead=said):
            break
    if wandb.run is None:  # so that no job talks to a service that ends with this process
        attempted("wandb", wandb.teardown, instead="the sweep goes on")


def group_of(run: RunCfg, cell: Cell, store: Store, *, sweep: str | None = None) -> str:
    """The sweep in which W&B lists the cell: the one that trained it, also when another one evaluates it again.

    A single run is the sweep of one cell. sweep: in place of the name that the run says.
    """
    lineage = known_lineage(store.lineage_path(cell), store.journal_path(cell))
    recorded = recorded_path(store.folder(cell), f"{cell.id}-{lineage}")
    if lineage is not None and recorded.is_file():
        return recorded.read_text().strip()
    return sweep or run.sweep.name or f"{SINGLE}{cell.id}"


def config_of(run: RunCfg, *, sweep: str) -> dict[str, Any]:
    """What cells are grouped and filtered by, under plain names; what has no effect is left out.

    alpha and lam are numbers, or `none` (no assistant), `inf`, `-inf`, the name of a schedule.
    """
    found: dict[str, Any] = {**_shared_config(run, sweep=sweep), "kind": "cell", "method": run.method.name}
    if run.objective.terms is not None:
        found["terms"] = " + ".join(f"{label(term.weight)} {term.kind}" for term in run.terms)
    elif run.objective.kd_ratio > 0:
        for name, schedule in (("alpha", run.amid.alpha_schedule), ("lam", run.amid.lam_schedule)):
            value = getattr(run.amid, name) if schedule.name == "constant" else schedule.name
            found[name] = "none" if run.amid.alpha is None else _finite(value)
        found |= {"divergence": run.divergence.name, "order": run.divergence.order}
    return {**found, "strategy": run.strategy.name, "corpus": "+".join(run.corpus.writers), "seed": run.seed}


def sync_command(manifest: Mapping[str, Any], store: Store) -> tuple[str, int] | None:
    """What uploads every offline run of a recorded sweep, for a shell, and how many recordings; None if there is none.

    `wandb sync` leaves out what is uploaded and takes the parts of a run that went on in the order of their time.
    """
    root, elsewhere = store.root.absolute(), os.environ.get("WANDB_DIR")
    cells = {str(each["id"]): store.layout.folder_of("cell", each["id"]) for each in manifest["cells"]}
    groups = sorted({str(manifest["name"]), *(text for folder in cells.values() for text in recorded_texts(folder))})
    references = {
        _reference_id(folder, str(each["id"]), group): folder
        for each in manifest["references"]
        for folder in [store.layout.folder_of(each["kind"], each["id"])]
        for group in groups
    }
    words, number = [], 0
    if elsewhere:
        room = Path(elsewhere).absolute() / ROOM
        waiting = {run_id: waiting_runs(room, [run_id]) for run_id in (*cells, *references)}
        named = [run_id for run_id, folders in waiting.items() if folders]
        words += [f"{shlex.quote(str(room))}/offline-run-*-{_any_of(named)}*"] if named else []
        number += sum(map(len, waiting.values()))
    inside = {id_: waiting_runs(folder / ROOM, [id_]) for id_, folder in (cells | references).items()}
    number += sum(map(len, inside.values()))
    named = [id_ for id_ in cells if inside[id_]]
    words += [f"{shlex.quote(str(root))}/{_any_of(named)}/{ROOM}/offline-run-*"] if named else []
    for run_id, folder in references.items():
        if inside[run_id]:
            words.append(f"{shlex.quote(str(folder.absolute()))}/{ROOM}/offline-run-*-{run_id}*")
    return (" ".join(["wandb sync", *words]), number) if words else None


def say_how_to_sync(manifest: Mapping[str, Any], store: Store) -> None:
    """One line for the offline runs of a sweep, if it has any that are not uploaded."""
    found = sync_command(manifest, store)
    if found is not None:
        command, number = found
        log.info("wandb: %d offline run%s; upload with: %s", number, "s" if number > 1 else "", command)


def _show_reference(planned: PlannedCell, stage: Stage, group: str, store: Store) -> None:
    run, folder = planned.run, store.folder(stage)
    member = Member(stage.id, folder, planned.protocol)
    config = {**_shared_config(run, sweep=group), "kind": stage.kind, "stage_id": stage.id}
    config |= {"run": {"pair": _finite(resolved_config(run)["pair"]), "data": _finite(resolved_config(run)["data"])}}
    told = value_digest({"config": config, "scores": score_rows(member)})
    run_id = _reference_id(folder, stage.id, group)
    path = recorded_path(folder, run_id)
    if not score_rows(member) or (path.is_file() and path.read_text().strip() == told):
        return
    mode = wandb_mode(run.logger.mode)
    if mode == "disabled":
        return
    mirror = WandbMirror(
        run.logger,
        run_id=run_id,
        name=f"{stage.title} {run.pair.name}",
        group=group,
        job_type=stage.title.replace(" ", "_"),
        tags=[run.pair.name, run.data.source],
        config=config,
        folder=folder,
        mode=mode,
    )
    show_results(mirror, run, stage, planned.protocol, store)
    mirror.close(failed=False)
    _record(path, told)


def _reference_id(folder: Path, stage_id: str, group: str) -> str:
    """Of a teacher's run in a group: the same for the same weights, wherever they were made."""
    model = read_status(folder).get("model")
    return f"{stage_id}-{value_digest({'group': group, 'model': model}, digits=GROUP_DIGITS)}"


def _record(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, f"{text}\n")


def _shared_config(run: RunCfg, *, sweep: str) -> dict[str, Any]:
    return {"sweep": sweep, "pair": run.pair.name, "data": run.data.name or run.data.source}


def _any_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else "{" + ",".join(names) + "}"


def _finite(value: Any) -> Any:
    """The value without infinities, which JSON has not: they are text, as on the command line."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else label(value)
