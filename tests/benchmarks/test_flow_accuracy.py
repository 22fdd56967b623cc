"""The flow benchmark: its pictures move as they say, its measures mean what they say, and it runs as a user runs it."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from slstt.datasets.synthetic import Plan, render
from slstt.datasets.synthetic.clips import look_up
from slstt.flow.interpolation import Rife
from slstt.flow.optical_flow import onset_flow
from slstt.images import encode

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmarks():
    """`benchmarks(name)` is the module of that name."""
    before = sys.path.copy()
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path[:] = before


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one rendered face, one picture without a face, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("faces")
    portrait, row = next(Plan(subjects=1, clips_per_subject=1, seed=5).clips())
    face = dict(render(portrait, row.clip, [row.clip.onset]))[row.clip.onset]
    (folder / "face.png").write_bytes(encode(face, ".png"))
    (folder / "wall.png").write_bytes(encode(np.full((240, 320, 3), 128, np.uint8), ".png"))
    (folder / "README.md").write_text("faces")
    return folder


@pytest.fixture(scope="module")
def only_given(benchmarks):
    """No portrait but those of the folder: scikit-image may or may not be installed where the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarks("known_motion"), "find_spec", lambda name: None)
        yield


@pytest.fixture(scope="module")
def portraits(benchmarks, faces: Path, only_given):
    return benchmarks("known_motion").read_portraits(faces)


@pytest.fixture(params=["rendered", "portrait"])
def scene(request: pytest.FixtureRequest, benchmarks, portraits):
    """A scene whose peak is 2 pixels, without sensor noise, so that what is left is the motion and the JPEG."""
    motion = benchmarks("known_motion")
    if request.param == "rendered":
        found = motion.rendered_scenes(1, 235, [2.0], seed=5, noise=0)
    else:
        found = motion.portrait_scenes(portraits, 235, [2.0], seed=5, combinations=[(6, 12)], noise=0)
    ((peak, only),) = found
    assert peak == 2.0
    return only


def test_frames_move_by_the_true_flow(scene) -> None:
    rest, half, peak = scene.frames.astype(np.float32)
    x, y = np.meshgrid(np.arange(rest.shape[1]), np.arange(rest.shape[0]))
    here = np.stack([x, y], axis=-1).astype(np.float32)
    x0, y0, side = scene.square
    inside = slice(y0, y0 + side), slice(x0, x0 + side)
    face = scene.face(side)

    def difference(frame: np.ndarray, share: float) -> float:
        """Of the frame carried back by a share of the motion and the frame at rest, over the face, grey levels."""
        back = look_up(frame, here + share * scene.motion)
        return float(np.abs(back - rest)[inside][face].mean())

    # JPEG alone leaves about one grey level; a tenth more or less motion is worse than the true one.
    for frame, true in ((peak, 1.0), (half, 0.5)):
        errors = {share: difference(frame, share * true) for share in (0.0, 0.8, 1.0, 1.2)}
        assert min(errors, key=lambda share: errors[share]) == 1.0, errors
        assert errors[1.0] < 0.8 * errors[0.0], errors


def test_the_longest_motion_is_the_peak_and_the_square_is_asked_for(benchmarks, portraits) -> None:
    motion = benchmarks("known_motion")
    for side in motion.FACES.values():
        for peak, scene in motion.portrait_scenes(portraits, side, [0.5, 1.0], seed=1, combinations=[(4,), (1, 2, 5)]):
            assert scene.square[2] == side
            assert np.hypot(*scene.motion.transpose(2, 0, 1)).max() == pytest.approx(peak, rel=0.02)
            assert scene.cuts(384).shape == (3, 384, 384, 3)
            assert np.hypot(*scene.flow(384)).max() == pytest.approx(peak * 384 / side, rel=0.05)


def test_the_same_seed_gives_the_same_pictures(benchmarks, portraits) -> None:
    motion = benchmarks("known_motion")
    first, again, other = (
        next(motion.portrait_scenes(portraits, 235, [1.0], seed, combinations=[(4,)]))[1].frames for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_error_and_share(benchmarks) -> None:
    measure = benchmarks("flow_accuracy").error_and_share
    true = np.random.default_rng(0).normal(size=(2, 8, 8))
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    elsewhere = np.where(mask, true, 100.0)
    assert measure(elsewhere, true, mask) == (0.0, 1.0)
    error, share = measure(elsewhere / 2, true, mask)
    assert share == pytest.approx(0.5) and error == pytest.approx(np.hypot(*true)[mask].mean() / 2)
    assert measure(elsewhere + np.array([3.0, 4.0])[:, None, None], true, mask)[0] == pytest.approx(5.0)


@pytest.mark.parametrize(("row", "method"), [("Farneback", "farneback"), ("DIS medium", "dis")])
def test_rows_are_the_methods_of_the_product(benchmarks, scene, row: str, method: str) -> None:
    cuts = scene.cuts(235)
    assert np.array_equal(benchmarks("flow_accuracy").METHODS[row](cuts), onset_flow(cuts, method))


def test_a_run_prints_a_row_a_method_and_size(benchmarks, faces: Path, only_given, capsys) -> None:
    arguments = ["--portraits", str(faces), "--faces", "SMIC", "--peaks", "1", "--subjects", "1", "--markdown"]
    arguments += ["--methods", "Farneback", "DIS medium", "--rounds", "1"]
    assert benchmarks("flow_accuracy").main(arguments) == 0
    printed = capsys.readouterr()
    rows = [line.split(" | ") for line in printed.out.splitlines() if line.startswith("| SMIC")]
    assert [row[1:3] for row in rows] == 2 * [[m, at] for m in ("Farneback", "DIS medium") for at in ("native", "384")]
    for row in rows:
        error, share = (float(cell.split()[0]) for cell in row[3:5])
        assert error < 0.3 and 0.4 < share < 1.2, row
    assert "wall.png: no face found" in printed.err and "README" not in printed.err


def test_what_is_missing_is_named(benchmarks, only_given, tmp_path: Path, monkeypatch, capsys) -> None:
    main = benchmarks("flow_accuracy").main
    assert main(["--portraits", str(tmp_path / "none")]) == 3
    assert f"{tmp_path / 'none'}: no such folder" in capsys.readouterr().err
    monkeypatch.setenv("SLSTT_SHARED", str(tmp_path))
    assert main(["--on", "portraits"]) == 3
    assert "pip install scikit-image" in capsys.readouterr().err
    with pytest.raises(SystemExit) as leave:
        main(["--peaks", "0"])
    assert leave.value.code == 2


def test_halfway_measures_half_the_motion(benchmarks, portraits, official_rife) -> None:
    rife = Rife.load(official_rife)
    motion, interpolation = benchmarks("known_motion"), benchmarks("interpolation")
    scenes = motion.portrait_scenes(portraits, 235, [2.0], 5, combinations=[(6, 12), (4,)])
    rows = list(interpolation.halfway(scenes, rife))
    assert [row[:3] for row in rows] == [["2 px", "dis", "2"], ["2 px", "farneback", "2"]]
    for row in rows:
        # RIFE, blending and the true frame all show about half the motion, not all of it and not none.
        assert all(0.6 < float(cell.split()[0]) < 1.3 for cell in row[3:6]), row
