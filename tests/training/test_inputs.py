import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_runs import tiny, write_cache

from slstt.config.combinations import problems
from slstt.config.train import Data, TrainConfig
from slstt.datasets.clips import Clip, read_index, write_index
from slstt.errors import DataError
from slstt.files import write_json
from slstt.flow.encoding import encode, mirror, resize_pictures, resized
from slstt.flow.flow_files import FLOW_VERSION, flow_path, read_flow, write_flow
from slstt.training.flow_data import FlowData, protocol_lines, read_data
from slstt.training.inputs import FlowInputs


def data_of(root: Path, size: int = 16, **more) -> FlowData:
    return read_data(Data(root=root, protocol="smic_sde", **more), size)


def test_clips_come_sorted_with_the_protocols_classes(flow_root: Path) -> None:
    data = data_of(flow_root)
    assert len(data) == 18 and list(data.keys) == sorted(data.keys) and (data.frames, data.channels) == (3, 2)
    index = {clip.key: clip.emotion for clip in read_index(flow_root / "index.csv")}
    assert [data.classes[label] for label in data.labels] == [index[key] for key in data.keys]
    for i in (0, 7, 17):
        assert np.array_equal(data.clip(i).numpy(), read_flow(flow_path(flow_root, data.keys[i])))


def test_a_smaller_picture_has_shorter_vectors() -> None:
    flow = torch.ones(2, 2, 32, 64, dtype=torch.float16) * torch.tensor([6.0, -4.0])[:, None, None].half()
    small = resized(flow, 16)
    assert small.shape == (2, 2, 16, 16) and small.dtype == torch.float16
    assert torch.equal(small[:, 0], torch.full((2, 16, 16), 1.5).half())
    assert torch.equal(small[:, 1], torch.full((2, 16, 16), -2.0).half())
    assert resized(flow[..., :32], 32) is not None and torch.equal(resized(flow[..., :32], 32), flow[..., :32])


def test_clips_of_any_size_become_pictures_of_one(tmp_path: Path) -> None:
    """Alone or in a batch, mirrored or not, each clip is encoded at its own size and then resized."""
    sides = (20, 33, 33)
    clips = [Clip("smic", f"s0{n}", f"s0{n}_ne_01", "negative", 1, 2, 3, Path()) for n in (1, 2, 3)]
    for clip, side in zip(clips, sides, strict=True):
        flow = np.random.default_rng(side).normal(size=(3, 2, side, side))
        write_flow(flow_path(tmp_path, clip.key), flow, clip.name)
    write_index(tmp_path / "index.csv", clips)
    settings = tiny(tmp_path, "data.protocol=smic_sde", "model.image_size=16", "training.augment.mirror=true")
    data = read_data(settings.data, 16)
    assert [data.clip(i).shape[-1] for i in range(3)] == list(sides)
    inputs = FlowInputs(data, settings, torch.device("cpu"), range(3))
    ((_, flows),) = inputs.read([[0, 1, 2]])
    pictures = inputs.plain(flows)
    assert pictures.shape == (3, 3, 3, 16, 16)
    for place, flow in enumerate(flows):
        expected = resize_pictures(encode(flow[None], settings.data.encoding), 16)
        torch.testing.assert_close(inputs.plain([flow]), pictures[place : place + 1])
        if settings.data.normalize == "none":
            torch.testing.assert_close(pictures[place : place + 1], expected)
    changed = inputs.training(flows, torch.Generator().manual_seed(1))
    mirrored = inputs.plain([mirror(flow[None])[0] for flow in flows])
    for place in range(3):
        assert torch.equal(changed[place], pictures[place]) or torch.equal(changed[place], mirrored[place])


def test_statistics_are_those_of_the_named_clips_and_no_others(flow_root: Path) -> None:
    data = data_of(flow_root)
    chosen = [0, 3, 11]
    mean, deviation = data.statistics(chosen, "uv_magnitude")
    flow = torch.stack([data.clip(i) for i in chosen]).float()
    pictures = encode(flow, "uv_magnitude").double().transpose(1, 2).transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean.double(), pictures.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(deviation.double(), pictures.std(1, correction=0), rtol=1e-5, atol=1e-6)
    others = data.statistics([1, 2], "uv_magnitude")
    assert not torch.equal(mean, others[0])


def test_memory_is_bounded_and_changes_nothing(flow_root: Path) -> None:
    bounded, free = data_of(flow_root, memory_gb=4 * 3 * 2 * 16 * 16 * 2 / 1e9), data_of(flow_root)
    for i in range(len(free)):
        assert torch.equal(bounded.clip(i), free.clip(i))
    assert len(bounded.held) == 4 and len(free.held) == len(free)


def test_equal_data_elsewhere_has_the_same_name_and_one_changed_clip_another(tmp_path: Path, flow_root: Path) -> None:
    copy = write_cache(tmp_path / "copy")
    assert data_of(copy).fingerprint == data_of(flow_root).fingerprint
    path = flow_path(copy, data_of(copy).keys[0])
    write_flow(path, read_flow(path) * 2, "another flow")
    assert data_of(copy).fingerprint != data_of(flow_root).fingerprint


def test_everything_wrong_with_a_cache_is_told_at_once(tmp_path: Path) -> None:
    root = write_cache(tmp_path / "cache")
    data = data_of(root)
    flow_path(root, data.keys[0]).unlink()
    flow_path(root, data.keys[5]).write_bytes(b"x" * 40)
    with pytest.raises(DataError) as caught:
        read_data(Data(root=(root, tmp_path / "absent"), protocol="smic_sde"), 16)
    text = "\n".join(caught.value.problems)
    assert "absent: no index.csv; run slstt-preprocess" in text
    assert data.keys[0][2] in text and data.keys[5][2] in text and len(caught.value.problems) == 3


def test_the_same_clips_from_two_folders_are_refused(flow_root: Path) -> None:
    with pytest.raises(DataError, match="is listed twice"):
        read_data(Data(root=(flow_root, flow_root), protocol="smic_sde"), 16)


def test_a_protocol_of_other_data_sets_finds_no_clip(flow_root: Path) -> None:
    with pytest.raises(DataError, match="no clip of the protocol casme2_sde"):
        read_data(Data(root=flow_root, protocol="casme2_sde"), 16)


def test_clips_of_other_data_sets_and_left_out_emotions_are_not_read(tmp_path: Path) -> None:
    clips = [
        Clip("casme2", "sub01", "EP01", "happiness", 1, 2, 3, Path()),
        Clip("casme2", "sub02", "EP01", "sadness", 1, 2, 3, Path()),
        Clip("samm", "006", "006_1", "happiness", 1, 2, 3, Path()),
        Clip("casme2", "sub03", "EP01", "disgust", 1, 2, 3, Path()),
    ]
    for clip in clips:
        write_flow(flow_path(tmp_path, clip.key), np.zeros((1, 2, 8, 8)), "f")
    write_index(tmp_path / "index.csv", clips)
    data = read_data(Data(root=tmp_path, protocol="casme2_sde"), 8)
    assert [key[1] for key in data.keys] == ["sub01", "sub03"]
    assert [data.classes[label] for label in data.labels] == ["happiness", "disgust"]


def test_clips_of_different_length_are_named_before_any_is_read(tmp_path: Path) -> None:
    root = write_cache(tmp_path)
    first, other = (data_of(root).keys[i] for i in (0, 4))
    for key in (first, other):  # the first clip is no measure of the others
        write_flow(flow_path(root, key), np.zeros((5, 2, 16, 16)), "longer")
    with pytest.raises(DataError) as caught:
        data_of(root)
    assert [line.partition(";")[0] for line in caught.value.problems] == [
        f"{'/'.join(key)}: has 5 frames, most clips 3" for key in (first, other)
    ]


def composite(tmp_path: Path, **smic: object) -> Data:
    """SMIC-like clips in one folder, one clip of CASME II in another, each with its manifest."""
    roots = write_cache(tmp_path / "smic"), tmp_path / "casme2"
    clip = Clip("casme2", "sub01", "EP01", "happiness", 1, 2, 3, Path())
    write_flow(flow_path(roots[1], clip.key), np.zeros((3, 2, 16, 16)), "f")
    write_index(roots[1] / "index.csv", [clip])
    entry = {"settings": {"flow": {"method": "farneback"}, "crop": {"at_most": 512}}, "models": {}}
    entry |= {"finished": True, "version": FLOW_VERSION}
    write_json(roots[0] / "manifest.json", {"smic": entry | smic})
    write_json(roots[1] / "manifest.json", {"casme2": entry})
    return Data(root=roots, protocol="cde")


def test_data_sets_preprocessed_differently_are_refused(tmp_path: Path) -> None:
    assert len(read_data(composite(tmp_path), 16)) == 19
    other = {"flow": {"method": "dis"}, "crop": {"at_most": 128}}
    with pytest.raises(DataError) as caught:
        read_data(composite(tmp_path, settings=other, finished=False), 16)
    lines = [line.partition(" (")[0].partition(";")[0] for line in caught.value.problems]
    assert lines == [
        f"{tmp_path / 'smic'}: the preprocessing of smic is not finished",
        "crop.at_most differs",
        "flow.method differs",
    ]


def test_a_data_set_that_the_protocol_does_not_use_may_be_unfinished(tmp_path: Path) -> None:
    data = composite(tmp_path, finished=False, settings={})
    assert len(read_data(data.model_copy(update={"protocol": "casme2_sde"}), 16)) == 1


def flow_map_folder(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    rows = ["dataset,subject,clip,label"]
    for dataset, subject, clip, label in (
        ("casme2", "sub01", "EP02_01f", "positive"),
        ("casme2", "sub02", "EP01_11f", "negative"),
        ("smic", "s01", "s01_ne_01", "negative"),
        ("smic", "s02", "s02_sur_01", "surprise"),
    ):
        picture = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f"{subject}_{clip} .png"), picture)
        rows.append(f"{dataset},{subject},{clip},{label}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def test_flow_maps_become_clips_of_one_frame(tmp_path: Path) -> None:
    root = flow_map_folder(tmp_path)
    settings = Data(kind="flow_maps", root=root, protocol="cde_casme2_smic")
    data = read_data(settings, 8)
    assert (len(data), data.frames, data.channels) == (4, 1, 3)
    assert [data.classes[label] for label in data.labels] == ["positive", "negative", "negative", "surprise"]
    batch = torch.stack([data.clip(0), data.clip(3)])
    assert batch.shape == (2, 1, 3, 8, 8) and batch.min() >= -1 and batch.max() <= 1
    blue_green_red = cv2.imread(str(root / "sub01_EP02_01f .png"))
    assert torch.allclose(batch[0, 0, 0], torch.from_numpy(blue_green_red[..., 2] / 127.5 - 1).float())
    only_smic = read_data(settings.model_copy(update={"protocol": "smic_sde"}), 8)
    assert [key[0] for key in only_smic.keys] == ["smic", "smic"]
    with pytest.raises(DataError, match=r"set model\.image_size=8"):
        read_data(settings, 28)


def test_maps_of_any_sets_go_into_any_protocol_of_three_classes(tmp_path: Path) -> None:
    root = flow_map_folder(tmp_path)
    cv2.imwrite(str(root / "006_006_1_2 .png"), np.full((8, 8, 3), 9, np.uint8))
    cv2.imwrite(str(root / "sub04_EP12_01f .png"), np.full((8, 8, 3), 7, np.uint8))
    with (root / "labels.csv").open("a") as table:
        table.write("samm,006,006_1_2,surprise\ncasme2,sub04,EP12_01f,negative\n")
    settings = Data(kind="flow_maps", root=root, protocol="cde")
    data = read_data(settings, 8)
    assert [key[0] for key in data.keys] == ["casme2", "casme2", "samm", "smic", "smic"]
    assert data.left_out == ("casme2 sub04 EP12_01f: left out, as the published list does",)
    lines = protocol_lines(data, "cde")
    assert lines[0] == data.left_out[0]
    assert any(line.startswith("samm: 133 of 133 clips missing") or "samm: 132 of 133" in line for line in lines)
    without = read_data(settings.model_copy(update={"protocol": "cde_casme2_smic"}), 8)
    assert [key[0] for key in without.keys] == ["casme2", "casme2", "smic", "smic"]
    assert without.left_out[0] == "samm: 1 clip left out (cde_casme2_smic takes casme2, smic)"


def test_the_published_tree_reads_as_the_folder_does(tmp_path: Path) -> None:
    root = flow_map_folder(tmp_path / "flat")
    flat = Data(kind="flow_maps", root=root, protocol="cde")
    numbers = {"negative": 0, "positive": 1, "surprise": 2}
    for row in (root / "labels.csv").read_text().split()[1:]:
        _, subject, clip, label = row.split(",")
        for branch, left in (("u_test", subject), ("u_train", "other")):
            folder = tmp_path / "tree" / left / branch / str(numbers[label])
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / f"{subject}_{clip} .png", folder)
    tree = flat.model_copy(update={"root": tmp_path / "tree"})
    assert read_data(tree, 8).fingerprint == read_data(flat, 8).fingerprint


def test_maps_without_a_clip_of_the_protocol_are_told_apart(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "s1_s1_ne_01 .png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "labels.csv").write_text("dataset,subject,clip,label\nsmic,s1,s1_ne_01,negative\n")
    with pytest.raises(DataError, match="no clip of the protocol casme2_sde; the maps are of smic"):
        read_data(Data(kind="flow_maps", root=tmp_path, protocol="casme2_sde"), 8)


def test_the_published_maps_are_the_composite(shared_data: Path) -> None:
    data = read_data(Data(kind="flow_maps", root=shared_data / "megc2019_flow", protocol="cde"), 28)
    assert len(data) == 442 and protocol_lines(data, "cde") == []
    settings = Data(kind="flow_maps", root=shared_data / "megc2019_flow", protocol="cde_casme2_smic")
    data = read_data(settings, 28)
    assert len(data) == 309
    assert protocol_lines(data, "cde_casme2_smic") == ["samm: 133 clips left out (cde_casme2_smic takes casme2, smic)"]


@pytest.mark.parametrize("protocol", ["casme2_sde", "samm_sde"])
def test_flow_maps_have_three_classes(tmp_path: Path, protocol: str) -> None:
    settings = TrainConfig.model_validate({"data": {"kind": "flow_maps", "root": str(tmp_path), "protocol": protocol}})
    (problem,) = [line for line in problems(settings) if "data.protocol" in line]
    assert "three classes" in problem and "SAMM" not in problem
    for name in ("cde", "cde_casme2_smic", "smic_sde"):
        settings = settings.model_copy(update={"data": settings.data.model_copy(update={"protocol": name})})
        assert not [line for line in problems(settings) if "data.protocol" in line]


def test_the_settings_reach_the_data(flow_root: Path) -> None:
    settings = tiny(flow_root)
    assert read_data(settings.data, settings.model.image_size).classes == ("negative", "positive", "surprise")
