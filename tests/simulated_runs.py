"""A seeded simulator of run folders: subjects of unequal skill, unequal classes, softmax-like probabilities."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slstt.evaluation.predictions import Predictions, write_predictions
from slstt.files import write_csv, write_json, write_text

THREE = ("negative", "positive", "surprise")


def predictions(
    subjects: int = 12,
    clips: int = 8,
    classes: Sequence[str] = THREE,
    datasets: Sequence[str] = ("casme2",),
    skill: float = 1.5,
    seed: int = 0,
    clip_seed: int = 0,
) -> Predictions:
    """Predictions for `subjects` per data set; `clip_seed` makes the clips and truth, `seed` what the model says."""
    truth, said = np.random.default_rng(clip_seed), np.random.default_rng(seed)
    weights = np.array([1 / (1 + 0.7 * i) for i in range(len(classes))])
    keys, true, logits = [], [], []
    for dataset in datasets:
        for subject in range(1, subjects + 1):
            talent = skill + truth.normal(0, 0.8)
            for clip in range(int(truth.integers(max(1, clips // 2), clips * 3 // 2 + 1))):
                label = int(truth.choice(len(classes), p=weights / weights.sum()))
                keys.append((dataset, f"sub{subject:02d}", f"EP{clip:02d}_01f"))
                true.append(label)
                logits.append(said.normal(0, 1, len(classes)) + talent * np.eye(len(classes))[label])
    scores = np.exp(np.array(logits) * 1.6)
    probabilities = scores / scores.sum(1, keepdims=True)
    return Predictions(
        tuple(classes),
        tuple(keys),
        tuple(classes[i] for i in true),
        tuple(classes[i] for i in probabilities.argmax(1)),
        probabilities,
    )


def run_folder(folder: Path, found: Predictions, epochs: int = 12, seed: int = 0, missing: Sequence[str] = ()) -> Path:
    """Write what a finished (or, with `missing` subjects, unfinished) training run leaves."""
    noise = np.random.default_rng(seed)
    folds = [
        {"dataset": d, "subject": s, "test": [key[2] for key in found.keys if key[:2] == (d, s)]}
        for d, s in found.subjects
    ]
    write_json(folder / "folds.json", {"folds": folds})
    kept = found.select([i for i, key in enumerate(found.keys) if key[1] not in missing])
    write_predictions(folder / "predictions.csv", kept)
    for dataset, subject in kept.subjects:
        rows = [i for i, key in enumerate(kept.keys) if key[:2] == (dataset, subject)]
        fold = folder / "folds" / f"{dataset}-{subject}"
        write_predictions(fold / "predictions.csv", kept.select(rows))
        loss = 1.1 * np.exp(-np.arange(epochs) / 5) + 0.1 + noise.normal(0, 0.04, epochs).clip(-0.08)
        score = 0.75 - 0.4 * np.exp(-np.arange(epochs) / 4) + noise.normal(0, 0.03, epochs)
        write_csv(
            fold / "history.csv",
            ("epoch", "train_loss", "learning_rate", "inner_uf1"),
            [(e + 1, f"{loss[e]:.5f}", 0.01 if e < 8 else 0.001, f"{score[e]:.5f}") for e in range(epochs)],
        )
        peek = []
        for epoch in range(1, epochs + 1):
            for i in rows:
                lucky = noise.random() < 0.3 + 0.02 * epoch
                label = kept.true[i] if lucky else kept.classes[noise.integers(len(kept.classes))]
                peek.append((epoch, *kept.keys[i], kept.true[i], kept.predicted[i] if epoch == epochs else label))
        columns = ("epoch", "dataset", "subject", "clip", "true_label", "predicted_label")
        write_csv(fold / "peek.csv", columns, peek)
        write_csv(fold / "inner.csv", columns, [row for row in peek if row[0] == epochs - 3])
    write_text(
        folder / "config.resolved.yaml",
        "data:\n  kind: cache\n  root: preprocessed\n  protocol: cde\n  encoding: uv_strain\n"
        "model:\n  aggregator: lstm\n  depth: 12\nselection:\n  method: last\nrun:\n  seed: 0\n",
    )
    environment = {"python": "3.11.9", "torch": "2.6.0", "slstt": "0.1.0", "device": "cpu", "threads": 1}
    (folder / "environment.json").write_text(json.dumps(environment))
    write_csv(
        folder / "failures.csv",
        ("dataset", "subject", "clip", "reason"),
        [("casme2", "sub09", "EP02_02f", "no face found in the apex frame, upsampled three times")],
    )
    write_csv(
        folder / "flags.csv",
        ("dataset", "subject", "clip", "reason"),
        [("casme2", "sub04", "EP12_01f", "apex missing; spotted at frame 87")],
    )
    return folder
