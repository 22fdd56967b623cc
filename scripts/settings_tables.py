"""Write the tables of settings in docs/ from where the settings are declared.

    python scripts/settings_tables.py

A table follows a line `<!-- settings: NAME -->`; NAME is one of `TABLES`.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from slstt.config.preprocess import PreprocessConfig, Spotting
from slstt.config.pretrain import PretrainConfig
from slstt.config.spot import SpotConfig
from slstt.config.train import TrainConfig

DOCS = Path(__file__).parents[1] / "docs"
TABLES: dict[str, tuple[type[BaseModel], str]] = {
    "preprocess": (PreprocessConfig, ""),
    "train": (TrainConfig, ""),
    "pretrain": (PretrainConfig, ""),
    "spotting": (Spotting, "spotting."),
    "spot": (SpotConfig, ""),
}


def table(schema: type[BaseModel], prefix: str = "") -> str:
    """The Markdown table of a schema: name, default, values, meaning."""
    rows = "\n".join(_rows(schema, prefix))
    return f"| setting | default | values | meaning |\n|---|---|---|---|\n{rows}\n"


def filled(text: str) -> str:
    """`text` with every table of settings in it written anew."""
    return re.sub(
        r"(<!-- settings: (\w+) -->\n)(?:\|.*\n)*", lambda found: found[1] + table(*TABLES[found[2]]), text
    )  # fmt: skip


def _rows(schema: type[BaseModel], prefix: str) -> Iterator[str]:
    described = schema.model_json_schema()
    for name, field in schema.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _rows(inner, f"{prefix}{name}.")
        else:
            default = field.default if isinstance(field.default, str) else json.dumps(field.default)
            values = _values(described["properties"][name])
            yield f"| `{prefix}{name}` | `{default}` | {values} | {field.description} |"


def _values(node: dict[str, Any]) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if node.get("type") in ("integer", "number"):
        low: float = node["minimum"] if "minimum" in node else node["exclusiveMinimum"]
        high: float = node["maximum"] if "maximum" in node else node["exclusiveMaximum"]
        above = "above " if "exclusiveMinimum" in node else ""
        below = "below " if "exclusiveMaximum" in node else ""
        return f"{above}{_number(low)} to {below}{_number(high)}"
    if node.get("type") == "boolean":
        return "`true`, `false`"
    return ", ".join(filter(None, (_values(part) for part in node.get("anyOf", ()))))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def main() -> None:
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            path.write_text(new, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
