"""What SLSTT is compared with runs on the same folds and leaves the same files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from slstt.cli.train import main
from slstt.datasets import flow_maps
from slstt.evaluation.metrics import uf1
from slstt.evaluation.predictions import read_predictions
from slstt.flow.encoding import normalize_each
from slstt.models.model_file import save_model
from slstt.models.slstt import SLSTT

CONFIGS = Path(__file__).parents[2] / "configs" / "flow_maps"
CLASSES = ("negative", "positive", "surprise")
SIZES = ("model.width=16", "model.depth=1", "model.heads=2")


def run(config: str, maps: Path, out: Path, *more: str) -> int:
    return main(["--config", str(CONFIGS / config), "--out", str(out), "--quiet", f"data.root={maps}", *more])


@pytest.mark.parametrize(("kind", "kernel", "penalty"), [("svm_linear", "linear", 3e-4), ("svm_rbf", "rbf", 1.0)])
def test_an_svm_run_is_what_sklearn_gives_on_the_same_folds(
    kind: str, kernel: str, penalty: float, maps: Path, tmp_path: Path
) -> None:
    assert run(f"{kind}.yaml", maps, tmp_path / "run") == 0
    found = read_predictions(tmp_path / "run" / "predictions.csv")
    data = flow_maps.read(maps)
    assert found.keys == data.keys and found.true == data.labels
    x = normalize_each(torch.from_numpy(data.maps)[:, None]).flatten(1).numpy()
    subjects = np.array([key[1] for key in data.keys])
    labels = np.array([CLASSES.index(label) for label in data.labels])
    expected = np.zeros((len(x), 3))
    for train, test in LeaveOneGroupOut().split(x, labels, subjects):
        machine = make_pipeline(StandardScaler(), SVC(C=penalty, kernel=kernel, class_weight="balanced"))
        scores = machine.fit(x[train], labels[train]).decision_function(x[test])
        expected[test] = F.softmax(torch.from_numpy(scores), 1).numpy()
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)  # the CSV rounds
    assert not (tmp_path / "run" / "folds" / "smic-s01" / "history.csv").exists()


@pytest.mark.parametrize("name", ["ststnet", "off_apexnet"])
def test_published_networks_train_on_the_same_folds(name: str, maps: Path, tmp_path: Path) -> None:
    more = ("training.epochs=12", "training.learning_rate=3e-3", "training.batch_size=4", "data.normalize=map")
    assert run(f"{name}.yaml", maps, tmp_path / "run", *more) == 0
    found = read_predictions(tmp_path / "run" / "predictions.csv")
    assert uf1(found.true, found.predicted, CLASSES) > 0.6  # chance is 0.33
    assert len((tmp_path / "run" / "folds" / "smic-s01" / "history.csv").read_text().splitlines()) == 13


def test_a_pretrained_classifier_predicts_without_learning(maps: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = SLSTT(28, 28, 16, 1, 2, classes=3, aggregator="mean").eval()
    save_model(model, tmp_path / "model.safetensors")
    more = ("classifier.name=pretrained", f"model.pretrained={tmp_path / 'model.safetensors'}")
    assert run("svm_linear.yaml", maps, tmp_path / "run", *more) == 0
    found = read_predictions(tmp_path / "run" / "predictions.csv")
    with torch.no_grad():
        x = normalize_each(torch.from_numpy(flow_maps.read(maps).maps)[:, None])
        expected = model(x).double().softmax(1).numpy()
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("classifier.name=pretrained",), "its answers to smic-s01 are not finite"),
        ((*SIZES, "encoder.trainable=none", "classifier.name=svm_rbf"), "the features of smic/s01/"),
    ],
)
def test_weights_that_overflow_are_named(
    maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], line: str
) -> None:
    """Every weight is finite, and the sums of them are not."""
    model = SLSTT(28, 28, 16, 1, 2, classes=3, aggregator="mean").eval()
    with torch.no_grad():
        model.encoder.patch_embedding.weight.fill_(3e38)
        model.aggregator.classifier.weight.fill_(3e38)
    save_model(model, tmp_path / "large.safetensors")
    assert (
        run("svm_linear.yaml", maps, tmp_path / "run", f"model.pretrained={tmp_path / 'large.safetensors'}", *more) == 3
    )
    said = capsys.readouterr().err
    assert line in said and "large.safetensors" in said and "not finite" in said and len(said.splitlines()) == 1
    assert not list((tmp_path / "run").glob("**/predictions.csv"))


def test_fine_tuning_can_begin_with_the_whole_pretrained_network(maps: Path, tmp_path: Path) -> None:
    """With a learning rate of almost nothing it ends where it began: with the pretrained network's own answers."""
    torch.manual_seed(3)
    model = SLSTT(28, 28, 16, 1, 2, 2, classes=3, aggregator="mean").eval()
    save_model(model, tmp_path / "model.safetensors")
    source = (*SIZES, f"model.pretrained={tmp_path / 'model.safetensors'}")
    still = ("training.learning_rate=1e-12", "training.epochs=2", "training.warmup_epochs=0")
    for start in ("random", "pretrained"):
        assert run("slstt.yaml", maps, tmp_path / start, *source, *still, f"classifier.start={start}") == 0
    with torch.no_grad():
        x = normalize_each(torch.from_numpy(flow_maps.read(maps).maps)[:, None])
        expected = model(x).double().softmax(1).numpy()
    found = {start: read_predictions(tmp_path / start / "predictions.csv") for start in ("random", "pretrained")}
    np.testing.assert_allclose(found["pretrained"].probabilities, expected, atol=1e-4)
    assert np.abs(found["random"].probabilities - expected).max() > 0.01


@pytest.mark.parametrize(
    ("config", "more"),
    [("zero_shot.yaml", "classifier.name=pretrained"), ("slstt.yaml", "classifier.start=pretrained")],
)
def test_weights_whose_answers_mean_other_classes_are_refused(
    config: str, more: str, maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, header = SLSTT(28, 28, 16, 1, 2, 2, classes=3, aggregator="mean"), {"kind": "cache", "normalize": "none"}
    save_model(model, tmp_path / "model.safetensors", header | {"classes": json.dumps(["surprise", *CLASSES[:2]])})
    words = [*SIZES, more, f"model.pretrained={tmp_path / 'model.safetensors'}"]
    assert run(config, maps, tmp_path / "run", *words) == 2
    said = capsys.readouterr().err
    assert 'has classes ["surprise", "negative", "positive"], this run ["negative", "positive", "surprise"]' in said
    other_input = "has kind cache, this run flow_maps" in said and "has normalize none, this run map" in said
    assert other_input == (more == "classifier.name=pretrained")
    assert "Traceback" not in said and not list((tmp_path / "run").glob("folds/*/predictions.csv"))


def test_an_svm_on_frozen_features_sees_the_encoder_s_output(maps: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = SLSTT(28, 28, 16, 1, 2, classes=3, aggregator="mean").eval()
    save_model(model, tmp_path / "model.safetensors")
    more = (*SIZES, f"model.pretrained={tmp_path / 'model.safetensors'}", "encoder.trainable=none")
    assert run("svm_rbf.yaml", maps, tmp_path / "run", *more) == 0
    found = read_predictions(tmp_path / "run" / "predictions.csv")
    data = flow_maps.read(maps)
    with torch.no_grad():
        x = model.encode(normalize_each(torch.from_numpy(data.maps)[:, None])[:, 0]).numpy()
    tested = np.array([key[1] == "s01" for key in data.keys])
    machine = make_pipeline(StandardScaler(), SVC(class_weight="balanced")).fit(
        x[~tested], np.array(data.labels)[~tested]
    )
    expected = F.softmax(torch.from_numpy(machine.decision_function(x[tested])), 1).numpy()
    np.testing.assert_allclose(found.probabilities[tested], expected, atol=1e-4)


def test_what_does_not_go_together_is_refused(maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ("encoder.trainable=norm", "training.augment.mirror=true", "run.save_models=true")
    assert run("svm_rbf.yaml", maps, tmp_path / "run", *wrong) == 2
    error = capsys.readouterr().err
    assert all(name in error for name in ("'encoder.trainable'", "'training.augment'", "'run.save_models'"))
    assert run("ststnet.yaml", maps, tmp_path / "run", "data.kind=cache", "model.pretrained=x") == 2
    error = capsys.readouterr().err
    assert "takes maps of one frame" in error and "no SLSTT encoder" in error
    assert run("ststnet.yaml", maps, tmp_path / "run", "classifier.name=r3d_18", "model.pretrained=imagenet") == 2
    error = capsys.readouterr().err
    assert "takes clips of frames" in error and "R3D_18_Weights.DEFAULT" in error
    assert run("slstt.yaml", maps, tmp_path / "run", "model.pretrained=R3D_18_Weights.DEFAULT") == 2
    assert "is for classifier.name=r3d_18" in capsys.readouterr().err
    assert run("svm_rbf.yaml", maps, tmp_path / "run", "classifier.name=pretrained") == 2
    assert "needs model.pretrained" in capsys.readouterr().err
    save_model(SLSTT(28, 28, 16, 1, 2, classes=5, aggregator="mean"), tmp_path / "five.safetensors")
    five = ("classifier.name=pretrained", f"model.pretrained={tmp_path / 'five.safetensors'}")
    assert run("svm_rbf.yaml", maps, tmp_path / "run", *five) == 2
    assert "has classes 5 and this run needs 3" in capsys.readouterr().err
