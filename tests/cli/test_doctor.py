"""`slstt-doctor`: what it prints is what is there, and its exit code says whether something is wrong."""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

import slstt
from slstt.cli.doctor import main
from slstt.datasets import read_release
from slstt.models import model_file
from slstt.models.model_file import SHIPPED, find_weights

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_weights_are_those_whose_hash_is_written_down(name: str) -> None:
    assert hashlib.sha256(find_weights(name).read_bytes()).hexdigest() == SHIPPED[name]


def test_it_tells_the_versions_that_are_installed_and_the_weights_that_are_there(capsys: Capture) -> None:
    assert main(["--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["slstt"]["version"] == slstt.__version__
    versions = {one["name"]: one["version"] for one in facts["packages"]}
    for name in ("torch", "opencv-python-headless", "dlib-bin", "av"):
        assert versions[name] == metadata.version(name)
    assert "ruff" not in versions  # of the extra for developing
    states = {one["name"]: (one["state"], one["sha256"]) for one in facts["model files"]}
    assert {name: states[name] for name in SHIPPED} == {name: ("as published", SHIPPED[name]) for name in SHIPPED}
    assert states["landmark model"][0] == "as published"
    assert facts["processor"]["usable cores"] >= 1 and facts["free space"][0]["bytes"] > 0


def test_the_text_has_everything_on_lines_and_no_home_folder(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLSTT_CACHE", str(tmp_path / "kept"))
    assert main([]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path) not in said and "~/kept" in said
    assert "not in the cache folder yet" in said  # RIFE: no fault, it is fetched
    for word in ("processor: ", "card: ", f"torch +{re.escape(metadata.version('torch'))}", SHIPPED["synthetic_clip"]):
        assert re.search(word, said)


def test_sound_roots_and_others(synthetic_release: Callable[[str], Path], tmp_path: Path, capsys: Capture) -> None:
    root = synthetic_release("casme2")
    assert main(["--root", f"casme2={root}", "--root", f"smic={tmp_path / 'gone'}", "--quiet"]) == 3
    out, err = capsys.readouterr()
    assert "4 clips of 2 subjects can be used" in out and "smic at" in out and "cannot be read" in out
    assert str(tmp_path / "gone") in err and "Traceback" not in err


def test_a_damaged_frame_is_found_unless_frames_are_left_alone(
    synthetic_release: Callable[[str], Path], tmp_path: Path, capsys: Capture
) -> None:
    root = Path(shutil.copytree(synthetic_release("smic"), tmp_path / "smic"))
    clip = read_release("smic", root).clips[0]
    clip.frames[clip.onset].write_bytes(b"no picture")
    assert main(["--root", f"smic={root}", "--quiet"]) == 1
    assert "undecodable_frame 1" in capsys.readouterr().out
    assert main(["--root", f"smic={root}", "--quiet", "--check"]) == 0


def test_wrong_roots_are_all_named(capsys: Capture) -> None:
    assert main(["--root", "casme2", "--root", "nowhere=/data"]) == 2
    said = capsys.readouterr().err
    assert "--root casme2: write NAME=DIR" in said and "--root nowhere=/data: write" in said


def test_altered_weights_and_a_package_that_cannot_be_loaded_are_faults(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "synthetic.safetensors"
    for name in SHIPPED:
        data = find_weights(name).read_bytes()
        kept.with_stem(name).write_bytes(data[:-1] + b"?" if name == "synthetic_clip" else data)
    monkeypatch.setattr(model_file, "SYNTHETIC", kept)
    (tmp_path / "dlib.py").write_text("raise OSError('libfoo.so.1: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "dlib", raising=False)
    assert main([]) == 3
    out, err = capsys.readouterr()
    assert "synthetic_clip       altered" in out
    assert "synthetic_clip.safetensors: altered; install slstt again" in err
    assert "dlib-bin" in err and "libfoo.so.1" in err and "Traceback" not in err
