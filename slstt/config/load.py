"""From a YAML file and `section.key=value` overrides to a checked settings object; all problems at once."""

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from slstt.errors import ConfigError


class Section(BaseModel):
    """Base of every settings section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


Settings = TypeVar("Settings", bound=BaseModel)


def load_config(schema: type[Settings], path: Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Read `path` (YAML; None for all defaults), apply overrides in order, check everything.

    An override is `section.key=value`; its value is read as YAML, so `0.1`, `true`, `[a, b]` and `null` mean what
    they mean in the file. Raises ConfigError listing every problem, with the nearest valid name for unknown keys.
    """
    values = _read_yaml(find_config(path)) if path is not None else {}
    problems = []
    for override in overrides:
        try:
            _apply(values, override)
        except ValueError as error:
            problems.append(str(error))
    try:
        settings = schema.model_validate(values)
    except ValidationError as error:
        problems += [_explain(schema, detail) for detail in error.errors()]
    else:
        if not problems:
            return settings
    source = f"{path}: " if path is not None else ""
    raise ConfigError(*(f"{source}{problem}" for problem in problems))


def find_config(path: Path) -> Path:
    """`path` itself where it exists, else the file of that name among those shipped (`configs/paper/cde.yaml`).

    So the printed commands work for who installed the package without a checkout. Raises ConfigError, naming the
    nearest shipped file.
    """
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


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: unreadable ({error})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold sections (`data:`, `model:`, ...), not a {type(values).__name__}")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ValueError(f"'{override}': an override is written section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"'{override}': the value is not valid YAML") from error
    node = values
    for key in keys[:-1]:
        inner = node.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ValueError(f"'{override}': '{key}' is a value, not a section")
        node = inner
    node[keys[-1]] = value


def _explain(schema: type[BaseModel], detail: Any) -> str:
    location = [str(part) for part in detail["loc"]]
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
    given = "" if isinstance(detail["input"], dict | BaseModel) else f" (given: {detail['input']!r})"
    near = ""
    if detail["type"] == "literal_error":
        choices = [part.strip(" '") for part in detail["ctx"]["expected"].replace(" or ", ",").split(",")]
        close = difflib.get_close_matches(str(detail["input"]), choices, n=1)
        near = f"; did you mean '{close[0]}'?" if close else ""
    return f"'{name}': {message}{given}{near}" if name else f"{message}"


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
