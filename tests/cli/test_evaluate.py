"""`slstt-eval` end to end: exit codes, what it writes, what it prints, damaged input."""

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from simulated_runs import predictions, run_folder

from slstt.cli.evaluate import main
from slstt.evaluation.predictions import write_predictions
from slstt.files import write_csv
from slstt.images import encode

CONFIG = Path(__file__).parents[2] / "configs" / "flow_maps" / "slstt.yaml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("runs") / "finished", predictions(subjects=5))


def test_predictions_alone_give_metrics_a_report_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_predictions(tmp_path / "predictions.csv", predictions())
    assert main([str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "UF1" in out and "epoch chosen by: unknown" in out and err == ""
    assert {path.name for path in tmp_path.iterdir()} == {
        "predictions.csv", "metrics.json", "report.html", "figures", "table.md", "table.tex",
    }  # fmt: skip


def test_an_independent_ten_line_script_gives_the_same_figures(finished: Path) -> None:
    assert main([str(finished), "--no-report"]) == 0
    metrics = json.loads((finished / "metrics.json").read_text())
    rows = list(csv.DictReader((finished / "predictions.csv").read_text().splitlines()))
    classes = [name[2:] for name in rows[0] if name.startswith("p_")]
    m = [[sum(r["true_label"] == t and r["predicted_label"] == p for r in rows) for p in classes] for t in classes]
    hits, true = [m[i][i] for i in range(len(m))], [sum(row) for row in m]
    said = [sum(row[i] for row in m) for i in range(len(m))]
    f1 = [2 * h / (t + s) for h, t, s in zip(hits, true, said, strict=True)]
    assert metrics["confusion"] == m and metrics["classes"] == classes and metrics["n"] == len(rows)
    assert metrics["full"]["accuracy"] == pytest.approx(sum(hits) / len(rows))
    assert metrics["full"]["uf1"] == pytest.approx(sum(f1) / len(classes))
    assert metrics["full"]["uar"] == pytest.approx(sum(h / t for h, t in zip(hits, true, strict=True)) / len(classes))


def test_check_scores_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_predictions(tmp_path / "predictions.csv", predictions())
    assert main([str(tmp_path), "--check"]) == 0
    out, err = capsys.readouterr()
    assert "UF1" in out and "metrics.json, table.md, table.tex, report.html, figures/" in err
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_json_prints_metrics_and_nothing_else(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(finished), "--json", "--no-report"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((finished / "metrics.json").read_text())


def test_a_partial_run_exits_1_unless_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_folder(tmp_path, predictions(subjects=5), missing=("sub03",))
    assert main([str(tmp_path), "--no-report"]) == 1
    out, err = capsys.readouterr()
    assert "PARTIAL" in out and "casme2/sub03" in out and "1 of 5 folds missing" in err
    assert main([str(tmp_path), "--no-report", "--allow-partial"]) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["partial"] is True


def test_two_runs_are_compared(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = run_folder(tmp_path / "other", predictions(subjects=5, seed=4, skill=0.5))
    assert main([str(finished), str(other)]) == 0
    out = capsys.readouterr().out
    assert "finished minus other" in out and "McNemar" in out and "They disagree on" in out
    assert json.loads((finished / "comparison.json").read_text())["names"] == ["finished", "other"]
    assert "finished minus other" in (finished / "report.html").read_text()
    assert "finished minus other" in (finished / "table.md").read_text()
    assert main([str(finished), str(other), "--json", "--no-report"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert len(both["runs"]) == 2 and both["comparison"]["n"] == both["runs"][0]["n"]


def test_several_seeds_print_mean_and_spread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2):
        write_predictions(tmp_path / f"seed-{seed}" / "predictions.csv", predictions(subjects=4, seed=seed))
    assert main([str(tmp_path), "--no-report"]) == 0
    out = capsys.readouterr().out
    assert "seed-1" in out and "standard deviation" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent"], 3, "absent: no such run folder"),
        (["."], 3, "holds no predictions.csv"),
        (["one", "two", "three"], 2, "name one, or two to compare"),
        (["run", "run"], 2, "the same run twice"),
        (["run", "others"], 2, "different protocols: classes"),
        ([], 2, "required: RUN"),
    ],
)
def test_wrong_use_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments, code, message
) -> None:
    monkeypatch.chdir(tmp_path)
    write_predictions(tmp_path / "run" / "predictions.csv", predictions(subjects=3))
    write_predictions(tmp_path / "others" / "predictions.csv", predictions(subjects=3, classes=("x", "y")))
    if arguments == ["."]:
        monkeypatch.chdir(tmp_path / "run")
        (tmp_path / "run" / "predictions.csv").unlink()
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert message in err and "Traceback" not in err and out == ""


def test_nothing_is_written_beside_bad_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "predictions.csv").write_text("dataset,subject,clip,true_label,predicted_label,p_a\nd,s,c,b,a,1\n")
    assert main([str(tmp_path)]) == 3
    assert "true_label 'b' is not one of the classes" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_a_trained_run_is_evaluated_and_looked_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance, labels = np.random.default_rng(0), ("negative", "positive", "surprise")
    (tmp_path / "maps").mkdir()
    rows = [("casme2", f"sub{s:02d}", f"EP{c:02d}", labels[c % 3]) for s in (1, 2, 3) for c in range(3)]
    for _, subject, clip, _ in rows:
        path = tmp_path / "maps" / f"{subject}_{clip} .png"
        path.write_bytes(encode(chance.integers(0, 256, (28, 28, 3), dtype=np.uint8), ".png"))
    write_csv(tmp_path / "maps" / "labels.csv", ("dataset", "subject", "clip", "label"), rows)
    run = tmp_path / "run"
    words = ["--config", str(CONFIG), "--out", str(run), f"data.root={tmp_path / 'maps'}", "training.epochs=2"]
    small = ["model.depth=1", "model.width=16", "model.heads=2", "run.save_models=true", "run.peek=true"]
    command = [sys.executable, "-m", "slstt.cli.train", *words, *small, "training.warmup_epochs=0", "--quiet"]
    trained = subprocess.run(command, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stderr
    assert main([str(run), "--attention", "--quiet"]) == 0
    out, _ = capsys.readouterr()
    assert "epoch chosen by: last" in out and "INVALID" in out and "not the clips of" in out
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["n"] == 9 and metrics["folds"] == {"expected": 3, "missing": []}
    page = (run / "report.html").read_text()
    assert (run / "figures" / "attention.png").exists() and "Attention of the network" in page
    assert page.count("data:image/png") >= 2  # flow maps of mistakes, and the attention


def test_attention_without_models_names_the_setting(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(finished), "--attention", "--no-report"]) == 3
    assert "run.save_models=true" in capsys.readouterr().err


def mutated(text: bytes, chance: random.Random) -> bytes:
    """One to four random wounds: bytes, cells, lines, quotes, numbers, encodings, lengths."""
    wounds = bytearray(text)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(wounds)) if wounds else 0
        match chance.randrange(10):
            case 0:
                wounds[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del wounds[at : at + chance.randint(1, 40)]
            case 2:
                wounds[at:at] = chance.choice([b",", b'"', b"\n", b"\r", b"\0", b";", b"\t", b"\xef\xbb\xbf", b"\xff"])
            case 3:
                wounds[at:at] = chance.choice([b"nan", b"inf", b"-1", b"1e999", b"1e-400", b"0x1", b"1_0", b"\xd9\xa3"])
            case 4:
                lines = bytes(wounds).split(b"\n")
                chance.shuffle(lines)
                wounds = bytearray(b"\n".join(lines))
            case 5:
                lines = bytes(wounds).split(b"\n")
                wounds = bytearray(b"\n".join([*lines, chance.choice(lines)]))
            case 6:
                wounds = bytearray(bytes(wounds).replace(b"p_", chance.choice([b"", b"p", b"p_p_", b"P_"]), 1))
            case 7:
                old, new = chance.sample([b"negative", b"positive", b"surprise", b"casme2", b"sub01", b"0.", b"EP"], 2)
                wounds = bytearray(bytes(wounds).replace(old, new, chance.randint(1, 30)))
            case 8:
                wounds = wounds[: chance.randrange(len(wounds) + 1)]
            case 9:
                wounds = bytearray(
                    bytes(wounds).decode("utf-8", "replace").encode(chance.choice(["utf-16", "utf-8-sig"]))
                )
    return bytes(wounds)


def test_500_damaged_files_give_a_result_or_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, chance = tmp_path / "predictions.csv", random.Random(0)
    write_predictions(path, predictions(subjects=3, clips=3))
    sound = path.read_bytes()
    codes = []
    for _ in range(500):
        path.write_bytes(mutated(sound, chance))
        codes.append(main([str(tmp_path), "--no-report"]))
        out, err = capsys.readouterr()
        assert codes[-1] in (0, 3), path.read_bytes()
        assert "Traceback" not in err and "a fault in slstt" not in err
        assert (err != "") == (codes[-1] == 3) and (out != "") == (codes[-1] == 0)
    assert codes.count(0) > 10 and codes.count(3) > 300  # some wounds are harmless, most are not


def test_the_table_comes_before_the_figures_and_without_heavy_libraries(finished: Path) -> None:
    program = (
        "import sys\n"
        "from slstt.cli.evaluate import main\n"
        f"code = main([{str(finished)!r}, '--no-report'])\n"
        "heavy = {'torch', 'torchvision', 'sklearn', 'scipy', 'matplotlib', 'jinja2', 'cv2'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {sorted(heavy)}' if heavy else code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "UF1" in done.stdout
