"""Reading run folders: partial runs, strangers and gaps among the clips, several seeds, the selection gap."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from simulated_runs import predictions, run_folder
from sklearn.metrics import f1_score

from slstt.errors import DataError
from slstt.evaluation.metrics import ScoresUnderRule, scores_of, selection_gap, subject_confusions
from slstt.evaluation.predictions import Predictions, write_predictions
from slstt.evaluation.report import confident_mistakes
from slstt.evaluation.run import EvaluatedRun, evaluate, read_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_folder(tmp_path / "run", predictions(subjects=5))


def gap(run: EvaluatedRun) -> list[ScoresUnderRule]:
    return selection_gap(run.fold_files("peek.csv"), run.fold_files("inner.csv"), run.predictions.classes)


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_run(folder)
    return str(caught.value)


def without(found: Predictions, row: int) -> Predictions:
    return found.select([i for i in range(len(found)) if i != row])


def test_predictions_alone_are_enough(tmp_path: Path) -> None:
    write_predictions(tmp_path / "predictions.csv", predictions())
    run = read_run(tmp_path)
    assert run.missing == () and run.expected is None and not run.several and run.settings == {}
    assert evaluate(run)["selection"] is None


def test_missing_folds_make_a_run_partial(tmp_path: Path) -> None:
    run = read_run(run_folder(tmp_path, predictions(subjects=5), missing=("sub02", "sub04")))
    assert run.missing == ("casme2/sub02", "casme2/sub04") and run.expected == 5
    metrics = evaluate(run)
    assert metrics["partial"] and metrics["warnings"][0].startswith("PARTIAL: 2 of 5 folds are missing: casme2/sub02")


def test_a_clip_that_no_fold_tests_is_named(run: Path) -> None:
    found = predictions(subjects=5)
    stranger = Predictions(
        found.classes,
        (("casme2", "sub01", "EP99_99f"), *found.keys[1:]),
        found.true,
        found.predicted,
        found.probabilities,
    )
    write_predictions(run / "predictions.csv", stranger)
    problems = refused(run)
    assert "casme2/sub01/EP99_99f is predicted, but no fold" in problems
    assert "/".join(found.keys[0]) + " is missing from the predictions" in problems


def test_a_clip_missing_from_a_finished_fold_is_named(run: Path) -> None:
    found = predictions(subjects=5)
    write_predictions(run / "predictions.csv", without(found, 2))
    assert "/".join(found.keys[2]) + " is missing" in refused(run)


def test_finished_folds_are_pooled_where_the_run_has_not_done_so(run: Path) -> None:
    pooled = evaluate(read_run(run))["full"]
    (run / "predictions.csv").unlink()
    assert evaluate(read_run(run))["full"] == pooled


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("folds.json", "{", "unreadable as JSON"),
        ("folds.json", "[1, 2]", "not a list of folds"),
        ("folds.json", '{"other": 1}', "not a list of folds"),
        ("folds.json", '{"folds": 3}', "not a list of folds"),
        ("folds.json", '{"folds": [{"dataset": 1, "subject": 2, "test": 3}]}', "not a list of folds"),
        ("folds.json", '{"folds": [{"dataset": "casme2", "subject": "sub01", "test": "EP01"}]}', "not a list of folds"),
        ("folds.json", '{"folds": [{"dataset": "casme2", "subject": [], "test": []}]}', "not a list of folds"),
        ("folds.json", "[" * 100_000, "unreadable as JSON"),
        ("folds.json", "\0", "unreadable as JSON"),
        ("folds.json", '{"a": ' * 60 + "1" + "}" * 60, "nested deeper than 50 levels"),
        ("folds.json", '{"folds": ["\\ud800"]}', "unreadable as JSON"),
        ("folds.json", "1" * 5000, "unreadable as JSON"),
        ("config.resolved.yaml", "a: [", "not valid YAML"),
        ("config.resolved.yaml", "[" * 5000, "nested deeper than 50 levels"),
        ("config.resolved.yaml", "a: \0", "not valid YAML"),
        ("config.resolved.yaml", "? [a]\n: 1", "is not text"),
        ("config.resolved.yaml", "a: &x [1]\nb: [*x, *x]", "the alias *x is not followed"),
        ("config.resolved.yaml", "a: x\n" + "# \n" * 400_000, "over 1 MB"),
        ("config.resolved.yaml", 'data: {protocol: "\\ud800"}', "unreadable as YAML"),
        ("config.resolved.yaml", "- a", "must hold names and values"),
        ("environment.json", "[]", "must hold names and values"),
        ("failures.csv", "dataset,clip\n", "column 'subject' is missing"),
    ],
)
def test_damaged_files_beside_the_predictions_are_named(run: Path, file: str, text: str, message: str) -> None:
    (run / file).write_text(text)
    problems = refused(run)
    assert message in problems and file in problems


def test_folders_without_predictions(tmp_path: Path) -> None:
    assert "no such run folder" in refused(tmp_path / "absent")
    assert "holds no predictions.csv" in refused(tmp_path)
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(tmp_path / "file")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_names_that_no_file_system_can_hold(run: Path, name: str) -> None:
    assert "cannot be read" in refused(run / name) or "no such run folder" in refused(run / name)
    (run / "config.resolved.yaml").write_text(
        f"data: {{kind: cache, root: [{json.dumps(name)}, '{'/'.join('ab')}']}}\n"
    )
    assert confident_mistakes(read_run(run))  # without pictures: the data is not at hand


def test_a_fold_that_stands_twice_is_named(run: Path) -> None:
    folds = json.loads((run / "folds.json").read_text())["folds"]
    (run / "folds.json").write_text(json.dumps({"folds": [*folds, folds[1]]}))
    assert "the fold casme2/sub02 occurs twice" in refused(run)


def seeds_folder(folder: Path) -> Path:
    for seed in (1, 2, 3):
        run_folder(folder / f"seed-{seed}", predictions(subjects=6, seed=seed), seed=seed)
    return folder


def test_several_seeds_are_pooled_and_their_spread_is_named(tmp_path: Path) -> None:
    run = read_run(seeds_folder(tmp_path))
    assert run.several and list(run.seeds) == ["seed-1", "seed-2", "seed-3"]
    metrics = evaluate(run)
    singles = [f1_score(p.true, p.predicted, labels=list(p.classes), average="macro") for p in run.seeds.values()]
    assert [line["uf1"] for line in metrics["seeds"]["runs"]] == pytest.approx(singles)
    mean = sum(singles) / 3
    assert metrics["seeds"]["mean"]["uf1"] == pytest.approx(mean)
    assert metrics["seeds"]["sd"]["uf1"] == pytest.approx((sum((s - mean) ** 2 for s in singles) / 2) ** 0.5)
    true = [label for p in run.seeds.values() for label in p.true]
    said = [label for p in run.seeds.values() for label in p.predicted]
    pooled = f1_score(true, said, labels=list(run.predictions.classes), average="macro")
    assert metrics["full"]["uf1"] == pytest.approx(pooled)
    assert metrics["full"]["subjects"] == 6 and metrics["n"] == 3 * len(run.predictions)


def test_seeds_of_unequal_clips_are_refused(tmp_path: Path) -> None:
    seeds_folder(tmp_path)
    shutil.rmtree(tmp_path / "seed-2")
    run_folder(tmp_path / "seed-2", predictions(subjects=6), missing=("sub03",))
    assert "'seed-1' and 'seed-2' hold different clips" in refused(tmp_path)
    shutil.rmtree(tmp_path / "seed-2")
    run_folder(tmp_path / "seed-2", predictions(subjects=6, classes=("x", "y")))
    assert "different classes" in refused(tmp_path)


def test_the_selection_gap_equals_a_plain_reading_of_the_files(run: Path) -> None:
    rules = {rule.rule: rule for rule in gap(read_run(run))}
    folds = []
    for path in sorted(run.glob("folds/*/peek.csv")):
        with path.open() as stream:
            folds.append(list(csv.DictReader(stream)))
    classes = predictions().classes

    def score(rows: list[dict[str, str]]) -> float:
        true, said = [row["true_label"] for row in rows], [row["predicted_label"] for row in rows]
        return float(f1_score(true, said, labels=list(classes), average="macro"))

    def at(rows: list[dict[str, str]], epoch: int) -> list[dict[str, str]]:
        return [row for row in rows if int(row["epoch"]) == epoch]

    def hits(rows: list[dict[str, str]]) -> int:
        return sum(row["true_label"] == row["predicted_label"] for row in rows)

    best = [max(range(1, 13), key=lambda epoch, rows=rows: hits(at(rows, epoch))) for rows in folds]
    peeked = score([row for rows, epoch in zip(folds, best, strict=True) for row in at(rows, epoch)])
    assert rules["each fold's best epoch on its test subject"].scores["uf1"] == pytest.approx(peeked)
    assert rules["last epoch"].scores["uf1"] == pytest.approx(score([r for rows in folds for r in at(rows, 12)]))
    assert rules["inner validation"].scores["uf1"] == pytest.approx(score([r for rows in folds for r in at(rows, 9)]))
    shared = max(score([r for rows in folds for r in at(rows, epoch)]) for epoch in range(1, 13))
    assert rules["one epoch for all folds, best on the test subjects"].scores["uf1"] == pytest.approx(shared)
    assert [rule.valid for rule in rules.values()] == [True, True, False, False]


def test_the_last_epoch_of_the_peek_is_the_runs_own_result(run: Path) -> None:
    read = read_run(run)
    last = next(rule for rule in gap(read) if rule.rule == "last epoch")
    _, matrices = subject_confusions(read.predictions)
    assert last.scores["uf1"] == pytest.approx(float(scores_of(matrices.sum(0))["uf1"]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,casme2,sub01,EP,negative,negative", "epoch 'x' is not a number"),
        ("1,casme2,sub01,EP,fear,negative", "labels outside the classes"),
        ("", "holds no predictions"),
    ],
)
def test_a_damaged_peek_file_is_named(run: Path, row: str, message: str) -> None:
    path = run / "folds" / "casme2-sub01" / "peek.csv"
    path.write_text("epoch,dataset,subject,clip,true_label,predicted_label\n" + row)
    with pytest.raises(DataError, match=message) as caught:
        evaluate(read_run(run))
    assert "peek.csv" in str(caught.value)


def test_dropped_clips_of_the_cache_are_found_through_the_settings(run: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "failures.csv").write_text("dataset,subject,clip,reason\ncasme2,sub26,EP01,no face\n")
    (run / "config.resolved.yaml").write_text(f"data: {{kind: cache, root: [{json.dumps(str(cache))}]}}\n")
    assert [row["clip"] for row in read_run(run).dropped] == ["EP02_02f", "EP01"]
