"""`scripts/leaderboard.py`: one row trained by the real command, and a table of what is finished.

`scripts/where_rows_fail.py`: what rows with planted errors get wrong.
"""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
from simulated_runs import predictions, run_folder

from slstt.config.pretrain import Fields
from slstt.datasets.flow_maps import CLASSES, read, write
from slstt.datasets.synthetic.flow_fields import PUBLISHED_CROP, draw
from slstt.evaluation.predictions import Predictions, write_predictions

SCRIPT = Path(__file__).parents[2] / "scripts" / "leaderboard.py"


@pytest.fixture(scope="module")
def leaderboard():
    return runpy.run_path(str(SCRIPT))


def rows_of(printed: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()]
    return {row[0].strip("`"): row for row in rows[2:]}


@pytest.mark.slow
def test_a_row_is_trained_once(leaderboard, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps, lines, generator = tmp_path / "maps", ["dataset,subject,clip,label"], np.random.default_rng(0)
    maps.mkdir()
    for subject in ("s1", "s2"):
        for number in range(6):
            name = f"{subject}_{('ne', 'po', 'sur')[number % 3]}_{number + 1:02}"
            cv2.imwrite(str(maps / f"{subject}_{name} .png"), generator.integers(0, 255, (28, 28, 3), dtype=np.uint8))
            lines.append(f"smic,{subject},{name},{number % 3}")
    (maps / "labels.csv").write_text("\n".join(lines) + "\n")
    words = ["--maps", str(maps), "--out", str(tmp_path / "out"), "--names", "svm_linear"]
    assert leaderboard["main"](words) == 0
    row = rows_of(capsys.readouterr().out)["svm_linear"]
    assert row[1] == "-" and float(row[2]) <= 1 and row[5] == "" and row[7] == row[2]  # SMIC alone is all there is
    made = (tmp_path / "out" / "svm_linear" / "seed0" / "predictions.csv").stat().st_mtime_ns
    assert leaderboard["main"](words) == 0  # nothing is left to train
    assert (tmp_path / "out" / "svm_linear" / "seed0" / "predictions.csv").stat().st_mtime_ns == made


def test_the_table_shows_what_is_finished(leaderboard, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = ("casme2", "samm", "smic")
    run_folder(tmp_path / "svm_linear" / "seed0", predictions(datasets=sets))
    run_folder(tmp_path / "frozen_rbf" / "seed0", predictions(datasets=sets, seed=4))
    for seed in range(2):
        run_folder(tmp_path / "slstt" / f"seed{seed}", predictions(datasets=sets, seed=seed + 1, skill=2.5))
    run_folder(tmp_path / "ststnet" / "seed0", predictions(datasets=sets, seed=3), missing=("sub03",))
    assert leaderboard["main"](["--maps", "nowhere", "--out", str(tmp_path), "--table-only"]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert list(rows) == ["svm_linear", "frozen_rbf", "slstt", "mean_svm_linear_frozen_rbf_slstt"]
    assert rows["slstt"][1] == "2" and "±" in rows["slstt"][2] and rows["slstt"][8].startswith("+")
    assert float(rows["slstt"][9]) > 0.3  # peeking, from peek.csv
    assert rows["mean_svm_linear_frozen_rbf_slstt"][1] == "2" and rows["svm_linear"][8] == ""


def test_clips_that_all_rows_miss_are_found_with_what_they_look_like(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Positive clips of one subject are drawn as surprise; both rows take them for it, and each errs once alone."""
    emotions = ["positive"] * 6 + ["negative"] * 6 + ["surprise"] * 9
    drawn = draw(Fields(crop=PUBLISHED_CROP), 900, seed=0, emotions=CLASSES, scaled=True)
    pools = {name: iter(np.flatnonzero(drawn.emotions == place)) for place, name in enumerate(CLASSES)}
    maps = []
    for number, emotion in enumerate(emotions):
        map = drawn.maps[next(pools[emotion]), 0].transpose(1, 2, 0)
        label = "positive" if number >= 18 else emotion
        subject = "s09" if number >= 18 else f"s{number % 3 + 1:02}"
        name = f"{subject}_{label[: 3 if label == 'surprise' else 2]}_{number + 1:02}"
        maps.append((("smic", subject, name), label, np.round(255 * map).astype(np.uint8)))
    write(tmp_path / "maps", "smic", maps)
    found = read(tmp_path / "maps")
    for row, alone in (("svm_linear", 0), ("slstt", 1)):
        guesses = [
            "surprise" if key[1] == "s09" else label for key, label in zip(found.keys, found.labels, strict=True)
        ]
        guesses[alone] = next(name for name in CLASSES if name != guesses[alone])
        sure = np.array([[float(name == guess) for name in CLASSES] for guess in guesses])
        (tmp_path / "out" / row / "seed0").mkdir(parents=True)
        written = Predictions(CLASSES, found.keys, found.labels, tuple(guesses), sure)
        write_predictions(tmp_path / "out" / row / "seed0" / "predictions.csv", written)
    script = runpy.run_path(str(SCRIPT.with_name("where_rows_fail.py")))
    words = ["--maps", str(tmp_path / "maps"), "--out", str(tmp_path / "out"), "--names", "svm_linear", "slstt"]
    assert script["main"]([*words, "--picture", str(tmp_path / "picture.png")]) == 0
    told = capsys.readouterr().out
    assert "all rows right: 16 of 21 clips; all wrong: 3" in told
    assert "| positive | surprise | 3 |" in told and "| smic/s09 | 3 | 1.00 | 3 |" in told
    line = next(line for line in told.splitlines() if line.startswith("| positive | missed by all rows | 3 |"))
    own, other = (float(cell) for cell in line.split("|")[4:6])
    assert other > own + 0.2
    assert cv2.imread(str(tmp_path / "picture.png")).shape[0] > 100
