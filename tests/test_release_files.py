"""What a release carries beside the code: one version, a citation, cards of the weights, files for GitHub."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

import slstt
from slstt.models.model_file import SHIPPED, find_weights

PROJECT = Path(__file__).resolve().parents[1]
SECTIONS = ("Intended use", "Input", "Training data", "Training", "Results", "Limits")


def read(name: str) -> Any:
    return yaml.safe_load((PROJECT / name).read_text(encoding="utf-8"))


def test_the_version_has_one_place() -> None:
    assert read("CITATION.cff")["version"] == slstt.__version__
    again = [
        path for path in (PROJECT / "pyproject.toml", PROJECT / "Makefile") if slstt.__version__ in path.read_text()
    ]
    assert not again  # pyproject.toml reads it from slstt/__init__.py


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.citation-file-format", "CITATION.cff"),
        ("vendor.github-workflows", ".github/workflows/*.yml"),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("vendor.dependabot", ".github/dependabot.yml"),
    ],
)
def test_files_for_others_follow_their_schema(schema: str, pattern: str) -> None:
    """The published schemas, as the package check-jsonschema carries them."""
    files = [str(path) for path in sorted(PROJECT.glob(pattern))]
    assert files
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        schema,
        "--default-filetype",
        "yaml",
        *files,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_run_commands_that_exist_on_the_pythons_that_are_promised() -> None:
    targets = {line.partition(":")[0] for line in (PROJECT / "Makefile").read_text().splitlines() if ":" in line}
    said = "".join(path.read_text() for path in (PROJECT / ".github" / "workflows").glob("*.yml"))
    asked = {line.split("make ")[1].split()[0] for line in said.splitlines() if "run: make " in line}
    assert asked and asked - targets <= {"docs"}
    assert read(".github/workflows/tests.yml")["jobs"]["quick"]["strategy"]["matrix"]["python-version"][0] == "3.11"
    assert 'requires-python = ">=3.11"' in (PROJECT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", ["fault", "data_set", "question"])
def test_an_issue_asks_for_what_slstt_doctor_says(name: str) -> None:
    fields = {part["id"]: part for part in read(f".github/ISSUE_TEMPLATE/{name}.yml")["body"]}
    assert "slstt-doctor" in fields["doctor"]["attributes"]["label"]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_weight_file_has_a_card_that_is_about_it(name: str) -> None:
    path = find_weights(name).with_suffix(".md")
    card = ModelCard(path.read_text(encoding="utf-8"))
    assert card.data.license == "mit" and card.data.model_name == name and card.data.eval_results
    assert SHIPPED[name] in card.text
    assert all(f"\n## {section}\n" in card.text for section in SECTIONS)
    config = next(word for word in card.text.split() if word.startswith("configs/pretrain/"))
    # The config beside the weights is the one that the card names.
    assert yaml.safe_load((PROJECT / config).read_text()) == yaml.safe_load(path.with_suffix(".yaml").read_text())
    for result in card.data.eval_results:
        assert f" {result.metric_value:.3f} " in card.text  # the same number as in the card's table
