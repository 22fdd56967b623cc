"""Faults against the real command: whatever stops it, starting it again ends with the bits of an undisturbed run."""

import contextlib
import random
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tiny_runs import arguments, contents, start

from slstt.cli.train import main

RECIPE = ("training.epochs=200", "training.ema=0.9", "training.augment.mirror=true")
SAVING = (*RECIPE, "run.checkpoint_seconds=0")  # after every step


@pytest.fixture(scope="module")
def undisturbed(flow_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert main(arguments(flow_root, run, *RECIPE)) == 0
    return contents(run)


def saved(run: Path) -> dict[Path, int]:
    """The states and finished folds on disk, with the time at which each was written."""
    found = {}
    for path in (*run.glob("folds/*/last.pt"), *run.glob("folds/*/predictions.csv")):
        with contextlib.suppress(FileNotFoundError):  # a state is moved aside for the next
            found[path] = path.stat().st_mtime_ns
    return found


def begun(process: subprocess.Popen, run: Path, before: dict[Path, int]) -> bool:
    """Wait until the process has saved something that was not there `before`; False where it ended first."""
    while process.poll() is None:
        if saved(run).items() - before.items():
            return True
        time.sleep(0.01)
    return False


def killed_at_random(flow_root: Path, run: Path, kills: int, seed: int) -> None:
    moments = random.Random(seed)
    for _ in range(kills):
        before = saved(run)
        process = start(arguments(flow_root, run, *SAVING))
        assert begun(process, run, before), process.communicate()
        time.sleep(moments.uniform(0, 0.7))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL


def whole_files_only(run: Path) -> None:
    """Nothing but whole files under their own names (and the kernel's empty locks)."""
    assert not list(run.rglob("*.part"))


def test_killed_twice_in_the_middle(flow_root: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    killed_at_random(flow_root, tmp_path / "run", kills=2, seed=1)
    assert main(arguments(flow_root, tmp_path / "run", *RECIPE)) == 0
    assert contents(tmp_path / "run") == undisturbed
    whole_files_only(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_twenty_random_moments(flow_root, undisturbed, tmp_path: Path, seed: int) -> None:
    killed_at_random(flow_root, tmp_path / "run", kills=5, seed=100 + seed)
    assert main(arguments(flow_root, tmp_path / "run", *RECIPE)) == 0
    assert contents(tmp_path / "run") == undisturbed
    whole_files_only(tmp_path / "run")


@pytest.mark.slow
def test_killed_while_still_beginning(flow_root, undisturbed, tmp_path: Path) -> None:
    for tenths in (0, 5, 15, 25, 35):
        process = start(arguments(flow_root, tmp_path / "run", *RECIPE))
        time.sleep(tenths / 10)
        process.kill()
        process.communicate()
    assert main(arguments(flow_root, tmp_path / "run", *RECIPE)) == 0
    assert contents(tmp_path / "run") == undisturbed


@pytest.mark.parametrize(
    ("number", "executor"),
    [
        (signal.SIGINT, "serial"),
        (signal.SIGTERM, "processes"),
        pytest.param(signal.SIGTERM, "serial", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "processes", marks=pytest.mark.slow),
    ],
)
def test_asked_to_stop_it_saves_and_exits_130(flow_root, undisturbed, tmp_path: Path, number, executor: str) -> None:
    run = tmp_path / "run"
    # Saved because it was asked to, not because of the clock.
    argv = arguments(flow_root, run, *RECIPE, "run.checkpoint_seconds=1e6", "run.workers=2", f"run.executor={executor}")
    process = start(argv)
    while process.poll() is None and not list(run.glob("folds/*/.lock")):
        time.sleep(0.01)
    time.sleep(0.4 if executor == "serial" else 1)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    if process.returncode != 0:  # a fast machine may have been done
        assert process.returncode == 130, said
        assert "interrupted; finished work is kept" in said
        assert list(run.glob("folds/*/last.pt")) or list(run.glob("folds/*/predictions.csv"))
    assert main(arguments(flow_root, run, *RECIPE)) == 0
    assert contents(run) == undisturbed


def test_a_second_process_on_the_same_run_is_refused_and_a_truncated_state_is_passed_over(
    flow_root: Path, undisturbed: dict[str, bytes], tmp_path: Path, capsys
) -> None:
    run = tmp_path / "run"
    process = start(arguments(flow_root, run, *SAVING))
    while process.poll() is None and not list(run.glob("folds/*/previous.pt")):
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # in the middle, holding its locks
    assert main(arguments(flow_root, run, *RECIPE)) == 2
    assert "another slstt-train is at work there" in capsys.readouterr().err
    assert main(arguments(flow_root, run, *RECIPE, "--shard", "1/1")) == 2
    process.kill()
    process.communicate()

    states = [path for path in run.glob("folds/*/last.pt") if (path.parent / "previous.pt").exists()]
    for path in states:
        path.write_bytes(path.read_bytes()[:-700])
    capsys.readouterr()
    assert main([word for word in arguments(flow_root, run, *RECIPE) if word != "--quiet"]) == 0
    assert capsys.readouterr().err.count("damaged") == len(states)
    assert contents(run) == undisturbed


@pytest.mark.slow
def test_two_shards_that_overlap_do_no_fold_twice(flow_root, undisturbed, tmp_path: Path) -> None:
    run = tmp_path / "run"
    processes = [start(arguments(flow_root, run, *RECIPE, "--shard", "1/1")) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in processes]
    # The second may end while the first still trains the last fold, and then says that something was left.
    assert 0 in (codes := [process.returncode for process in processes]) and set(codes) <= {0, 1}, said
    assert contents(run) == undisturbed


def test_a_full_disk_ends_with_one_line_and_loses_nothing(flow_root, undisturbed, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a state of this model has about 90 kB

    process = start(arguments(flow_root, run, *SAVING), preexec_fn=small_files_only)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 3
    assert "last.pt: cannot be written (File too large); free space or choose another folder" in said
    assert "Traceback" not in said and len(said.strip().splitlines()) == 1
    whole_files_only(run)
    assert main(arguments(flow_root, run, *RECIPE)) == 0
    assert contents(run) == undisturbed


def test_an_unwritable_folder_ends_with_one_line_before_any_work(flow_root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    nowhere = [Path("/sys/slstt")] if Path("/sys").is_dir() else []  # nobody, not even root, can make a folder there
    for run in (tmp_path / "file" / "run", *nowhere):
        process = start(arguments(flow_root, run, *RECIPE))
        _, said = process.communicate(timeout=120)
        assert process.returncode == 3
        assert str(run) in said and "cannot be written" in said and "another" in said
        assert "Traceback" not in said and len(said.strip().splitlines()) == 1
