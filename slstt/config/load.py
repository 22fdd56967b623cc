"""From a YAML file and `section.key=value` overrides to checked settings; misspelt keys and other problems at once."""

import difflib
import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from slstt.errors import ConfigError, shortened

LARGEST_BYTES = 1_000_000
DEEPEST_LEVEL = 50
LONGEST_NUMBER = 40  # characters; Python itself refuses to read integers of more than 4,300 digits
LONGEST_PATH, LONGEST_NAME = 4095, 255  # bytes, what Linux and macOS allow


class Section(BaseModel):
    """Base of every settings section: frozen; no unknown key; numbers are finite and never true or false."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name].annotation if info.field_name else None
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(one, bool) for one in values) and _names_number(annotation):
            raise ValueError("a number is wanted, not true or false")
        return value


def _usable_path(path: Path) -> Path:
    """`path` with `~` expanded. Raises ValueError where no file system could hold it."""
    if "\0" in str(path):
        raise ValueError("a path cannot hold a NUL character")
    try:
        path = path.expanduser()
        longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
        whole = len(os.fsencode(path))
    except RuntimeError as error:
        raise ValueError(f"no home folder is known for {path.parts[0]}; write the path in full") from error
    except UnicodeEncodeError as error:
        raise ValueError("a path cannot hold these characters") from error
    if whole > LONGEST_PATH or longest > LONGEST_NAME:
        raise ValueError(f"too long: a path has at most {LONGEST_PATH} bytes, each name in it {LONGEST_NAME}")
    return path


def _name_or_path(text: str) -> str:
    path = _usable_path(Path(text))
    return str(path) if text.startswith("~") else text


def _one_or_more(paths: Path | tuple[Path, ...]) -> Path | tuple[Path, ...]:
    return tuple(map(_usable_path, paths)) if isinstance(paths, tuple) else _usable_path(paths)


OneOrMorePaths = Annotated[Path | tuple[Path, ...], AfterValidator(_one_or_more)]
"""A path in settings, or a list of paths; `~` is the home folder."""

NameOrPath = Annotated[str, AfterValidator(_name_or_path)]
"""A known name or a path, as text; `~` is the home folder."""

Settings = TypeVar("Settings", bound=BaseModel)


def load_config(schema: type[Settings], path: Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Read `path` (YAML; None for all defaults), apply overrides in order, check everything.

    An override is `section.key=value`; its value is read as YAML, so `0.1`, `true`, `[a, b]` and `null` mean what
    they mean in the file. Raises ConfigError listing every problem, with the nearest valid name for unknown keys.
    """
    values = _read(find_config(path)) if path is not None else {}
    problems = []
    for override in overrides:
        try:
            _apply(values, override)
        except ValueError as error:
            problems.append(f"'{_short(override)}': {error}")
    try:
        settings = schema.model_validate(values)
    except ValidationError as error:
        problems += [_explain(schema, detail) for detail in error.errors()]
    else:
        if not problems:
            return settings
    source = f"{path}: " if path is not None else ""
    raise ConfigError(*shortened([f"{source}{problem}" for problem in problems]))


def find_config(path: Path) -> Path:
    """`path` itself where it exists, else the file of that name among those shipped (`configs/paper/slstt.yaml`).

    So the printed commands work for who installed the package without a checkout. Raises ConfigError, naming the
    nearest shipped file.
    """
    try:
        path = _usable_path(path)
    except ValueError as error:
        raise ConfigError(f"--config {_short(str(path))!r}: {error}") from error
    if path.exists():
        return path
    # In an installed wheel the files lie inside the package, in a checkout beside it.
    package = Path(__file__).parents[1]
    folder = next((found for found in (package / "configs", package.parent / "configs") if found.is_dir()), None)
    shipped = (
        {f"configs/{file.relative_to(folder).as_posix()}": file for file in folder.rglob("*.yaml")} if folder else {}
    )
    if path.as_posix() in shipped:
        return shipped[path.as_posix()]
    near = difflib.get_close_matches(path.as_posix(), shipped, n=1)
    raise ConfigError(f"{path}: no such config file" + (f"; did you mean '{near[0]}'?" if near else ""))


def read_yaml(path: Path) -> Any:
    """What a YAML file of settings holds.

    Raises ConfigError naming the file and every problem: unreadable, over 1 MB, nested deeper than 50 levels, a key
    that occurs twice or is not text, an alias, a tag, a number of more than 40 characters.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise ConfigError(f"{path}: over 1 MB; settings are shorter, so this is another file")
        value, problems = _parse(content.decode())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: unreadable ({error})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if problems:
        raise ConfigError(*shortened([f"{path}: {problem}" for problem in problems]))
    return value


def dump_config(settings: BaseModel) -> str:
    """The complete settings as YAML, as written to `config.resolved.yaml`."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def differing_keys(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """`section.key: theirs -> ours` for every leaf on which two dumped settings differ."""
    left, right = dict(leaves(theirs)), dict(leaves(ours))
    absent = "(absent)"
    return [
        f"{key}: {left.get(key, absent)} -> {right.get(key, absent)}"
        for key in sorted({*left, *right})
        if left.get(key, absent) != right.get(key, absent)
    ]


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (`section.key`, value), in their own order."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class _Refused(ValueError):
    """YAML that is valid and not read here."""


class _Loader(yaml.SafeLoader):
    """YAML of text, decimal numbers, true and false, null, lists and sections; `problems` says what else was found.

    What YAML 1.1 makes of `1:30` (90), `013` (11), `0x1f` (31) and 2024-05-01 (a date) is not what people mean, so
    these stay text. No alias is followed: a few hundred bytes of them can stand for gigabytes.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[str] = []
        self.level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(f"line {line}: the alias *{_short(event.anchor)} is not followed; write the value itself")
        if (tag := getattr(event, "tag", None)) is not None:
            raise _Refused(f"line {line}: the tag {_short(tag)} is not read; write a plain value")
        if self.level >= DEEPEST_LEVEL:
            raise _Refused(f"line {line}: nested deeper than {DEEPEST_LEVEL} levels")
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag != _tag("str"):
                shown = f" {_short(key.value)}" if isinstance(key, yaml.ScalarNode) else ""
                raise _Refused(f"line {line}: the key{shown} is not text; write it in quotes")
            if key.value in seen:
                self.problems.append(f"line {line}: '{_short(key.value)}' occurs twice in one section; keep one")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > LONGEST_NUMBER:
            line = node.start_mark.line + 1
            self.problems.append(f"line {line}: a number of {len(node.value)} characters; at most {LONGEST_NUMBER}")
            return 0
        return int(node.value)


def _tag(kind: str) -> str:
    return f"tag:yaml.org,2002:{kind}"


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag in (_tag("bool"), _tag("null"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_tag("int"), re.compile(r"[-+]?(0|[1-9][0-9]*)\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    # A part of what the writer of `dump_config` takes for a number, so that text it leaves bare comes back as text.
    _tag("float"),
    re.compile(r"[-+]?([0-9]+\.[0-9]*([eE][-+][0-9]+)?|\.[0-9]+([eE][-+][0-9]+)?|\.(inf|Inf|INF))\Z|\.(nan|NaN|NAN)\Z"),
    list("-+0123456789."),
)
_Loader.add_constructor(_tag("int"), _Loader.construct_integer)


def _parse(text: str) -> tuple[Any, list[str]]:
    """(the value of a YAML text, what is wrong with it). Raises ValueError where it cannot be read at all."""
    try:
        loader = _Loader(text)
        return loader.get_single_data(), loader.problems
    except _Refused:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: escapes and versions out of range
        raise ValueError(f"not valid YAML: {_short(' '.join(str(error).split()), 300)}") from error


def _read(path: Path) -> dict[str, Any]:
    values = read_yaml(path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold sections (`data:`, `model:`, ...), not a {type(values).__name__}")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys) or len(keys) > DEEPEST_LEVEL:
        raise ValueError("an override is written section.key=value")
    if len(text) > LARGEST_BYTES:
        raise ValueError("the value is over 1 MB")
    value, problems = _parse(text)
    if problems:
        raise ValueError("; ".join(problems))
    node = values
    for key in keys[:-1]:
        inner = node.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ValueError(f"'{key}' is a value, not a section")
        node = inner
    node[keys[-1]] = value


def _explain(schema: type[BaseModel], detail: Any) -> str:
    location = [_short(str(part)) for part in detail["loc"]]
    if detail["type"] != "extra_forbidden":  # there the last part is what the user wrote
        location = [part for part in location if "[" not in part]  # pydantic's name for one side of a union
    name = ".".join(location)
    if detail["type"] == "extra_forbidden":
        valid = _names_at(schema, location[:-1])
        near = difflib.get_close_matches(location[-1], valid, n=1)
        hint = (
            f"; did you mean '{'.'.join([*location[:-1], near[0]])}'?" if near else f"; valid here: {', '.join(valid)}"
        )
        return f"'{name}' is not a setting{hint}"
    if detail["type"] == "missing":
        return f"'{name}' must be given"
    message = detail["msg"].removeprefix("Value error, ")
    given = "" if isinstance(detail["input"], dict | BaseModel) else f" (given: {_short(repr(detail['input']))})"
    near = ""
    if detail["type"] == "literal_error":
        choices = [part.strip(" '") for part in detail["ctx"]["expected"].replace(" or ", ",").split(",")]
        close = difflib.get_close_matches(str(detail["input"]), choices, n=1)
        near = f"; did you mean '{close[0]}'?" if close else ""
    return f"'{name}': {message}{given}{near}" if name else f"{message}"


def _short(text: str, length: int = 80) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _names_at(schema: type[BaseModel], location: Sequence[str]) -> list[str]:
    for key in location:
        field = schema.model_fields.get(key)
        inner = _section_in(field.annotation) if field is not None else None
        if inner is None:
            return []
        schema = inner
    return list(schema.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) in (Union, types.UnionType):
        return next((found for part in get_args(annotation) if (found := _section_in(part))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _names_number(annotation: Any) -> bool:
    return annotation in (int, float) or any(_names_number(part) for part in get_args(annotation))


CONFIG = "config.resolved.yaml"


def settings_in(run: Path, schema: type[Settings]) -> Settings:
    """What the run in `run` was started with. Raises ConfigError where that cannot be read or is no longer valid."""
    try:
        return load_config(schema, run / CONFIG)
    except (ConfigError, RecursionError) as error:
        reason = " ".join(str(error).removeprefix(f"{run / CONFIG}: ").split())[:200]
        raise ConfigError(
            f"{run / CONFIG}: damaged, or of another version of slstt ({reason}); choose another --out"
        ) from error
