"""Tables for people: escaping in Markdown and LaTeX, published scores, the naming of protocols."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from simulated_runs import THREE, predictions

from slstt.datasets.protocols import PROTOCOLS
from slstt.errors import printable
from slstt.evaluation import metrics
from slstt.evaluation.predictions import Predictions
from slstt.evaluation.run import naming
from slstt.evaluation.tables import (
    Table,
    as_latex,
    as_markdown,
    as_text,
    class_table,
    published_scores,
    published_table,
    score_table,
)

NASTY = Table("a_b & 50% #1 <script>", ("x|y", "$n$"), (("\\input{/etc/passwd}", "~^{}"), ("line\nbreak\x1b[31m", "1")))


def test_latex_specials_cannot_act() -> None:
    text = as_latex([NASTY])
    body = text.split(r"\toprule")[1]
    assert r"\textbackslash{}input\{/etc/passwd\}" in body and r"\$n\$" in body
    assert r"\textasciitilde{}\textasciicircum{}\{\}" in body and "\\x0abreak" not in text.replace(
        r"\textbackslash{}x0a", ""
    )
    assert r"a\_b \& 50\% \#1 \textless{}script\textgreater{}" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2 and r"\midrule" in text and r"\bottomrule" in text


def test_markdown_keeps_its_columns_and_no_html() -> None:
    lines = as_markdown([NASTY]).splitlines()
    assert "<script>" not in as_markdown([NASTY])
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}


def test_terminal_text_has_no_control_characters() -> None:
    assert printable("a\x1b[31m\nb") == "a\\x1b[31m\\x0ab"
    assert all(line.isprintable() for line in as_text(NASTY).splitlines())


def test_the_score_table_shows_full_only_beside_parts() -> None:
    one = score_table(metrics.summary(predictions()))
    assert [row[0] for row in one.rows] == ["CASME II"]
    two = score_table(metrics.summary(predictions(datasets=("casme2", "smic", "mine"))))
    assert [row[0] for row in two.rows] == ["Full", "CASME II", "mine", "SMIC-HS"]
    assert re.fullmatch(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", two.rows[0][1])


def test_the_class_table_agrees_with_the_summary() -> None:
    summary = metrics.summary(predictions())
    for row in class_table(summary).rows:
        assert row[5] == f"{summary['per_class'][row[0]]['f1']:.3f}"


def composite(shared: Path) -> Predictions:
    """Always-right predictions on the 442 published flow maps."""
    with (shared / "megc2019_flow" / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = tuple(row["label"] for row in rows)
    keys = tuple((row["dataset"], row["subject"], row["clip"]) for row in rows)
    return Predictions(THREE, keys, labels, labels, np.eye(3)[[THREE.index(label) for label in labels]])


def test_a_result_is_named_only_for_exactly_the_protocols_clips(shared_data: Path) -> None:
    found = composite(shared_data)
    assert naming(found).name == "cde" and naming(found).differences == ()
    assert naming(found, "cde").title == PROTOCOLS["cde"].title
    without_samm = found.select([i for i, key in enumerate(found.keys) if key[0] != "samm"])
    assert naming(without_samm).name == "cde_casme2_smic"
    declared = naming(without_samm, "cde")
    assert declared.name is None and declared.nearest == "cde" and any("samm" in d for d in declared.differences)
    fewer = naming(found.select(range(1, len(found))))
    assert fewer.name is None and fewer.nearest == "cde" and len(fewer.differences) >= 1
    other = next(label for label in THREE if label != found.true[0])
    wrong = Predictions(THREE, found.keys, (other, *found.true[1:]), found.predicted, found.probabilities)
    assert naming(wrong).name is None
    assert any(found.keys[0][2] in difference for difference in naming(wrong).differences)


def test_strangers_to_every_protocol_are_named_as_such() -> None:
    own = naming(predictions(classes=("yes", "no")))
    assert own.name is None and own.nearest is None and "own protocol" in own.title
    assert naming(predictions(classes=("yes", "no")), "cde").differences[0] == "the classes are yes, no"
    unknown = naming(predictions(), "no_such_protocol")
    assert unknown.name is None and unknown.declared == "no_such_protocol" and unknown.differences


def test_published_scores_stand_only_beside_named_results() -> None:
    summary = metrics.summary(predictions(datasets=("casme2", "samm", "smic")))
    assert published_table(summary) is None
    table = published_table({**summary, "protocol": "cde", "selection": "last"})
    assert table is not None and len(table.rows) == len(published_scores("cde")) + 1
    assert table.header[2:] == ("Full", "SMIC-HS", "CASME II", "SAMM")
    assert table.rows[-1][2] == f"{summary['full']['uf1']:.3f} / {summary['full']['uar']:.3f}"
    assert any(row[0] == "SLSTT-LSTM (?)" for row in table.rows) and "last" in table.rows[-1][1]


def test_without_samm_the_full_column_is_left_out_and_the_reader_warned() -> None:
    summary = metrics.summary(predictions(datasets=("casme2", "smic")), protocol="cde_casme2_smic")
    table = published_table(summary)
    assert table is not None and table.header[2:] == ("SMIC-HS", "CASME II") and "without SAMM" in table.notes[-1]


@pytest.mark.parametrize("name", ["casme2_sde", "samm_sde", "smic_sde"])
def test_single_data_sets_stand_beside_the_papers_own(name: str) -> None:
    dataset = name.removesuffix("_sde")
    summary = metrics.summary(predictions(datasets=(dataset,)), protocol=name)
    table = published_table(summary)
    assert table is not None and [row[0] for row in table.rows] == ["SLSTT-LSTM (?)", "This run"]
