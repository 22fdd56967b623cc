from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from slstt.cli.train import main
from slstt.config.load import NameOrPath, OneOrMorePaths, Section, differing_keys, dump_config, find_config, load_config
from slstt.errors import ConfigError


class Optimizer(Section):
    learning_rate: float = 0.01
    kind: Literal["sgd", "adamw"] = "sgd"


class Whole(Section):
    training: Optimizer = Optimizer()
    epochs: int = Field(default=3, ge=1, le=1000)
    subjects: tuple[str, ...] = ()
    crop: tuple[float, float] | None = None
    compile: bool = False
    root: OneOrMorePaths | None = None
    source: NameOrPath | None = None


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_no_file_and_an_empty_file_give_the_defaults(tmp_path: Path) -> None:
    assert load_config(Whole, None) == load_config(Whole, written(tmp_path, "")) == Whole()


def test_yaml_1_1_reads_1e_4_as_text_and_the_schema_as_a_number(tmp_path: Path) -> None:
    settings = load_config(Whole, written(tmp_path, "training: {learning_rate: 1e-4}"))
    assert settings.training.learning_rate == 1e-4


def test_ids_stay_text_where_yaml_1_1_makes_numbers_and_dates_of_them(tmp_path: Path) -> None:
    settings = load_config(Whole, written(tmp_path, "subjects: [013, 0x1f, 1_0, 1:30, 2024-05-01]"))
    assert settings.subjects == ("013", "0x1f", "1_0", "1:30", "2024-05-01")
    with pytest.raises(ConfigError, match=r"'subjects\.0': .*string.*given: 13"):
        load_config(Whole, written(tmp_path, "subjects: [13]"))


def test_a_folder_named_by_a_date_is_a_folder() -> None:
    assert load_config(Whole, None, ["root=2024-05-01"]).root == Path("2024-05-01")


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


DEEP = {levels: "[" * levels + "]" * levels for levels in (51, 200, 5000)}
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
REFUSED = {
    "list": ("- 1", "must hold sections"),
    "syntax": ("a: [", "not valid YAML"),
    "two documents": ("a: 1\n---\na: 2", "not valid YAML"),
    "escape beyond Unicode": ('source: "\\UFFFFFFFF"', "not valid YAML"),
    "version of 5,000 digits": ("%YAML 1." + "1" * 5000 + "\n---\nepochs: 1", "not valid YAML"),
    "section twice": ("training: {kind: adamw}\ntraining: {}", "line 2: 'training' occurs twice in one section"),
    "key twice": ("training:\n  kind: sgd\n  kind: adamw", "line 3: 'kind' occurs twice in one section; keep one"),
    "alias bomb": (BOMB, r"line 2: the alias \*a is not followed"),
    "merged section": ("training: &t {kind: adamw}\nother:\n  <<: *t", r"line 3: the alias \*t is not followed"),
    "merge key": ("training:\n  <<: {kind: adamw}", "'training.<<' is not a setting"),
    "set": ("subjects: !!set {a, b}", "the tag tag:yaml.org,2002:set is not read"),
    "binary": ("source: !!binary aGk=", "the tag tag:yaml.org,2002:binary is not read"),
    "tagged number": ("epochs: !!int x", "the tag tag:yaml.org,2002:int is not read"),
    "object": ("source: !!python/object:os.system x", "the tag .*python.* is not read"),
    "number as key": ("training: {1: 2}", "line 1: the key 1 is not text; write it in quotes"),
    "truth as key": ("on: 2", "line 1: the key on is not text"),
    "list as key": ("? [a]\n: 1", "line 1: the key is not text"),
    "5,000 digits": ("epochs: " + "9" * 5000, "line 1: a number of 5000 characters; at most 40"),
    "31 digits": ("epochs: 1" + "0" * 30, "'epochs': Input should be less than or equal to 1000"),
    "5,000 digits in quotes": ("epochs: '" + "9" * 5000 + "'", "'epochs': "),
    "digits before the point": ("training: {learning_rate: " + "9" * 5000 + ".0}", "should be a finite number"),
    "infinite": ("training: {learning_rate: .inf}", "'training.learning_rate': Input should be a finite number"),
    "minus infinite": ("training: {learning_rate: -.inf}", "'training.learning_rate': Input should be a finite number"),
    "not a number": ("training: {learning_rate: .nan}", "'training.learning_rate': Input should be a finite number"),
    "nan in words": ("training: {learning_rate: nan}", "'training.learning_rate': Input should be a finite number"),
    "true as integer": ("epochs: true", "'epochs': a number is wanted, not true or false"),
    "true as number": ("training: {learning_rate: yes}", "'training.learning_rate': a number is wanted"),
    "true in a range": ("crop: [0.5, true]", "'crop': a number is wanted, not true or false"),
    "base 60": ("epochs: 1:30", "'epochs': .*valid integer.*given: '1:30'"),
    "base 60 number": ("training: {learning_rate: 1:30.5}", "'training.learning_rate': .*given: '1:30.5'"),
    "base 16": ("epochs: 0x1f", "'epochs': .*given: '0x1f'"),
    "date as number": ("epochs: 2024-05-01", "'epochs': .*given: '2024-05-01'"),
    "date as section": ("training: 2024-05-01", "'training': .*given: '2024-05-01'"),
    "NUL in a path": ('root: "a\\0b"', "'root': a path cannot hold a NUL character"),
    "NUL in a source": ('source: "a\\0b"', "'source': a path cannot hold a NUL character"),
    "surrogate in a path": ('root: "\\ud800"', "'root': a path cannot hold these characters"),
    "long name": ("root: " + "a" * 256, "'root': too long: a path has at most 4095 bytes, each name in it 255"),
    "long name in a list": ("root: [a, " + "a" * 256 + "]", "'root': too long"),
    "long path": ("root: " + "a/" * 2100, "'root': too long"),
    "number as path": ("root: 5", "'root': Input is not a valid path"),
    "home of nobody": ("root: ~nobody-here/x", "'root': no home folder is known for ~nobody-here"),
    **{
        f"{levels} levels": (f"subjects: {text}", "line 1: nested deeper than 50 levels")
        for levels, text in DEEP.items()
    },
}


@pytest.mark.parametrize(("text", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_settings_file_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_config(Whole, written(tmp_path, text))
    for line in caught.value.problems:
        assert line.startswith(f"{tmp_path / 'c.yaml'}: ") and len(line) < len(str(tmp_path)) + 400


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        (f"subjects={DEEP[200]}", "nested deeper than 50 levels"),
        (f"subjects={DEEP[5000]}", "nested deeper than 50 levels"),
        (".".join(["root"] * 5000) + "=1", "an override is written section.key=value"),
        ("training={kind: sgd, kind: adamw}", "'kind' occurs twice"),
        ("subjects=[&a x, *a]", r"the alias \*a"),
        ("epochs=true", "a number is wanted"),
        ("epochs=1:30", "valid integer"),
        ("training.learning_rate=.inf", "finite number"),
        ("epochs=" + "9" * 5000, "a number of 5000 characters"),
        ("source=" + "a" * 1_000_001, "over 1 MB"),
    ],
)
def test_an_override_is_held_to_the_same(override: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_config(Whole, None, [override])
    assert all(len(line) < 400 for line in caught.value.problems)


def test_every_duplicate_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Whole, written(tmp_path, "epochs: 1\nepochs: 2\ncompile: true\ncompile: false"))
    assert len(caught.value.problems) == 2


def test_a_file_over_1_mb_is_no_config(tmp_path: Path) -> None:
    assert load_config(Whole, written(tmp_path, "#" * 999_990 + "\nepochs: 4")).epochs == 4
    with pytest.raises(ConfigError, match=r"c\.yaml: over 1 MB"):
        load_config(Whole, written(tmp_path, "#" * 1_000_001))
    with pytest.raises(ConfigError, match=r"zero: over 1 MB"):
        load_config(Whole, Path("/dev/zero"))


def test_thousands_of_unknown_keys_do_not_fill_the_screen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Whole, written(tmp_path, "\n".join(f"key{n}: 1" for n in range(3000))))
    assert len(caught.value.problems) == 21 and caught.value.problems[-1] == "... and 2980 more"


@pytest.mark.parametrize("name", ["a" * 300 + ".yaml", "a\0b.yaml", "folder", "latin.yaml"])
def test_a_config_that_cannot_be_opened_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"source: \xe9\n")
    with pytest.raises(ConfigError, match=r"too long|NUL|unreadable"):
        load_config(Whole, tmp_path / name)


def test_the_home_folder_is_where_the_shell_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load_config(Whole, None, ["root=[~/a, b]", "source=~/w.safetensors"])
    assert settings.root == (tmp_path / "a", Path("b")) and settings.source == f"{tmp_path}/w.safetensors"
    assert load_config(Whole, None, ["source=./w"]).source == "./w"
    assert load_config(Whole, None, ["root=~"]).root is None  # YAML's null


CASES = [
    ("training: {}\ntraining: {epochs: 3}", [], "'training' occurs twice"),
    ("", ["training.epochs=true"], "'training.epochs': a number is wanted"),
    ("", ["training.epochs=1:30"], "'training.epochs': "),
    ("", ["training.weight_decay=.inf"], "'training.weight_decay': Input should be a finite number"),
    ("", [f"data.root={DEEP[200]}"], "nested deeper than 50 levels"),
    (f"data: {DEEP[5000]}", [], "nested deeper than 50 levels"),
    ("", [f"model.width={10**30}"], "'model.width': Input should be less than or equal to"),
    ("", ["model.depth=100000"], "'model.depth': Input should be less than or equal to"),
    ("", ["encoder.trainable=last:" + "9" * 5000], "'encoder.trainable': "),
    ('data: {root: "a\\0b"}', [], "a path cannot hold a NUL character"),
    ("", ["data.root=" + "a" * 300], "too long"),
    ("", ["model.pretrained=" + "a" * 300], "'model.pretrained': too long"),
    ("training: {epochs: 2024-05-01}", [], "'training.epochs': "),
]


@pytest.mark.parametrize(("text", "overrides", "complaint"), CASES)
def test_the_command_ends_with_a_line_and_code_2(
    text: str, overrides: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, text)
    assert main(["--config", str(path), "--out", str(tmp_path / "run"), *overrides]) == 2
    said = capsys.readouterr().err
    assert complaint in said and "a fault in slstt" not in said and len(said) < 2000
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such config file"):
        load_config(Whole, tmp_path / "none.yaml")


def test_dumped_settings_load_back_equal(tmp_path: Path) -> None:
    odd = "['006', '1:30', '0x1f', '1e4', '.5', '2024-05-01', 'yes', '~', 'null', '=', '<<', '1_0', '+.inf', '-', '']"
    settings = load_config(Whole, None, ["training.learning_rate=3e-5", f"subjects={odd}", "crop=[1.0e+20, 1.5e-300]"])
    assert len(settings.subjects) == 15
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
