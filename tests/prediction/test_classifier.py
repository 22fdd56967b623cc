"""The networks of slstt-predict: found, fed as in training, averaged over a run's folds."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from slstt.cli.train import main as train
from slstt.config.load import load_config
from slstt.config.pretrain import Fields, PretrainConfig
from slstt.datasets.clips import Clip, write_index
from slstt.datasets.synthetic.flow_fields import FIELD_UNITS, PUBLISHED_CROP, draw
from slstt.errors import ConfigError, WeightsError
from slstt.evaluation.predictions import read_predictions
from slstt.evaluation.saliency import saliency_maps
from slstt.flow.encoding import normalize_each
from slstt.flow.flow_files import FLOW_VERSION, flow_path, read_flow, write_flow
from slstt.models.model_file import SYNTHETIC, find_weights, load_model, read_header, read_model_input, save_model
from slstt.models.slstt import SLSTT
from slstt.prediction.classify import Reading, find_classifier, pictures, read_settings
from slstt.training.folds import seed_of
from slstt.training.pretraining import Source

SETTINGS = """\
model: {image_size: 16, patch_size: 8, width: 16, depth: 2, heads: 2, mlp_ratio: 1, lstm_width: 8, lstm_layers: 1,
        head_width: 8}
training: {epochs: 1, batch_size: 8}
run: {save_models: true}
"""
CLASSES = ("negative", "positive", "surprise")


def run_of(folder: Path, *overrides: str) -> tuple[Path, Path]:
    """(cache, run): a run of two folds over a cache of noise, trained for an epoch."""
    generator, cache, listed = np.random.default_rng(0), folder / "cache", []
    for subject in ("s01", "s02"):
        for number, emotion in enumerate(CLASSES):
            clip = Clip("smic", subject, f"{subject}_{emotion[:2]}_{number:02}", emotion, 1, 5, 9, Path())
            flow = generator.normal(0, 1.5, (3, 2, 24, 24)) * (number + 1)
            write_flow(flow_path(cache, clip.key), flow.astype(np.float32), clip.name)
            listed.append(clip)
    write_index(cache / "index.csv", listed)
    (cache / "manifest.json").write_text(
        json.dumps({"smic": {"settings": {"flow": {"method": "farneback"}}, "finished": True, "version": FLOW_VERSION}})
    )
    (folder / "tiny.yaml").write_text(SETTINGS)
    arguments = ["--config", str(folder / "tiny.yaml"), "--out", str(folder / "run"), "--quiet"]
    assert train([*arguments, f"data.root={cache}", "data.protocol=smic_sde", *overrides]) == 0
    return cache, folder / "run"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return run_of(tmp_path_factory.mktemp("trained"), "data.normalize=train", "data.encoding=uv_strain")


@pytest.mark.parametrize(
    "overrides",
    [
        ("data.normalize=train", "data.encoding=uv_strain"),
        ("data.normalize=map", "data.encoding=uv_magnitude", "model.aggregator=mean"),
        ("data.normalize=none", "data.encoding=hsv_clip"),
        ("data.normalize=imagenet", "data.encoding=hsv_frame", "encoder.trainable=norm", "encoder.dropout=0.1"),
    ],
)
def test_a_folds_model_answers_as_it_did_in_training(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    cache, run = run_of(tmp_path, *overrides)
    for fold in ("smic-s01", "smic-s02"):
        written = read_predictions(run / "folds" / fold / "predictions.csv")
        flows = [torch.from_numpy(read_flow(flow_path(cache, key))) for key in written.keys]
        found = find_classifier(str(run / "folds" / fold / "model.safetensors")).probabilities(flows)
        np.testing.assert_allclose(found.numpy(), written.probabilities, atol=1e-5)


def test_a_run_is_the_mean_of_its_folds(trained: tuple[Path, Path]) -> None:
    cache, run = trained
    flow = torch.from_numpy(read_flow(next(cache.rglob("*.safetensors"))))
    files = sorted(run.glob("folds/*/model.safetensors"))
    each = [find_classifier(str(path)).probabilities([flow]) for path in files]
    whole = find_classifier(str(run))
    assert len(whole.paths) == len(files) == 2
    assert whole.remarks == ()
    torch.testing.assert_close(whole.probabilities([flow]), torch.stack(each).mean(0))
    torch.testing.assert_close(whole.probabilities([flow]).sum(1), torch.ones(1, dtype=torch.float64))


def test_a_missing_fold_is_said(trained: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(trained[1], tmp_path / "run")
    (tmp_path / "run" / "folds" / "smic-s01" / "model.safetensors").unlink()
    (remark,) = find_classifier(str(tmp_path / "run")).remarks
    assert "1 of 2 folds have no model yet: smic-s01" in remark


def test_the_preprocessing_is_that_of_the_runs_clips(trained: tuple[Path, Path]) -> None:
    settings, remarks = read_settings(find_classifier(str(trained[1])), [])
    assert settings.flow.method == "farneback"
    assert settings.frames.count == 3
    assert remarks == []
    assert read_settings(find_classifier(str(trained[1])), ["flow.method=dis"])[0].flow.method == "dis"
    fold = trained[1] / "folds" / "smic-s01" / "model.safetensors"
    assert read_settings(find_classifier(str(fold)), [])[0].flow.method == "farneback"


def test_weights_that_do_not_say_their_preprocessing_get_the_defaults_with_a_line(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    model, header = trained[1] / "folds" / "smic-s01" / "model.safetensors", {}
    for name, value in read_header(model).items():
        if name not in ("preprocessing", "slstt"):
            header[name] = value
    save_model(load_model(model), tmp_path / "bare.safetensors", header)
    settings, remarks = read_settings(find_classifier(str(tmp_path / "bare.safetensors")), [])
    assert settings.flow.method == "dis"
    assert ["does not say how its clips were preprocessed" in line for line in remarks] == [True]


def test_settings_that_make_no_sense_are_listed_together(trained: tuple[Path, Path]) -> None:
    wrong = ["frames.count=5", "spotting.shortest_ms=600", "spotting.back=1.5"]
    with pytest.raises(ConfigError) as raised:
        read_settings(find_classifier(str(trained[1])), wrong)
    assert [line.split("'")[1] for line in raised.value.problems] == [
        "frames.count",
        "spotting.longest_ms",
        "spotting.back",
    ]


@pytest.mark.parametrize("name", ["synthetic", "synthetic_recording"])
def test_shipped_weights_see_what_they_were_pretrained_on(name: str) -> None:
    """Fields drawn as in pretraining give the network the very pictures of pretraining."""
    config = load_config(PretrainConfig, find_weights(name).with_suffix(".yaml"))
    source, wanted = Source(config), read_model_input(find_weights(name))
    assert wanted.crop == PUBLISHED_CROP
    seed = seed_of(config.run.seed, "fields", "a test")
    fields = draw(config.fields, 4, seed, resolution=28, emotions=source.emotions)  # in pixels
    for field, picture in zip(fields.maps, source.batch(4, "a test").pictures, strict=True):
        found = pictures(wanted, torch.from_numpy(field[:, :2]))
        torch.testing.assert_close(found, picture, atol=1e-4, rtol=0)


def test_units_keep_their_side_and_what_is_no_expression_is_told() -> None:
    """Flow of one unit on one half of the face: the picture's left half is the person's right."""
    classifier = find_classifier("default")
    assert classifier.units == FIELD_UNITS and classifier.tells_none
    clean = {"crop": PUBLISHED_CROP, "stray": 0.0, "head": 0.0, "blink": 0.0, "noise": 0.02, "peak": (0.03, 0.03)}
    for unit in (4, 12):
        fields = draw(Fields(**clean), 40, 0, emotions=[str(unit)], resolution=84)
        one_sided = draw(Fields(**clean, one_sided=1.0), 40, 0, emotions=[str(unit)], resolution=84)
        place = FIELD_UNITS.index(unit)
        for drawn in (fields, one_sided):
            readings = classifier.readings([torch.from_numpy(maps[:, :2]) for maps in drawn.maps])
            told = np.array([reading.units[place] for reading in readings]) >= 0.5
            true = drawn.units[:, place, ::-1] > 0  # (person's left, right)
            assert (told == true).mean() > 0.9
            assert np.mean([(reading.none or 0.0) >= 0.5 for reading in readings]) < 0.2
    spoken = draw(Fields(**clean), 40, 0, emotions=["25+26"], resolution=84)
    readings = classifier.readings([torch.from_numpy(maps[:, :2]) for maps in spoken.maps])
    assert np.mean([(reading.none or 0.0) >= 0.5 for reading in readings]) > 0.8
    assert all(reading == Reading() for reading in find_classifier("synthetic").readings([torch.zeros(1, 2, 84, 84)]))


def test_maps_do_not_depend_on_the_size_of_the_crop_or_the_strength_of_the_flow() -> None:
    wanted = read_model_input(SYNTHETIC)
    y, x = np.mgrid[0:84, 0:56] / 84
    flow = torch.from_numpy(np.stack([np.sin(5 * x) * y, np.cos(4 * y) + x])[None].astype(np.float32))
    small = pictures(wanted, flow)
    large = pictures(wanted, torch.nn.functional.interpolate(flow, (336, 224), mode="bilinear") * 4)
    weak = pictures(wanted, flow * 0.1)
    torch.testing.assert_close(large, small, atol=0.1, rtol=0)
    torch.testing.assert_close(weak, small, atol=1e-3, rtol=0)
    torch.testing.assert_close(small, normalize_each(small[None])[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("nowhere", "no such model file or run folder"),
        ("empty", "not a run folder"),
        ("svm", "its classifier is svm_linear, which leaves no network"),
        ("unsaved", "run.save_models=true"),
        ("text.safetensors", "text.safetensors"),
        ("bare.safetensors", "does not say classes, kind, encoding, normalize, frames"),
        ("odd.safetensors", "names 2 classes and has 3 outputs"),
        ("future.safetensors", "update slstt"),
        ("broken.safetensors", "frames in its header are not from 1 to"),
    ],
)
def test_weights_that_cannot_be_used_are_one_line(tmp_path: Path, what: str, line: str) -> None:
    for name in ("empty", "svm", "unsaved"):
        (tmp_path / name).mkdir()
    (tmp_path / "svm" / "config.resolved.yaml").write_text("classifier: {name: svm_linear}")
    (tmp_path / "unsaved" / "config.resolved.yaml").write_text("classifier: {name: slstt}")
    (tmp_path / "text.safetensors").write_text("not weights")
    model = SLSTT(image_size=16, patch_size=8, width=12, depth=1, heads=2, aggregator="mean")
    save_model(model, tmp_path / "bare.safetensors")
    header = {"classes": '["a", "b", "c"]', "kind": "cache", "encoding": "uv_magnitude", "normalize": "none"}
    header["frames"] = "3"
    save_model(model, tmp_path / "odd.safetensors", {**header, "classes": '["a", "b"]'})
    save_model(model, tmp_path / "future.safetensors", {**header, "kind": "hologram"})
    save_model(model, tmp_path / "broken.safetensors", {**header, "frames": "some"})
    with pytest.raises(WeightsError) as raised:
        find_classifier(str(tmp_path / what))
    assert len(raised.value.problems) == 1
    assert line in raised.value.problems[0]


def test_a_model_whose_answer_overflows_is_named(trained: tuple[Path, Path], tmp_path: Path) -> None:
    cache, run = trained
    source = run / "folds" / "smic-s01" / "model.safetensors"
    model, header = load_model(source), read_header(source)
    with torch.no_grad():
        for parameter in model.aggregator.parameters():
            parameter.fill_(3e38)
    save_model(model, tmp_path / "large.safetensors", {k: v for k, v in header.items() if k != "arguments"})
    flow = torch.from_numpy(read_flow(next(cache.glob("flow/smic/*/*.safetensors"))))
    with pytest.raises(WeightsError, match=rf"{tmp_path / 'large.safetensors'}: its answer is not finite"):
        find_classifier(str(tmp_path / "large.safetensors")).probabilities([flow])


@pytest.mark.parametrize("content", ['{"folds": [{"name": []}]}', "[" * 50_000, '{"folds": 3}', ""])
def test_a_damaged_list_of_folds_is_a_remark(trained: tuple[Path, Path], tmp_path: Path, content: str) -> None:
    run = Path(shutil.copytree(trained[1], tmp_path / "run"))
    (run / "folds.json").write_text(content)
    assert "folds.json is missing or unreadable" in find_classifier(str(run)).remarks[0]


def test_folds_of_different_runs_do_not_go_together(trained: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(trained[1], tmp_path / "run")
    shutil.copy(SYNTHETIC, tmp_path / "run" / "folds" / "smic-s02" / "model.safetensors")
    with pytest.raises(WeightsError, match="wants other input or names other classes"):
        find_classifier(str(tmp_path / "run"))


def test_occlusion_finds_the_one_place_that_counts() -> None:
    """A network of one patch whose first class is the brightness of one corner."""
    model = SLSTT(image_size=16, patch_size=16, width=4, depth=1, heads=1, aggregator="mean", mlp_ratio=1).eval()
    corner = torch.zeros(1, 3, 16, 16)
    corner[..., 12:, :4] = 1.0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.encoder.patch_embedding.weight[:] = corner * torch.tensor([1.0, -1.0, 0.5, 0.0])[:, None, None, None]
        model.encoder.blocks[0].attention.qkv.weight[8:] = torch.eye(4)  # the values; every token is looked at evenly
        model.encoder.blocks[0].attention.projection.weight[:] = torch.eye(4)
        for norm in (model.encoder.norm, model.encoder.blocks[0].attention_norm, model.encoder.blocks[0].mlp_norm):
            norm.weight.fill_(1.0)
        model.aggregator.classifier.weight[0, 0] = 1.0
    found = saliency_maps(model, corner * 3, label=0)
    assert found.kind == "occlusion"
    row, column = np.unravel_index(int(found.values.argmax()), found.values.shape)
    assert row >= 10 and column <= 3
    assert found.values[:7].max() == pytest.approx(0, abs=1e-6)
    assert found.values[:, 7:].max() == pytest.approx(0, abs=1e-6)


def test_a_network_of_many_patches_shows_its_attention(trained: tuple[Path, Path]) -> None:
    model, wanted = next(iter(find_classifier(str(trained[1])).models()))
    found = saliency_maps(model, torch.randn(3, 3, wanted.image_size, wanted.image_size), label=1)
    assert found.kind == "attention"
    assert found.values.shape == (2, 2)
    assert found.values.mean() == pytest.approx(1, abs=1e-4)  # times even attention
