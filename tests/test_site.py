"""The site builds strictly and asks no other host for anything; links of the pages beside docs/ lead somewhere."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
OUTSIDE = ("README.md", "README.zh-CN.md", "CONTRIBUTING.md")
"""Pages that mkdocs does not see."""


@pytest.mark.parametrize("page", OUTSIDE)
def test_links_beside_the_site_lead_to_files(page: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)", (PROJECT / page).read_text(encoding="utf-8"))
    files = [target for target in targets if "://" not in target]
    assert files
    assert not [target for target in files if not (PROJECT / target).exists()]


def test_the_reference_names_what_exists() -> None:
    found = 0
    for page in (PROJECT / "docs" / "reference").glob("*.md"):
        for module, members in re.findall(
            r"^::: ([\w.]+)\n    options:\n      members: \[(.*)\]", page.read_text(), re.M
        ):
            if not (source := PROJECT.joinpath(*module.split(".")).with_suffix(".py")).is_file():
                continue  # a class, whose methods these are
            defined = {
                node.name
                for node in ast.parse(source.read_text(encoding="utf-8")).body
                if isinstance(node, ast.ClassDef | ast.FunctionDef)
            }
            named = {name.strip() for name in members.split(",")}
            assert not named - defined, f"{page.name}: {module}"
            found += len(named)
    assert found > 100


@pytest.mark.slow
def test_the_site_builds_strictly_and_needs_no_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]+src="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]+rel="(?:stylesheet|preconnect|icon|preload)"[^>]+href="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]+href="([^"]+)"[^>]+rel="(?:stylesheet|preconnect|icon|preload)"', text)
        assert loaded
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], page
