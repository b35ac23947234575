"""Cells of a recorded sweep once more, each as it was frozen, in the sweep as it was recorded. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from amid.cells.cell import cell_of
from amid.errors import RequestError
from amid.evaluation.protocol import protocol_of, set_protocols
from amid.store import State, Store
from amid.store.frozen import Requests, check_same_cell
from amid.store.status import state_of
from amid.sweep.plan import PlannedCell, Sweep, is_evaluated


def sweep_again(manifest: Mapping[str, Any], store: Store, *, states: Collection[State]) -> Sweep:
    """Those cells of a sweep that are in one of the states, as a sweep to be carried out.

    Raises RequestError where there is none, or where a request names another cell today.
    """
    name, cells, requests = str(manifest["name"]), list[PlannedCell](), Requests(store)
    for recorded in manifest["cells"]:
        if state_of(store.layout.folder_of("cell", recorded["id"])) not in states:
            continue
        request = requests.of_sweep(str(recorded["id"]), name)
        run = replace(request.run, task="distill" if request.run.task == "prepare" else request.run.task)
        cell = cell_of(run)
        check_same_cell(request, cell)
        protocol = protocol_of(
            set_protocols(run.data, run.evaluation),
            run.train.validation,
            cell.values["data"],
            teacher=cell.stages["teacher"].id,
            temperatures=run.evaluation.also_tuned or (),
        )
        overrides = tuple(map(str, recorded.get("overrides", ())))
        planned = PlannedCell(overrides, run, cell, protocol, store.state(cell), is_evaluated(store, cell, protocol))
        cells.append(planned)
    if not cells:
        raise RequestError(f"no cell of {name} is {' or '.join(states)}; amid status {name} says what each one is")
    return Sweep(name=name, cells=tuple(cells), table=cells[0].run.sweep.table, duplicates=0)
