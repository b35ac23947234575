"""What a simulated process does: a sweep of small cells that share a stage, in the store's own terms.

Store, claims, heartbeats, stages, the boundary of failures and the launcher's waiting are the product's code; a
training is pauses, journal lines, checkpoints and a model, as `experiment.distill` writes them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from simulated_calls import pause
from simulated_hosts import ROOT, World

from amid.cells.cell import Cell
from amid.cells.stage import Stage
from amid.digests.seals import seal
from amid.errors import RequestError, RunError
from amid.stages.ensure import ensure_stage
from amid.store import Entry, Score, Store
from amid.store.claims import Claim, held
from amid.store.failures import recorded
from amid.store.files import drop_temporaries, read_object, replace_text
from amid.store.journal import JournalFile
from amid.store.watch import Patience
from amid.sweep import carry_out

RESULTS = f"{ROOT}/results"
STEPS = 4
SEEDS = (10, 20)  # of the evaluation
STAGE = Stage("teacher", "a" * 12, {"kind": "teacher"})


@dataclass
class Work:
    """Cells to be carried out. breaks: cell id -> how many of its attempts fail for a reason of its own."""

    num_cells: int
    step_s: float
    breaks: dict[str, int] = field(default_factory=dict)

    @property
    def cells(self) -> list[Cell]:
        return [
            Cell(f"{number:012x}", {"number": number}, {"teacher": STAGE}) for number in range(1, 1 + self.num_cells)
        ]


def weights_of(entry: Entry) -> bytes:
    return f"the weights of {entry.id}".encode()


def scores_of(entry: Entry) -> list[Score]:
    return [
        Score(entry.id, "toy", f"g{seed}", f"s{seed}", seed, "rouge_l", int(entry.id[-3:], 16) + seed / 100, 4)
        for seed in SEEDS
    ]


def is_evaluated(store: Store, entry: Entry, protocol: object = None) -> bool:
    return {score.decode_seed for score in store.read([entry])} >= set(SEEDS)


Told = Callable[..., None]


class ToldStore(Store):
    """A store that tells which claims it got, and when it has done with what comes first."""

    def __init__(self, told: Told) -> None:
        super().__init__(RESULTS)
        self.told = told

    def _claim(self, entry: Entry) -> Claim | None:
        claim = super()._claim(entry)
        if claim is not None:
            self.told("claimed", self.folder(entry), claim.number)
        return claim


class Sweeping:
    """One process: `python run.py -m` for the cells of the work."""

    def __init__(self, world: World, work: Work, told: Told) -> None:
        self.world, self.work, self.told = world, work, told
        self.store = ToldStore(told)

    def run(self) -> int:
        """The exit code."""
        sweep: Any = SimpleNamespace(
            pending=[
                SimpleNamespace(cell=cell, run=SimpleNamespace(task="distill"), protocol=None)
                for cell in self.work.cells
                if not self.is_finished(cell)
            ]
        )
        self.store.notice([STAGE, *(planned.cell for planned in sweep.pending)])
        reasons = carry_out._launch_cells(sweep, self.store, self._launch)
        return int(bool(reasons) or not all(map(self.is_finished, self.work.cells)))

    def _launch(self, batch: Sequence[Any]) -> list[str | None]:
        said: list[str | None] = []
        for cell in batch:
            try:
                self.distill(cell, waits=False)
                said.append(None)
            except (RequestError, RunError) as err:
                said.append(str(err))
        return said

    def is_finished(self, cell: Cell) -> bool:
        return self.store.is_finished(cell) and is_evaluated(self.store, cell)

    def distill(self, cell: Cell, *, waits: bool) -> None:
        """As Experiment.distill."""
        store = self.store
        if self.is_finished(cell):
            return
        patience = Patience()
        while (claim := store.claim(cell)) is None:
            if store.state(cell) == "done":
                self._evaluate_trained(cell, waits=waits)
                return
            if not self._may_look_again(cell, patience, waits=waits):
                return
        self.told("ready", store.folder(cell), claim.number)
        with held(claim), recorded(store, cell):
            ensure_stage(store, STAGE, self._build)
            self._train(cell, claim)

    def _may_look_again(self, cell: Cell, patience: Patience, *, waits: bool) -> bool:
        store = self.store
        if not store.is_owned(cell):
            return True
        if not waits:
            return False
        patience.wait(lambda: f"cell {cell.id}, which is run elsewhere ({store.owner(cell)})")
        if not store.is_owned(cell) and store.state(cell) == "failed":
            raise RunError(f"cell {cell.id} failed in another process: {store.status(cell).get('error')}")
        return True

    def _evaluate_trained(self, cell: Cell, *, waits: bool) -> None:
        store = self.store
        if store.state(cell) == "done" and is_evaluated(store, cell):
            return
        if not store.is_finished(cell):
            raise RunError(f"cell {cell.id} is damaged: {store.status(cell).get('error')}")
        patience = Patience()
        while (claim := store.claim_done(cell)) is None:
            if not self._may_look_again(cell, patience, waits=waits) or is_evaluated(store, cell):
                return
        self.told("ready", store.folder(cell), claim.number)
        with held(claim), recorded(store, cell):
            self._evaluate(cell)
            store.set_evaluated(cell)

    def _build(self, folder: Path, claim: Claim) -> None:
        self.told("trains", self.store.folder(STAGE), claim.number)
        pause(self.work.step_s)
        (folder / "model.safetensors").write_bytes(weights_of(STAGE))

    def _train(self, cell: Cell, claim: Claim) -> None:
        store = self.store
        if not store.adopt_model(cell):
            self._fit(cell, claim)
            partial = store.partial_model(cell, claim)
            partial.mkdir()
            (partial / "model.safetensors").write_bytes(weights_of(cell))
            store.publish_model(cell, partial, train_seconds=1.0)
        self._evaluate(cell)
        store.set_status(cell, "done", seconds=1.0)
        shutil.rmtree(store.checkpoints_folder(cell), ignore_errors=True)

    def _fit(self, cell: Cell, claim: Claim) -> None:
        store, check = self.store, self.store.guard(cell)
        self.told("trains", store.folder(cell), claim.number)
        folder = store.checkpoints_folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        drop_temporaries(folder, check=check)
        found = read_object(folder / "last.ckpt", remedy="")
        begin = 0 if found is None else int(found["step"])
        journal = JournalFile(store.journal_path(cell), check=check)
        for step in range(begin + 1, 1 + STEPS):
            pause(self.work.step_s)
            journal.add(step, {"train/loss": 1.0 / step})
            if step == 2 and self.work.breaks.get(cell.id, 0) > 0:
                self.work.breaks[cell.id] -= 1
                raise ZeroDivisionError("diverged")
            replace_text(folder / "last.ckpt", seal({"step": step}), check=check)

    def _evaluate(self, cell: Cell) -> None:
        for seed, score in zip(SEEDS, scores_of(cell), strict=True):
            if seed not in {known.decode_seed for known in self.store.read([cell])}:
                pause(self.work.step_s / 2)
                self.store.write(cell, [score])
