"""No row can see its test subject: other pictures and other labels of that subject change nothing that was learned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_classifiers import CONFIGS

from slstt.config.load import load_config
from slstt.config.train import TrainConfig
from slstt.training.classifiers import classify_fold
from slstt.training.flow_data import FlowData, read_data
from slstt.training.folds import Fold
from slstt.training.inputs import FlowInputs, FrozenFeatures, compute_features, open_features
from slstt.training.run import make_folds
from slstt.training.trainer import FoldSetup, Trained, make_model, make_slstt, train_fold

CPU = torch.device("cpu")
TINY = ("model.width=16", "model.depth=1", "model.heads=2", "training.epochs=2", "training.batch_size=4")
EARLY = ("training.warmup_epochs=0",)


def other_subject(data: FlowData, fold: Fold) -> FlowData:
    """The same clips; all of the test subject's pictures except the first are noise, and all its labels are others."""
    generator = torch.Generator().manual_seed(5)
    held = dict(data.held)
    for index in fold.test[1:]:
        held[index] = torch.rand(data.clip(index).shape, generator=generator) * 2 - 1
    labels = tuple((label + 1) % 3 if i in fold.test else label for i, label in enumerate(data.labels))
    prints = tuple(f"other {i}" if i in fold.test[1:] else known for i, known in enumerate(data.fingerprints))
    return replace(data, held=held, labels=labels, fingerprints=prints, sums={})


def trained(settings: TrainConfig, data: FlowData, fold: Fold, folder: Path) -> Trained:
    folder.mkdir()
    if settings.encoder.keeps_features:
        model = make_slstt(settings, 3)
        features = open_features(model, data, settings, folder)
        compute_features(features, model, FlowInputs(data, settings, CPU, ()).plain, settings, CPU)
        inputs = FrozenFeatures(features, CPU)
    else:
        inputs = FlowInputs(data, settings, CPU, fold.train)
    setup = FoldSetup(fold, data, settings, inputs, folder, CPU)
    found = classify_fold(setup) if settings.classifier.trained_at_once else train_fold(setup)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("config", "more"),
    [
        ("svm_linear", ()),
        ("svm_rbf", ("data.normalize=train",)),
        ("committee", ()),
        ("committee_inner", ()),
        ("frozen_rbf", ()),
        ("zero_shot", ()),
        ("ststnet", (*TINY, "data.normalize=train", "run.peek=true")),
        ("sssnet", (*TINY, "run.peek=true")),
        ("slstt", (*TINY, *EARLY, "run.peek=true", "training.ema=0.9")),
        ("slstt", (*TINY, *EARLY, "run.peek=true", "selection.method=inner", "selection.subjects=0.5")),
    ],
)
def test_another_test_subject_changes_no_weight(config: str, more: tuple[str, ...], maps: Path, tmp_path: Path) -> None:
    check(CONFIGS / f"{config}.yaml", maps, more, tmp_path)


@pytest.mark.parametrize("network", [pytest.param("r3d_18", marks=pytest.mark.slow), "resnet18"])
def test_nor_of_networks_on_clips(network: str, flow_root: Path, tmp_path: Path) -> None:
    more = ("model.image_size=16", "training.epochs=1", "training.warmup_epochs=0", "run.peek=true")
    check(CONFIGS.parent / "clips" / f"{network}.yaml", flow_root, (*more, "data.normalize=train"), tmp_path)


def check(config: Path, root: Path, more: tuple[str, ...], tmp_path: Path) -> None:
    settings = load_config(TrainConfig, config, [f"data.root={root}", "data.protocol=smic_sde", *more])
    data = read_data(settings.data, settings.model.image_size)
    fold = make_folds(settings, data)[0]
    first = trained(settings, data, fold, tmp_path / "first")
    second = trained(settings, other_subject(data, fold), fold, tmp_path / "second")
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    # The test subject's first picture is the same in both: so is the answer, whatever the others show. Bits may differ
    # only where the answers to all test clips come out of one matrix product.
    np.testing.assert_allclose(first.probabilities[0], second.probabilities[0], rtol=0, atol=1e-6)
    assert np.abs(first.probabilities[1:] - second.probabilities[1:]).max() > 1e-4  # the change does reach the answers


def test_another_training_subject_does_change_them(maps: Path, tmp_path: Path) -> None:
    settings = load_config(
        TrainConfig, CONFIGS / "slstt.yaml", [f"data.root={maps}", "data.protocol=smic_sde", *TINY, *EARLY]
    )
    data = read_data(settings.data, settings.model.image_size)
    one, other = make_folds(settings, data)[:2]
    first = trained(settings, data, one, tmp_path / "first").model.state_dict()
    second = trained(settings, other_subject(data, other), one, tmp_path / "second").model.state_dict()
    assert not all(torch.equal(first[name], second[name]) for name in first)
    start = make_model(settings, 3).state_dict()
    assert not all(torch.equal(first[name], start[name]) for name in first)
