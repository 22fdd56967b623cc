"""From a run to its metrics: what metrics.json holds, and the tables that terminal and report show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from slstt.datasets.protocols import PROTOCOLS, manifest_difference
from slstt.errors import listed
from slstt.evaluation.compare import selection_gap, selection_table
from slstt.evaluation.metrics import SCORES, block_of, scores_of, subject_confusions, summary_of
from slstt.evaluation.predictions import Predictions
from slstt.evaluation.run import EvaluatedRun
from slstt.evaluation.tables import Table, class_table, confusion_table, published_table, score_table, seed_table

BY_RULE = (
    "by rule: the published list is not known clip by clip; the clips follow from the protocol's emotions, and "
    "only the published counts were compared"
)


@dataclass(frozen=True)
class Naming:
    """What the result may be called."""

    name: str | None
    """The protocol's name, e.g. `cde`, where the clips match; else None."""
    title: str
    """For people: the protocol's title, or that it is none."""
    declared: str | None
    """The protocol the run's settings name, if any."""
    differences: tuple[str, ...]
    """What keeps the result from its declared (or the nearest) protocol, clip by clip."""
    nearest: str | None = None
    """The protocol the differences refer to."""


def naming(predictions: Predictions, declared: str | None = None) -> Naming:
    """Compare the clips and true labels with the declared protocol, or with every protocol of the same classes."""
    rows = [(*key, label) for key, label in zip(predictions.keys, predictions.true, strict=True)]
    candidates = (
        [declared]
        if declared in PROTOCOLS
        else [name for name, protocol in PROTOCOLS.items() if set(protocol.classes) == set(predictions.classes)]
    )
    differences = {}
    for name in candidates:
        if name is None:
            continue
        found = manifest_difference(PROTOCOLS[name], rows)
        if set(PROTOCOLS[name].classes) != set(predictions.classes):
            found = [f"the classes are {', '.join(predictions.classes)}", *found]
        if not found:
            return Naming(name, PROTOCOLS[name].heading, declared, ())
        differences[name] = tuple(found)
    if not differences:
        return Naming(None, "own protocol (its classes are those of no known protocol)", declared, ())
    nearest = min(differences, key=lambda name: len(differences[name]))
    return Naming(None, f"not the clips of {PROTOCOLS[nearest].heading}", declared, differences[nearest], nearest)


def evaluate(run: EvaluatedRun) -> dict[str, Any]:
    """Everything `metrics.json` holds for a run.

    Several seeds are pooled: their confusion matrices are summed per subject, so that a resampled subject brings its
    clips of every seed. "seeds" then tells each seed's scores, their mean and spread.
    """
    declared = run.setting("data.protocol")
    name = naming(run.predictions, declared if isinstance(declared, str) else None)
    per_seed = {seed: subject_confusions(predictions) for seed, predictions in run.seeds.items()}
    subjects = next(iter(per_seed.values()))[0]
    matrices = np.sum([matrices for _, matrices in per_seed.values()], axis=0)
    selection = run.setting("selection.method")
    metrics = summary_of(
        run.predictions.classes, subjects, matrices, name.name, selection if isinstance(selection, str) else None
    )
    warnings = metrics.pop("warnings")
    if run.test_sets:
        metrics["parts"] = {
            part: block_of(np.sum([subject_confusions(run.part(seed, part))[1] for seed in run.seeds.values()], axis=0))
            for part, clips in run.test_sets.items()
            if not clips.isdisjoint(run.predictions.keys)
        }
    if name.name is not None and PROTOCOLS[name.name].by_rule:
        warnings.insert(0, BY_RULE)
    if run.missing:
        warnings.insert(0, f"PARTIAL: {len(run.missing)} of {run.expected} folds are missing: {listed(run.missing)}")
    contradictory = sum(_contradicts(predictions).sum() for predictions in run.seeds.values())
    if contradictory:
        warnings.append(f"{contradictory} predicted labels are not the class of the highest probability")
    metrics |= {
        "run": run.name,
        "protocol_title": name.title,
        "protocol_declared": name.declared,
        "protocol_nearest": name.nearest,
        "protocol_differences": list(name.differences),
        "partial": bool(run.missing),
        "folds": {"expected": run.expected, "missing": list(run.missing)},
        "selection_gap": [
            {"rule": rule.rule, "epochs": rule.epochs, "n": rule.clips, "valid": rule.valid, **rule.scores}
            for rule in selection_gap(run.fold_files("peek.csv"), run.fold_files("inner.csv"), run.predictions.classes)
        ],
        "warnings": warnings,
    }
    if run.several:
        metrics["seeds"] = _seed_tables({seed: scores_of(m.sum(0)) for seed, (_, m) in per_seed.items()})
    return metrics


def result_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """The tables that terminal, report, Markdown and LaTeX show, in order."""
    title = metrics["protocol_title"] + (", PARTIAL" if metrics["partial"] else "")
    tables = (
        score_table(metrics, f"Result: {title}"),
        seed_table(metrics),
        class_table(metrics),
        confusion_table(metrics),
        selection_table(metrics["selection_gap"]),
        published_table(metrics),
    )
    return [table for table in tables if table is not None]


def _seed_tables(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    values = {name: np.array([float(seed[name]) for seed in scores.values()]) for name in SCORES}
    return {
        "runs": [{"name": seed, **{name: float(found[name]) for name in SCORES}} for seed, found in scores.items()],
        "mean": {name: float(v.mean()) for name, v in values.items()},
        "sd": {name: float(v.std(ddof=1)) for name, v in values.items()},
        "min": {name: float(v.min()) for name, v in values.items()},
        "max": {name: float(v.max()) for name, v in values.items()},
    }


def _contradicts(predictions: Predictions) -> np.ndarray:
    order = {name: i for i, name in enumerate(predictions.classes)}
    stated = predictions.probabilities[np.arange(len(predictions)), [order[label] for label in predictions.predicted]]
    return stated < predictions.probabilities.max(1) - 1e-6
