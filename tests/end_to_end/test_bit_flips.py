"""One changed bit anywhere in a store: the same commands end as undisturbed, or refuse and name the file.

AMID_FLIPS: how many bits are changed in each store, one at a time (20); AMID_FLIP_SEED: which ones. `make test-flips`.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from small import SMALL
from test_training import run_until

from amid.errors import RequestError, RunError
from amid.experiment import Experiment, run_task
from amid.reports.comparison import compare, render_comparison
from amid.reports.tables import build_table, render
from amid.store import Store, watch
from amid.store.frozen import selected
from amid.sweep.carry_out import carry_out
from amid.sweep.compose import run_of_overrides, sweep_of_overrides

NUM_FLIPS = int(os.environ.get("AMID_FLIPS", "20"))
SEED = os.environ.get("AMID_FLIP_SEED", "0")
REQUEST = (*SMALL, "amid.alpha=-5", "trainer.checkpoint_every_steps=1")
pytestmark = [pytest.mark.flips, pytest.mark.timeout(60 + 15 * NUM_FLIPS)]


def request(folder: Path, *overrides: str) -> list[str]:
    given = {override.split("=")[0] for override in overrides}
    kept = [override for override in REQUEST if override.split("=")[0] not in given]
    return [*kept, *overrides, f"paths.results={folder}/results", f"paths.cache={folder}/cache"]


def sweep(folder: Path, *overrides: str) -> None:
    """python run.py -m, in this process."""

    def launch(batch: Sequence[Sequence[str]]) -> list[str | None]:
        return [reason(job) for job in batch]

    def reason(job: Sequence[str]) -> str | None:
        try:
            planned = selected(run_of_overrides(job), job)
            assert planned is not None
            run_task(planned.run, planned=planned, waits=False)
        except (RequestError, RunError) as err:  # as the launcher does: what counts is in the store
            return str(err)
        return None

    carry_out(sweep_of_overrides(request(folder, *overrides)), launch)


def experiment(folder: Path) -> Experiment:
    return Experiment(run_of_overrides(request(folder)))


# What a user does with a store, and what is to be seen of it afterwards.


def again(folder: Path) -> str:
    sweep(folder)
    return table(folder)


def table(folder: Path) -> str:
    store = Store(folder / "results")
    name = sweep_of_overrides(request(folder)).name  # the latest is the single run, once it was evaluated further
    found = build_table(store.read_sweep(name), store)
    if found.damage:
        raise RunError("; ".join(found.damage))
    return render(found, "json")


def evaluated(folder: Path) -> str:
    """With one decode seed more."""
    run_task(run_of_overrides(request(folder, "task=evaluate", "evaluation.decode_seeds=[10,20,30]")))
    it = experiment(folder)
    return (it.store.folder(it.cell) / "scores.jsonl").read_text()


def compared(folder: Path) -> str:
    it = experiment(folder)
    store, cell = it.store, it.cell
    found = compare(store, store.folder(cell), store.folder(cell.stages["student_init"]), top=2)
    return render_comparison(found, ("cell", "student"))


def weights(folder: Path) -> bytes:
    it = experiment(folder)
    return (it.store.model_folder(it.cell) / "model.safetensors").read_bytes()


COMMANDS: dict[str, Callable[[Path], str]] = {
    "again": again,
    "table": table,
    "evaluate": evaluated,
    "compare": compared,
}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that cannot be read is watched, though not for a minute."""
    for name, seconds in (("HEARTBEAT_S", 0.1), ("STALE_AFTER_S", 0.5), ("POLL_S", 0.05)):
        monkeypatch.setattr(watch, name, seconds)


@pytest.fixture(scope="module")
def half_trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell stopped at its fifth step, after a validation and four checkpoints."""
    folder = tmp_path_factory.mktemp("half")
    sweep(folder, "task=prepare")
    run_until(run_of_overrides(request(folder)), 5)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, half_trained: Path) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(half_trained / "results", folder / "results")
    sweep(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> dict[str, str | bytes]:
    """What each command says of the finished store."""
    said: dict[str, str | bytes] = {"weights": weights(finished)}
    for name, command in COMMANDS.items():
        folder = tmp_path_factory.mktemp(name)
        shutil.copytree(finished / "results", folder / "results")
        said[name] = command(folder)
    return said


def flips(store: Path) -> Iterator[tuple[Path, int, int]]:
    """File, byte and bit; every kind of file is as likely as any other: most files and bits are of a few kinds."""
    rng = random.Random(f"{SEED}/{store.name[:4]}")
    kinds: dict[str, list[Path]] = {}
    for path in sorted(path for path in store.rglob("*") if path.is_file() and path.stat().st_size):
        in_folder = path.parent.name in ("model", "generations", "examples", "claims", "texts", "sweeps")
        kinds.setdefault(path.parent.name if in_folder else path.name, []).append(path.relative_to(store))
    for _ in range(NUM_FLIPS):
        path = rng.choice(kinds[rng.choice(sorted(kinds))])
        yield path, rng.randrange((store / path).stat().st_size), rng.randrange(8)


@pytest.mark.parametrize("which", ["finished", "half_trained"])
def test_a_changed_bit_is_made_good_or_refused_by_name_and_never_used(
    which: str, undisturbed: dict[str, str | bytes], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    original: Path = request.getfixturevalue(which)
    rng = random.Random(f"{SEED}/commands")
    for number, (path, byte, bit) in enumerate(flips(original)):
        folder = tmp_path / str(number)
        shutil.copytree(original / "results", folder / "results")
        flipped = folder / path
        data = bytearray(flipped.read_bytes())
        data[byte] ^= 1 << bit
        flipped.write_bytes(data)
        names = list(COMMANDS) if which == "finished" else ["again"]
        rng.shuffle(names)
        case = f"{path}, byte {byte}, bit {bit}"
        refused = []
        for name in names:
            try:
                said = COMMANDS[name](folder)
            except (RequestError, RunError) as err:
                said = str(err)
                refused.append(name)
            assert said == undisturbed[name] or flipped.name in said, f"{name} after {case}: {said}"
        # Whatever was refused on the way: the command that made the store makes it good.
        assert again(folder) == undisturbed["again"], case
        assert weights(folder) == undisturbed["weights"], case
        print(f"{case}: {', '.join(refused) or 'nothing'} refused")
        shutil.rmtree(folder)
