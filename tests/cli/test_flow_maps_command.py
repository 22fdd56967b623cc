"""`slstt-flow-maps`: clips of all three layouts become one folder of maps that the reader and the trainer take."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from slstt.cli.flow_maps import main, published_box
from slstt.cli.train import main as train
from slstt.datasets.flow_maps import read
from slstt.datasets.synthetic.faces import canonical_landmarks
from slstt.datasets.synthetic.flow_fields import PUBLISHED_CROP
from slstt.files import read_csv

Release = Callable[[str], Path]
CONFIG = Path(__file__).parents[2] / "configs" / "flow_maps" / "svm_linear.yaml"


def words(release: Release, dataset: str, out: Path, *more: str) -> list[str]:
    where = ["--dataset", dataset, "--root", str(release(dataset)), "--out", str(out)]
    return [*where, "--workers", "1", "--quiet", "crop.at_most=96", *more]


@pytest.fixture(scope="module")
def composite(synthetic_release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The maps of three synthetic data sets in one folder, `maps`, and by subject in `tree`."""
    folder = tmp_path_factory.mktemp("composite")
    for dataset in ("casme2", "samm", "smic"):
        assert main(words(synthetic_release, dataset, folder / "maps", "--tree", str(folder / "tree"))) == 0
    return folder


def test_both_layouts_are_read_back_and_an_svm_learns_them(
    composite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps, tree = read(composite / "maps"), read(composite / "tree")
    assert maps.datasets == ("casme2", "samm", "smic") and maps.raw.shape[1:] == (28, 28, 3)
    assert maps.keys == tree.keys and maps.labels == tree.labels and np.array_equal(maps.raw, tree.raw)
    assert (maps.raw.min((1, 2)) == 0).all() and (maps.raw.max((1, 2)) == 255).all()
    listed = read_csv(composite / "maps" / "index.csv", ("dataset", "subject", "clip"))
    assert {(row["dataset"], row["subject"], row["clip"]) for row in listed} == set(maps.keys)
    settings = [f"data.root={composite / 'maps'}", "data.protocol=cde"]
    assert train(["--config", str(CONFIG), "--out", str(tmp_path / "run"), "--quiet", *settings]) == 0
    assert f"{len(maps.keys)}" in capsys.readouterr().out
    assert (tmp_path / "run" / "predictions.csv").is_file()


def test_a_second_start_measures_nothing_and_another_crop_changes_the_maps(
    composite: Path, synthetic_release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "maps"
    assert main(words(synthetic_release, "smic", out)) == 0
    first = read(out)
    assert np.array_equal(first.raw, read(composite / "maps").raw[-len(first.keys) :])
    capsys.readouterr()
    (out / "norm_u_v_os" / "s01_s01_ne_99 .png").write_bytes(b"of a clip that is no longer there")
    assert main(words(synthetic_release, "smic", out, "--crop", "square", "--size", "14")) == 0
    assert "(0 computed now" in capsys.readouterr().out
    second = read(out)
    assert second.keys == first.keys and second.raw.shape[1:] == (14, 14, 3)
    shrunk = np.stack([cv2.resize(map, (14, 14), interpolation=cv2.INTER_AREA) for map in first.raw])
    assert np.abs(shrunk.astype(int) - second.raw).mean() > 5


def test_a_failed_clip_is_listed_and_has_no_map(synthetic_release: Release, tmp_path: Path) -> None:
    table, out = tmp_path / "points.csv", tmp_path / "maps"
    assert main(words(synthetic_release, "smic", out)) == 0
    dataset, subject, clip = before = read(out).keys[0]
    header = ",".join(["dataset", "subject", "clip", *(f"{axis}{i}" for i in range(68) for axis in "xy")])
    table.write_text(f"{header}\n{dataset},{subject},{clip}," + ",".join(["5"] * 136) + "\n")
    assert main(words(synthetic_release, "smic", out, "--landmarks", str(table))) == 1
    assert [row["clip"] for row in read_csv(out / "failures.csv", ("clip", "reason"))] == [clip]
    assert before not in read(out).keys


def test_check_writes_nothing(synthetic_release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(synthetic_release, "casme2", tmp_path / "out", "--check")) == 0
    assert "flow maps (" in capsys.readouterr().out and not (tmp_path / "out").exists()


def test_wrong_settings_are_told_at_once(
    synthetic_release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--size", "4", "--tree", str(tmp_path / "out" / "tree"), "frames.count=3", "flow.methd=dis")
    assert main(words(synthetic_release, "casme2", tmp_path / "out", *more)) == 2
    told = capsys.readouterr().err
    for expected in ("--size 4: from 8", "lies in --out", "'frames.count': a flow map", "did you mean 'flow.method'"):
        assert expected in told
    assert not (tmp_path / "out").exists()


def test_maps_that_others_made_are_not_written_over(
    composite: Path, synthetic_release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--out and --tree as somebody has them who downloaded the published maps."""
    out, tree = tmp_path / "published", tmp_path / "by_subject"
    shutil.copytree(composite / "maps" / "norm_u_v_os", out / "norm_u_v_os")
    shutil.copy(composite / "maps" / "labels.csv", out)
    shutil.copytree(composite / "tree", tree)
    before = {path: path.read_bytes() for folder in (out, tree) for path in folder.rglob("*") if path.is_file()}
    assert main(words(synthetic_release, "casme2", out)) == 2
    assert "did not make; name another folder" in capsys.readouterr().err
    assert main(words(synthetic_release, "casme2", tmp_path / "new", "--tree", str(tree))) == 2
    assert "are no maps of --out" in capsys.readouterr().err
    assert {path: path.read_bytes() for folder in (out, tree) for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(hasattr(cv2, "optflow"), reason="this OpenCV has TV-L1")
def test_tv_l1_is_refused_before_any_work_where_opencv_has_none(
    synthetic_release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(synthetic_release, "casme2", tmp_path / "out", "flow.method=tvl1")) == 2
    assert "opencv-contrib-python-headless" in capsys.readouterr().err


def test_the_published_box_follows_the_eyes() -> None:
    """A face of 50 pixels between the eyes, whose square begins at (10, 20) and was shrunk to a half."""
    landmarks = canonical_landmarks() * 50 + (160, 120)
    box = published_box(landmarks, {"square": (10, 20, 140), "scale": 0.5})
    left, right, top, bottom = (round(25 * side) for side in PUBLISHED_CROP)
    assert box == (75 + left, 50 + top, 75 + right, 50 + bottom)
