"""`slstt-spot` end to end on rendered recordings: what it writes, keeps, refuses, and how it goes on."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from native_trees import write_workbook

from slstt.cli.evaluate import main as evaluate
from slstt.cli.spot import main
from slstt.datasets import synthetic

VIDEOS = ["15_0101", "15_0102", "15_0401", "16_0101", "16_0102", "16_0401"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each of two subjects two recordings with one micro-expression each, and one at rest: 20 seconds in all."""
    root = tmp_path_factory.mktemp("trees") / "casme_square"
    options = {"subjects": 2, "clips_per_subject": 3, "seconds": 3.0, "size": (320, 240), "seed": 4}
    return synthetic.write(root, layout="casme_square", workers=1, quiet=True, **options)


@pytest.fixture(scope="module")
def spotted(tree: Path) -> Path:
    out = tree.parent / f"{tree.name}_spotted"
    assert main(arguments(tree, out)) == 0
    return out


def arguments(root: Path, out: Path, *more: str) -> list[str]:
    return ["--dataset", "casme_square", "--root", str(root), "--out", str(out), "--workers", "1", "--quiet", *more]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_every_recording_is_spotted_and_scored(spotted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = rows(spotted / "videos.csv")
    assert [row["video"] for row in videos] == VIDEOS
    assert {row["fps"] for row in videos} == {"30"} and {row["first"] for row in videos} == {"1"}
    truth = rows(spotted / "truth.csv")
    assert {row["video"] for row in truth if not row["onset"]} == {"15_0401", "16_0401"}
    chosen = rows(spotted / "chosen.csv")
    assert [(row["subject"], row["kind"]) for row in chosen] == [
        ("s15", "macro"), ("s15", "micro"), ("s16", "macro"), ("s16", "micro"),
    ]  # fmt: skip
    assert evaluate([str(spotted), "--no-report"]) == 0
    assert "thresholds chosen on the other subjects" in capsys.readouterr().out
    metrics = json.loads((spotted / "metrics.json").read_text())
    assert metrics["selection"] == "loso" and metrics["videos"] == 6 and metrics["videos_without_expression"] == 2
    # Peaks of about a pixel, no noise: most are found.
    assert metrics["spotting"]["micro"]["recall"] >= 0.5
    assert metrics["spotting"]["micro"]["tp"] >= 2


def test_what_is_measured_is_kept(tree: Path, spotted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (spotted / "intervals.csv").read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in spotted.glob("measured/**/*.npz")}
    (spotted / "intervals.csv").unlink()
    assert main(arguments(tree, spotted)) == 0
    assert "0 measured now, 6 kept" in capsys.readouterr().out
    assert (spotted / "intervals.csv").read_bytes() == before
    damaged = next(path for path in kept if path.name == "slstt.npz")
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert main(arguments(tree, spotted)) == 0
    assert "1 measured now, 5 kept" in capsys.readouterr().out
    assert (spotted / "intervals.csv").read_bytes() == before
    assert {p: t for p, t in kept.items() if damaged.parent not in p.parents} == {
        p: p.stat().st_mtime_ns for p in kept if damaged.parent not in p.parents
    }


def test_fixed_thresholds_are_labelled(
    tree: Path, spotted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    share = f"run.measured={spotted / 'measured'}"
    assert main(arguments(tree, tmp_path, share, "--fixed", "micro.thresholds=[6]")) == 0
    assert "0 measured now, 6 kept" in capsys.readouterr().out
    assert {(r["kind"], r["threshold"], r["training_f1"]) for r in rows(tmp_path / "chosen.csv")} == {
        ("micro", "6", ""), ("macro", "5", ""),
    }  # fmt: skip
    assert evaluate([str(tmp_path), "--no-report"]) == 0
    assert "FIXED" in capsys.readouterr().out and "FIXED" in (tmp_path / "table.md").read_text()
    assert main(arguments(tree, tmp_path / "b", share, "--fixed", "micro.thresholds=[6, 7]")) == 2
    assert "'micro.thresholds' has several values" in capsys.readouterr().err


def test_another_method_shares_the_face_and_needs_its_own_folder(
    tree: Path, spotted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tree, spotted, "spot.method=neighbour_flow")) == 2
    assert "method: slstt -> neighbour_flow" in capsys.readouterr().err
    share = f"run.measured={spotted / 'measured'}"
    patches = {path: path.stat().st_mtime_ns for path in spotted.glob("measured/**/patches.npz")}
    assert main(arguments(tree, tmp_path, share, "spot.method=neighbour_flow")) == 0
    assert {path: path.stat().st_mtime_ns for path in spotted.glob("measured/**/patches.npz")} == patches
    assert json.loads((tmp_path / "spotting.json").read_text())["method"] == "neighbour_flow"


def test_check_writes_nothing(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(tree, tmp_path / "out", "--check")) == 0
    out = capsys.readouterr().out
    assert "6 recordings of 2 subjects" in out and "nothing was written" in out and not (tmp_path / "out").exists()


def test_a_recording_without_a_face_fails_and_its_expressions_count_as_missed(
    tree: Path, spotted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "tree"
    shutil.copytree(tree, root)
    folder = root / "rawpic" / "s15" / "15_0101film"
    grey = cv2.imencode(".jpg", np.full((240, 320, 3), 128, np.uint8))[1].tobytes()
    for path in folder.iterdir():
        path.write_bytes(grey)
    lost = sorted((root / "rawpic" / "s16" / "16_0401film").iterdir())
    for path in lost[: len(lost) // 2]:
        path.write_bytes(b"no picture")
    shutil.copytree(spotted / "measured", tmp_path / "measured")
    assert main(arguments(root, tmp_path / "out", f"run.measured={tmp_path / 'measured'}")) == 1
    failures = {row["clip"]: row["reason"] for row in rows(tmp_path / "out" / "failures.csv")}
    assert set(failures) == {"15_0101", "16_0401"}
    assert "no face" in failures["15_0101"] and "cannot be decoded" in failures["16_0401"]
    assert "2 recordings failed" in capsys.readouterr().out
    assert evaluate([str(tmp_path / "out"), "--no-report"]) == 0
    assert "2 videos could not be measured" in capsys.readouterr().out
    true = sum(row["video"] == "15_0101" for row in rows(tmp_path / "out" / "truth.csv"))
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["spotting"]["all"]["fn"] >= true


def test_everything_wrong_with_the_command_is_said_at_once(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    wrong = ["--workers", "0", "spot.methd=x", "recognition.run=nowhere"]
    assert main([*arguments(tmp_path / "none", tmp_path / "file")[:6], *wrong]) == 2
    err = capsys.readouterr().err
    for said in ("--workers 0", "spot.methd", "did you mean 'spot.method'", "is a file", "none: "):
        assert said in err, said
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ("no rows", 3, "no row ends with micro-expression"),
        ("one subject", 3, "take fixed ones with --fixed"),
        ("nothing usable", 3, "none of its 6 recordings has an annotated expression"),
        ("other things", 2, "holds other things than spotted intervals"),
    ],
)
def test_releases_that_cannot_be_spotted_are_refused(
    tree: Path, tmp_path: Path, change: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "tree", tmp_path / "out"
    shutil.copytree(tree, root)
    if change == "no rows":
        write_workbook(root / "CAS(ME)^2code_final.xlsx", {"naming rule1": [(1, "s15", "")]})
    elif change == "one subject":
        shutil.rmtree(root / "rawpic" / "s16")
    elif change == "nothing usable":
        row = (1, "disgust1_1", 9000, 9003, 9009, "4", "negative", "micro-expression", "anger")
        book = {"CASFEcode_final": [row], "naming rule1": [(1, "s15", ""), (2, "s16", "")]}
        write_workbook(root / "CAS(ME)^2code_final.xlsx", book)
    else:
        out.mkdir()
        (out / "thesis.txt").touch()
    assert main(arguments(root, out)) == code
    assert said in capsys.readouterr().err
    assert not (out / "intervals.csv").exists()


@pytest.mark.cluster
@pytest.mark.slow
def test_ray_and_processes_find_the_same(tree: Path, spotted: Path, tmp_path: Path) -> None:
    for name, more in (("ray", ["run.executor=ray"]), ("processes", [])):
        argv = [*arguments(tree, tmp_path / name, *more)]
        argv[argv.index("--workers") + 1] = "2"
        assert main(argv) == 0
        assert (tmp_path / name / "intervals.csv").read_bytes() == (spotted / "intervals.csv").read_bytes()
