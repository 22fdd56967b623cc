import json
from pathlib import Path

import pytest

from slstt.cli.demo import main


def test_check_prints_the_commands_and_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "demo"), "--check"]) == 0
    out = capsys.readouterr().out
    assert out.count("$ slstt-") == 3
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("words", [["--subjects", "1"], ["--clips", "0"], ["--difficulty", "1.5"], ["--clips", "x"]])
def test_impossible_sizes_are_usage_errors(words: list[str], tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path / "demo"), *words]) == 2
    assert not (tmp_path / "demo").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "thesis.tex").write_text("precious")
    assert main(["--out", str(tmp_path)]) == 3
    assert "raw" in capsys.readouterr().err
    assert (tmp_path / "raw" / "thesis.tex").read_text() == "precious"


@pytest.mark.slow
def test_the_whole_demo_recognises_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `make demo` promises: UF1 of at least 0.8 and every file it names; a second run computes nothing again."""
    assert main(["--out", str(tmp_path), "--quiet"]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["full"]["uf1"] >= 0.8
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "preprocessed" / "report" / "index.html").stat().st_size > 10_000
    predictions = (tmp_path / "run" / "predictions.csv").read_bytes()
    flow = {path: path.stat().st_mtime_ns for path in (tmp_path / "preprocessed" / "flow").rglob("*.safetensors")}
    capsys.readouterr()

    assert main(["--out", str(tmp_path), "--quiet"]) == 0
    assert "0 computed now, 50 kept" in capsys.readouterr().out
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == predictions
    assert flow == {path: path.stat().st_mtime_ns for path in flow}
