"""Action units of rendered clips: raw frames and sheets of two data sets -> flow -> training -> scores and report."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from slstt.cli.evaluate import main as evaluate
from slstt.cli.preprocess import main as preprocess
from slstt.cli.train import main as train
from slstt.datasets import synthetic
from slstt.datasets.clips import read_index
from slstt.datasets.units import UNIT_NAMES, UNITS, read_units

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.slow
def test_rendered_clips_from_raw_frames_to_the_scores_of_their_units(tmp_path, capsys) -> None:
    flow, run = tmp_path / "flow", tmp_path / "run"
    for layout in ("casme2", "samm"):
        root = synthetic.write(
            tmp_path / layout, layout, subjects=2, clips_per_subject=5, seed=3, size=(320, 240), workers=1, quiet=True
        )
        config = str(CONFIGS / "demo_preprocess.yaml")
        arguments = ["--dataset", layout, "--root", str(root), "--out", str(flow), "--config", config]
        assert preprocess([*arguments, "--workers", "1", "--quiet"]) == 0
    clips = read_index(flow / "index.csv")
    coded = {clip.key: read_units(clip.action_units) for clip in clips}
    assert len(coded) == 20 and all(one is not None and not one.unread for one in coded.values())
    assert sum(len(one.present) > 1 for one in coded.values() if one is not None) >= 10  # several units each

    config = str(CONFIGS / "demo_units.yaml")
    started = ["--config", config, f"data.root={flow}", "--out", str(run)]
    assert train([*started, "--check"]) == 0
    assert "casme2: 10 clips instead of 256" in capsys.readouterr().out
    assert train([*started, "--quiet", "training.epochs=40", "run.executor=serial"]) == 0
    assert evaluate([str(run)]) == 0

    with (run / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        one = coded[row["dataset"], row["subject"], row["clip"]]
        assert one is not None
        assert [row[f"true_{name}"] == "1" for name in UNIT_NAMES] == [unit in one.present for unit in UNITS]
    for fold in json.loads((run / "folds.json").read_text())["folds"]:
        assert not [subject for subject in fold["train_subjects"] if subject.startswith(f"{fold['dataset']}/")]
    true = np.array([[row[f"true_{name}"] == "1" for name in UNIT_NAMES] for row in rows])
    said = np.array([[float(row[f"p_{name}"]) > 0.5 for name in UNIT_NAMES] for row in rows])
    metrics = json.loads((run / "metrics.json").read_text())
    for score, average in (("macro_f1", "macro"), ("binary_f1", "binary")):
        each = [f1_score(true[:, u], said[:, u], average=average, zero_division=0) for u in range(len(UNITS))]
        assert metrics["full"][score] == pytest.approx(np.mean(each))
    assert f1_score(true.ravel(), said.ravel()) > 0.4  # about .3 by saying each unit as often as it is shown
    assert "Per unit" in (run / "report.html").read_text()
