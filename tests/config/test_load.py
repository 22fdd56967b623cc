from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from slstt.config.load import Section, differing_keys, dump_config, find_config, load_config
from slstt.errors import ConfigError


class Optimizer(Section):
    learning_rate: float = 0.01
    kind: Literal["sgd", "adamw"] = "sgd"


class Whole(Section):
    training: Optimizer = Optimizer()
    epochs: int = Field(default=3, ge=1)
    subjects: tuple[str, ...] = ()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_no_file_and_an_empty_file_give_the_defaults(tmp_path: Path) -> None:
    assert load_config(Whole, None) == load_config(Whole, written(tmp_path, "")) == Whole()


def test_yaml_1_1_reads_1e_4_as_text_and_the_schema_as_a_number(tmp_path: Path) -> None:
    settings = load_config(Whole, written(tmp_path, "training: {learning_rate: 1e-4}"))
    assert settings.training.learning_rate == 1e-4


def test_an_unquoted_subject_is_refused_rather_than_read_as_octal(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'subjects\.0': .*string.*given: 11"):
        load_config(Whole, written(tmp_path, "subjects: [013]"))


def test_overrides_win_in_order() -> None:
    settings = load_config(Whole, None, ["training.kind=adamw", "epochs=5", "epochs=7", "subjects=['013']"])
    assert (settings.training.kind, settings.epochs, settings.subjects) == ("adamw", 7, ("013",))


def test_all_problems_come_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    text = "training: {learnig_rate: 0.1, kind: adam}\nepochs: 0\nunheard: 1\n"
    with pytest.raises(ConfigError) as caught:
        load_config(Whole, written(tmp_path, text), ["epochs", "training.kind.deep=1"])
    report = str(caught.value)
    assert "did you mean 'training.learning_rate'?" in report
    assert "did you mean 'adamw'?" in report
    assert "'epochs'" in report and "greater than or equal to 1" in report
    assert "'unheard' is not a setting; valid here: training, epochs, subjects" in report
    assert "an override is written section.key=value" in report
    assert "'kind' is a value, not a section" in report
    assert len(caught.value.problems) == 6


@pytest.mark.parametrize(("text", "complaint"), [("a: [", "not valid YAML"), ("- 1", "must hold sections")])
def test_what_is_no_settings_file_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"c\.yaml: {complaint}"):
        load_config(Whole, written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such config file"):
        load_config(Whole, tmp_path / "none.yaml")


def test_dumped_settings_load_back_equal(tmp_path: Path) -> None:
    settings = load_config(Whole, None, ["training.learning_rate=3e-5", "subjects=['006']"])
    assert load_config(Whole, written(tmp_path, dump_config(settings))) == settings


def test_differing_keys_name_both_values() -> None:
    assert differing_keys({"a": {"b": 1, "c": 2}, "n": 1}, {"a": {"b": 1, "c": 3}}) == [
        "a.c: 3 -> 2",
        "n: (absent) -> 1",
    ]
    assert differing_keys({"a": {"b": 1}}, {"a": {"b": 1}}) == []


def test_a_shipped_config_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(Path("configs/demo.yaml")).is_file()
    with pytest.raises(ConfigError, match=r"did you mean 'configs/demo\.yaml'\?"):
        find_config(Path("configs/dem.yaml"))
