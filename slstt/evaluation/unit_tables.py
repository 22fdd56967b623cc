"""A run that predicts action units: its metrics and its tables."""

from collections.abc import Mapping
from typing import Any

from slstt.datasets.units import UNIT_PROTOCOLS, unit_differences
from slstt.errors import listed
from slstt.evaluation.run import UnitRun
from slstt.evaluation.tables import Table, dataset_title, number, score_table
from slstt.evaluation.unit_metrics import unit_summary

UNIT_SCORE_TITLES = {"macro_f1": "Macro F1", "binary_f1": "Binary F1"}
BY_RULE = "by rule: CD6ME's clips are not known one by one; only the published counts were compared"


def evaluate_units(run: UnitRun) -> dict[str, Any]:
    """Everything `metrics.json` holds for a run that predicts action units."""
    declared, selection = run.setting("data.protocol"), run.setting("selection.method")
    protocol = UNIT_PROTOCOLS.get(declared) if isinstance(declared, str) else None
    compared = protocol or UNIT_PROTOCOLS["cd6me"]
    predictions = run.predictions
    differences = unit_differences(
        compared, [(key[0], tuple(row)) for key, row in zip(predictions.keys, predictions.true.tolist(), strict=True)]
    )
    named = protocol if protocol is not None and not differences else None
    metrics = unit_summary(
        predictions, named.name if named else None, selection if isinstance(selection, str) else None
    )
    warnings = metrics.pop("warnings")
    if named is not None:
        warnings.insert(0, BY_RULE)
    if run.missing:
        warnings.insert(0, f"PARTIAL: {len(run.missing)} of {run.expected} folds are missing: {listed(run.missing)}")
    title = f"{compared.title}, by rule" if named else f"action units, not the clips of {compared.title}"
    return metrics | {
        "run": run.name,
        "protocol_title": title,
        "protocol_declared": declared if isinstance(declared, str) else None,
        "protocol_nearest": None if named else compared.name,
        "protocol_differences": differences,
        "partial": bool(run.missing),
        "folds": {"expected": run.expected, "missing": list(run.missing)},
        "warnings": warnings,
    }


def unit_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """The tables that terminal, report, Markdown and LaTeX show, in order."""
    title = metrics["protocol_title"] + (", PARTIAL" if metrics["partial"] else "")
    return [score_table(metrics, f"Result: {title}", UNIT_SCORE_TITLES), unit_table(metrics), *dataset_tables(metrics)]


def unit_table(summary: Mapping[str, Any]) -> Table:
    """What each unit gives over all clips."""
    rows = tuple(
        (
            unit,
            str(line["shown"]),
            str(line["predicted"]),
            *(number(line[score]) for score in ("precision", "recall", "binary_f1", "macro_f1")),
        )
        for unit, line in summary["per_unit"].items()
    )
    return Table("Per unit", ("Unit", "Shown", "Predicted", "Precision", "Recall", "Binary F1", "Macro F1"), rows)


def dataset_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Each unit's macro and binary F1 in each data set, none where there is one data set only."""
    parts = summary["parts"]
    if len(parts) < 2:
        return []
    header = ("", *map(dataset_title, parts), "Full")
    return [
        Table(
            f"{title} per unit and data set",
            header,
            tuple(
                (
                    unit,
                    *(number(part["per_unit"][unit][score]) for part in parts.values()),
                    number(summary["per_unit"][unit][score]),
                )
                for unit in summary["units"]
            ),
        )
        for score, title in UNIT_SCORE_TITLES.items()
    ]
