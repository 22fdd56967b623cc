"""The whole road on rendered recordings: preprocess, train, spot, recognise by the fold left out, evaluate to STRS."""

import csv
import json
from pathlib import Path

import pytest
from sklearn.metrics import f1_score
from tiny_runs import arguments

from slstt.cli.evaluate import main as evaluate
from slstt.cli.preprocess import main as preprocess
from slstt.cli.spot import main as spot
from slstt.cli.train import main as train
from slstt.datasets import synthetic
from slstt.files import sha256

CLASSES = ["negative", "positive", "surprise"]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "seed"), [("casme_square", 4), ("samm_long", 10)])
def test_the_road_from_pictures_to_strs(
    tmp_path: Path, layout: str, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tree, cache, run, out = (tmp_path / name for name in ("tree", "cache", "run", "out"))
    size = {"subjects": 2, "clips_per_subject": 3, "seconds": 3.0, "size": (320, 240), "seed": seed}
    synthetic.write(tree, layout=layout, workers=1, quiet=True, **size)
    common = ["--dataset", layout, "--root", str(tree), "--workers", "1", "--quiet"]
    assert preprocess([*common, "--out", str(cache), "frames.count=3", "interpolation.method=linear"]) == 0
    settings = [f"data.protocol={layout}_3", "run.save_models=true", "training.epochs=2"]
    assert train(arguments(cache, run, *settings)) == 0
    spotting = [*common, "--out", str(out), f"recognition.run={run}"]
    assert spot(spotting) == 0
    assert evaluate([str(out), "--no-report"]) == 0
    assert "Spot-then-recognise" in capsys.readouterr().out

    # STRS, from the tables alone.
    metrics = json.loads((out / "metrics.json").read_text())
    micro = metrics["spotting"]["micro"]
    true = [row for row in rows(out / "truth.csv") if row["kind"] == "micro"]
    found = [row for row in rows(out / "intervals.csv") if row["kind"] == "micro"]
    assert all(row["predicted_label"] in CLASSES for row in found)
    pairs = [(t, f) for t in true for f in found if t["video"] == f["video"] and overlap(t, f) >= 0.5]
    assert len(pairs) == micro["tp"] >= 2, "no interval that shares frames with two: every overlap is a pair"
    labels = [(t["label"], f["predicted_label"]) for t, f in pairs if t["label"]]
    classes = sorted({row["label"] for row in true} | {row["predicted_label"] for row in found} - {""})
    uf1 = f1_score(*zip(*labels, strict=True), labels=classes, average="macro", zero_division=0)
    assert metrics["strs_of"] == "micro"
    assert metrics["strs"] == pytest.approx(micro["f1"] * uf1)
    assert micro["f1"] == pytest.approx(2 * len(pairs) / (len(true) + len(found)))

    # The network that named a subject's intervals is the one that did not learn from the subject.
    kept = list((out / "recognised").rglob("*.json"))
    assert len(kept) == len({row["video"] for row in found})
    for path in kept:
        subject = path.parent.name
        (weights,) = json.loads(path.read_text())["determinants"]["weights"]
        assert weights == sha256(run / "folds" / f"{layout}-{subject}" / "model.safetensors")
        folds = json.loads((run / "folds.json").read_text())["folds"]
        (learned,) = (fold["train_subjects"] for fold in folds if fold["subject"] == subject)
        assert f"{layout}/{subject}" not in learned

    # Nothing is done twice.
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert spot(spotting) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == before

    # Other data, an unfinished run, and a run that learned from whom it tests are refused.
    other = "samm_long" if layout == "casme_square" else "casme_square"
    folds = json.loads((run / "folds.json").read_text())
    (run / "folds.json").write_text(json.dumps(folds).replace(layout, other))
    assert spot(spotting) == 2
    assert f"not from {layout}" in capsys.readouterr().err
    folds["folds"][0]["train_subjects"].append(f"{layout}/{folds['folds'][0]['subject']}")
    (run / "folds.json").write_text(json.dumps(folds))
    next(iter(run.glob("folds/*/model.safetensors"))).unlink()
    assert spot(spotting) == 3
    err = capsys.readouterr().err
    assert "has learned from its own subject" in err and "have no model" in err


def overlap(one: dict[str, str], other: dict[str, str]) -> float:
    a, b = (set(range(int(row["onset"]), int(row["offset"]) + 1)) for row in (one, other))
    return len(a & b) / len(a | b)
