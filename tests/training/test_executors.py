"""The same predictions, bit by bit, wherever and in whatever order the folds are trained."""

import importlib.util
import os
import signal
import time
from pathlib import Path

import pytest
from tiny_runs import arguments, contents, start, write_cache

from slstt.cli.train import main


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("flow"), subjects=4)


@pytest.fixture(scope="module")
def serial(four: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = tmp_path_factory.mktemp("runs") / "serial"
    assert main(arguments(four, run)) == 0
    return contents(run)


def test_two_processes_give_what_one_gives(four: Path, serial: dict[str, bytes], tmp_path: Path) -> None:
    assert main(arguments(four, tmp_path / "run", "run.executor=processes", "run.workers=2")) == 0
    assert contents(tmp_path / "run") == serial


def test_any_order_of_folds_gives_the_same(four: Path, serial: dict[str, bytes], tmp_path: Path) -> None:
    for subject in ("s03", "s01", "s04", "s02"):
        assert main(arguments(four, tmp_path / "run", "--folds", subject)) == 0
    assert contents(tmp_path / "run") == serial


@pytest.mark.cluster
@pytest.mark.parametrize("workers", [1, 3, 4])
def test_any_number_of_processes_gives_the_same(four, serial, tmp_path: Path, workers: int) -> None:
    assert main(arguments(four, tmp_path / "run", "run.executor=processes", f"run.workers={workers}")) == 0
    assert contents(tmp_path / "run") == serial


def workers_of(parent: int) -> list[int]:
    """The worker processes of a run, by Linux's process table."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.cluster
def test_a_killed_worker_process_costs_nothing_but_its_time(four: Path, tmp_path: Path) -> None:
    recipe = ("training.epochs=150", "run.checkpoint_seconds=0")
    assert main(arguments(four, tmp_path / "serial", *recipe)) == 0
    process = start(arguments(four, tmp_path / "run", *recipe, "run.executor=processes", "run.workers=2"))
    while process.poll() is None and not list((tmp_path / "run").glob("folds/*/last.pt")):
        time.sleep(0.02)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert contents(tmp_path / "run") == contents(tmp_path / "serial")


ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs slstt[ray]")


@ray
@pytest.mark.cluster
def test_local_ray_gives_the_same(four: Path, serial: dict[str, bytes], tmp_path: Path) -> None:
    process = start(arguments(four, tmp_path / "run", "run.executor=ray", "run.workers=2"))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert contents(tmp_path / "run") == serial


@ray
@pytest.mark.cluster
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_ray_saves_and_continues(four: Path, tmp_path: Path, number: signal.Signals) -> None:
    recipe = ("training.epochs=150", "run.checkpoint_seconds=0")
    assert main(arguments(four, tmp_path / "serial", *recipe)) == 0
    argv = arguments(four, tmp_path / "run", *recipe, "run.executor=ray", "run.workers=2")
    process = start(argv)
    while process.poll() is None and not list((tmp_path / "run").glob("folds/*/last.pt")):
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "stopping after this step" in said
    assert main(arguments(four, tmp_path / "run", *recipe)) == 0
    assert contents(tmp_path / "run") == contents(tmp_path / "serial")


@ray
@pytest.mark.cluster
def test_a_two_node_ray_cluster_survives_the_death_of_a_node(four: Path, tmp_path: Path) -> None:
    """Real node processes; one is removed without grace while its folds are in the middle."""
    from ray.cluster_utils import Cluster

    recipe = ("training.epochs=250", "run.checkpoint_seconds=0")
    assert main(arguments(four, tmp_path / "serial", *recipe)) == 0
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        run = tmp_path / "run"
        process = start(arguments(four, run, *recipe, "run.executor=ray", f"run.ray.address={cluster.address}"))
        while process.poll() is None and len(list(run.glob("folds/*/last.pt"))) < 2:
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()
        cluster.remove_node(second, allow_graceful=False)
        output, said = process.communicate(timeout=400)
        assert process.returncode == 0, said
        assert "All 4 folds" in output
        assert contents(run) == contents(tmp_path / "serial")
        assert not list(run.glob("folds/*/failure.txt"))
    finally:
        cluster.shutdown()
