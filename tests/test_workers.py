"""The rules of the one pool, on real processes and a real Ray. (No torch in the workers: they start quickly.)"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slstt import workers
from slstt.errors import DataError
from slstt.ray_workers import OnRay, ray_cluster
from slstt.workers import Died, Done, Here, OnProcesses, Worker, at_work


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One Ray for all tests of this module: `at_work` uses a connection that stands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))  # for `make_work`
        with ray_cluster(None, 2, "ray.address"):
            yield


ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs slstt[ray]")
RAY = pytest.param("ray", marks=[pytest.mark.cluster, ray])


@pytest.fixture(params=["processes", RAY])
def away(request: pytest.FixtureRequest, tmp_path: Path) -> OnProcesses | OnRay:
    """Two workers outside this process."""
    if request.param == "processes":
        return OnProcesses(2)
    request.getfixturevalue("local_ray")
    return OnRay(None, "ray.address", tmp_path, 2)


@pytest.fixture(params=["here", "processes", RAY])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Here | OnProcesses | OnRay:
    if request.param == "here":
        return Here()
    if request.param == "processes":
        return OnProcesses(2)
    request.getfixturevalue("local_ray")
    return OnRay(None, "ray.address", tmp_path, 2)


def make_work(worker: Worker, folder: Path, log: str = "log") -> Callable[[str], str]:
    """Tasks are words that say what happens; `log` gets a line for each start of a worker and of a task."""

    def note(line: str) -> None:
        with (folder / log).open("a") as stream:
            stream.write(f"{line}\n")

    note("made")

    def work(task: str) -> str:
        note(task)
        if task == "killed":
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
        if task == "killed once" and (folder / log).read_text().split("\n").count(task) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "broken":
            raise ZeroDivisionError("a fault\nin two lines")
        if task == "full":
            raise DataError("disk full", "and nothing left")
        if task == "tells":
            for number in range(3):
                worker.send(number)
        if task == "place":
            time.sleep(1)
            return str(worker.place)
        if task == "waits":
            worker.send(os.getpid())
            while not worker.stop():
                time.sleep(0.02)
            worker.send("saving")
            (folder / "saved").touch()
            return "saved"
        return task.upper()

    return work


def lines(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def outcomes(folder: Path, tasks: list[str], where: workers.Where, **options: Any) -> list[Done | Died]:
    with at_work(make_work, (folder,), tasks, where, **options) as found:
        return list(found)


def test_every_task_is_done_and_a_worker_is_made_once(anywhere: workers.Where, tmp_path: Path) -> None:
    found = outcomes(tmp_path, list("abcdef"), anywhere)
    assert sorted((one.task, one.result) for one in found if isinstance(one, Done)) == [
        (t, t.upper()) for t in "abcdef"
    ]
    assert 1 <= lines(tmp_path).count("made") <= (1 if isinstance(anywhere, Here) else 2)


def test_no_tasks_need_no_workers(anywhere: workers.Where, tmp_path: Path) -> None:
    assert outcomes(tmp_path, [], anywhere) == []
    assert not (tmp_path / "log").exists()


def test_a_task_tells_the_run_before_its_outcome(anywhere: workers.Where, tmp_path: Path) -> None:
    messages: list[Any] = []
    with at_work(
        make_work, (tmp_path,), ["tells", "a"], anywhere, on_message=lambda *message: messages.append(message)
    ) as found:
        for one in found:
            if one.task == "tells":
                assert messages == [("tells", 0), ("tells", 1), ("tells", 2)]
    assert len(messages) == 3


def test_a_killed_worker_costs_its_own_task_only_which_is_begun_twice(away: workers.Where, tmp_path: Path) -> None:
    again: list[Died] = []
    found = outcomes(tmp_path, ["a", "killed", "b", "killed once", "c"], away, on_retry=again.append)
    (died,) = [one for one in found if isinstance(one, Died)]
    assert died.task == "killed"
    if isinstance(away, OnProcesses):
        assert died.exit_code == -signal.SIGKILL
        assert died.how == "exit code -9; killed by the kernel: out of memory?"
    assert sorted(one.task for one in found if isinstance(one, Done)) == ["a", "b", "c", "killed once"]
    assert sorted(one.task for one in again) == ["killed", "killed once"]
    assert lines(tmp_path).count("killed") == 2 and lines(tmp_path).count("killed once") == 2


def test_the_number_of_attempts_can_be_chosen(away: workers.Where, tmp_path: Path) -> None:
    (died,) = outcomes(tmp_path, ["killed"], away, attempts=1)
    assert isinstance(died, Died)
    assert lines(tmp_path).count("killed") == 1


def test_an_unexpected_exception_costs_its_own_task_and_names_the_place(away: workers.Where, tmp_path: Path) -> None:
    found = outcomes(tmp_path, ["broken", "a", "b"], away)
    (died,) = [one for one in found if isinstance(one, Died)]
    assert died.how.startswith("ZeroDivisionError: a fault in two lines (test_workers.py, line ")
    assert sorted(one.task for one in found if isinstance(one, Done)) == ["a", "b"]
    assert lines(tmp_path).count("broken") == 2


def test_in_this_process_an_unexpected_exception_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        outcomes(tmp_path, ["broken", "a"], Here())


def test_a_grave_error_is_raised_with_its_lines(anywhere: workers.Where, tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        outcomes(tmp_path, ["full", "a"], anywhere)
    assert raised.value.problems == ("disk full", "and nothing left")


def test_after_a_grave_error_the_others_save(away: workers.Where, tmp_path: Path) -> None:
    """The one that waits would wait for ever if it were not told."""
    begun: list[Any] = []

    def full_once_it_waits(task: str, message: Any) -> None:
        begun.append(message)
        raise DataError("disk full")

    with pytest.raises(DataError, match="disk full"):
        outcomes(tmp_path, ["waits"], away, saves=True, on_message=full_once_it_waits)
    assert len(begun) == 1
    assert (tmp_path / "saved").exists()


def test_asked_to_stop_those_at_work_save_and_nothing_is_begun(away: workers.Where, tmp_path: Path) -> None:
    messages: list[Any] = []
    tasks = ["waits", "waits", "never", "never"]
    found = outcomes(
        tmp_path,
        tasks,
        away,
        saves=True,
        stop=lambda: len(messages) >= 2,
        on_message=lambda task, message: messages.append(message),
    )
    assert found == [Done("waits", "saved"), Done("waits", "saved")]
    assert "never" not in lines(tmp_path)


def test_in_this_process_the_rest_is_left_once_asked_to_stop(tmp_path: Path) -> None:
    asked: list[Any] = []
    found = outcomes(
        tmp_path, ["waits", "never"], Here(), stop=lambda: bool(asked), on_message=lambda *_: asked.append(1)
    )
    assert found == [Done("waits", "saved")]


def test_an_interrupt_ends_the_workers_at_once(tmp_path: Path) -> None:
    pids: list[int] = []

    def interrupt(task: str, message: Any) -> None:
        pids.append(message)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outcomes(tmp_path, ["waits"], OnProcesses(1), saves=True, on_message=interrupt)
    assert not (tmp_path / "saved").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_workers_ignore_the_signals_of_the_group(tmp_path: Path) -> None:
    def signal_it(task: str, message: Any) -> None:
        if isinstance(message, int):
            for number in workers.SIGNALS:
                os.kill(message, number)
            asked.append(True)

    asked: list[bool] = []
    found = outcomes(tmp_path, ["waits"], OnProcesses(1), saves=True, stop=lambda: bool(asked), on_message=signal_it)
    assert found == [Done("waits", "saved")]


def test_workers_that_start_ignore_the_signals_of_the_group(tmp_path: Path) -> None:
    """A signal just after the start meets an interpreter that could not say yet that it ignores it."""
    again: list[Died] = []
    with at_work(make_work, (tmp_path,), ["a", "b"], OnProcesses(2), on_retry=again.append) as found:
        first = iter(found)
        real = workers.CONTEXT.Process.start

        def start(process: Any) -> None:
            real(process)
            for number in workers.SIGNALS:
                os.kill(process.pid, number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers.CONTEXT.Process, "start", start)
            assert sorted(one.task for one in first) == ["a", "b"]
    assert again == []


def test_no_two_workers_share_a_place_and_a_new_one_takes_the_free_one(tmp_path: Path) -> None:
    found = outcomes(tmp_path, ["killed once", "place", "place", "place"], OnProcesses(2))
    assert {one.result for one in found if isinstance(one, Done) and one.task == "place"} == {"0", "1"}


ORPHANING = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_workers import make_work
from slstt.workers import OnProcesses, at_work

if __name__ == "__main__":
    on_message, folder = lambda task, message: print(message, flush=True), Path({folder!r})
    with at_work(make_work, (folder,), ["waits"], OnProcesses(1), on_message=on_message, saves={saves}) as found:
        list(found)
"""


@pytest.mark.parametrize("saves", [True, False])
def test_a_worker_ends_with_its_run_and_saves_if_it_can(tmp_path: Path, saves: bool) -> None:
    script = tmp_path / "run.py"
    script.write_text(ORPHANING.format(tests=str(Path(__file__).parent), folder=str(tmp_path), saves=saves))
    run = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    worker = int(run.stdout.readline())
    run.kill()
    run.communicate()
    until = time.monotonic() + 60
    while Path(f"/proc/{worker}/cmdline").exists() and Path(f"/proc/{worker}/cmdline").read_bytes():
        assert time.monotonic() < until, "the worker outlived its run"
        time.sleep(0.02)
    assert (tmp_path / "saved").exists() == saves


def make_counting(worker: Worker) -> Callable[[str], int]:
    import cv2

    def work(task: str) -> int:
        with workers.one_thread():
            if task == "full":
                raise DataError("disk full")
            return cv2.getNumThreads()

    return work


def test_one_thread_puts_the_thread_counts_back() -> None:
    import cv2
    import torch

    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(2)
    torch.set_num_threads(2)
    try:
        with at_work(make_counting, (), ["a", "b"], Here()) as found:
            assert [one.result for one in found if isinstance(one, Done)] == [1, 1]
        assert (cv2.getNumThreads(), torch.get_num_threads()) == (2, 2)
        with pytest.raises(DataError, match="disk full"), at_work(make_counting, (), ["full"], Here()) as found:
            list(found)
        assert (cv2.getNumThreads(), torch.get_num_threads()) == (2, 2)
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])
