"""How many workers one NFS server carries: the product's own claims, states and waiting on a simulated one.

    python bench/claims_scale.py [--workers 100] [--cells 200 1000] [--cell-seconds 60] [--way-ms 1] [--per-s 5000]

Every worker takes one free cell after the other, as `amid work` does, on a host of its own that remembers folders for
half a minute as Linux's client does; a cell has four journal lines and checkpoints, a model and two scores. The server
carries out one operation after the other, `--per-s` a second, and an answer is `--way-ms` on its way there and back.
What training itself reads and writes is not in it. It runs tests/store/simulation; nothing is measured on a real
server.
Last line: RESULT bench-claims, then for the last number of cells workers=, cells=, ops_per_cell= with heartbeats and
waiting; busy= the share of time the server works; peak_per_s= operations in its busiest second; slower= the time of the
sweep over that without waiting for anything, limit= how many workers would keep the server busy all the time.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

SIMULATION = Path(__file__).resolve().parents[1] / "tests" / "store" / "simulation"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--cells", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--cell-seconds", type=float, default=60.0)
    parser.add_argument("--way-ms", type=float, default=1.0)
    parser.add_argument("--per-s", type=float, default=5000.0)
    args = parser.parse_args()
    sys.path.insert(0, str(SIMULATION))
    measured = importlib.import_module("claims_at_scale").measured
    simulated = importlib.import_module("histories").simulated
    for cells in args.cells:
        with simulated():
            found = measured(
                workers=args.workers,
                cells=cells,
                cell_s=args.cell_seconds,
                way_s=args.way_ms / 1000,
                per_s=args.per_s,
            )
        per_cell = sum(found.per_cell.values())
        limit = args.workers / found.busy
        print(f"{args.workers} workers, {cells} cells of {args.cell_seconds:g} s: {found.seconds:.0f} s", flush=True)
        print("  per cell: " + ", ".join(f"{name} {number:.1f}" for name, number in found.per_cell.items()))
    print(
        f"RESULT bench-claims workers={args.workers} cells={cells} ops_per_cell={per_cell:.0f} busy={found.busy:.4f} "
        f"peak_per_s={found.peak_per_s} waited_ms={1000 * found.waited_s:.2f} "
        f"slower={found.seconds / found.ideal_s:.3f} limit={limit:.0f}"
    )


if __name__ == "__main__":
    main()
