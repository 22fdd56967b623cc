"""Detection on a portrait with known faces, retries, and what the real landmark sets of three data sets show."""

import csv
import io
import zipfile

import cv2
import numpy as np
import pytest
from matplotlib import cbook

from slstt.errors import DataError, WeightsError
from slstt.face.landmarks import LandmarkDetector, find_landmarks, outliers, read_landmarks, upright


@pytest.fixture(scope="module")
def portrait():
    """The portrait that ships with matplotlib, RGB (600, 512, 3): one frontal face."""
    with cbook.get_sample_data("grace_hopper.jpg") as stream:
        decoded = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def shrunk(image, factor):
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def test_points_are_x_y_on_the_face(detector, portrait):
    (face,) = detector.detect(portrait)
    left, top, right, bottom = face.box
    assert face.score > 1
    assert upright(face.landmarks)
    # Known by eye, as (x, y): the nose tip near (276, 230), the chin near (281, 340).
    np.testing.assert_allclose(face.landmarks[30], [276, 230], atol=12)
    np.testing.assert_allclose(face.landmarks[8], [281, 340], atol=12)
    assert left < face.landmarks[30, 0] < right
    assert top < face.landmarks[30, 1] < bottom


def test_grey_and_colour_agree(detector, portrait):
    (colour,), (grey,) = detector.detect(portrait), detector.detect(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY))
    # The model compares pixel brightness: a grey copy moves points by 1.6 pixels of 215 on average, 7 on the jaw.
    assert np.abs(colour.landmarks - grey.landmarks).mean() < 3


def test_the_largest_of_two_faces_comes_first(detector, portrait):
    scene = np.full((700, 1000, 3), 90, np.uint8)
    scene[50:650, 0:512] = portrait
    small = shrunk(portrait, 0.8)
    scene[100 : 100 + small.shape[0], 560 : 560 + small.shape[1]] = small
    faces = detector.detect(scene)
    assert len(faces) == 2
    assert faces[0].landmarks[30, 0] < 512 < faces[1].landmarks[30, 0]


def test_a_face_too_small_to_be_the_subject_is_not_plausible(detector, portrait):
    scene = np.full((1200, 1200, 3), 90, np.uint8)
    scene[300:900, 300:812] = portrait  # the face takes 215 of 1200 pixels, less than a fifth
    assert detector.detect(scene) == []


def test_doubling_finds_a_face_too_small_for_the_detector(detector, portrait):
    small = shrunk(portrait, 0.25)
    assert detector.detect(small) == []
    found = find_landmarks(detector, [(12, small)])
    assert (found.frame, found.upsampled, found.faces) == (12, 1, 1)
    large = find_landmarks(detector, [(12, portrait)])
    assert large.upsampled == 0
    # Points of the doubled picture are given in pixels of the picture itself (a 20th of the face of tolerance).
    assert np.abs(found.face.landmarks * 4 - large.face.landmarks).max() < 15


def test_a_neighbouring_frame_helps_and_no_further_one_is_decoded(detector, portrait):
    decoded = []

    def frames():
        for number, image in ((20, np.zeros_like(portrait)), (19, portrait), (21, portrait)):
            decoded.append(number)
            yield number, image

    found = find_landmarks(detector, frames())
    assert (found.frame, found.upsampled) == (19, 0)
    assert decoded == [20, 19]


def test_no_face_names_the_frames_and_the_fix(detector):
    blank = np.full((120, 160), 128, np.uint8)
    with pytest.raises(DataError, match=r"no face found in frame 20, 19; .*--landmarks"):
        find_landmarks(detector, [(20, blank), (19, blank)])


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "model.dat").write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="not a dlib landmark model"):
        LandmarkDetector(tmp_path / "model.dat")


@pytest.fixture
def subject():
    """Six equal faces of one made-up subject, whose square has a side of 240 pixels."""
    points = np.random.default_rng(3).uniform(-100, 100, (68, 2)) + np.array([320, 240])
    points[19, 1], points[57, 1], points[8, 1] = 160, 280, 340
    sets = {("casme2", "sub01", f"EP01_0{clip}"): points.copy() for clip in range(1, 7)}
    return sets, ("casme2", "sub01", "EP01_03")


def test_equal_sets_have_no_outlier(subject):
    assert outliers(subject[0]) == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p + np.array([110, 0]), "46% of a face away"),
        (lambda p: (p - p.mean(0)) * 1.3 + p.mean(0), "30% larger"),
        (lambda p: (p - p.mean(0)) * 0.7 + p.mean(0), "30% smaller"),
        (lambda p: p + np.random.default_rng(0).normal(0, 15, p.shape), "another shape"),
    ],
)
def test_each_kind_of_outlier_is_told(subject, change, said):
    sets, odd = subject
    sets[odd] = change(sets[odd])
    found = outliers(sets)
    assert list(found) == [odd]
    assert said in found[odd]


def test_a_nod_or_a_step_is_no_outlier(subject):
    sets, key = subject
    turn = np.deg2rad(8)
    centred = sets[key] - sets[key].mean(0)
    sets[key] = 1.1 * centred @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]] + [370, 260]
    assert outliers(sets) == {}


def test_two_sets_have_no_majority(subject):
    sets, odd = subject
    pair = {key: sets[key] for key in list(sets)[:3] if key != odd}
    pair[next(iter(pair))] = pair[next(iter(pair))] + 500
    assert outliers(pair) == {}


def test_real_sets(shared_data):
    """Of 578 real apex frames three are flagged: a false detection, one 26% and one 25% larger than the median."""
    sets = read_landmarks(shared_data / "annotations" / "landmarks.npz")
    assert len(sets) == 578
    assert set(outliers(sets)) == {
        ("smic", "s02", "s02_po_01"),
        ("smic", "s08", "s08_ne_06"),
        ("smic", "s20", "s20_ne_10"),
    }


def write_npz(path, **changed):
    columns = {
        "landmarks": np.arange(2 * 68 * 2, dtype=np.int16).reshape(2, 68, 2),
        "dataset": np.array(["samm", "smic"]),
        "subject": np.array(["6", "s1"]),
        "clip": np.array(["6_1_2", "s1_ne_01"]),
    } | changed
    np.savez(path, **{name: value for name, value in columns.items() if value is not None})
    return path


def test_npz_and_csv_say_the_same(tmp_path):
    from_npz = read_landmarks(write_npz(tmp_path / "landmarks.npz"))
    assert list(from_npz) == [("samm", "006", "006_1_2"), ("smic", "s01", "s01_ne_01")]
    with (tmp_path / "landmarks.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["dataset", "subject", "clip", *(f"{axis}{n}" for n in range(68) for axis in "xy")])
        for (dataset, subject, clip), points in from_npz.items():
            writer.writerow([dataset, subject, clip, *points.ravel()])
    from_csv = read_landmarks(tmp_path / "landmarks.csv")
    assert list(from_csv) == list(from_npz)
    for key, points in from_npz.items():
        np.testing.assert_array_equal(from_csv[key], points)
        assert points[0, 1] == points[0, 0] + 1  # (x, y) in file order


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"clip": None}, "array 'clip' is missing"),
        ({"landmarks": np.zeros((2, 5, 2))}, r"must be numbers \(N, 68, 2\)"),
        ({"subject": np.array(["6"])}, "N ids each"),
        ({"dataset": np.array(["samm", "casme9"])}, "'casme9' is no data set; expected casme2, samm, smic"),
        ({"subject": np.array(["6", "x"])}, r"landmark set 2 \(smic x s1_ne_01\): 'x' is not a subject"),
        ({"landmarks": np.full((2, 68, 2), np.nan)}, "a coordinate is not a number"),
    ],
)
def test_npz_faults_are_named(tmp_path, changed, said):
    with pytest.raises(DataError, match=said):
        read_landmarks(write_npz(tmp_path / "landmarks.npz", **changed))


def test_all_faulty_rows_are_reported_at_once(tmp_path):
    path = write_npz(tmp_path / "l.npz", dataset=np.array(["samm", "casme3"]), subject=np.array(["6", "1"]))
    with np.load(path) as arrays:
        doubled = {name: np.concatenate([arrays[name]] * 2) for name in arrays.files}
    with pytest.raises(DataError) as caught:
        read_landmarks(write_npz(path, **doubled))
    assert len(caught.value.problems) == 3  # the unknown data set twice, the doubled clip once
    assert any("landmarks already" in problem for problem in caught.value.problems)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(DataError, match="not found"):
        read_landmarks(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(DataError, match="unreadable as"):
        read_landmarks(tmp_path / "bad.npz")
    (tmp_path / "bad.csv").write_text("dataset,subject,clip,x0,y0\nsamm,6,6_1_2,1,2\n")
    with pytest.raises(DataError, match="134 of the columns"):
        read_landmarks(tmp_path / "bad.csv")


@pytest.mark.parametrize(("shape", "said"), [((10**9, 68, 2), "landmark sets"), ((3, 10**12), "MB an array")])
def test_a_landmarks_file_of_absurd_size_is_not_unpacked(tmp_path, shape, said):
    path = write_npz(tmp_path / "landmarks.npz")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    parts["landmarks.npy"] = header.getvalue() + bytes(100)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match=rf"landmarks\.npz: landmarks\.npy is float32 of shape .*{said}"):
        read_landmarks(path)


@pytest.mark.parametrize("clip", ["../../x", "/tmp/x", "EP\0", "EP01_" + "x" * 234])
def test_an_id_that_could_leave_its_folder_is_refused(tmp_path, clip):
    path = write_npz(
        tmp_path / "l.npz",
        dataset=np.array(["samm", "casme2"]),
        subject=np.array(["6", "1"]),
        clip=np.array(["006_1_2", clip + "."]),
    )
    with pytest.raises(DataError, match="landmark set 2"):
        read_landmarks(path)


def test_landmark_paths_that_no_system_can_hold_are_one_line(tmp_path):
    for name in ("x" * 300 + ".csv", "x" * 300 + ".npz", "a\0.csv", "a\0.npz"):
        with pytest.raises(DataError, match="unreadable"):
            read_landmarks(tmp_path / name)
