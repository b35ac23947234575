"""Many workers on one simulated NFS server: how much they ask of it, and how long they wait for its answers.

The server carries out one operation after the other, so many a second, and an answer takes a while on its way. Workers
run the product's own code for claims, states, heartbeats and waiting, as in the histories, and look for free cells as
`amid work` does; nothing goes wrong.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import simulated_calls
from simulated_hosts import World
from simulated_work import Sweeping, Work, is_evaluated

from amid.cells.cell import Cell
from amid.store.watch import Patience

LOOKED_AT = 8  # cells, by a worker that waits
HOSTS_REMEMBER_S = 30.0  # as Linux's client: a folder for at least so long


class Draining(Sweeping):
    """A worker that takes one free cell after the other, until none is left."""

    def run(self) -> int:
        random, left = self.world.random, list(self.work.cells)
        patience, waits = Patience(), False
        while left:
            cell = self._free(left, random.sample(left, min(len(left), LOOKED_AT)) if waits else left)
            if cell is not None:
                self.distill(cell, waits=False)
                patience, waits = Patience(), False
            elif left:
                patience.wait(f"other workers to finish {len(left)} cells")
                waits = True
        return 0

    def _free(self, left: list[Cell], among: list[Cell]) -> Cell | None:
        """A cell that nobody has; what is finished is left out from now on."""
        start = self.world.random.randrange(len(among))
        for cell in [*among[start:], *among[:start]]:
            if self.store.is_owned(cell):
                continue
            if self.store.state(cell) == "done" and is_evaluated(self.store, cell):
                left.remove(cell)
                continue
            return cell
        return None


@dataclass(frozen=True)
class Measured:
    """seconds: of the whole sweep. per_cell: operations of a cell by kind. busy: the share of time the server works.

    waited_s: for the server, on average per operation, beyond the way there and back.
    """

    seconds: float
    ideal_s: float
    operations: int
    per_cell: dict[str, float]
    busy: float
    peak_per_s: int
    waited_s: float


def measured(
    *, workers: int, cells: int, cell_s: float, way_s: float, per_s: float, seed: int = 1, workers_per_host: int = 1
) -> Measured:
    """A sweep of that many cells of so many seconds. Call it inside `histories.simulated`.

    way_s: of an answer. per_s: operations that the server carries out in a second.
    """
    world = World(seed, cache_s=HOSTS_REMEMBER_S, most_operations=10**9)
    served = Counter[int]()
    free_at = waited = 0.0

    def latency() -> float:
        nonlocal free_at, waited
        begins = max(world.now + way_s / 2, free_at)
        free_at = begins + 1 / per_s
        waited += begins - world.now - way_s / 2
        served[int(begins)] += 1
        return begins + 1 / per_s + way_s / 2 - world.now

    world.latency_s = latency
    work = Work(num_cells=cells, step_s=cell_s / 5)  # of STEPS and an evaluation of two halves
    hosts = [world.add_host() for _ in range(-(-workers // workers_per_host))]
    for number in range(workers):
        name = f"worker-{number}"

        draining = Draining(world, work, lambda *_: None)
        memory = simulated_calls.memory_of_a_process(name)
        world.start(hosts[number // workers_per_host], name, draining.run, memory)
    simulated_calls.carried_out(world)
    assert all(process.code == 0 for process in world.processes), "a worker failed"
    return Measured(
        seconds=world.now,
        ideal_s=-(-cells // workers) * cell_s + cell_s / 5,  # and the stage that all need
        operations=world.operations,
        per_cell={name: number / cells for name, number in sorted(world.counts.items())},
        busy=world.operations / per_s / world.now,
        peak_per_s=max(served.values()),
        waited_s=waited / world.operations,
    )
