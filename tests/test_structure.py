"""The house rules of CONTRIBUTING.md: names that stand for one thing, files of one size, no module out of its room."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import slstt

PACKAGE = Path(slstt.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "configs" not in path.parts)


def test_no_class_name_stands_for_two_things() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice


def test_files_stay_readable() -> None:
    long = {str(path.relative_to(PACKAGE)): count for path in MODULES if (count := len(lines(path))) > 500}
    assert not long


def test_every_module_says_what_it_is_about() -> None:
    silent = [str(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


def test_the_tree_in_contributing_is_the_tree() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == {word.strip("/") for line in text.splitlines() for word in line.split()[:1] if word.endswith("/")}


def test_the_walk_in_contributing_names_functions_that_exist() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    steps = re.findall(r"`([a-z0-9_/]+\.py): ([\w.]+)`", text)
    unknown = [(file, name) for file, name in steps if name.split(".")[-1] not in defined_in(PACKAGE / file)]
    assert steps and not unknown


def defined_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
