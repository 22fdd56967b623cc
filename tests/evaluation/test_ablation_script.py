"""`scripts/ablate.py`: one table over what is finished, and what is missing said plainly."""

import runpy
from pathlib import Path

import pytest
from simulated_runs import predictions, run_folder

SCRIPT = Path(__file__).parents[2] / "scripts" / "ablate.py"


@pytest.fixture(scope="module")
def ablate():
    return runpy.run_path(str(SCRIPT))["main"]


def described(folder: Path, variants: str) -> str:
    path = folder / "ablation.yaml"
    path.write_text(f"out: {folder / 'runs'}\nconfig: configs/demo.yaml\nseeds: [0, 1]\nvariants:\n{variants}")
    return str(path)


def test_finished_variants_stand_beside_missing_ones(ablate, tmp_path: Path, capsys) -> None:
    for seed in (0, 1):
        run_folder(tmp_path / "runs" / "lstm" / f"seed-{seed}", predictions(subjects=5, seed=seed))
    run_folder(tmp_path / "runs" / "mean--worse-" / "seed-0", predictions(subjects=5, seed=7, skill=0.2))
    assert ablate([described(tmp_path, "  lstm: {}\n  mean (worse): {}\n  never: {}\n"), "--table-only"]) == 0
    lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "(reference)" in lines["lstm"] and lines["lstm"].endswith(" 2")
    assert "-0." in lines["mean (worse)"] and "no such run folder" in lines["never"]
    assert "(reference)" in (tmp_path / "runs" / "ablation.md").read_text()
    assert r"\toprule" in (tmp_path / "runs" / "ablation.tex").read_text()


def test_mistakes_in_the_file_are_told_at_once(ablate, tmp_path: Path, capsys) -> None:
    assert ablate([described(tmp_path, "  a: {preprocess: [flow.reference=consecutive]}\n")]) == 2
    assert "no section 'preprocess'" in capsys.readouterr().err
    assert ablate([described(tmp_path, "  a: {trian: []}\n")]) == 2
    assert "'variants.a.trian' is not a setting" in capsys.readouterr().err


def test_the_ablations_of_this_project_are_valid(ablate, capsys, monkeypatch, tmp_path: Path) -> None:
    configs = sorted((SCRIPT.parents[1] / "configs" / "ablation").glob("*.yaml"))
    monkeypatch.chdir(tmp_path)
    for path in configs:
        assert ablate([str(path), "--table-only"]) == 0
        assert "no such run folder" in capsys.readouterr().out
    assert len(configs) == 2
