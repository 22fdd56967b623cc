"""Pretraining: nothing real enters, the same settings give the same weights, and what is learned is the units."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slstt.cli.pretrain import main
from slstt.config.pretrain import PretrainConfig, problems
from slstt.datasets.synthetic.flow_fields import FIELD_UNITS
from slstt.errors import ConfigError
from slstt.models.model_file import load_encoder, load_model, read_header
from slstt.models.readout import load_readout
from slstt.models.slstt import SLSTT
from slstt.models.weight_files import read_weights
from slstt.training.pretraining import Source, make, pretrain

CONFIG = Path(__file__).parents[2] / "configs" / "pretrain" / "flow_map.yaml"
SMALL = ("model.width=16", "model.depth=1", "model.heads=2", "training.batch_size=16", "held_out.fields=60")
SHORT = (*SMALL, "training.steps=6", "training.warmup_steps=2")
SIZES = {"image_size": 28, "patch_size": 7, "width": 16, "depth": 1, "heads": 2, "mlp_ratio": 2, "aggregator": "mean"}


def settings(**changes: dict) -> PretrainConfig:
    values = {
        "model": SIZES,
        "training": {"steps": 6, "warmup_steps": 2, "batch_size": 16},
        "held_out": {"fields": 60},
        "run": {"checkpoint_seconds": 1000},
    }
    return PretrainConfig.model_validate(
        {key: {**values.get(key, {}), **changes.get(key, {})} for key in {*values, *changes}}
    )


OBSERVER = """
import os, sys, tempfile
tempfile.gettempdir()  # tries once whether a file can be written there
package, out = sys.argv[1:3]
opened = set()
system = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib")
allowed = [os.path.realpath(p) for p in (package, out, sys.prefix, sys.base_prefix, *system)]
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        opened.add(os.path.realpath(os.fsdecode(arguments[0])))
sys.addaudithook(watch)
from slstt.cli.pretrain import main
code = main(sys.argv[3:])
strays = sorted(p for p in opened if not any(p == a or p.startswith(a + os.sep) for a in allowed))
own = [p for p in opened if p.startswith(os.path.realpath(package))]
tables = sorted(p for p in own if not p.endswith((".py", ".pyc", ".yaml")))
modules = sorted(m for m in sys.modules if m.startswith("slstt.datasets.") and m.split(".")[2] in
                 ("flow_maps", "protocols", "cache") or m in
                 ("slstt.training.inputs", "slstt.training.flow_data", "slstt.training.trainer"))
print(repr((code, strays, tables, modules)))
"""


@pytest.mark.parametrize("config", [CONFIG, CONFIG.with_name("clip.yaml")])
def test_no_real_map_label_or_statistic_enters(config: Path, tmp_path: Path) -> None:
    """The whole command, traced by the interpreter: every file it opens is Python's, the package's code or its own."""
    root, out = Path(__file__).parents[2], tmp_path / "out"
    arguments = ["--config", str(config), "--out", str(out), "--quiet", *SHORT]
    traced = subprocess.run(
        [sys.executable, "-c", OBSERVER, str(root / "slstt"), str(out), *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert traced.returncode == 0, traced.stderr
    code, strays, tables, modules = eval(traced.stdout.splitlines()[-1])
    assert code == 0
    assert [path for path in strays if path != str(config.resolve())] == []
    assert tables == []  # no CSV, JSON or array inside the package: the protocols' digests stay closed too
    assert modules == []


def test_same_weights_twice_and_after_an_interruption(tmp_path: Path) -> None:
    arguments = ["--config", str(CONFIG), "--quiet", *SHORT]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 0
    assert json.loads((tmp_path / "a" / "scores.json").read_text())["held_out"].keys() >= {"emotion_uf1"}
    assert not (tmp_path / "a" / "last.pt").exists()

    from slstt.config.load import load_config
    from slstt.training.pretraining import CONFIG as NAME
    from slstt.training.pretraining import dump_config

    wanted = load_config(PretrainConfig, CONFIG, SHORT)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / NAME).write_text(dump_config(wanted))
    asked = iter([False, False, True])
    assert pretrain(wanted, tmp_path / "b", lambda: next(asked)) is None
    assert (tmp_path / "b" / "last.pt").exists()
    assert main([*arguments, "--out", str(tmp_path / "b")]) == 0
    # The header's entries come in any order in the file, so tensors and header are compared, exactly.
    (ours, header), (theirs, other) = (read_weights(tmp_path / name / "model.safetensors") for name in "ab")
    assert header == other and ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_model_file_says_how_to_feed_it_and_loads(tmp_path: Path) -> None:
    assert main(["--config", str(CONFIG), "--quiet", "--out", str(tmp_path), *SHORT]) == 0
    header = read_header(tmp_path / "model.safetensors")
    assert json.loads(header["classes"]) == ["negative", "positive", "surprise"]
    assert (header["kind"], header["normalize"], header["frames"]) == ("flow_maps", "map", "1")
    assert json.loads(header["crop"]) == [-1.0, 1.0, -0.9, 2.0]
    whole = load_model(tmp_path / "model.safetensors")
    fresh = SLSTT(**{**whole.arguments, "classes": 5})
    load_encoder(fresh, tmp_path / "model.safetensors")
    x = torch.randn(2, 3, 28, 28)
    torch.testing.assert_close(fresh.eval().encode(x), whole.encode(x))
    readout = load_readout(tmp_path / "model.safetensors")
    assert readout is not None and readout.numbers == FIELD_UNITS and readout.none is None


def test_expression_or_none_is_learned_beside_the_class_and_saved(tmp_path: Path) -> None:
    quick = {"steps": 120, "warmup_steps": 10, "batch_size": 64, "learning_rate": 3e-3, "average": 0.9}
    fields = {"none": 0.5, "background": 0.02}
    wanted = settings(training=quick, held_out={"fields": 400}, fields=fields)
    batch, without = Source(wanted).batch(200, "any"), Source(settings(fields={"background": 0.02})).batch(200, "any")
    shown = batch.none == 0
    assert torch.equal(batch.pictures[shown], without.pictures[shown])  # the expressions are the same ones
    assert not without.none.any() and 60 < int(batch.none.sum()) < 140  # 100 +- 7; five deviations
    found = pretrain(wanted, tmp_path)
    assert found is not None
    network, scores, _ = found
    assert network.readout.none is not None
    # By chance both are the same; of 200 fields each the difference then has a deviation of 0.05.
    assert scores["none_found"] - scores["expressions_taken_for_none"] > 0.15
    assert scores["emotion_uf1"] > 0.45  # chance is 0.33


def test_pictures_are_normalised_as_for_fine_tuning_and_classes_equally_likely() -> None:
    wanted = settings(fields={"classes": {"negative": ("disgust", "anger"), "surprise": ("surprise",)}})
    batch = Source(wanted).batch(2000, "any")
    assert batch.pictures.shape == (2000, 1, 3, 28, 28)
    torch.testing.assert_close(batch.pictures.flatten(3).median(3).values, torch.zeros(2000, 1, 3), atol=1e-5, rtol=0)
    deviation = batch.pictures.flatten(3).std(3, correction=0)
    torch.testing.assert_close(deviation, torch.ones(2000, 1, 3), atol=1e-3, rtol=0)
    # 2000 fair draws: 1000 +- 22; five deviations
    assert abs(int((batch.classes == 0).sum()) - 1000) < 112
    assert torch.equal(Source(wanted).batch(2000, "any").pictures, batch.pictures)
    assert not torch.equal(Source(wanted).batch(2000, "other").pictures, batch.pictures)


def test_every_frame_of_a_clip_is_learned_from() -> None:
    lstm = {"aggregator": "lstm", "lstm_width": 16, "lstm_layers": 1, "head_width": 8}
    wanted = PretrainConfig.model_validate(
        {"fields": {"frames": 11}, "encoding": "uv_magnitude", "normalize": "none", "model": {**SIZES, **lstm}}
    )
    batch = Source(wanted).batch(4, "any")
    units, logits, none = make(wanted)(batch.pictures)
    assert batch.pictures.shape == (4, 11, 3, 28, 28)
    assert units.shape == batch.units.shape == (4, 16, 2) and logits.shape == (4, 3) and none is None


def test_it_learns(tmp_path: Path) -> None:
    quick = {"steps": 120, "warmup_steps": 10, "batch_size": 64, "learning_rate": 3e-3, "average": 0.9}
    found = pretrain(settings(training=quick, held_out={"fields": 400}), tmp_path)
    assert found is not None
    _, scores, history = found
    assert scores["emotion_uf1"] > 0.7  # chance is 0.33
    assert history[-1]["loss"] < history[0]["loss"]


def test_wrong_settings_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = settings(
        model={"pretrained": "imagenet"},
        fields={"peak": (0.5, 0.1), "classes": {"one": ("happiness",)}},
        training={"units": 0, "emotion": 0, "warmup_steps": 6},
    )
    assert [line.split("'")[1] for line in problems(wrong)] == [
        "model.pretrained", "fields.classes", "training.units", "training.warmup_steps", "fields.peak",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"'glee' is neither an emotion") as raised:
        Source(settings(fields={"classes": {"a": ("glee", "4+7"), "b": ("anger", "4+99")}}))
    assert "'4+99'" in str(raised.value) and "'4+7'" not in str(raised.value)
    out = tmp_path / "out"
    assert main(["--config", str(CONFIG), "--out", str(out), "--check", *SHORT]) == 0
    assert "nothing was written" in capsys.readouterr().out and not out.exists()
    assert main(["--config", str(CONFIG), "--out", str(out), "model.patch_size=5", *SHORT]) == 2
    assert not out.exists()
    assert main(["--config", str(CONFIG), "--out", str(out), "--quiet", *SHORT]) == 0
    assert main(["--config", str(CONFIG), "--out", str(out), *SHORT, "run.seed=1"]) == 2
    assert "run.seed: 0 -> 1" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    assert main(["--config", str(CONFIG), "--out", str(tmp_path / "other"), *SHORT]) == 2
    assert "holds other things" in capsys.readouterr().err
