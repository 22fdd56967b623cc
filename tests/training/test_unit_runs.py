"""Runs of action units, of whole data sets left out, and of the owners' split: tiny, from start to end."""

import csv
import json
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from sklearn.metrics import f1_score

from slstt.cli.evaluate import main as evaluate
from slstt.cli.train import main as train
from slstt.config.train import FLOW_MAP_PROTOCOLS, Data, TrainConfig
from slstt.config.train import UNIT_PROTOCOLS as CONFIGURED_UNITS
from slstt.datasets import flow_maps
from slstt.datasets.clips import FIRST_INDEX_COLUMNS, Clip, index_row, read_index, write_index
from slstt.datasets.protocols import PROTOCOLS
from slstt.datasets.units import UNIT_NAMES, UNIT_PROTOCOLS, UNITS
from slstt.errors import WeightsError
from slstt.evaluation.report import draw
from slstt.evaluation.run import read_run
from slstt.files import write_csv
from slstt.flow.flow_files import flow_path, write_flow
from slstt.models.model_file import read_model_input

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_runs import settings_file

SETTINGS = """\
data: {encoding: uv_magnitude}
model: {image_size: 16, patch_size: 16, width: 32, depth: 2, heads: 2, mlp_ratio: 1, aggregator: mean, drop_path: 0}
training: {epochs: 20, batch_size: 8, optimizer: adamw, learning_rate: 5e-3, schedule: cosine, warmup_epochs: 0.5}
"""
SHOWN = ("6+12", "4+L10", "AU1+AU2+5", "14+17", "R7", "9+15", "1+4", "2+12 or 14")


def moved(units: set[int], generator: np.random.Generator) -> np.ndarray:
    """Flow (2, 2, 16, 16) in which each of the units moves a cell of its own."""
    flow = generator.normal(0, 0.1, (2, 2, 16, 16))
    for place, unit in enumerate(UNITS):
        if unit in units:
            row, column = divmod(place, 4)
            flow[:, :, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] += 1.5
    return flow


def write_units(root: Path, datasets=("casme2", "samm"), texts=SHOWN, clips: int = 16) -> Path:
    """A cache whose clips show several units each."""
    generator, listed = np.random.default_rng(0), []
    for dataset in datasets:
        for number in range(clips):
            text = texts[number % len(texts)]
            clip = Clip(dataset, f"0{number % 2}", f"clip{number:02}", "others", 1, 5, 9, Path(), action_units=text)
            shown = {int(found) for found in "".join(c if c.isdigit() else " " for c in text).split()} - {14}
            write_flow(flow_path(root, clip.key), moved(shown, generator), f"units {dataset} {number}")
            listed.append(clip)
    write_index(root / "index.csv", listed)
    return root


def started(root: Path, run: Path, *more: str) -> list[str]:
    return ["--config", str(settings_file(root, SETTINGS)), "--out", str(run), "--quiet", f"data.root={root}", *more]


@pytest.fixture(scope="module")
def units(tmp_path_factory) -> tuple[Path, Path]:
    """A cache with units, and a finished run on it; read only."""
    folder = tmp_path_factory.mktemp("units")
    root, run = write_units(folder / "cache"), folder / "run"
    assert train(started(root, run, "data.target=units", "training.balance=loss", "run.save_models=true")) == 0
    return root, run


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_units_are_learned_and_no_fold_sees_its_data_set(units) -> None:
    _, run = units
    folds = json.loads((run / "folds.json").read_text())
    assert (folds["protocol"], folds["target"], folds["classes"]) == ("cd6me", "units", list(UNIT_NAMES))
    assert [fold["name"] for fold in folds["folds"]] == ["casme2", "samm"]
    for fold in folds["folds"]:
        assert fold["test"] == [f"0{number % 2}/clip{number:02}" for number in (*range(0, 16, 2), *range(1, 16, 2))]
        assert not [subject for subject in fold["train_subjects"] if subject.startswith(fold["dataset"])]
    rows = rows_of(run)
    assert list(rows[0]) == [
        "dataset", "subject", "clip", *(f"true_{unit}" for unit in UNIT_NAMES), *(f"p_{unit}" for unit in UNIT_NAMES)
    ]  # fmt: skip
    undecided = next(row for row in rows if row["clip"] == "clip07")
    assert undecided["true_AU12"] == undecided["true_AU14"] == "" and undecided["true_AU2"] == "1"
    decided = [(row[f"true_{u}"], float(row[f"p_{u}"]) > 0.5) for row in rows for u in UNIT_NAMES if row[f"true_{u}"]]
    assert f1_score([true == "1" for true, _ in decided], [said for _, said in decided]) > 0.8


def test_units_are_evaluated_as_scikit_learn_does(units, capsys) -> None:
    _, run = units
    assert evaluate([str(run)]) == 0
    said = capsys.readouterr().out
    assert "Macro F1" in said and "casme3: 860 of 860 clips missing" in said and "Not named cd6me" in said
    metrics, rows = json.loads((run / "metrics.json").read_text()), rows_of(run)
    assert (metrics["protocol"], metrics["target"], metrics["n"]) == (None, "units", 32)
    for unit in UNIT_NAMES:
        known = [row for row in rows if row[f"true_{unit}"]]
        true, answers = [int(row[f"true_{unit}"]) for row in known], [float(row[f"p_{unit}"]) > 0.5 for row in known]
        found = metrics["per_unit"][unit]
        assert found["shown"] == sum(true)
        assert found["macro_f1"] == pytest.approx(f1_score(true, answers, average="macro"))
    for score in ("macro_f1", "binary_f1"):
        mean = np.mean([line[score] for line in metrics["per_unit"].values()])
        assert metrics["full"][score] == pytest.approx(mean)
    page = (run / "report.html").read_text()
    assert "Per unit" in page and "AU17" in page and "casme3: 860 of 860 clips missing" in page
    assert (run / "figures" / "units.png").is_file() and "Binary F1" in (run / "table.md").read_text()


def test_predictions_of_units_alone_are_enough(units, tmp_path, capsys) -> None:
    _, run = units
    (tmp_path / "predictions.csv").write_bytes((run / "predictions.csv").read_bytes())
    assert evaluate([str(tmp_path), "--json", "--no-report"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert evaluate([str(run), "--json", "--check"]) == 0
    assert alone["full"] == json.loads(capsys.readouterr().out)["full"]


def test_a_fold_that_is_missing_makes_the_run_partial(units, tmp_path, capsys) -> None:
    root, _ = units
    run = tmp_path / "run"
    assert train(started(root, run, "data.target=units", "training.epochs=2", "--folds", "samm")) == 0
    assert evaluate([str(run), "--no-report"]) == 1
    said = capsys.readouterr()
    assert "PARTIAL, 1 of 2 folds missing" in said.err and "PARTIAL" in said.out
    assert train(started(root, run, "data.target=units", "training.epochs=2")) == 0
    assert evaluate([str(run), "--no-report"]) == 0


def test_one_data_set_leaves_out_its_subjects(units, tmp_path) -> None:
    root = write_units(tmp_path / "cache", datasets=("casme2",))
    run = tmp_path / "run"
    more = ("data.target=units", "data.protocol=cd6me_subjects", "training.epochs=1")
    assert train(started(root, run, *more)) == 0
    assert [fold["name"] for fold in json.loads((run / "folds.json").read_text())["folds"]] == [
        "casme2-00",
        "casme2-01",
    ]


def test_what_units_cannot_do_is_said_before_anything_is_written(units, tmp_path, capsys) -> None:
    root, run = units
    one = write_units(tmp_path / "one", datasets=("samm",))
    none = write_units(tmp_path / "none", texts=("?", ""))
    others = write_units(tmp_path / "others", datasets=("samm_long",))
    older = write_units(tmp_path / "older")
    plain = [index_row(clip)[: len(FIRST_INDEX_COLUMNS)] for clip in read_index(older / "index.csv")]
    write_csv(older / "index.csv", FIRST_INDEX_COLUMNS, plain)
    cases = [
        (one, (), 3, "cd6me leaves one data set out and all clips are of samm"),
        (none, (), 3, "no clip has action units (index.csv, column action_units)"),
        (older, (), 3, "run slstt-preprocess again, it keeps the flow"),
        (others, (), 3, "no clip of the data sets whose units are learned (casme, casme2, samm"),
        (root, ("data.protocol=cde",), 2, "cde has classes; for data.target: units use cd6me, cd6me_subjects"),
        (root, ("data.kind=flow_maps",), 2, "flow maps have no action units"),
        (root, ("classifier.name=svm_linear",), 2, "units are learned by classifier.name: slstt"),
        (root, ("training.balance=sampling",), 2, "a clip shows several units"),
        (root, ("run.peek=true",), 2, "'run.peek' records classes"),
        (root, ("selection.method=inner",), 2, "inner chooses by classes"),
    ]
    for place, more, code, said in cases:
        for check in ((), ("--check",)):
            out = tmp_path / "never"
            assert train(started(place, out, "data.target=units", *more, *check)) == code
            assert said in capsys.readouterr().err
            assert not out.exists()
    assert train(started(root, tmp_path / "never", "data.protocol=cd6me")) == 2
    assert "cd6me is for action units; add data.target: units" in capsys.readouterr().err
    assert evaluate([str(run), str(run.parent / "run"), "--no-report"]) == 2
    assert "predicts action units" in capsys.readouterr().err
    with pytest.raises(WeightsError, match="answers with action units"):
        read_model_input(run / "folds" / "samm" / "model.safetensors")


def test_the_check_counts_units_and_names_what_is_missing(units, tmp_path, capsys) -> None:
    root, _ = units
    assert train([*started(root, tmp_path / "run", "data.target=units"), "--check"]) == 0
    said = capsys.readouterr().out
    assert "casme: 189 of 189 clips missing" in said and "casme2: 16 clips instead of 256" in said
    assert "casme2: 2 clips with an undecided unit" in said
    assert "training clips per unit" in said and "AU14 2" in said


def write_classes(root: Path, emotions: dict[str, tuple[str, ...]], splits: tuple[str, ...] = ()) -> Path:
    """A cache of clips of these data sets and emotions, each a cell of its own."""
    generator, listed = np.random.default_rng(0), []
    for dataset, names in emotions.items():
        for number in range(12):
            emotion, split = names[number % len(names)], splits[number % len(splits)] if splits else ""
            clip = Clip(dataset, f"0{number // 4}", f"clip{number:02}", emotion, 1, 5, 9, Path(), split=split)
            write_flow(flow_path(root, clip.key), moved({UNITS[number % len(names)]}, generator), f"{clip.key}")
            listed.append(clip)
    write_index(root / "index.csv", listed)
    return root


def test_hde_on_cached_flow_tests_each_data_set_once(tmp_path, capsys) -> None:
    emotions = {
        "casme2": ("disgust", "happiness", "surprise"),
        "samm": ("anger", "happiness", "surprise"),
        "smic": ("negative", "positive", "surprise"),
    }
    root, run = write_classes(tmp_path / "cache", emotions), tmp_path / "run"
    assert train(started(root, run, "data.protocol=hde", "training.epochs=12")) == 0
    for fold in json.loads((run / "folds.json").read_text())["folds"]:
        others = {subject.split("/")[0] for subject in fold["train_subjects"]}
        assert others == set(emotions) - {fold["dataset"]} and len(fold["test"]) == 12
    capsys.readouterr()
    assert evaluate([str(run), "--json", "--no-report"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert {name: part["n"] for name, part in metrics["parts"].items()} == dict.fromkeys(emotions, 12)
    assert metrics["protocol_declared"] == metrics["protocol_nearest"] == "hde"
    assert min(part["uf1"] for part in metrics["parts"].values()) > 0.6


def test_the_owners_split_is_reported_per_test_set(tmp_path, capsys) -> None:
    emotions = {"dfme": ("anger", "contempt", "disgust")}
    root, run = write_classes(tmp_path / "cache", emotions, ("train", "testA", "train", "testB")), tmp_path / "run"
    assert train([*started(root, run, "data.protocol=dfme"), "--check"]) == 0
    said = capsys.readouterr().out
    assert "testA: 3 test clips" in said and "3 subjects on both sides" in said
    assert "testA: 3 clips instead of 474" in said
    assert train(started(root, run, "data.protocol=dfme", "data.normalize=train", "training.epochs=1")) == 0
    (fold,) = json.loads((run / "folds.json").read_text())["folds"]
    assert fold["test_sets"] == {
        "testA": ["00/clip01", "01/clip05", "02/clip09"],
        "testB": ["00/clip03", "01/clip07", "02/clip11"],
    }
    assert fold["train_clips"] == 6
    capsys.readouterr()
    assert evaluate([str(run), "--json", "--no-report"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert {name: part["n"] for name, part in metrics["parts"].items()} == {"testA": 3, "testB": 3}
    assert metrics["protocol"] is None
    assert metrics["protocol_differences"] == ["testA: 3 clips instead of 474", "testB: 3 clips instead of 299"]
    assert {"confusion_testA", "confusion_testB"} <= set(draw(read_run(run), metrics, ("png",)))
    assert evaluate([str(run), "--no-report"]) == 0
    assert "Test set A" in capsys.readouterr().out

    unlisted = write_classes(tmp_path / "unlisted", emotions)
    assert train(started(unlisted, tmp_path / "never", "data.protocol=dfme")) == 3
    assert "12 clips in none of the owners' lists" in capsys.readouterr().err
    half = write_classes(tmp_path / "half", emotions, ("train", "testA"))
    assert train(started(half, tmp_path / "never", "data.protocol=dfme")) == 3
    assert "no clip of testB; preprocess the whole data set" in capsys.readouterr().err


def test_a_protocol_by_rule_says_so(tmp_path, capsys) -> None:
    emotions = {"casme": ("tense", "disgust", "repression", "surprise", "fear")}
    root, run = write_classes(tmp_path / "cache", emotions), tmp_path / "run"
    assert train([*started(root, run, "data.protocol=casme_4"), "--check"]) == 0
    said = capsys.readouterr().out
    assert "casme_4: CASME, 4 classes, by rule; not its published counts:" in said
    assert "casme: 161 of 171 clips missing (66 tense, 41 disgust, 36 repression, 18 surprise)" in said


def test_every_protocol_can_be_set() -> None:
    names = get_args(Data.model_fields["protocol"].annotation)
    assert set(names) == {*PROTOCOLS, *UNIT_PROTOCOLS, "own"} and tuple(UNIT_PROTOCOLS) == CONFIGURED_UNITS
    on_maps = {
        name
        for name, protocol in PROTOCOLS.items()
        if set(protocol.classes) == set(flow_maps.CLASSES) and set(protocol.datasets) <= {"casme2", "samm", "smic"}
    }
    assert set(FLOW_MAP_PROTOCOLS) == on_maps
    assert TrainConfig.model_validate({"data": {"target": "units"}}).data.protocol == "cd6me"
