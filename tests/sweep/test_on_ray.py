"""Cells as tasks of Ray, without a Ray: what is asked of it, and what its answers are taken for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from amid.errors import RequestError, RunError
from amid.store import Store
from amid.store.frozen import request_overrides
from amid.sweep import on_ray
from amid.sweep.on_ray import RayOptions
from amid.sweep.workers import DiedError

DIGESTS = ("a" * 16, "b" * 16, "c" * 16)


def options(**given: Any) -> RayOptions:
    kept: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0, "address": None, "max_retries": 1, "runtime_env": None}
    return RayOptions(**{**kept, **given})


class RayTaskError(Exception):
    def __init__(self, cause: Exception) -> None:
        super().__init__("three lines\nof Ray\nand a traceback")
        self.cause = cause


class StandIn:
    """As much of the module ray as is used. answers: of each task what it returns, or raises."""

    def __init__(self, answers: dict[str, Any], *, resources: dict[str, float] | None = None) -> None:
        self.exceptions = SimpleNamespace(RayTaskError=RayTaskError, RayError=type("RayError", (Exception,), {}))
        self.asked: dict[str, Any] = {}
        self.cancelled: list[str] = []
        self.interrupts = 0
        self._answers, self._resources = answers, resources or {"CPU": 2.0}

    def remote(self, function: Callable[..., Any]) -> Any:
        def with_options(**given: Any) -> Any:
            self.asked = given
            return SimpleNamespace(remote=lambda digest, results, num_threads: digest)

        return SimpleNamespace(options=with_options)

    def wait(self, references: list[str], num_returns: int) -> tuple[list[str], list[str]]:
        if self.interrupts:
            self.interrupts -= 1
            raise KeyboardInterrupt
        return references[-1:], references[:-1]

    def get(self, reference: str) -> Any:
        answer = self._answers[reference]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self, reference: str) -> None:
        self.cancelled.append(reference)

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return self._resources


@pytest.fixture
def jobs(tmp_path: Any) -> list[tuple[str, ...]]:
    return [request_overrides(digest, Store(tmp_path)) for digest in DIGESTS]


def with_ray(monkeypatch: pytest.MonkeyPatch, ray: StandIn) -> StandIn:
    monkeypatch.setitem(__import__("sys").modules, "ray", ray)
    return ray


def test_answers_come_one_by_one_and_each_failure_is_its_own(
    monkeypatch: pytest.MonkeyPatch, jobs: list[tuple[str, ...]]
) -> None:
    ray = with_ray(monkeypatch, StandIn({}))
    ray._answers = {
        DIGESTS[0]: RayTaskError(DiedError("its worker was ended by SIGKILL (x.log)")),
        DIGESTS[1]: None,
        DIGESTS[2]: ray.exceptions.RayError("The node died.\nSee the logs."),
    }
    found = on_ray.launch(jobs, options(num_cpus=2, max_retries=3))
    assert found == ["DiedError: its worker was ended by SIGKILL (x.log)", None, "Ray: The node died. See the logs."]
    assert ray.asked["num_cpus"] == 2 and ray.asked["max_retries"] == 3
    assert ray.asked["retry_exceptions"] == [DiedError]


def test_ctrl_c_cancels_what_is_left_and_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, jobs: list[tuple[str, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ray = with_ray(monkeypatch, StandIn(dict.fromkeys(DIGESTS)))
    ray.interrupts = 1
    with pytest.raises(KeyboardInterrupt):
        on_ray.launch(jobs, options())
    assert ray.cancelled == list(DIGESTS)
    assert "stopping: every cell finishes its step and saves it" in caplog.text


def test_a_cell_that_asks_for_more_than_there_is_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, jobs: list[tuple[str, ...]]
) -> None:
    with_ray(monkeypatch, StandIn({}))
    with pytest.raises(RunError, match=r"a cell is to have 1 GPUs, and the Ray cluster has 0 in all"):
        on_ray.launch(jobs, options(num_gpus=1))


def test_a_cell_computes_with_as_many_threads_as_it_has_cpus() -> None:
    assert [options(num_cpus=each).num_threads for each in (0, 0.5, 1, 2.5, 4)] == [1, 1, 1, 2, 4]


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install 'amid-lab\[ray\]'"):
        on_ray.check_installed()
