"""Cells as tasks of Ray: on a cluster that runs already, or on one that is started here. No torch here.

Each task carries out one frozen request in a process of its own (`amid.sweep.workers`), whose stdin ends with Ray's
worker: then it saves what it has and stops. Answers are taken one by one, and what counts is what is in the store: the
death of a worker, of the driver or of the whole cluster loses no finished cell.
"""

from __future__ import annotations

import logging
import math
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from amid.config.checks import number_of_launcher
from amid.errors import RequestError, RunError, one_line, reason_of, visible
from amid.store import Store
from amid.store.frozen import requested, thaw
from amid.sweep.machine import num_cores, visible_gpus
from amid.sweep.workers import DiedError, carry_out

log = logging.getLogger(__name__)
# Read by Ray when it is imported: nothing is reported to anybody, and every line of a cell is shown as it is.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0"}
STORE_BYTES = 2**27  # of Ray's object store: no more than a few lines go through it


@dataclass(frozen=True)
class RayOptions:
    """conf/hydra/launcher/ray.yaml: what a cell is given of the cluster, and which cluster it is."""

    num_cpus: float
    num_gpus: float
    address: str | None
    max_retries: int
    runtime_env: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        number_of_launcher("num_cpus", self.num_cpus, 0)
        number_of_launcher("num_gpus", self.num_gpus, 0)
        number_of_launcher("max_retries", self.max_retries, 0, whole=True)
        if self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            raise RequestError(f"hydra.launcher.num_gpus must be a whole number above 1, got {self.num_gpus:g}")
        if self.address is not None and not isinstance(self.address, str):
            raise RequestError(f"hydra.launcher.address must be a text such as 10.0.0.1:6379, got {self.address!r}")
        if self.runtime_env is not None and not isinstance(self.runtime_env, Mapping):
            raise RequestError(f"hydra.launcher.runtime_env must be a mapping, got {self.runtime_env!r}")

    @property
    def num_threads(self) -> int:
        """Threads of a cell: of its CPUs, and one at least."""
        return max(1, math.floor(self.num_cpus))


def check_installed() -> None:
    """Raises RequestError where Ray is not installed."""
    if find_spec("ray") is None:
        raise RequestError("hydra/launcher=ray needs Ray, an extra: pip install 'amid-lab[ray]'")


def launch(jobs: Sequence[Sequence[str]], options: RayOptions) -> list[str | None]:
    """Carries out jobs, each the overrides of a frozen request: why each failed, None if it did not.

    Raises KeyboardInterrupt when this process is interrupted, as soon as every cell has saved what it had; at once when
    it is interrupted again. Raises RequestError for jobs that are no requests, RunError where no cluster answers.
    """
    asked = [requested(overrides) for overrides in jobs]
    ray = _connected(options)
    # By its name in the package, which every node needs anyway
    task = ray.remote(_task).options(
        name="cell",
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
        max_retries=options.max_retries,
        retry_exceptions=[DiedError],
    )
    places = {
        task.remote(digest, str(results.absolute()), options.num_threads): place
        for place, (digest, results) in enumerate(asked)
    }
    answers: dict[int, str | None] = {}
    try:
        for reference in _one_by_one(ray, list(places)):
            answers[places[reference]] = _answer(ray, reference)
    except KeyboardInterrupt:
        log.info("stopping: every cell finishes its step and saves it; Ctrl-C again ends them at once")
        left = [reference for reference, place in places.items() if place not in answers]
        for reference in left:
            ray.cancel(reference)  # as Ctrl-C, where it runs
        for _ in _one_by_one(ray, left):
            pass
        raise
    return [answers[place] for place in range(len(asked))]


def _task(digest: str, results: str, num_threads: int) -> str | None:
    """What Ray runs. Its prints are shown where the sweep was started."""
    store = Store(Path(results))
    request = thaw(digest, store)
    logs = store.layout.logs(str(request.run.sweep.name))
    logs.mkdir(parents=True, exist_ok=True)

    def say(line: str) -> None:
        print(visible(line), flush=True)

    return carry_out(request, logs / f"{request.cell_id}.log", num_threads=num_threads, say=say)


def _one_by_one(ray: Any, references: Sequence[Any]) -> Iterator[Any]:
    left = list(references)
    while left:
        done, left = ray.wait(left, num_returns=1)
        yield from done


def _answer(ray: Any, reference: Any) -> str | None:
    try:
        answer = ray.get(reference)
    except ray.exceptions.RayTaskError as err:
        return reason_of(err.cause) if isinstance(err.cause, (DiedError, RequestError, RunError)) else reason_of(err)
    except ray.exceptions.RayError as err:
        return f"Ray: {one_line(str(err)) or type(err).__name__}"
    return None if answer is None else str(answer)


def _connected(options: RayOptions) -> Any:
    """The module ray, connected to a cluster; one that is started here ends with this process.

    Raises RunError where no cluster answers, or where it has too little for a cell.
    """
    os.environ.update({key: value for key, value in SETTINGS.items() if key not in os.environ})
    import ray

    library: Any = ray  # typed in part
    if not library.is_initialized():
        _say(library, _connect(library, options), options)
    has = library.cluster_resources()
    for name, each in (("CPU", options.num_cpus), ("GPU", options.num_gpus)):
        if each > has.get(name, 0):
            raise RunError(f"a cell is to have {each:g} {name}s, and the Ray cluster has {has.get(name, 0):g} in all")
    return library


def _connect(ray: Any, options: RayOptions) -> str:
    """Which cluster it is, in words."""
    shared: dict[str, Any] = {"log_to_driver": True, "logging_level": logging.ERROR}
    if options.runtime_env:
        shared["runtime_env"] = dict(options.runtime_env)
    address = options.address or os.environ.get("RAY_ADDRESS")
    terminated = signal.getsignal(signal.SIGTERM)  # which Ray takes for itself
    try:
        try:
            ray.init(address=address or "auto", **shared)
        except ConnectionError:
            if address is not None:
                raise
            here = {"num_cpus": num_cores(), "num_gpus": len(visible_gpus()), "object_store_memory": STORE_BYTES}
            ray.init(address="local", include_dashboard=False, **here, **shared)
            return "started here"
    except (ConnectionError, RuntimeError, ValueError, OSError) as err:
        raise RunError(f"no Ray cluster at {address or 'this machine'}: {reason_of(err)}") from err
    finally:
        signal.signal(signal.SIGTERM, terminated)
    return f"at {address or ray.get_runtime_context().gcs_address}"


def _say(ray: Any, which: str, options: RayOptions) -> None:
    has = ray.cluster_resources()
    cpus, gpus = has.get("CPU", 0), has.get("GPU", 0)
    log.info("Ray %s: %g CPUs, %g GPUs; %g and %g for each cell", which, cpus, gpus, options.num_cpus, options.num_gpus)
