"""A table of one's own clips, half of them video files, from the frames to the scores."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_runs import SETTINGS, settings_file
from videos import encode

from slstt.cli import evaluate, preprocess, train
from slstt.datasets.clips import read_index
from slstt.datasets.synthetic.faces import draw_face
from slstt.flow.flow_files import flow_path, read_flow

EMOTIONS = ("joy", "fear")
MOVES = {"joy": (1.2, 0.0), "fear": (0.0, 1.2)}
"""Pixels a frame, to the right and down."""
SIDE, FRAMES = 96, 8


def pictures(emotion: str, seed: int) -> list[np.ndarray]:
    """A smooth texture of which the lower half moves as the emotion says, (96, 96, 3) each."""
    generator = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(generator.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), 2)
    texture = np.clip(128 + 40 * texture / texture.std(), 0, 255)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    below = (y > SIDE / 2).astype(np.float32)
    drawn = []
    for number in range(FRAMES):
        right, down = (np.float32(number * by) for by in MOVES[emotion])
        moved = cv2.remap(texture, x - right * below, y - down * below, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        drawn.append(np.repeat(moved.astype(np.uint8)[..., None], 3, axis=-1))
    return drawn


def write_collection(root: Path) -> Path:
    """Four people with five clips each and a table; given landmarks, for no face is drawn."""
    points = 24 * draw_face(np.random.default_rng(0)).landmarks + 48
    names = [f"{axis}{number}" for number in range(68) for axis in "xy"]
    rows, landmarks = [], []
    for place in range(20):
        person, clip, emotion = f"p{place // 5}", f"clip {place}", EMOTIONS[place % 2]
        drawn, where = pictures(emotion, place), root / "films" / person
        where.mkdir(parents=True, exist_ok=True)
        row = {"subject": person, "clip": clip, "folder": "", "video": "", "emotion": emotion, "action_units": "4"}
        if place // 2 % 2 == 0:
            row["video"] = f"films/{person}/{clip}.avi"
            encode(root / row["video"], drawn, rate=50, codec="mjpeg", options={"qmin": "1", "qmax": "1"})
            first = 0
        else:
            row["folder"], first = f"films/{person}/{clip}", 31
            (root / row["folder"]).mkdir()
            for number, picture in enumerate(drawn, start=first):
                cv2.imwrite(str(root / row["folder"] / f"f{number:05d}.png"), picture)
        rows.append({**row, "onset": first, "apex": first + 5, "offset": first + FRAMES - 1})
        landmarks.append(
            {"dataset": "table", "subject": person, "clip": clip, **dict(zip(names, points.ravel(), strict=True))}
        )
    for path, lines in ((root / "mine.csv", rows), (root.parent / "points.csv", landmarks)):
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
    return root


def test_a_table_of_twenty_clips_goes_through_preprocess_train_and_eval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, cache, run = write_collection(tmp_path / "mine"), tmp_path / "cache", tmp_path / "run"
    arguments = ["--dataset", "table", "--root", str(root), "--out", str(cache), "--workers", "1", "--quiet"]
    arguments += ["--landmarks", str(tmp_path / "points.csv"), "interpolation.method=linear", "frames.count=4"]
    assert preprocess.main([*arguments, "--check"]) == 0
    assert "clips: 20 usable, 0 not; 4 subjects" in capsys.readouterr().out
    assert preprocess.main(arguments) == 0
    said = capsys.readouterr().out
    assert "data.protocol=own 'data.classes=[fear, joy]'" in said
    index = read_index(cache / "index.csv")
    assert len(index) == 20 and sum(clip.folder.suffix == ".avi" for clip in index) == 10
    assert {clip.fps for clip in index if clip.video} == {50.0} and {clip.action_units for clip in index} == {"4"}
    for clip in index:  # of a video as of a folder, the flow points where the emotion moves
        u, v = read_flow(flow_path(cache, clip.key))[-1, :, 40:, :].reshape(2, -1).mean(axis=1)
        assert (u > v) == (clip.emotion == "joy"), clip.name

    settings = SETTINGS.replace("protocol: smic_sde", "protocol: own, classes: [joy, fear]")
    trained = ["--config", str(settings_file(tmp_path, settings)), "--out", str(run), "--quiet", f"data.root={cache}"]
    assert train.main([*trained, "run.device=cpu", "run.executor=serial"]) == 0
    assert evaluate.main([str(run), "--no-report"]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["classes"] == ["joy", "fear"] and metrics["n"] == 20
    assert metrics["protocol_title"] == "own classes" and metrics["protocol_differences"] == []
    assert set(metrics["parts"]) <= {"table"}


def test_classes_of_ones_own_are_named_and_only_then(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = str(settings_file(tmp_path))
    for given in (
        ["data.protocol=own"],
        ["data.protocol=own", "data.classes=[joy]"],
        ["data.protocol=own", "data.classes=[joy, joy, fear]"],
        ["data.classes=[joy,fear]"],
    ):
        assert train.main(["--config", settings, "--out", str(tmp_path / "run"), f"data.root={tmp_path}", *given]) == 2
        said = capsys.readouterr().err
        assert (
            "'data.classes': protocol own needs two or more" in said
            or "'data.classes' is for data.protocol=own" in said
        )
