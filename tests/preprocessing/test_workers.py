"""Worker processes: a lost one costs its own task, a grave error ends them all. (No torch here: they start quickly.)"""

import os
import signal
from collections.abc import Callable

import pytest

from slstt.errors import ConfigError, DataError
from slstt.preprocessing import workers


def _make_odd_worker(fatal: str) -> Callable[[str], tuple[str, int]]:
    import cv2

    def work(task: str) -> tuple[str, int]:
        if task == fatal:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
        if task == "full":
            raise DataError("disk full", "and nothing left")
        return task, cv2.getNumThreads()

    return work


def test_a_killed_worker_costs_its_own_task_only() -> None:
    results = list(workers.in_processes(_make_odd_worker, ("b",), ["a", "b", "c", "d"], 2))
    died = [result for result in results if isinstance(result, workers.Died)]
    assert [(d.task, d.exit_code) for d in died] == [("b", -signal.SIGKILL)]
    assert sorted(result for result in results if result not in died) == [(name, 1) for name in "acd"]


def test_a_grave_error_ends_all_and_keeps_its_lines() -> None:
    with pytest.raises(DataError) as raised:
        list(workers.in_processes(_make_odd_worker, ("",), ["full", "a"], 2))
    assert raised.value.problems == ("disk full", "and nothing left")


def test_in_this_process_the_thread_counts_are_put_back() -> None:
    import cv2
    import torch

    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(2)
    torch.set_num_threads(2)
    try:
        assert list(workers.here(_make_odd_worker, ("",), ["a", "b"])) == [("a", 1), ("b", 1)]
        assert (cv2.getNumThreads(), torch.get_num_threads()) == (2, 2)
        with pytest.raises(DataError, match="disk full"):
            list(workers.here(_make_odd_worker, ("",), ["full"]))
        assert (cv2.getNumThreads(), torch.get_num_threads()) == (2, 2)
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def test_ray_that_is_not_installed_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'slstt\[ray\]'"):
        list(workers.on_ray(_make_odd_worker, ("",), ["a"], 1, None))
