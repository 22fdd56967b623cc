"""The published program's preprocessing, restated here with numpy and OpenCV alone, against slstt's paper config.

Clips with frames enough, so that nothing is made up. The restatement takes a clip's frame files, its onset, apex and
offset, and the 68 points of its apex frame; of slstt only the reading of its output is used.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy import ndarray

from slstt.config.load import find_config, load_config
from slstt.config.preprocess import PreprocessConfig
from slstt.config.train import TrainConfig
from slstt.datasets import read_release
from slstt.datasets.clips import Clip
from slstt.flow.encoding import encode, normalized, resize_pictures
from slstt.flow.flow_files import flow_path, read_whole
from slstt.preprocessing.run import preprocess

FLOW_DIFFERENCE = 0.03
"""Pixels, median over a clip."""
PICTURE_DIFFERENCE = 2.0
"""Grey levels of 255, mean over a clip."""


@dataclass(frozen=True)
class Published:
    """One clip as the published program has it before it writes its pictures."""

    numbers: list[int]
    flow: ndarray
    """(11, S, S, 2), pixels."""
    pictures: ndarray
    """(11, S, S, 3) uint8, BGR."""


def published(clip: Clip, points: ndarray) -> Published:
    """The program's steps: frames, square, grey, Farneback, colour wheel scaled by each frame's lengths, 8 bits."""
    assert clip.apex is not None
    start = max(clip.apex - 5, clip.onset + 1)
    numbers = list(range(start, start + 11))
    assert numbers[-1] <= clip.offset, "frames enough"
    side = points[8][1] - points[19][1] + points[8][1] - points[57][1]
    column, row = points[30]
    rows = slice(floor(row - side / 2), floor(row + side / 2))
    columns = slice(floor(column - side / 2), floor(column + side / 2))

    def grey(number: int) -> ndarray:
        picture = cv2.imread(str(clip.frames[number]))  # BGR, which the next step takes for RGB
        assert picture is not None
        return cv2.cvtColor(picture[rows, columns], cv2.COLOR_RGB2GRAY)

    onset, flows, pictures = grey(clip.onset), [], []
    for number in numbers:
        flow = cv2.calcOpticalFlowFarneback(onset, grey(number), None, 0.5, 3, 15, 3, 5, 1.2, 0)  # pyright: ignore
        length, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1])
        wheel = np.full((*onset.shape, 3), 255, np.uint8)
        wheel[..., 0] = angle * 180 / np.pi / 2
        wheel[..., 2] = cv2.normalize(length, np.zeros(0), 0, 255, cv2.NORM_MINMAX)
        flows.append(flow)
        pictures.append(cv2.cvtColor(wheel, cv2.COLOR_HSV2BGR))
    return Published(numbers, np.stack(flows), np.stack(pictures))


def of_slstt(layout: str, root: Path, clip: Clip, out: Path, points: ndarray) -> tuple[ndarray, list[float]]:
    """(flow (11, S, S, 2), frame numbers) of the clip under configs/paper/preprocess.yaml, from the same points."""
    config = load_config(PreprocessConfig, find_config(Path("configs/paper/preprocess.yaml")), [])
    release = read_release(layout, root)
    given = {clip.key: points.astype(np.float32)}
    only = replace(release, clips=(clip,))
    result = preprocess(only, config, out, landmarks=given, worker_count=1, quiet=True)
    assert not result.failures
    tensors, about = read_whole(flow_path(out, clip.key))
    return tensors["flow"].astype(np.float32).transpose(0, 2, 3, 1), about["positions"]


def picture_of(flow: ndarray) -> ndarray:
    """slstt's pictures of a clip's flow (T, S, S, 2) as the paper config encodes them, BGR in grey levels."""
    settings = load_config(TrainConfig, find_config(Path("configs/paper/slstt.yaml")))
    encoded = encode(torch.from_numpy(flow.transpose(0, 3, 1, 2).copy())[None], settings.data.encoding)[0]
    return (encoded.numpy().transpose(0, 2, 3, 1)[..., ::-1] + 1) * 127.5


@pytest.mark.parametrize("layout", ["casme2", "samm"])
def test_flow_and_pictures_are_the_published_programs(
    layout: str, synthetic_release: Callable[[str], Path], detector, tmp_path: Path
) -> None:
    """Coloured clips (casme2) and grey ones (samm), even and odd squares.

    Worst seen: flow 2e-5 px in the median and 0.002 px at most (it is stored as float16); pictures 0.65 grey levels.
    """
    root = synthetic_release(layout)
    for number, clip in enumerate(read_release(layout, root).clips):
        apex_picture = cv2.imread(str(clip.frames[clip.apex]))
        assert apex_picture is not None
        points = detector.detect(cv2.cvtColor(apex_picture, cv2.COLOR_BGR2RGB))[0].landmarks.round().astype(int)
        theirs = published(clip, points)
        flow, numbers = of_slstt(layout, root, clip, tmp_path / str(number), points)
        assert numbers == theirs.numbers
        assert flow.shape == theirs.flow.shape
        away = np.abs(flow - theirs.flow)
        levels = np.abs(picture_of(flow) - theirs.pictures.astype(float))
        assert np.median(away) <= FLOW_DIFFERENCE
        assert levels.mean() <= PICTURE_DIFFERENCE


def test_pictures_of_equal_flow_differ_by_8_bits_alone(synthetic_release: Callable[[str], Path], detector) -> None:
    """The wheel on the program's own flow: what whole hues and grey levels take away. Worst seen: 0.65 grey levels."""
    clip = read_release("samm", synthetic_release("samm")).clips[0]
    apex_picture = cv2.imread(str(clip.frames[clip.apex]))  # pyright: ignore
    assert apex_picture is not None
    points = detector.detect(apex_picture)[0].landmarks.round().astype(int)
    theirs = published(clip, points)
    levels = np.abs(picture_of(theirs.flow) - theirs.pictures.astype(float))
    assert levels.mean() <= 1.0


def test_the_networks_size_is_reached_as_torchvision_reaches_it_on_pillows_pictures(
    synthetic_release: Callable[[str], Path], detector
) -> None:
    """Resize on the 8-bit picture against `resize_pictures` on the same numbers; up, and down as for large faces."""
    from PIL import Image
    from torchvision.transforms import v2

    clip = read_release("samm", synthetic_release("samm")).clips[0]
    apex_picture = cv2.imread(str(clip.frames[clip.apex]))  # pyright: ignore
    assert apex_picture is not None
    picture = published(clip, detector.detect(apex_picture)[0].landmarks.round().astype(int)).pictures[5][..., ::-1]
    for size in (384, 64):
        theirs = np.asarray(v2.Resize((size, size))(Image.fromarray(np.ascontiguousarray(picture))), float)
        ours = torch.from_numpy(picture.transpose(2, 0, 1).copy()).float()[None, None]
        found = resize_pictures(ours, size)[0, 0].numpy().transpose(1, 2, 0)
        # Pillow rounds to whole grey levels after each of its two passes.
        assert np.abs(found - theirs).max() <= 1.5


def test_the_networks_numbers_are_the_published_programs() -> None:
    """8-bit pictures as torchvision's ToTensor and Normalize take them, and slstt's road from -1..1."""
    from torchvision.transforms import v2

    picture = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    steps = v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = steps(torch.from_numpy(picture).permute(2, 0, 1) / 255)
    ours = torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1
    found = normalized(ours[None, None], "imagenet")[0, 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)  # float32, twice rounded
    assert torch.equal(normalized(ours[None, None], "none")[0, 0], ours)
