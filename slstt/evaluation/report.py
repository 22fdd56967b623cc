"""`report.html`: one page that needs no other file, and the figures beside it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from slstt import __version__
from slstt.errors import DataError
from slstt.evaluation import figures
from slstt.evaluation.calibration import calibration
from slstt.evaluation.compare import Comparison, comparison_table
from slstt.evaluation.metrics import confusion
from slstt.evaluation.mistakes import confident_mistakes, picture_caption
from slstt.evaluation.published import published_table
from slstt.evaluation.run import Run, fold_files
from slstt.evaluation.selection import peek_curve, selection_table
from slstt.evaluation.tables import SCORE_TITLES, class_table, dataset_title, printable, score_table, seed_table
from slstt.files import read_csv, write_text

TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: Run, metrics: Mapping[str, Any], comparison: Comparison | None = None) -> Path:
    """Write `report.html` and `figures/*.png` and `*.pdf` into the run folder; returns the page's path.

    `metrics` is what `evaluate` returned. Raises DataError where a fold's `history.csv` is malformed or the folder
    cannot be written.
    """
    with figures.style():
        drawings = draw(run, metrics)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,  # clip and class names come from files: `<script>` stays text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    mistakes = confident_mistakes(run)
    page = environment.get_template("report.html").render(
        run=run,
        version=__version__,
        metrics=metrics,
        titles=SCORE_TITLES,
        scores=score_table(metrics, "With 95% intervals"),
        seeds=seed_table(metrics),
        classes=class_table(metrics),
        selection=selection_table(metrics["selection_gap"]),
        published=published_table(metrics),
        comparison=comparison,
        comparison_table=comparison_table(comparison) if comparison else None,
        drawings=drawings,
        mistakes=mistakes,
        wrong=sum(t != p for t, p in zip(run.predictions.true, run.predictions.predicted, strict=True)),
        mistake_caption=picture_caption(run) if any(mistake.picture for mistake in mistakes) else "",
        settings=_leaves(run.settings),
        environment=_leaves(run.environment),
        attention=_attention(run),
    )
    path = run.folder / "report.html"
    write_text(path, page)
    return path


def draw(run: Run, metrics: Mapping[str, Any]) -> dict[str, str]:
    """Draw every figure of the run into `figures/`; returns name -> `data:` URI."""
    folder, classes = run.folder / "figures", metrics["classes"]
    matrix = np.array(metrics["confusion"])
    title = "All data sets" if len(metrics["parts"]) > 1 else dataset_title(next(iter(metrics["parts"])))
    drawings = {"confusion": figures.save(figures.confusion_figure(matrix, classes, title), folder, "confusion")}
    if len(metrics["parts"]) > 1:
        for part in metrics["parts"]:
            rows = [predictions.part(part) for predictions in run.seeds.values()]
            counts = sum((confusion(r.true, r.predicted, classes) for r in rows), start=np.zeros_like(matrix))
            name = f"confusion_{_file_name(part)}"
            drawings[name] = figures.save(figures.confusion_figure(counts, classes, dataset_title(part)), folder, name)
    drawings["subjects"] = figures.save(figures.subjects_figure(metrics["per_subject"]), folder, "subjects")
    drawings["calibration"] = figures.save(
        figures.calibration_figure(calibration(run.predictions)), folder, "calibration"
    )
    if histories := [_history(path) for path in fold_files(run, "history.csv").values()]:
        drawings["learning"] = figures.save(figures.learning_figure(histories, peek_curve(run)), folder, "learning")
    return drawings


def _history(path: Path) -> dict[str, list[float]]:
    """A fold's `history.csv` as column -> numbers; nan where a cell is empty."""
    rows = read_csv(path, ("epoch", "train_loss"))
    try:
        return {name: [float(row[name] or math.nan) for row in rows] for name in (rows[0] if rows else ("epoch",))}
    except ValueError as error:
        raise DataError(f"{path}: holds a cell that is not a number ({error})") from error


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (`section.key`, value) in their own order."""
    leaves = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            leaves += _leaves(value, f"{prefix}{key}.")
        else:
            leaves.append((f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return leaves


def _attention(run: Run) -> list[str]:
    """Pictures left by `slstt-eval --attention`, as `data:` URIs."""
    from slstt.pictures import data_uri, read_image

    return [data_uri(read_image(path)) for path in sorted((run.folder / "figures").glob("attention*.png"))]


def _file_name(text: str) -> str:
    """A data set's name as part of a file name: names come from files and may hold a slash."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in text)[:40]
