import csv
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slstt.datasets.flow_maps import draw, picture_key, read, write
from slstt.datasets.flow_maps import write_tree as write_by_subject
from slstt.errors import DataError

ROWS = [
    ("casme2", "sub01", "EP02_01f", "positive"),
    ("casme2", "sub17", "EP08_1", "negative"),
    ("smic", "s1", "s1_ne_01", "negative"),
    ("smic", "s20", "s20_sur_05", "surprise"),
    ("samm", "6", "006_1_2", "surprise"),
]
KEYS = (
    ("casme2", "sub01", "EP02_01f"),
    ("casme2", "sub17", "EP08_1"),
    ("samm", "006", "006_1_2"),
    ("smic", "s01", "s01_ne_01"),
    ("smic", "s20", "s20_sur_05"),
)
LABELS = ("positive", "negative", "surprise", "negative", "surprise")
NUMBER = {"negative": "0", "positive": "1", "surprise": "2"}


def write_picture(path: Path, uvs=(10, 20, 30), size=(28, 28)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((size[1], size[0], 3), uvs[::-1], np.uint8)  # OpenCV writes blue, green, red
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return path


def write_labels(root: Path, rows=ROWS) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("dataset", "subject", "clip", "label"), *rows])


def write_flat(root: Path, folder="norm_u_v_os", rows=ROWS) -> Path:
    write_labels(root, rows)
    for number, (_, subject, clip, _) in enumerate(rows):
        write_picture(root / folder / f"{subject}_{clip} .png", (number, 100, 200))
    return root


def write_tree(root: Path, rows=ROWS) -> Path:
    """The published tree: each left-out subject's folder repeats all other subjects' pictures under u_train."""
    for left_out in {subject for _, subject, _, _ in rows}:
        for number, (_, subject, clip, label) in enumerate(rows):
            branch = "u_test" if subject == left_out else "u_train"
            write_picture(root / left_out / branch / NUMBER[label] / f"{subject}_{clip} .png", (number, 100, 200))
    return root


@pytest.mark.parametrize("folder", ["norm_u_v_os", "."])
def test_flat_folders_in_both_places(tmp_path, folder):
    maps = read(write_flat(tmp_path, folder))
    assert (maps.keys, maps.labels) == (KEYS, LABELS)
    assert maps.raw.shape == (5, 28, 28, 3) and maps.raw.dtype == np.uint8
    assert maps.raw[0, 0, 0].tolist() == [0, 100, 200]  # u, v, strain
    assert maps.maps.shape == (5, 3, 28, 28) and maps.maps.dtype == np.float32
    np.testing.assert_array_equal(maps.maps[:, 1], np.float32(100) / np.float32(127.5) - 1)


@pytest.mark.parametrize("inner", [".", "three_norm_u_v_os", "datasets/norm_u_v_os"])
def test_the_published_tree_reads_the_same_as_the_flat_folder(tmp_path, inner):
    flat, tree = read(write_flat(tmp_path / "flat")), tmp_path / "tree"
    write_tree(tree / inner)
    (tree / inner / "sub01" / "u_test" / "1" / ".DS_Store").touch()
    (tree / inner / "sub01" / "u_test" / "1" / "Thumbs.db").touch()
    maps = read(tree)
    assert (maps.keys, maps.labels) == (flat.keys, flat.labels)
    np.testing.assert_array_equal(maps.raw, flat.raw)


def test_labels_may_be_the_published_numbers(tmp_path):
    rows = [(d, s, c, NUMBER[label]) for d, s, c, label in ROWS]
    assert read(write_flat(tmp_path, rows=rows)).labels == LABELS


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sub01_EP02_01f .png", ("casme2", "sub01", "EP02_01f")),
        ("s03_s03_po_11 .png", ("smic", "s03", "s03_po_11")),
        ("s3_s3_po_11.png", ("smic", "s03", "s03_po_11")),
        ("006_006_1_2 .png", ("samm", "006", "006_1_2")),
        ("sub09_EP06_02_01 .png", ("casme2", "sub09", "EP06_02_01")),
    ],
)
def test_data_set_subject_and_clip_are_told_from_the_name(name, key):
    assert picture_key(name) == key


def test_every_problem_of_a_flat_folder_is_told_at_once(tmp_path):
    write_flat(tmp_path)
    extra = [
        ("casme2", "sub02", "EP01_01", "negative"),  # no picture
        ("casme2", "s3", "s3_ne_01", "negative"),  # another data set's subject
        ("smic", "s4", "s4_ne_01", "angry"),  # no class
        ROWS[0],  # twice
    ]
    write_labels(tmp_path, ROWS + extra)
    folder = tmp_path / "norm_u_v_os"
    write_picture(folder / "sub03_EP01_01 .png")  # no label
    write_picture(folder / "s4_s4_ne_01 .png")
    write_picture(folder / "holiday.png")  # no clip
    (folder / "sub01_EP02_01f .png").write_bytes(b"\x89PNG\r\n")  # damaged
    write_picture(folder / "s1_s1_ne_01 .png", size=(32, 28))  # another size
    (folder / "s20_s20_sur_05 .png").write_bytes(b"")
    grey = np.zeros((28, 28), np.uint8)
    (folder / "sub17_EP08_1 .png").write_bytes(cv2.imencode(".png", grey)[1].tobytes())
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    text = str(caught.value)
    for words in (
        "line 7: no picture of casme2 sub02 EP01_01",
        "line 8: subject 's3' is not of data set 'casme2'",
        "line 9: label 'angry' is none of negative, positive, surprise",
        "clip casme2 sub01 EP02_01f occurs more than once",
        "sub03_EP01_01 .png: no line in labels.csv",
        "holiday.png",
        "sub01_EP02_01f .png: unreadable picture",
        "s20_s20_sur_05 .png: unreadable picture",
        "s1_s1_ne_01 .png: 32x28 pixels, the others have 28x28",
        "sub17_EP08_1 .png: must have three channels",
    ):
        assert words in text
    assert text.count("sub17_EP08_1 .png") == 1


def test_a_clip_in_two_folds_and_a_strange_class_folder(tmp_path):
    write_tree(tmp_path)
    write_picture(tmp_path / "s20" / "u_test" / "0" / "sub01_EP02_01f .png")
    write_picture(tmp_path / "s20" / "u_test" / "3" / "s20_s20_sur_09 .png")
    with pytest.raises(DataError, match="occurs more than once") as caught:
        read(tmp_path)
    assert "class folders are 0 (negative), 1 (positive) and 2 (surprise)" in str(caught.value)


def test_missing_roots_and_foreign_folders(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read(tmp_path / "absent")
    (tmp_path / "folder").mkdir()
    write_picture(tmp_path / "folder" / "holiday.png")
    with pytest.raises(DataError, match=r"no labels\.csv and no <left-out subject>"):
        read(tmp_path / "folder")
    write_labels(tmp_path / "labels only", [])
    with pytest.raises(DataError, match=r"labels\.csv lists no clip"):
        read(tmp_path / "labels only")


@given(st.integers(0, 255))
def test_bytes_map_onto_minus_one_to_one(value):
    from slstt.datasets.flow_maps import FlowMaps

    maps = FlowMaps(np.full((1, 2, 2, 3), value, np.uint8), (("casme2", "sub01", "EP01_01"),), ("negative",)).maps
    assert maps.min() >= -1 and maps.max() <= 1
    assert np.rint((maps[0, 0, 0, 0] + 1) * 127.5) == value


def test_a_picture_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    write_flat(tmp_path)
    path = tmp_path / "norm_u_v_os" / "sub01_EP02_01f .png"
    raw = bytearray(path.read_bytes())
    raw[16:24] = (60_000).to_bytes(4) * 2
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"sub01_EP02_01f \.png: larger than 1024 pixels a side"):
        read(tmp_path)


def test_a_label_that_leaves_its_folder_and_links_in_circles(tmp_path):
    write_flat(tmp_path, rows=[*ROWS])
    write_labels(tmp_path, [*ROWS, ("casme2", "sub../../x", "EP01_01", "negative")])
    (tmp_path / "norm_u_v_os" / "again").symlink_to(tmp_path)
    (tmp_path / "norm_u_v_os" / "sub05_EP01_01 .png").symlink_to("sub05_EP01_01 .png")
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    loop, label = sorted(caught.value.problems, key=lambda line: "labels.csv line" in line)
    assert "sub05_EP01_01 .png: no line in labels.csv" in loop
    assert "labels.csv line 7: 'sub../../x' is not a subject of casme2" in label


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_path_that_no_system_can_hold_is_one_line(tmp_path, name):
    with pytest.raises(DataError, match="no such folder"):
        read(tmp_path / name)


def test_the_published_maps(shared_data):
    maps = read(shared_data / "megc2019_flow")
    assert maps.raw.shape == (442, 28, 28, 3)
    assert len({key[:2] for key in maps.keys}) == 68
    assert Counter((key[0], label) for key, label in zip(maps.keys, maps.labels, strict=True)) == {
        ("casme2", "negative"): 88,
        ("casme2", "positive"): 32,
        ("casme2", "surprise"): 25,
        ("samm", "negative"): 92,
        ("samm", "positive"): 26,
        ("samm", "surprise"): 15,
        ("smic", "negative"): 70,
        ("smic", "positive"): 51,
        ("smic", "surprise"): 43,
    }
    # Every channel of every clip was min-max scaled, save clips whose resampling to 28x28 came after it.
    assert np.median(maps.raw.min(axis=(1, 2))) < 30 and np.median(maps.raw.max(axis=(1, 2))) > 220
    # Strain is non-negative and mostly near nothing: its channel is darker than those of u and v.
    assert maps.raw[..., 2].mean() < maps.raw[..., 0].mean() and maps.raw[..., 2].mean() < maps.raw[..., 1].mean()


def smooth_flow(seed: int = 0, shape=(90, 70)) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((2, *shape)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(channel, (0, 0), 6) for channel in noise])


def test_a_drawn_map_has_the_channels_of_the_published_ones():
    """Of v = x / 10 u is flat and v a ramp in x; of u = y^2 / 20 strain is a ramp in y."""
    y, x = np.mgrid[0:56, 0:56].astype(np.float32)
    u, v, _ = np.moveaxis(draw(np.stack([0 * x, 0.1 * x])), 2, 0).astype(int)
    assert not u.any()
    np.testing.assert_array_equal(v, np.broadcast_to(np.round(np.arange(28) * 255 / 27), (28, 28)))
    grown = draw(np.stack([0.05 * y**2, 0 * x]))[..., 2].astype(int)  # 0.1 y / sqrt(2)
    np.testing.assert_allclose(grown[1:-1, 3], np.round(np.arange(28) * 255 / 27)[1:-1], atol=3)


def test_a_mirrored_flow_gives_the_mirrored_map():
    flow = smooth_flow()
    mirrored = flow[:, :, ::-1] * np.array([-1, 1], np.float32)[:, None, None]
    plain, other = draw(flow).astype(int), draw(mirrored).astype(int)[:, ::-1]
    assert np.abs(255 - plain[..., 0] - other[..., 0]).max() <= 1  # rounding
    assert np.abs(plain[..., 1:] - other[..., 1:]).max() <= 1


def test_a_box_past_the_field_repeats_its_border():
    flow = smooth_flow()
    padded = np.pad(flow, ((0, 0), (8, 8), (8, 8)), mode="edge")
    box = (-8, -8, 78, 98)
    np.testing.assert_array_equal(draw(flow, box)[..., :2], draw(padded)[..., :2])
    inner = draw(flow, (10, 20, 66, 76))  # as large as 2 x 28, so that means of four pixels are left
    means = flow[:, 20:76, 10:66].reshape(2, 28, 2, 28, 2).mean((2, 4))
    low, high = means.min((1, 2), keepdims=True), means.max((1, 2), keepdims=True)
    np.testing.assert_allclose(inner[..., :2].transpose(2, 0, 1), 255 * (means - low) / (high - low), atol=0.51)


def test_written_maps_are_read_back_and_replaced_by_data_set(tmp_path):
    pictures = [draw(smooth_flow(seed)) for seed in range(5)]
    maps = list(zip(KEYS, LABELS, pictures, strict=True))
    for dataset in ("casme2", "samm", "smic"):
        write(tmp_path, dataset, [one for one in maps if one[0][0] == dataset])
    found = read(tmp_path)
    assert (found.keys, found.labels) == (KEYS, LABELS)
    np.testing.assert_array_equal(found.raw, np.stack(pictures))
    assert (tmp_path / "norm_u_v_os" / "s20_s20_sur_05 .png").is_file()
    tree = tmp_path.with_name("tree")
    assert write_by_subject(tmp_path, tree) == 5
    assert read(tree).keys == KEYS and len(list(tree.glob("*/u_train/*/*.png"))) == 5 * 4
    write(tmp_path, "smic", [one for one in maps if one[0] == KEYS[3]])
    assert read(tmp_path).keys == KEYS[:4]
    assert write_by_subject(tmp_path, tree) == 4 and read(tree).keys == KEYS[:4]
