"""The report: what it draws lies where it belongs, names stay text, and it stays small."""

import base64
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from slstt.config.preprocess import PreprocessConfig
from slstt.datasets.clips import Clip, Release, Remark
from slstt.images import STRIP_HEIGHT, draw_strip
from slstt.preprocessing.provenance import FlowRecord
from slstt.preprocessing.run import PreprocessingResult, write_report

FRAME_SIZE, SCALE = (400, 320), STRIP_HEIGHT / 320


def _strip(landmarks: np.ndarray, square: tuple[int, int, int]) -> np.ndarray:
    """The decoded strip, RGB, of a grey frame with flow to the right."""
    frame = np.full((FRAME_SIZE[1], FRAME_SIZE[0], 3), 128, np.uint8)
    flow = np.stack([np.ones((64, 64), np.float32), np.zeros((64, 64), np.float32)])
    jpeg = draw_strip(frame, landmarks, square, np.full((64, 64, 3), 40, np.uint8), flow)
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def _release(*names: str) -> PreprocessingResult:
    clips = tuple(Clip("casme2", "sub01", name, "happiness", 10, 15, 30, Path("x")) for name in names)
    about = {
        "apex": 15, "apex_from": "sheet", "positions": [11, 12.5, 15, 20], "inserted": 1, "square": [1, 2, 30],
        "intensity": [0.1, 0.4, 0.8, 0.2], "remarks": [],
    }  # fmt: skip
    landmarks = np.zeros((68, 2), np.float32)
    records = {clip.key: FlowRecord(about, landmarks, b"jpeg bytes of " + clip.name.encode()) for clip in clips}
    return PreprocessingResult(
        Release("casme2", "a layout", Path("root"), None, clips), clips, (), records, len(clips), 0
    )


def test_points_are_drawn_at_x_y_and_not_at_row_column() -> None:
    landmarks = np.zeros((68, 2), np.float32)
    landmarks[:] = (300, 60)  # far to the right, near the top
    strip = _strip(landmarks, (240, 20, 120))
    x, y = round(300 * SCALE), round(60 * SCALE)
    green = strip[..., 1] - strip[..., 0] - strip[..., 2] // 4
    assert np.unravel_index(
        green[:, : round(400 * SCALE)].argmax(), (STRIP_HEIGHT, round(400 * SCALE))
    ) == pytest.approx((y, x), abs=2)
    assert green[x if x < STRIP_HEIGHT else STRIP_HEIGHT - 1, y] < 50, "nothing at (row, column) swapped"


def test_the_square_is_drawn_where_it_is() -> None:
    strip = _strip(np.full((68, 2), 300.0, np.float32), (100, 40, 200))
    red = strip[:, : round(400 * SCALE), 0] - strip[:, : round(400 * SCALE), 1]
    rows, columns = np.nonzero(red > 60)
    assert (columns.min(), columns.max()) == pytest.approx((100 * SCALE, 300 * SCALE), abs=2)
    assert (rows.min(), rows.max()) == pytest.approx((40 * SCALE, 240 * SCALE), abs=2)


def test_the_strip_shows_frame_cut_and_flow_side_by_side() -> None:
    strip = _strip(np.full((68, 2), 20.0, np.float32), (0, 0, 10))
    assert strip.shape == (STRIP_HEIGHT, round(400 * SCALE) + 2 * STRIP_HEIGHT, 3)
    assert strip[STRIP_HEIGHT // 2, round(400 * SCALE) + STRIP_HEIGHT // 2] == pytest.approx(40, abs=3)
    red, green, blue = strip[STRIP_HEIGHT // 2, -STRIP_HEIGHT // 2]
    assert red > 240 and green < 20 and blue < 20, "flow to the right is red"


def test_names_and_reasons_stay_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    result = _release(evil, "plain")
    failure = Remark("casme2", evil, "EP01", "no_face", evil, "failure")
    flag = Remark("casme2", "sub01", "plain", "apex_missing", f"'{evil}'", "flag")
    page = write_report(PreprocessingResult(**(vars(result) | {"remarks": (failure, flag)})), tmp_path).read_text()
    assert "<script" not in page and page.count("&lt;script&gt;") >= 4


def test_the_curve_runs_from_the_onset_to_the_last_frame_and_marks_the_apex(tmp_path: Path) -> None:
    page = write_report(_release("EP01"), tmp_path).read_text()
    found = re.search(r'polyline points="([^"]+)"', page)
    assert found
    points = [tuple(map(float, pair.split(","))) for pair in found[1].split()]
    assert len(points) == 5
    assert points[0] == (6.0, 58.0), "the onset, without flow, at the lower left"
    assert points[-1][0] == 294.0
    assert min(points, key=lambda point: point[1]) == points[3], "the greatest intensity is highest on the page"
    apex = re.search(r'class="apex" x1="([\d.]+)"', page)
    assert apex and float(apex[1]) == points[3][0]


def test_pictures_are_inside_the_page_and_250_clips_stay_small(tmp_path: Path) -> None:
    result = _release(*(f"EP{number:03d}" for number in range(250)))
    strip = b"\xff" * 15_000
    records = {key: FlowRecord(record.about, record.landmarks, strip) for key, record in result.records.items()}
    page = write_report(PreprocessingResult(**(vars(result) | {"records": records})), tmp_path)
    assert page.stat().st_size < 8_000_000
    assert page.read_text().count(base64.b64encode(strip).decode()) == 250


def test_another_data_set_joins_the_page(tmp_path: Path) -> None:
    write_report(_release("EP01"), tmp_path)
    other = _release("s01_ne_01")
    release = Release("smic", "another layout", Path("root"), None, other.clips)
    page = write_report(PreprocessingResult(**(vars(other) | {"release": release})), tmp_path).read_text()
    assert '<section id="casme2">' in page and '<section id="smic">' in page


def test_a_real_strip_is_as_small_as_the_report_says(synthetic_release: Callable[[str], Path], tmp_path: Path) -> None:
    from slstt.datasets import read_release
    from slstt.preprocessing.run import preprocess

    release = read_release("casme2", synthetic_release("casme2"))
    one = Release(release.dataset, release.layout, release.root, None, release.clips[:1])
    config = PreprocessConfig.model_validate({"interpolation": {"method": "linear"}, "crop": {"at_most": 64}})
    (record,) = preprocess(one, config, tmp_path, quiet=True).records.values()
    assert 3_000 < len(record.picture) < 25_000
    picture = cv2.imdecode(np.frombuffer(record.picture, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[0] == STRIP_HEIGHT


def test_every_setting_is_in_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "preprocessing.md").read_text(encoding="utf-8")
    for section, field in PreprocessConfig.model_fields.items():
        inner = field.annotation
        assert inner is not None
        for key, setting in inner.model_fields.items():
            assert setting.description, f"{section}.{key} needs a description"
            assert f"`{section}.{key}`" in manual, f"{section}.{key} is missing in docs/preprocessing.md"
