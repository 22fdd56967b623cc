"""Every number has a range a machine can hold, and what is too much together is said before anything is built."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from slstt.config import combinations, pretrain
from slstt.config.load import load_config
from slstt.config.preprocess import PredictConfig, PreprocessConfig
from slstt.config.pretrain import PretrainConfig
from slstt.config.train import TrainConfig
from slstt.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from settings_tables import DOCS, TABLES, filled

SCHEMAS = [PreprocessConfig, TrainConfig, PretrainConfig, PredictConfig]


def _numbers(node: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if node.get("type") in ("integer", "number"):
            yield name, node
        for key, value in node.items():
            if key != "default":
                yield from _numbers(value, f"{name}.{key}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from _numbers(value, f"{name}.{place}")


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_every_number_is_bounded_on_both_sides(schema: type[BaseModel]) -> None:
    found = list(_numbers(schema.model_json_schema()))
    assert len(found) >= 6
    for name, node in found:
        assert {"minimum", "exclusiveMinimum"} & node.keys(), f"{name} has no smallest value"
        assert {"maximum", "exclusiveMaximum"} & node.keys(), f"{name} has no largest value"


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["model.width=16384", "model.depth=200"], r"'model': about 6\.4e\+11 parameters are more than 2e\+09"),
        (["model.lstm_width=16384", "model.lstm_layers=64"], "'model': about .* parameters"),
        (["model.image_size=2048", "model.patch_size=1"], "'model': 4194304 patches of 1 px in a picture of 2048 px"),
    ],
)
def test_a_network_that_no_machine_holds_is_refused(overrides: list[str], complaint: str) -> None:
    for schema in (TrainConfig, PretrainConfig):
        with pytest.raises(ConfigError, match=complaint):
            load_config(schema, None, overrides)


def test_the_largest_published_encoder_is_within_the_bounds() -> None:
    giant = ["model.width=1664", "model.depth=48", "model.heads=16", "model.patch_size=14", "model.mlp_ratio=4.923"]
    assert load_config(TrainConfig, None, [*giant, "model.image_size=518"]).model.depth == 48  # ViT-G/14


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (
            ["training.batch_size=4096", "model.image_size=1024"],
            "'training.batch_size': 4096 pictures of 1024 px take 52 GB",
        ),
        (["encoder.dropout=0.1"], "'encoder.dropout' is for frozen blocks"),
        (
            ["classifier.name=svm_rbf", "encoder.trainable=none", "encoder.dropout=0.1"],
            "'encoder.dropout': an SVM learns from features computed once",
        ),
        (["data.normalize=imagenet"], "'data.normalize': imagenet is for pictures in -1..1 and uv_magnitude has no"),
        (
            ["model.checkpointing=true", "encoder.trainable=norm", "encoder.dropout=0.1"],
            "'model.checkpointing' saves nothing when no block learns",
        ),
        (["run.compile=true", "encoder.trainable=norm"], "'run.compile' has an effect only where the whole network"),
        (["run.compile=true", "classifier.name=svm_rbf"], "'run.compile' has an effect only where the whole network"),
    ],
)
def test_what_cannot_work_together_in_training(overrides: list[str], complaint: str) -> None:
    found = combinations.problems(load_config(TrainConfig, None, ["data.root=x", *overrides]))
    assert len(found) == 1 and found[0].startswith(complaint)
    assert combinations.problems(load_config(TrainConfig, None, ["data.root=x", "run.compile=true"])) == []


def test_dropout_in_frozen_blocks_allows_what_stored_features_do_not() -> None:
    changed = ["encoder.trainable=norm", "training.augment.rotate=5", "data.normalize=train"]
    kept = load_config(TrainConfig, None, ["data.root=x", *changed])
    anew = load_config(TrainConfig, None, ["data.root=x", *changed, "encoder.dropout=0.1"])
    assert len(combinations.problems(kept)) == 2 and combinations.problems(anew) == []


def test_what_cannot_work_together_in_pretraining() -> None:
    classes = {f"c{size}": ["12"] * size for size in (7, 11, 13, 17, 19)}
    settings = PretrainConfig.model_validate(
        {
            "fields": {"classes": classes, "crop": [1, -1, 0, 1], "frames": 64},
            "training": {"batch_size": 65536},
            "model": {"image_size": 64},
        }
    )
    found = pretrain.problems(settings)
    assert [line.split(":")[0] for line in found] == ["'fields.classes'", "'fields.crop'", "'training.batch_size'"]


def test_the_order_of_shortest_and_longest_is_told_beside_other_problems() -> None:
    wrong = ["spotting.shortest_ms=600", "spotting.bakc=1", "spotting.foot=1.5"]
    with pytest.raises(ConfigError) as caught:
        load_config(PredictConfig, None, wrong)
    report = str(caught.value)
    assert "'spotting.longest_ms': must be above spotting.shortest_ms, which is 600" in report
    assert "did you mean 'spotting.back'?" in report and "'spotting.foot'" in report


def test_the_tables_in_the_manual_are_those_of_the_schemas() -> None:
    """Else run `python scripts/settings_tables.py`."""
    texts = {path: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    for path, text in texts.items():
        assert filled(text) == text, f"{path} is out of date"
    for name in TABLES:
        assert sum(f"<!-- settings: {name} -->" in text for text in texts.values()) == 1
