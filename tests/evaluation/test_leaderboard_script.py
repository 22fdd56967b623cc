"""`scripts/leaderboard.py`: one row trained by the real command, and a table of what is finished."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
from simulated_runs import predictions, run_folder

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
