"""The tutorials: each page runs from top to bottom in an empty folder and prints what it shows."""

import shutil
from pathlib import Path

import pytest
from tutorials import blocks, missing_lines, run

PROJECT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for path in (PROJECT / "docs" / "tutorials").glob("*.md") if path.name != "index.md")
IN_A_CLONE = ("add_data_set", "add_aggregator")
"""They change slstt, here a copy of it."""


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs_and_prints_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official_rife: Path
) -> None:
    source = PROJECT
    if page.stem in IN_A_CLONE:
        for name in ("slstt", "configs"):
            shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        source = tmp_path
    monkeypatch.chdir(tmp_path)
    for block, printed in run(page, tmp_path, {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}):
        assert block.content.strip()
        assert not missing_lines(block, printed), f"{page.name}:{block.line} shows other lines than\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_chinese_page_has_the_same_blocks(page: Path) -> None:
    translated = PROJECT / "docs" / "zh" / "tutorials" / page.name
    assert [(b.kind, b.title, b.content) for b in blocks(page)] == [
        (b.kind, b.title, b.content) for b in blocks(translated)
    ]
